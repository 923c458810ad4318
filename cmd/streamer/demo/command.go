// Package demo is `streamer demo`: the whole way of a record in one process, with nothing installed.
//
// An embedded Kafka, a producer of Aether containers, two APIs that are slow and fail now and then, and streamer itself, wired as `run`
// wires it. Nothing that is told is scripted: requests are told when an API has seen them, a breaker when the runner's status shows it,
// dead letters when they were read back from their topic. At the end the delivery checker of the tests judges the run.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// ErrVerdict says that the check at the end failed. The verdict has been printed by then.
var ErrVerdict = errors.New("the demo's check failed")

// Bounds of what may be asked for.
const (
	minFor  = time.Second
	minRate = 20
	maxRate = 20_000
)

// Command gives `streamer demo`. An error of its RunE is a failure of the demo, ErrVerdict among them; wrong use is found before.
func Command() *cobra.Command {
	o := Options{}
	format := "text"
	c := &cobra.Command{
		Use:   "demo",
		Short: "shows it work, with nothing installed",
		Long: "Runs everything in one process: a Kafka in memory, a producer of Aether records, two APIs that fail now and then, three jobs.\n" +
			"It tells what happens, and at the end checks that no row was lost and none overtook another of its lane. Nothing is written\n" +
			"to disk, and nothing leaves this machine. Ctrl-C ends it with the verdict so far; a second one at once.",
		Args: cobra.NoArgs,
	}
	c.Flags().DurationVar(&o.For, "for", 0, "end by itself after about this time, such as 20s; 0: with Ctrl-C")
	c.Flags().Float64Var(&o.Rate, "rate", defaultRate, "rows to produce per second")
	c.Flags().StringVarP(&format, "output", "o", format, "text, json or yaml; json and yaml print the verdict only")
	c.PreRunE = func(*cobra.Command, []string) error {
		switch {
		case o.For != 0 && o.For < minFor:
			return fmt.Errorf("--for %v is too short; give at least %v, or 0", o.For, minFor)
		case !(o.Rate >= minRate && o.Rate <= maxRate): // so that NaN is refused, too
			return fmt.Errorf("--rate %v is out of range; give %d to %d", o.Rate, minRate, maxRate)
		case format != "text" && format != "json" && format != "yaml":
			return fmt.Errorf("-o %q is none of text, json, yaml", format)
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		soft, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer restore()
		context.AfterFunc(soft, restore) // from then on a signal ends the process
		o.Out = io.Discard
		if format == "text" {
			o.Out = c.OutOrStdout()
			o.Terminal = terminalOf(o.Out)
		}
		report, err := Run(soft, o)
		if err != nil {
			return err
		}
		if format != "text" {
			if err := report.write(c.OutOrStdout(), format); err != nil {
				return err
			}
		}
		if !report.OK {
			return ErrVerdict
		}
		return nil
	}
	return c
}

// terminalOf gives the terminal that w is, nil if it is none on which lines can be redrawn: a pipe, a file, CI, a dumb terminal.
func terminalOf(w io.Writer) *Terminal {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("CI") != "" || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &Terminal{
		Color: os.Getenv("NO_COLOR") == "",
		Width: func() int {
			width, _, err := term.GetSize(int(f.Fd()))
			if err != nil || width <= 0 {
				return lineWidth
			}
			return width
		},
	}
}
