// Package contexts keeps the servers that somebody works with and what he logs in to each with, in a file of his own.
package contexts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"streamer/control/client"
	"streamer/control/people"
	"streamer/internal/nearest"
	"streamer/sink"
)

const (
	// version is how the file is written.
	version = 1
	// maxBytes bounds it.
	maxBytes = 1 << 20
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,100}$`)

// Context is a server with a login. It has a Token, or a User with a Password, or neither: then nobody has to log in there.
type Context struct {
	Name, URL, User string
	Password, Token sink.Secret
	// Provider is where the Token comes from, if streamer login got it there: it is renewed by Refresh once it Expires.
	Provider people.Device
	Refresh  sink.Secret
	Expires  time.Time
	// Insecure allows the credential to be sent over plain HTTP to another machine.
	Insecure bool
}

// CheckName says what is wrong with a name.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%q is no name of a context; use 1 to 100 letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// renewBefore is how long before its end a token is renewed: it has to arrive, and clocks differ.
const renewBefore = 30 * time.Second

// Stale says that the Token has to be renewed before it is sent.
func (c Context) Stale(now time.Time) bool {
	return c.Refresh != "" && !c.Expires.IsZero() && now.After(c.Expires.Add(-renewBefore))
}

// Login says how somebody logs in, without what is secret.
func (c Context) Login() string {
	switch {
	case c.Provider.Issuer != "":
		return "by " + c.Provider.Issuer
	case c.Token != "":
		return "token"
	case c.User != "":
		return "user " + c.User
	}
	return "none"
}

// Book is all contexts of somebody, by name, and which of them counts unless another is named; empty: none.
type Book struct {
	Current  string
	Contexts []Context
}

// Find gives the context of a name. The error names the one that was meant.
func (b Book) Find(name string) (Context, error) {
	var names []string
	for _, c := range b.Contexts {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	mend := "streamer login makes one"
	if meant := nearest.Name(name, names); meant != "" {
		mend = "did you mean " + meant + "?"
	} else if len(names) > 0 {
		mend = "there are " + strings.Join(names, ", ")
	}
	return Context{}, fmt.Errorf("there is no context %q; %s", name, mend)
}

// Put adds a context, or changes the one of its name.
func (b *Book) Put(c Context) {
	b.Delete(c.Name)
	b.Contexts = append(b.Contexts, c)
	slices.SortFunc(b.Contexts, func(x, y Context) int { return strings.Compare(x.Name, y.Name) })
}

// Delete takes a context out. It stays the current one by its name alone, which the caller looks after.
func (b *Book) Delete(name string) {
	b.Contexts = slices.DeleteFunc(b.Contexts, func(c Context) bool { return c.Name == name })
}

// Path is where the file is: contexts.yaml in the directory streamer of the user's settings, $XDG_CONFIG_HOME or ~/.config. Empty: there is no
// such place in this environment.
func Path(env func(string) (string, bool)) string {
	if dir, _ := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "streamer", "contexts.yaml")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "streamer", "contexts.yaml")
	}
	if dir, _ := env("APPDATA"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "streamer", "contexts.yaml")
	}
	return ""
}

// written is the file.
type written struct {
	Version  int              `yaml:"version"`
	Current  string           `yaml:"current,omitempty"`
	Contexts []writtenContext `yaml:"contexts"`
}

type writtenContext struct {
	Name     string          `yaml:"name"`
	URL      string          `yaml:"url"`
	User     string          `yaml:"user,omitempty"`
	Password string          `yaml:"password,omitempty"`
	Token    string          `yaml:"token,omitempty"`
	Provider writtenProvider `yaml:"provider,omitempty"`
	Insecure bool            `yaml:"insecure,omitempty"`
}

type writtenProvider struct {
	Issuer   string    `yaml:"issuer,omitempty"`
	ClientID string    `yaml:"client_id,omitempty"`
	Scopes   []string  `yaml:"scopes,omitempty,flow"`
	Refresh  string    `yaml:"refresh,omitempty"`
	Expires  time.Time `yaml:"expires,omitempty"`
}

// Read reads the file at a path; one that is not there, or an empty path, holds nothing. A file that others may read is refused.
func Read(path string) (Book, error) {
	if path == "" {
		return Book{}, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Book{}, nil
	}
	if err != nil {
		return Book{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat() // of what is read, not of what has the name a moment later
	if err != nil {
		return Book{}, err
	}
	if mode := info.Mode(); runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		return Book{}, fmt.Errorf("%s holds logins, and others may read or change it (%v); chmod 600 %s, and revoke them if somebody did", path, mode.Perm(), path)
	}
	src, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return Book{}, err
	}
	if len(src) > maxBytes {
		return Book{}, fmt.Errorf("%s is larger than %d bytes", path, maxBytes)
	}
	b, err := parse(src)
	if err != nil {
		return Book{}, fmt.Errorf("%s %w; mend it, or delete it and log in again", path, err)
	}
	return b, nil
}

// parse reads the text of the file. Its errors hold nothing of it: it has secrets.
func parse(src []byte) (Book, error) {
	var w written
	if err := yaml.Unmarshal(src, &w); err != nil {
		return Book{}, errors.New("cannot be read as YAML")
	}
	if w.Version != version {
		return Book{}, fmt.Errorf("is of version %d, and this streamer reads version %d", w.Version, version)
	}
	b := Book{Current: w.Current}
	for _, c := range w.Contexts {
		if CheckName(c.Name) != nil || client.CheckURL(c.URL) != nil {
			return Book{}, errors.New("has a context without a name or an address that can be used")
		}
		b.Put(Context{Name: c.Name, URL: c.URL, User: c.User, Password: sink.Secret(c.Password), Token: sink.Secret(c.Token), Insecure: c.Insecure,
			Provider: people.Device{Issuer: c.Provider.Issuer, ClientID: c.Provider.ClientID, Scopes: c.Provider.Scopes}, Refresh: sink.Secret(c.Provider.Refresh), Expires: c.Provider.Expires})
	}
	return b, nil
}

// Write replaces the file at a path, all at once: who reads it meanwhile has the old one or the new one. Nobody else may read it, nor its
// directory.
func (b Book) Write(path string) error {
	w := written{Version: version, Current: b.Current, Contexts: []writtenContext{}}
	for _, c := range b.Contexts {
		w.Contexts = append(w.Contexts, writtenContext{Name: c.Name, URL: c.URL, User: c.User, Password: c.Password.Reveal(), Token: c.Token.Reveal(), Insecure: c.Insecure,
			Provider: writtenProvider{c.Provider.Issuer, c.Provider.ClientID, c.Provider.Scopes, c.Refresh.Reveal(), c.Expires}})
	}
	text, err := yaml.Marshal(w)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // it may have been there
		return err
	}
	f, err := os.CreateTemp(dir, ".contexts-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone by its new name, if all went well
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
