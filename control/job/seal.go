package job

import (
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/control/secret"
	"streamer/internal/fault"
	"streamer/schemas"
	"streamer/sink"
)

// Canonical gives the job as JSON, keys in their order, numbers exact, secrets as they stand: two jobs of the same text are the same job.
// The order of keys is a part of it, since requests have their keys in that order.
func (d *Definition) Canonical() []byte { return appendJSON(d.value) }

func appendJSON(v schemas.Value) []byte {
	out, err := v.AppendJSON(nil)
	if err != nil {
		return []byte("null") // a document of a file has neither NaN nor nothing
	}
	return out
}

// Masked gives the job as JSON for whoever may read it: ******** in place of what is secret or sealed. References are shown.
func (d *Definition) Masked() []byte {
	v := rewrite(d.value, func(l leaf) string {
		if l.text == "" || !secret.Sealed(l.text) && !l.written() {
			return l.text
		}
		return masked
	})
	return userInfo.ReplaceAll(appendJSON(v), []byte("$1"+masked+"@"))
}

// unquoted gives what the mapping says of headers without what it quotes of those that are secret: a secret may look like a template.
func (c *compilation) unquoted(faults fault.List) fault.List {
	secret := map[string]bool{}
	for _, l := range c.def.leaves() {
		secret[l.path] = l.role == secretHeader
	}
	for i, f := range faults {
		if secret[f.Path] {
			faults[i].Problem = quotation.ReplaceAllString(f.Problem, "…")
		}
	}
	return faults
}

var quotation = regexp.MustCompile(`(?s)\{.*\}|".*"|'.*'`)

// userInfo is what stands before the host of an URL. A job that has some is refused, but may be shown.
var userInfo = regexp.MustCompile(`(://)[^/?#"\\\s]*@`)

// Seal gives the job as it is to be stored: as Canonical does, with every secret sealed. Secrets in clear are sealed with k. ******** is
// replaced by what before, the job as it is stored now, has there; but only while every target of the job is the same, as scheme, host
// and port: else whoever may edit a job could send its secrets to himself. Sealed texts count as that too. before is nil for a new job.
// With a fault the result is not to be stored. A nil k seals nothing, and what is unchanged needs none.
func (d *Definition) Seal(k *secret.Keyring, before *Definition) ([]byte, fault.List) {
	sealed, faults := d.seal(k, before)
	if faults.Err() != nil {
		return nil, faults
	}
	return sealed, faults
}

// seal is Seal; what has a fault reads as masked.
func (d *Definition) seal(k *secret.Keyring, before *Definition) ([]byte, fault.List) {
	s := sealing{def: d, keyring: k, before: before, bounds: d.bounds()}
	if before != nil {
		s.old, s.oldBounds = before.leaves(), before.bounds()
	}
	count := 0
	v := rewrite(d.value, func(l leaf) string {
		if count++; count > maxSecrets {
			return masked
		}
		text, problem, mend := s.leaf(l)
		if problem != "" {
			s.faults.Add(l.path, problem, mend)
			return masked
		}
		return text
	})
	if count > maxSecrets {
		s.faults.Add("", fmt.Sprintf("has %d secrets; at most %d are allowed", count, maxSecrets), "make several jobs of it")
	}
	return appendJSON(v), s.faults
}

// maxSecrets bounds the secrets of a job, references among them: each is bound to all of its targets, which takes as long as they are many, and
// others wait for the log meanwhile.
const maxSecrets = 1000

type sealing struct {
	def     *Definition
	keyring *secret.Keyring
	bounds  bounds
	faults  fault.List

	before    *Definition // nil: a new job
	old       map[string]leaf
	oldBounds bounds
}

// leaf gives what is stored in place of a leaf.
func (s *sealing) leaf(l leaf) (text, problem, mend string) {
	switch {
	case l.number:
		return "", "is a number, not text", "put it in quotes"
	case l.text == masked || secret.Sealed(l.text):
		return s.unchanged(l)
	case !l.written():
		return l.text, "", ""
	}
	if s.stored(l) {
		return s.old[l.field].text, "", ""
	}
	return s.clear(l.field, l.text)
}

// stored says that a leaf in clear is the secret that is stored there already: sealed anew it would look like another one, and a job that is
// written again as it is would be a changed one.
func (s *sealing) stored(l leaf) bool {
	old, known := s.old[l.field]
	if !known || s.before.ID != s.def.ID || !slices.Equal(s.bounds.of(l.field), s.oldBounds.of(l.field)) || s.keyring.ID() == "" || secret.KeyID(old.text) != s.keyring.ID() {
		return false
	}
	value, err := s.keyring.Open(old.text, s.bounds.place(l.field))
	return err == nil && subtle.ConstantTimeCompare([]byte(value.Reveal()), []byte(l.text)) == 1
}

func (s *sealing) clear(field, text string) (sealed, problem, mend string) {
	sealed, err := s.keyring.Seal(sink.Secret(text), s.bounds.place(field))
	if err != nil {
		return "", "is a secret in clear, and there is no key to seal it with",
			"set STREAMER_SECRET_KEY (" + secret.Mend + "), or write a reference: ${env:STREAMER_VALUE_…} or ${file:name}"
	}
	return sealed, "", ""
}

const enterAgain = "enter the secret again, or write a reference to it"

// unchanged gives the text of a leaf that is to stay as it is.
func (s *sealing) unchanged(l leaf) (text, problem, mend string) {
	old, known := s.old[l.field]
	switch {
	case known && old.text == l.text && l.text != masked:
	case l.text != masked:
		return "", "is a sealed text that is not the one stored here; sealed texts are not copied", enterAgain
	case !known || !secret.Sealed(old.text) && !old.written():
		return "", masked + " stands for a secret that is stored, and none is stored here", "write the secret or a reference to it"
	}
	if s.before.ID != s.def.ID {
		return "", "is the secret of another job", enterAgain
	}
	if !slices.Equal(s.bounds.of(l.field), s.oldBounds.of(l.field)) {
		return "", "is only kept while every target of the job is the same, and " + moved(s.oldBounds.targets, s.bounds.targets), enterAgain
	}
	if secret.Sealed(old.text) {
		return old.text, "", ""
	}
	return s.clear(l.field, old.text)
}

// moved says what is different between two sorted lists of targets.
func moved(before, now []string) string {
	missing := func(from, in []string) []string {
		return slices.DeleteFunc(slices.Clone(from), func(t string) bool { return slices.Contains(in, t) })
	}
	name := func(target string) string {
		if strings.HasPrefix(target, "?") {
			return "a target that cannot be read"
		}
		return clip(target)
	}
	if added := missing(now, before); len(added) > 0 {
		return name(added[0]) + " is new"
	}
	if gone := missing(before, now); len(gone) > 0 {
		return name(gone[0]) + " is gone"
	}
	return "they have changed places"
}

// Admit is all that stands between what somebody writes and what is stored and run: Seal, and Compile of what comes of it, with the faults
// of both, each once, by the paths of d. sealed and the Config are only to be used when the list has no error. before is as for Seal; p has
// the keyring.
func (d *Definition) Admit(p Process, before *Definition) (sealed []byte, cfg consumer.Config, faults fault.List) {
	sealed, faults = d.seal(p.Secrets.Keyring, before)
	defs, broken := ParseFile(d.File+".json", sealed)
	for _, f := range broken {
		faults = append(faults, f.Fault)
	}
	if len(defs) != 1 {
		if faults.Err() == nil {
			faults.Add("", fmt.Sprintf("reads as %d jobs when it is stored", len(defs)), "")
		}
		return nil, consumer.Config{}, faults
	}
	stored := *defs[0]
	stored.faults = d.faults // of the text, such as keys that stand twice
	cfg, more := stored.Compile(p)
	known := compilation{faults: faults}
	known.add(more)
	return sealed, cfg, known.faults
}

// Reseal gives the job with every secret sealed by the keyring's first key: those that another key has sealed, and those in clear.
// changed is false if there was nothing to do. With a fault (a secret that no key opens) the result is nil.
func (d *Definition) Reseal(k *secret.Keyring) (sealed []byte, changed bool, faults fault.List) {
	s := sealing{def: d, keyring: k, bounds: d.bounds()}
	v := rewrite(d.value, func(l leaf) string {
		text := l.text
		switch {
		case secret.Sealed(text) && k.ID() != "" && secret.KeyID(text) == k.ID():
			return text
		case secret.Sealed(text):
			value, err := k.Open(text, s.bounds.place(l.field))
			if err != nil {
				faults.Add(l.path, err.Error(), "")
				return masked
			}
			text = value.Reveal()
		case !l.written():
			return text
		}
		changed = true
		again, problem, mend := s.clear(l.field, text)
		if problem != "" {
			faults.Add(l.path, problem, mend)
			return masked
		}
		return again
	})
	if faults.Err() != nil {
		return nil, false, faults
	}
	return appendJSON(v), changed, nil
}
