package job

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"unicode/utf8"

	"streamer/control/secret"
	"streamer/internal/fault"
)

// maxSecretBytes bounds a secret file.
const maxSecretBytes = 64 << 10

// masked is what is shown in place of a secret.
const masked = "********"

var (
	reference  = regexp.MustCompile(`\$\{(env|file):([^}]*)\}`)
	valueName  = regexp.MustCompile(`^STREAMER_VALUE_[A-Za-z0-9_]+$`)
	secretName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)
)

// Secrets resolves the references of jobs: ${env:STREAMER_VALUE_…} and ${file:name}.
type Secrets struct {
	// Env looks up an environment variable; nil: none is set.
	Env func(name string) (string, bool)
	// Dir holds one directory of secret files per owner; empty: there are no secret files.
	Dir string
	// Keyring opens what is sealed; nil opens nothing.
	Keyring *secret.Keyring
	// Masked gives ******** for every reference and everything sealed, so that a job can be looked at without its secrets; a secret that
	// is not there is only warned of.
	Masked bool

	lines bool // a secret may have line breaks: it is a certificate or its key
}

// expand replaces the references in text, which stands at path in a job of owner. What cannot be resolved has a fault and reads as
// masked. Faults never hold what a secret says.
func (s Secrets) expand(faults *fault.List, owner, path, text string) string {
	if text == masked {
		faults.Add(path, masked+" is what streamer shows in place of a secret", "write the secret or a reference to it")
		return ""
	}
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		parts := reference.FindStringSubmatch(ref)
		value, wrong := s.resolve(owner, parts[1], parts[2])
		if wrong.Problem == "" && !s.Masked {
			return value
		}
		if wrong.Problem != "" {
			wrong.Path = path
			wrong.Warning = wrong.Warning && s.Masked
			*faults = append(*faults, wrong)
		}
		return masked
	})
}

// resolve gives the text of one reference. A fault marked as warning is about this machine, not about how the job is written.
func (s Secrets) resolve(owner, kind, name string) (string, fault.Fault) {
	if kind == "env" {
		return s.env(name)
	}
	return s.file(owner, name)
}

// env gives the value of a variable.
func (s Secrets) env(name string) (string, fault.Fault) {
	if !valueName.MatchString(name) {
		return "", fault.Fault{Problem: fmt.Sprintf("${env:%s} names a variable that jobs may not read", clip(name)),
			Mend: "name it STREAMER_VALUE_…"}
	}
	if s.Env != nil {
		if value, ok := s.Env(name); ok {
			return s.check("environment variable "+name, value)
		}
	}
	return "", fault.Fault{Problem: "environment variable " + name + " is not set", Mend: "set it where streamer runs", Warning: true}
}

// file gives the content of a secret file of owner, without a last line break. os.Root follows no link out of the owner's
// directory, so a name cannot reach another owner's secrets.
func (s Secrets) file(owner, name string) (string, fault.Fault) {
	switch {
	case !secretName.MatchString(name):
		return "", fault.Fault{Problem: fmt.Sprintf("${file:%s} is no name of a secret file", clip(name)),
			Mend: "use letters, digits, dot, dash and underscore; the file is looked for in the owner's directory"}
	case !secretName.MatchString(owner): // one with a dot first could be the hidden directory of a Kubernetes mount
		return "", fault.Fault{Problem: "secret files need an owner whose name can be a directory",
			Mend: "give owner a name of letters, digits, dot, dash and underscore, with no dot first"}
	case s.Dir == "":
		return "", fault.Fault{Problem: "no directory of secrets is set", Mend: "set STREAMER_SECRETS_DIR", Warning: true}
	}
	what := "secret file " + owner + "/" + name
	value, err := readSecret(s.Dir, owner, name)
	if err != nil {
		return "", fault.Fault{Problem: what + ": " + reason(err), Mend: "put it under STREAMER_SECRETS_DIR", Warning: true}
	}
	return s.check(what, value)
}

func readSecret(dir, owner, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	home, err := root.OpenRoot(owner)
	if err != nil {
		return "", err
	}
	defer func() { _ = home.Close() }()
	// O_NONBLOCK: a pipe in place of the file must not hold up the start.
	f, err := home.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil {
		return "", err
	} else if !info.Mode().IsRegular() {
		return "", errors.New("is no regular file")
	}
	content, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", err
	}
	if len(content) > maxSecretBytes {
		return "", fmt.Errorf("is larger than %d bytes", maxSecretBytes)
	}
	text := strings.TrimSuffix(string(content), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// reason is an error without the path that the operating system adds: the fault names it already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}

// check refuses what cannot stand in a header.
func (s Secrets) check(what, value string) (string, fault.Fault) {
	switch {
	case s.lines && value != "" && utf8.ValidString(value):
	case value == "":
		return "", fault.Fault{Problem: what + " is empty", Warning: true}
	case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "", fault.Fault{Problem: what + " holds characters that cannot stand in a header", Mend: "keep it to one line", Warning: true}
	}
	return value, fault.Fault{}
}
