package job

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// Watch notices when a secret file that a job refers to reads otherwise. Environment variables do not change while a process runs.
type Watch struct {
	owner string
	names []string
	read  [sha256.Size]byte
}

// watchKey makes what a Watch remembers useless outside of this process: of a short secret, a plain hash would be as good as the secret.
var watchKey = func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return key
}()

// Watch reads the secret files that the job refers to, to compare with later. It is called before Compile, not after: a file that changes
// between the two is then noticed. nil: the job refers to none.
func (d *Definition) Watch(s Secrets) *Watch {
	names := map[string]bool{}
	note := func(text string) {
		for _, ref := range reference.FindAllStringSubmatch(text, -1) {
			if ref[1] == "file" && secretName.MatchString(ref[2]) {
				names[ref[2]] = true
			}
		}
	}
	note(string(d.Canonical()))
	for _, o := range d.open(s) {
		note(o.text)
	}
	if len(names) == 0 || s.Dir == "" || !secretName.MatchString(d.Owner) {
		return nil
	}
	w := &Watch{owner: d.Owner, names: slices.Sorted(maps.Keys(names))}
	w.read = w.look(s)
	return w
}

// Changed says that one of the files reads otherwise than when the Watch was made, or can be read now and could not then, or the other way
// round. The job is to be compiled again then, with a new Watch; if it has faults, the files may be about to be replaced: what runs may go
// on. It opens and reads each file, so every few seconds is often enough. A nil Watch has not changed.
func (w *Watch) Changed(s Secrets) bool { return w != nil && w.look(s) != w.read }

func (w *Watch) look(s Secrets) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, watchKey)
	part := func(text string) {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	for _, name := range w.names {
		part(name)
		if text, err := readSecret(s.Dir, w.owner, name); err != nil {
			part("cannot be read: " + reason(err))
		} else {
			part("reads")
			part(text)
		}
	}
	mac.Sum(sum[:0])
	return sum
}
