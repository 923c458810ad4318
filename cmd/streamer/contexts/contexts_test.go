package contexts

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"streamer/control/people"
)

func TestWrittenAndRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "streamer", "contexts.yaml")
	want := Book{Current: "prod", Contexts: []Context{
		{Name: "local", URL: "http://127.0.0.1:9013"},
		{Name: "person", URL: "https://streamer.example.org", Token: "str_a", Refresh: "str_a2", Expires: time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC),
			Provider: people.Device{Issuer: "https://login.example.org", ClientID: "cli", Scopes: []string{"openid", "groups"}}},
		{Name: "prod", URL: "https://streamer.example.org", Token: "str_a"},
		{Name: "test", URL: "http://test.example.org", User: "ada", Password: "p: #", Insecure: true},
	}}
	b, err := Read(path)
	if err != nil || !reflect.DeepEqual(b, Book{}) {
		t.Fatalf("nothing there: %+v, %v", b, err)
	}
	for _, c := range want.Contexts {
		b.Put(Context{Name: c.Name, URL: "https://old.example.org"})
		b.Put(c)
	}
	b.Current = "prod"
	for range 2 { // a second time over the first
		if err := b.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	if b, err = Read(path); err != nil || !reflect.DeepEqual(b, want) {
		t.Errorf("got %#v, %v", b, err)
	}
	if text := fmt.Sprintf("%v %+v", b, b); strings.Contains(text, "str_a") || strings.Contains(text, "p: #") {
		t.Errorf("it prints secrets: %s", text)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// What others may read or change is refused, whatever is in it.
func TestOthersMayNotRead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		return // its files have no mode
	}
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	if err := (Book{}).Write(path); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

// Whatever is wrong with the file, nothing of it is in what is said.
func TestBrokenFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"token: [str_a":        "cannot be read as YAML",
		"version: str_a":       "cannot be read as YAML",
		"version: 2\ncontexts": "cannot be read as YAML",
		"version: 2":           "is of version 2, and this streamer reads version 1",
		"":                     "is of version 0",
		"version: 1\ncontexts: [{name: a/b, url: 'https://a', token: str_a}]": "has a context without",
		"version: 1\ncontexts: [{name: a, url: 'str_a'}]":                     "has a context without",
	} {
		path := filepath.Join(t.TempDir(), "contexts.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "str_a") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFindAndPath(t *testing.T) {
	t.Parallel()
	b := Book{Contexts: []Context{{Name: "prod"}, {Name: "test"}}}
	for name, want := range map[string]string{"prdo": "did you mean prod?", "elsewhere": "there are prod, test"} {
		if _, err := b.Find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Book{}).Find("prod"); err == nil || !strings.Contains(err.Error(), "streamer login makes one") {
		t.Errorf("%v", err)
	}
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/streamer/contexts.yaml"},
		{map[string]string{"XDG_CONFIG_HOME": "x", "HOME": "/h"}, "/h/.config/streamer/contexts.yaml"},
		{nil, ""},
	} {
		if got := Path(func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }); filepath.ToSlash(got) != c.want {
			t.Errorf("%v: %s", c.env, got)
		}
	}
}

// A token is renewed before it ends, if it can be.
func TestStale(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 3, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		Context
		want bool
	}{
		"for a while":   {Context{Refresh: "r", Expires: now.Add(time.Minute)}, false},
		"nearly over":   {Context{Refresh: "r", Expires: now.Add(29 * time.Second)}, true},
		"over":          {Context{Refresh: "r", Expires: now.Add(-time.Hour)}, true},
		"without a way": {Context{Expires: now.Add(-time.Hour)}, false},
		"without end":   {Context{Refresh: "r"}, false},
	} {
		if got := c.Stale(now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
