package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A change of a file that a job refers to is noticed, wherever the reference stands, also within what is sealed.
func TestWatch(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"token: '${file:token}'", "basic_auth: {user: '${file:token}', password: x}", "headers: {X-Source: 'a-${file:token}'}", "token: 'a-${file:token}'"} {
		p := secretProcess(t)
		p.Secrets.Keyring = keyring(t, 1)
		stored := sealText(t, p.Secrets.Keyring, jobText(line))
		path := filepath.Join(p.Secrets.Dir, "demo", "token")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w := stored.Watch(p.Secrets)
		if w == nil || w.Changed(p.Secrets) {
			t.Fatalf("%s: %v", line, w)
		}
		write("from-file\r\n") // the same secret
		if w.Changed(p.Secrets) {
			t.Errorf("%s: changed, but it reads the same", line)
		}
		write("another")
		if !w.Changed(p.Secrets) {
			t.Errorf("%s: a change is not noticed", line)
		}
		w = stored.Watch(p.Secrets)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if !w.Changed(p.Secrets) {
			t.Errorf("%s: a file that is gone is not noticed", line)
		}
		w = stored.Watch(p.Secrets)
		if w.Changed(p.Secrets) {
			t.Errorf("%s: a file that stays away counts as changed", line)
		}
		// As Kubernetes replaces a mounted secret: the link behind the name leads to another directory.
		if err := os.Symlink("..data/real", path); err != nil {
			t.Fatal(err)
		}
		if !w.Changed(p.Secrets) {
			t.Errorf("%s: a file that came is not noticed", line)
		}
		w = stored.Watch(p.Secrets)
		write2 := filepath.Join(p.Secrets.Dir, "demo", "..data", "real")
		if err := os.WriteFile(write2, []byte("relinked"), 0o600); err != nil {
			t.Fatal(err)
		}
		if !w.Changed(p.Secrets) {
			t.Errorf("%s: a change behind a link is not noticed", line)
		}
		if text := fmt.Sprintf("%v %+v %#v", w, w, *w); strings.Contains(text, "relinked") {
			t.Errorf("the secret is shown: %s", text)
		}
	}
}

// Most jobs have nothing to watch, and cost nothing.
func TestNothingToWatch(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	for _, line := range []string{"token: ''", "token: '${env:STREAMER_VALUE_TOKEN}'", "token: hunter2", "token: '${file:../token}'", "owner: ..data\ntoken: '${file:real}'"} {
		w := parseOne(t, "job.yaml", jobText(line)).Watch(p.Secrets)
		if w != nil || w.Changed(p.Secrets) {
			t.Errorf("%s: %v", line, w)
		}
	}
}
