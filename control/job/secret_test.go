package job

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func secretProcess(t *testing.T) Process {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"demo/token": "from-file\n", "demo/two-lines": "a\nb\n", "demo/empty": "", "demo/..data/real": "linked", "other/token": "not yours", "top": "not yours",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"demo/linked": "..data/real", "demo/out": "../other/token", "demo/far": filepath.Join(dir, "top"), "demo/dir": "..data",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"STREAMER_VALUE_TOKEN": "from-env", "HOME": "/root", "STREAMER_VALUE_BREAK": "a\r\nX: y"}
	return Process{Namespace: "streamer", Secrets: Secrets{Dir: dir, Env: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}}}
}

func TestSecretReferences(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, ref, want, fault string }{
		{"a variable", "${env:STREAMER_VALUE_TOKEN}", "from-env", ""},
		{"a file, without its last line break", "${file:token}", "from-file", ""},
		{"a file that is a link within the owner's directory", "${file:linked}", "linked", ""},
		{"text around", "a-${env:STREAMER_VALUE_TOKEN}-${file:token}", "a-from-env-from-file", ""},
		{"what only looks like one", "${TOKEN} $env", "${TOKEN} $env", ""},
		{"a variable that is not set", "${env:STREAMER_VALUE_NONE}", "", "environment variable STREAMER_VALUE_NONE is not set"},
		{"a variable that is not for jobs", "${env:HOME}", "", "names a variable that jobs may not read"},
		{"a setting", "${env:STREAMER_KAFKA_SASL_PASSWORD}", "", "names a variable that jobs may not read"},
		{"a line break in a variable", "${env:STREAMER_VALUE_BREAK}", "", "holds characters that cannot stand in a header"},
		{"a file that is not there", "${file:none}", "", "secret file demo/none: no such file"},
		{"a file of two lines", "${file:two-lines}", "", "holds characters that cannot stand in a header"},
		{"an empty file", "${file:empty}", "", "secret file demo/empty is empty"},
		{"up by dots", "${file:../other/token}", "", "is no name of a secret file"},
		{"dots alone", "${file:..}", "", "is no name of a secret file"},
		{"a link to another owner", "${file:out}", "", "secret file demo/out"},
		{"a link by its full path", "${file:far}", "", "secret file demo/far"},
		{"a directory", "${file:dir}", "", "secret file demo/dir: is no regular file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := secretProcess(t)
			cfg, faults := compileText(t, p, jobText("token: '"+c.ref+"'"))
			if c.fault != "" {
				checkFaults(t, faults, []string{"token: "})
				if !strings.Contains(faults.Error(), c.fault) {
					t.Errorf("fault %v, want %q", faults, c.fault)
				}
				return
			}
			checkFaults(t, faults, nil)
			if got := cfg.Sink.Auth.Token.Reveal(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Whoever only looks at a job gets no secret, and what is missing on his machine is a warning.
func TestMaskedSecrets(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Masked = true
	cfg, faults := compileText(t, p, jobText("token: ${env:STREAMER_VALUE_TOKEN}", "headers: {X-Key: '${file:none}'}"))
	checkFaults(t, faults, []string{"warning: headers.X-Key: secret file demo/none"})
	if got := cfg.Sink.Auth.Token.Reveal(); got != masked {
		t.Errorf("token %q", got)
	}
	_, faults = compileText(t, p, jobText("token: ${env:HOME}"))
	checkFaults(t, faults, []string{"token: ${env:HOME} names a variable"})
}

// No fault and no print of a job shows a secret, written in clear or referred to.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	for _, auth := range []string{"token: in-clear", "auth: {bearer: in-clear}", "basic_auth: {user: 'u:', password: in-clear}",
		`token: "in-clear\u0001"`, "token: '${env:STREAMER_VALUE_TOKEN}'", "token: [in-clear]", "basic_auth: {user: u, passwort: in-clear}"} {
		cfg, faults := compileText(t, p, jobText(auth, "headers: {X-Key: '${env:STREAMER_VALUE_TOKEN}'}", "order: keys"))
		cfg.Program = nil
		for _, text := range []string{faults.Error(), fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg.Sink.Auth), fmt.Sprintf("%+v", cfg.Sink.Auth.Basic)} {
			if strings.Contains(text, "in-clear") || strings.Contains(text, "from-env") {
				t.Errorf("%s: shown in %s", auth, text)
			}
		}
	}
}

// A pipe in place of a secret file must not hold the start up.
func TestSecretPipe(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	if err := mkfifo(filepath.Join(p.Secrets.Dir, "demo", "pipe")); err != nil {
		t.Skip("no pipes here: ", err)
	}
	_, faults := compileText(t, p, jobText("token: ${file:pipe}"))
	checkFaults(t, faults, []string{"token: secret file demo/pipe: is no regular file"})
}
