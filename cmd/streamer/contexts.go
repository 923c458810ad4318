package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/contexts"
)

func logoutCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "logout [CONTEXT]",
		Short: "forgets the credential of a context",
		Long: "Forgets the password or the token of a context, the current one if none is named; its address stays. A token stays valid until it expires\n" +
			"or is revoked (streamer tokens revoke).",
		Args: cobra.MaximumNArgs(1),
	}
	c.ValidArgsFunction = completeContexts(environ)
	return changesContexts(c, environ, func(book *contexts.Book, args []string) (string, error) {
		name := book.Current
		if len(args) > 0 {
			name = args[0]
		}
		if name == "" {
			return "", errors.New("there is no current context; name one: streamer contexts list")
		}
		known, err := book.Find(name)
		if err != nil {
			return "", err
		}
		was := known.Login()
		book.Put(contexts.Context{Name: known.Name, URL: known.URL, Insecure: known.Insecure})
		if was == "none" {
			return name + ": nobody was logged in", nil
		}
		return fmt.Sprintf("%s: logged out (%s)", name, was), nil
	})
}

func contextsCommand(environ []string) *cobra.Command {
	return group("contexts", "lists and chooses the instances that were logged in to", contextsList(environ), contextsUse(environ), contextsDelete(environ))
}

// listedContext is a context as it is shown.
type listedContext struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Login    string `json:"login"`
	Insecure bool   `json:"insecure,omitempty"`
	Current  bool   `json:"current"`
}

func contextsList(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "lists the contexts, and which is the current one", Args: cobra.NoArgs}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		book, err := contexts.Read(contexts.Path(lookup(environ)))
		if err != nil {
			return failure{err}
		}
		all := []listedContext{}
		var lines [][]string
		for _, x := range book.Contexts {
			l := listedContext{Name: x.Name, URL: x.URL, Login: x.Login(), Insecure: x.Insecure, Current: x.Name == book.Current}
			mark := " "
			if l.Current {
				mark = "*"
			}
			all, lines = append(all, l), append(lines, []string{mark + " " + l.Name, l.URL, l.Login})
		}
		return output.print(c.OutOrStdout(), map[string]any{"contexts": all}, func(w io.Writer) {
			if len(lines) == 0 {
				_, _ = fmt.Fprintln(w, "there are no contexts; streamer login makes one")
				return
			}
			table(w, "", []string{"  CONTEXT", "URL", "LOGIN"}, lines)
		})
	}
	return c
}

func contextsUse(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "use CONTEXT", Short: "makes a context the current one", Args: oneContext}
	c.ValidArgsFunction = completeContexts(environ)
	return changesContexts(c, environ, func(book *contexts.Book, args []string) (string, error) {
		known, err := book.Find(args[0])
		if err != nil {
			return "", err
		}
		book.Current = known.Name
		return fmt.Sprintf("%s (%s) is the current context", known.Name, known.URL), nil
	})
}

func contextsDelete(environ []string) *cobra.Command {
	c := &cobra.Command{Use: "delete CONTEXT", Short: "forgets a context with its credential", Args: oneContext}
	c.ValidArgsFunction = completeContexts(environ)
	return changesContexts(c, environ, func(book *contexts.Book, args []string) (string, error) {
		known, err := book.Find(args[0])
		if err != nil {
			return "", err
		}
		book.Delete(known.Name)
		if book.Current != known.Name {
			return known.Name + ": deleted", nil
		}
		book.Current = ""
		return known.Name + ": deleted; there is no current context now", nil
	})
}

// changesContexts makes a command one that changes the contexts. change gives what is said of it.
func changesContexts(c *cobra.Command, environ []string, change func(book *contexts.Book, args []string) (string, error)) *cobra.Command {
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		path := contexts.Path(lookup(environ))
		book, err := contexts.Read(path)
		if err != nil {
			return failure{err}
		}
		said, err := change(&book, args)
		if err != nil {
			return failure{err}
		}
		if err := book.Write(path); err != nil {
			return failure{err}
		}
		return output.print(c.OutOrStdout(), map[string]string{"current": book.Current, "done": said}, func(w io.Writer) { _, _ = fmt.Fprintln(w, said) })
	}
	return c
}

// oneContext wants the name of a context.
func oneContext(c *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return fmt.Errorf("%s needs the name of a context; usage: %s", c.CommandPath(), c.UseLine())
	}
	return nil
}

// completeContexts gives the names of contexts to a shell.
func completeContexts(environ []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		book, err := contexts.Read(contexts.Path(lookup(environ)))
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, x := range book.Contexts {
			if strings.HasPrefix(x.Name, begun) {
				names = append(names, x.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
