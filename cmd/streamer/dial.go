package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/contexts"
	"streamer/cmd/streamer/settings"
	"streamer/control/client"
	"streamer/control/people"
	"streamer/control/service"
)

// Which instance a command calls, and what it says of who calls: the settings over the context that somebody has logged in to.

// connect gives the client of a command. A login that has expired is renewed first.
func connect(ctx context.Context, s settings.Settings, environ []string) (*client.Client, error) {
	to, err := server(s, environ)
	if err != nil {
		return nil, err
	}
	if to.Stale(time.Now()) {
		if to, err = renew(ctx, to, contexts.Path(lookup(environ))); err != nil {
			return nil, err
		}
	}
	return connectTo(to)
}

// renew gets the next token of a context, and keeps it. Another command may have done so in the same moment.
func renew(ctx context.Context, to contexts.Context, path string) (contexts.Context, error) {
	next, err := to.Provider.Renew(ctx, people.Session{Access: to.Token, Refresh: to.Refresh, Expires: to.Expires})
	book, unread := contexts.Read(path) // as it is now
	known, unfound := book.Find(to.Name)
	gone := errors.Join(unread, unfound) != nil || !sameServer(known.URL, to.URL)
	switch {
	case err != nil && !gone && known.Token != to.Token && !known.Stale(time.Now()):
		return known, nil
	case errors.Is(err, people.ErrEnded):
		return to, failure{fmt.Errorf("context %s: %w; log in again: streamer login --name %s", to.Name, err, to.Name)}
	case err != nil:
		return to, failure{fmt.Errorf("context %s: %w", to.Name, err)}
	}
	to.Token, to.Expires = next.Access, next.Expires
	if next.Refresh != "" {
		to.Refresh = next.Refresh
	}
	if gone || known.Refresh == "" { // logged out meanwhile
		return to, nil
	}
	known.Token, known.Refresh, known.Expires = to.Token, to.Refresh, to.Expires
	book.Put(known)
	if err := book.Write(path); err != nil {
		return to, failure{err}
	}
	return to, nil
}

// connectTo gives the client of a context. Its credential does not leave this machine in the clear, unless the context allows it.
func connectTo(to contexts.Context) (*client.Client, error) {
	u, err := url.Parse(to.URL)
	if err != nil {
		return nil, err
	}
	if to.Login() != "none" && u.Scheme == "http" && !service.Loopback(u.Host) && !to.Insecure {
		return nil, fmt.Errorf("%s would carry the credential in the clear to another machine; use https, or a tunnel (ssh -L 9013:127.0.0.1:9013 %s), or say --insecure",
			to.URL, u.Hostname())
	}
	var login []client.Option
	switch {
	case to.Token != "":
		login = append(login, client.WithBearer(to.Token.Reveal()))
	case to.User != "":
		login = append(login, client.WithBasic(to.User, to.Password.Reveal()))
	}
	return client.New(to.URL, login...)
}

// server is what a command calls. A context's credential goes to the address of that context, and nowhere else.
func server(s settings.Settings, environ []string) (contexts.Context, error) {
	named, address := rank(s.ContextFrom), rank(s.URLFrom)
	if named > 0 && named == address {
		return contexts.Context{}, fmt.Errorf("%s and %s both say which instance is called; keep one of them", s.URLFrom, s.ContextFrom)
	}
	to := contexts.Context{URL: s.URL}
	mine := s.Token != "" || s.User != ""
	if address == 0 || named > address || !mine { // else all is said, and the file may be as it likes
		book, err := contexts.Read(contexts.Path(lookup(environ)))
		if err != nil {
			return to, err
		}
		name := book.Current
		if named > address {
			name = s.Context
		}
		switch found, err := book.Find(name); {
		case name == "":
		case err != nil && named > address:
			return to, fmt.Errorf("%s: %w", s.ContextFrom, err)
		case err != nil:
			return to, fmt.Errorf("the current context is gone: %w; streamer contexts use NAME chooses one", err)
		case named > address, address == 0, sameServer(found.URL, s.URL):
			to = found
		}
	}
	to.Insecure = to.Insecure || s.Insecure
	if !mine {
		return to, nil
	}
	to = contexts.Context{Name: to.Name, URL: to.URL, Insecure: to.Insecure} // without its login
	if s.Token != "" {
		to.Token = s.Token
		return to, nil
	}
	if to.User, to.Password = s.User, s.Password; to.Password == "" {
		return to, fmt.Errorf("there is no password of user %s; set STREAMER_PASSWORD, or log in once: streamer login --user %s", to.User, to.User)
	}
	return to, nil
}

// rank orders where a setting was given: a flag over the environment over the file over nothing.
func rank(from string) int {
	switch {
	case from == "":
		return 0
	case strings.HasPrefix(from, "flag "):
		return 3
	case strings.HasPrefix(from, "environment "):
		return 2
	}
	return 1
}

// sameServer tells whether two addresses are of one server.
func sameServer(a, b string) bool {
	x, err := url.Parse(a)
	y, err2 := url.Parse(b)
	return errors.Join(err, err2) == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host) &&
		strings.TrimSuffix(x.Path, "/") == strings.TrimSuffix(y.Path, "/")
}

// completeTimeout is how long a shell waits for the names that could follow.
const completeTimeout = 2 * time.Second

// completeJobs gives the ids of jobs to a shell. Where nobody answers, or nobody is logged in, there are none.
func completeJobs(environ []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := settings.Load(c.Flags(), environ)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
		defer cancel()
		api, err := connect(ctx, s, environ)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer api.Close()
		var ids []cobra.Completion
		all, err := api.Definitions(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, d := range all {
			if strings.HasPrefix(d.ID, begun) {
				ids = append(ids, d.ID)
			}
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
