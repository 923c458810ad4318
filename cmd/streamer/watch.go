package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"streamer/control"
	"streamer/control/client"
)

// watchEvery is how often is looked for what is new.
const watchEvery = time.Second

// every calls show, and from then on ask and show again and again until ctx ends, which is no failure: that is how somebody stops it.
func every(ctx context.Context, show, ask func() error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := show(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := ask(); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// watching is the flag --watch of a command that shows something.
type watching struct{ wanted bool }

func (x *watching) declare(c *cobra.Command) {
	c.Flags().BoolVar(&x.wanted, "watch", false, "show it again and again until Ctrl-C; with -o json a line for every change")
}

// ageless leaves out how old what is watched may be, where a line is printed for every change: that is none.
func (x watching) ageless(output format, age *control.LogAge) {
	if x.wanted && output != asText {
		*age = control.LogAge{}
	}
}

// showing prints what ask gives, once or as long as it is watched: drawn anew on a terminal, with -o json and yaml whenever it has changed.
func showing[T any](ctx context.Context, c *cobra.Command, x watching, output format, ask func() (T, error), text func(io.Writer, T)) error {
	w := c.OutOrStdout()
	f, ok := w.(*os.File)
	terminal := ok && term.IsTerminal(int(f.Fd()))
	if x.wanted && output == asText && !terminal {
		return misuse{errors.New("--watch draws on a terminal, and there is none; -o json prints a line for every change")}
	}
	v, err := ask()
	if err != nil {
		return err
	}
	if !x.wanted {
		return output.print(w, v, func(w io.Writer) { text(w, v) })
	}
	var before []byte
	var away error
	return every(ctx, func() error {
		if output == asText {
			return redraw(w, func(w io.Writer) {
				text(w, v)
				if away != nil {
					_, _ = fmt.Fprintf(w, "\nas it was before: %v\n", away)
				}
			})
		}
		now, err := json.Marshal(v)
		if err != nil || bytes.Equal(now, before) {
			return err
		}
		before = now
		return output.one(w, v, nil)
	}, func() error {
		next, err := ask()
		var unreachable *client.UnreachableError
		if away = nil; err == nil {
			v = next
		} else if errors.As(err, &unreachable) && output == asText {
			away, err = err, nil // somebody looks at it, and sees when it is back
		}
		return err
	})
}

// redraw clears the screen and prints.
func redraw(w io.Writer, text func(io.Writer)) error {
	if _, err := io.WriteString(w, "\x1b[H\x1b[2J"); err != nil {
		return err
	}
	return asText.print(w, nil, text)
}
