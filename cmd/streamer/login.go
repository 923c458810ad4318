package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"streamer/cmd/streamer/contexts"
	"streamer/cmd/streamer/settings"
	"streamer/control"
	"streamer/control/people"
	"streamer/control/service"
	"streamer/sink"
)

// maxCredentialBytes bounds what is read of a token or a password.
const maxCredentialBytes = 64 << 10

func loginCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "login",
		Short: "logs in to an instance, and keeps that for the commands that follow",
		Long: "Logs in to an instance, and keeps that with its address as a context, which is the current one from then on. --name keeps several.\n" +
			"Where the instance has an OpenID Connect provider for that, it prints an address and a code: open the one in any browser, and enter\n" +
			"the other. The login is renewed by itself until the provider ends it. Elsewhere it asks for a user and a password, or a token; --user and\n" +
			"--token-stdin do so anywhere. Nothing secret is given as a flag, as a command line can be seen by others: it is typed on the terminal, or\n" +
			"comes in with --token-stdin or --password-stdin. It is kept in a file that only you may read.",
		Args: cobra.NoArgs,
	}
	var l login
	c.Flags().BoolVar(&l.tokenIn, "token-stdin", false, "read a token from what comes in")
	c.Flags().BoolVar(&l.passwordIn, "password-stdin", false, "read the password of --user from what comes in")
	c.Flags().StringVar(&l.name, "name", "", "name of the context (default the host of the address)")
	settings.ClientFlags(c.Flags())
	c.Flags().Lookup("context").Hidden = true // --name is what names it here
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		path := contexts.Path(lookup(environ))
		if path == "" {
			return errors.New("there is no place to keep a login; set HOME")
		}
		book, err := contexts.Read(path)
		if err != nil {
			return failure{err}
		}
		to, err := l.context(c, s, book)
		if err != nil {
			return err
		}
		if err := l.get(ctx, c, s, &to); err != nil {
			return err
		}
		made, err := try(ctx, to)
		if err != nil {
			return told(c, err)
		}
		book.Put(to)
		book.Current = to.Name
		if err := book.Write(path); err != nil {
			return failure{err}
		}
		return output.print(c.OutOrStdout(), made, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "logged in to %s (%s, streamer %s); context %s is the current one\n", to.URL, to.Login(), made.Version, to.Name)
			if made.Open {
				_, _ = fmt.Fprintln(w, "nobody has to log in there, so whether the credential is right was not looked at")
			}
		})
	}
	return c
}

// login is what the flags of login say.
type login struct {
	tokenIn, passwordIn bool
	name                string
}

// context is the one that is logged in to, without a credential.
func (l login) context(c *cobra.Command, s settings.Settings, book contexts.Book) (contexts.Context, error) {
	switch {
	case c.Flags().Changed("context"):
		return contexts.Context{}, errors.New("login names a context with --name")
	case l.tokenIn && (l.passwordIn || c.Flags().Changed("user")):
		return contexts.Context{}, errors.New("--token-stdin stands beside --user or --password-stdin; keep one of them")
	case l.passwordIn && !c.Flags().Changed("user"):
		return contexts.Context{}, errors.New("--password-stdin needs --user")
	}
	to := contexts.Context{Name: l.name, URL: s.URL, Insecure: s.Insecure}
	if s.URLFrom == "" { // the one of that name again, or the current one
		name := l.name
		if name == "" {
			name = book.Current
		}
		if known, err := book.Find(name); err == nil {
			to.Name, to.URL, to.Insecure = known.Name, known.URL, known.Insecure || s.Insecure
		}
	}
	if to.Name == "" {
		u, err := url.Parse(to.URL)
		if err != nil {
			return to, err
		}
		to.Name = strings.Trim(u.Host, "[]")
		if i := strings.Index(to.Name, "]:"); i >= 0 { // an IPv6 address with a port
			to.Name = to.Name[:i] + to.Name[i+1:]
		}
	}
	if err := contexts.CheckName(to.Name); err != nil {
		return to, fmt.Errorf("--name: %w", err)
	}
	probe := to // before anything is typed
	probe.Token = "?"
	api, err := connectTo(probe)
	if err != nil {
		return to, err
	}
	api.Close()
	return to, nil
}

// get fills the credential in: that of the instance's provider, unless another one was named, or what somebody gives.
func (l login) get(ctx context.Context, c *cobra.Command, s settings.Settings, to *contexts.Context) error {
	if l.tokenIn || l.passwordIn || c.Flags().Changed("user") {
		return l.ask(ctx, c, s, to)
	}
	api, err := connectTo(contexts.Context{URL: to.URL})
	if err != nil {
		return err
	}
	defer api.Close()
	by, err := api.Login(ctx)
	switch p := new(service.Problem); {
	case errors.As(err, &p): // it knows no such path
	case err != nil:
		return failure{err}
	case by.ClientID != "":
		return device(ctx, c, people.Device(by), to)
	}
	return l.ask(ctx, c, s, to)
}

// device logs in by a provider, in a browser that may be elsewhere.
func device(ctx context.Context, c *cobra.Command, by people.Device, to *contexts.Context) error {
	got, err := by.Login(ctx, func(code people.Code) {
		text := fmt.Sprintf("log in by %s: open %s and enter the code %s\n", by.Issuer, code.URL, code.UserCode)
		if code.Complete != "" {
			text += fmt.Sprintf("or open %s\n", code.Complete)
		}
		_, _ = io.WriteString(c.ErrOrStderr(), strings.Map(printable, text))
	})
	switch {
	case ctx.Err() != nil:
		return failure{errDeclined}
	case err != nil:
		return failure{fmt.Errorf("%w; --user and --token-stdin log in otherwise", err)}
	}
	to.Token, to.Refresh, to.Expires, to.Provider = got.Access, got.Refresh, got.Expires, by
	return nil
}

// ask fills the credential in.
func (l login) ask(ctx context.Context, c *cobra.Command, s settings.Settings, to *contexts.Context) error {
	user := ""
	if c.Flags().Changed("user") {
		user = s.User
	}
	if l.tokenIn || l.passwordIn {
		what := "password"
		if l.tokenIn {
			what = "token"
		}
		src, err := io.ReadAll(io.LimitReader(c.InOrStdin(), maxCredentialBytes+1))
		text := strings.TrimRight(string(src), "\r\n")
		switch {
		case err != nil:
			return failure{err}
		case text == "":
			return fmt.Errorf("--%s-stdin: nothing came in", what)
		case len(src) > maxCredentialBytes || strings.ContainsAny(text, "\r\n"):
			return fmt.Errorf("--%s-stdin: what came in is more than one line", what)
		}
		return fill(to, user, text)
	}
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("login would ask, and there is no terminal; give --token-stdin, or --user with --password-stdin")
	}
	w := c.ErrOrStderr()
	if user == "" {
		_, _ = fmt.Fprint(w, "user (empty: a token instead): ")
		line, err := typed(ctx, in, func() (string, error) { return bufio.NewReader(in).ReadString('\n') })
		if err != nil {
			return err
		}
		user = strings.TrimSpace(line)
	}
	what := "token: "
	if user != "" {
		what = "password: "
	}
	_, _ = fmt.Fprint(w, what)
	text, err := typed(ctx, in, func() (string, error) {
		secret, err := term.ReadPassword(int(in.Fd())) // without an echo
		return string(secret), err
	})
	_, _ = fmt.Fprintln(w)
	if err != nil {
		return err
	}
	return fill(to, user, text)
}

// fill puts a credential into a context: the password of a user, or a token.
func fill(to *contexts.Context, user, secret string) error {
	switch {
	case strings.Contains(user, ":"):
		return fmt.Errorf("--user: %q has a colon, which ends a user's name in basic logins", user)
	case user == "" && secret == "":
		return errors.New("neither a user nor a token was given")
	case user != "":
		to.User, to.Password = user, sink.Secret(secret)
	default:
		to.Token = sink.Secret(strings.TrimSpace(secret))
	}
	return nil
}

// typed reads from a terminal until ctx ends, which Ctrl-C does, and leaves the terminal as it was. What reads then still, ends with the
// process.
func typed(ctx context.Context, in *os.File, read func() (string, error)) (string, error) {
	state, err := term.GetState(int(in.Fd()))
	if err != nil {
		return "", failure{err}
	}
	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 1)
	go func() {
		text, err := read()
		lines <- line{text, err}
	}()
	select {
	case l := <-lines:
		if l.err != nil {
			return "", failure{l.err}
		}
		return l.text, nil
	case <-ctx.Done():
		return "", failure{errors.Join(errDeclined, term.Restore(int(in.Fd()), state))}
	}
}

// loggedIn is what came of a login.
type loggedIn struct {
	Context string `json:"context"`
	URL     string `json:"url"`
	User    string `json:"user,omitempty"`
	// Login is what it is: token, or user and the name.
	Login   string `json:"login"`
	Version string `json:"version"`
	// Open says that the instance answers without a login, so that the credential was not looked at.
	Open bool `json:"open"`
}

// try asks an instance with a credential.
func try(ctx context.Context, to contexts.Context) (loggedIn, error) {
	made := loggedIn{Context: to.Name, URL: to.URL, User: to.User, Login: to.Login()}
	api, err := connectTo(to)
	if err != nil {
		return made, err
	}
	defer api.Close()
	var v control.Version
	if err := api.Call(ctx, "system.version", struct{}{}, &v); err != nil {
		return made, err
	}
	made.Version = v.Version
	nobody, err := connectTo(contexts.Context{URL: to.URL})
	if err != nil {
		return made, err
	}
	defer nobody.Close()
	made.Open = nobody.Call(ctx, "system.version", struct{}{}, nil) == nil
	return made, nil
}
