package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// withoutOutput are those that print no answer.
var withoutOutput = []string{"streamer run", "streamer help"}

// Every command says what it does in our words, has -o, and takes wrong use for that: an unknown flag, another format, a missing argument, one
// too many. Nobody is asked anything for it.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	count := 0
	eachCommand(newRoot(nil), func(c *cobra.Command) {
		count++
		path := c.CommandPath()
		args := strings.Fields(path)[1:]
		if strings.HasPrefix(path, "streamer completion") {
			return // cobra's own
		}
		if first, _, _ := strings.Cut(c.Short, " "); first != strings.ToLower(first) || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its line begins with a capital letter or ends with a full stop: %s", path, c.Short)
		}
		if text := strings.TrimSpace(c.Long); text != "" && !strings.HasSuffix(text, ".") && c.Name() != "settings" {
			t.Errorf("%s: its help does not end with a full stop: %s", path, text)
		}
		misused := func(why string, more ...string) {
			t.Helper()
			var out, errs bytes.Buffer
			// Settings that can be read, and nobody who answers.
			environ := []string{"STREAMER_URL=http://127.0.0.1:1", "STREAMER_KAFKA_BROKERS=127.0.0.1:1", "HOME=" + t.TempDir()}
			if code := execute(append(slices.Clone(args), more...), environ, strings.NewReader(""), &out, &errs); code != exitMisuse || errs.Len() == 0 || out.Len() != 0 {
				t.Errorf("%s, %s: exit %d, prints %q, says %q", path, why, code, out.String(), errs.String())
			}
		}
		if c.HasAvailableSubCommands() && c.Name() != "streamer" {
			misused("an unknown command", "frobnicate")
			return
		}
		if c.Name() == "help" {
			return
		}
		misused("an unknown flag", "--frobnicate")
		if has := c.Flags().Lookup("output") != nil; has == slices.Contains(withoutOutput, path) && c.Name() != "streamer" {
			t.Errorf("%s: has -o: %v", path, has)
		} else if has {
			misused("another format", "-o", "xml")
		}
		words := strings.Fields(c.Use)
		if len(words) > 1 && strings.Trim(words[1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ|/…") == "" || slices.Contains(words, "-f") {
			misused("nothing is given")
		}
		if c.Args != nil && !strings.Contains(c.Use, "…") {
			misused("too many arguments", "a", "b", "c", "d")
		}
	})
	if count < 50 {
		t.Errorf("only %d commands", count)
	}
}

// What the help shows as an example can be written so.
func TestExamplesOfCommands(t *testing.T) {
	t.Parallel()
	count := 0
	eachCommand(newRoot(nil), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			count++
			line = strings.TrimSpace(line)
			args := strings.Fields(line)
			root := newRoot(nil)
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			found, rest, err := root.Find(args[1:])
			if err != nil || found.CommandPath() != c.CommandPath() {
				t.Errorf("%s: %v", line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: %v", line, err)
			} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	})
	if count < 10 {
		t.Errorf("only %d examples", count)
	}
}

func eachCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			eachCommand(sub, do)
		}
	}
}
