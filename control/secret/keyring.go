// Package secret seals what jobs must not show: a secret is stored as sealed:v1:<key id>:<base64>, and opens only with a key of the
// installation, in the place it was sealed for.
//
// Sealing is envelope encryption. Each value has a data key of its own, which AES-256-GCM encrypts it with; the data key is encrypted the
// same way by a key derived from the installation's (HKDF-SHA-256, RFC 5869). Both are bound to their place: a job, a field, and the
// targets the value goes to. A sealed text that is copied elsewhere does not open. Everything is the standard library's.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"streamer/sink"
)

const (
	// KeyBytes is the length of a key.
	KeyBytes = 32
	// Mend is how a key is made.
	Mend = "make one by: openssl rand -base64 32"

	prefix = "sealed:"
	form   = prefix + "v1:"
	// leastDistinct is how many different bytes a key has at least. A random one has fewer once in 10^16; words and patterns do.
	leastDistinct = 16
	// maxKeys bounds a keyring: the one in use, and those that are still to be rotated out.
	maxKeys = 4
	// wrappedBytes is a data key as it is stored: nonce, key, tag.
	wrappedBytes = 12 + KeyBytes + 16
)

// Keyring opens what any of its keys has sealed, and seals with the first. It may be used from any goroutine. It prints as the ids of its
// keys, in every verb and encoder. A nil Keyring has no keys: it seals and opens nothing.
type Keyring struct {
	// Behind a pointer, so that fmt, which reads unexported fields without asking them, finds an address.
	keys *[]key
}

type key struct {
	id   string
	wrap cipher.AEAD
}

// NewKeyring takes one or more keys, each 32 random bytes in base64, with commas or line ends between. What is empty gives nil, a Keyring
// without keys. Errors say which of the keys is wrong and how to make one; they hold nothing of it.
func NewKeyring(text string) (*Keyring, error) {
	var keys []key
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		k, err := newKey(one)
		if err != nil {
			return nil, fmt.Errorf("key %d %w; %s", len(keys)+1, err, Mend)
		}
		for _, other := range keys {
			if other.id == k.id {
				return nil, fmt.Errorf("key %d stands there twice", len(keys)+1)
			}
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) == 0:
		return nil, nil
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("%d keys are too many; at most %d, the one that seals first", len(keys), maxKeys)
	}
	return &Keyring{keys: &keys}, nil
}

func newKey(text string) (key, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return key{}, errors.New("is no base64") // the decoder's error would tell a place in it
	}
	if len(raw) != KeyBytes {
		return key{}, fmt.Errorf("has %d bytes, not %d", len(raw), KeyBytes)
	}
	seen := map[byte]bool{}
	for _, b := range raw {
		seen[b] = true
	}
	if len(seen) < leastDistinct {
		return key{}, errors.New("is not random")
	}
	derived := func(use string, bytes int) []byte {
		out, err := hkdf.Key(sha256.New, raw, nil, "streamer v1 "+use, bytes)
		if err != nil {
			panic(err) // asks for more than 8160 bytes
		}
		return out
	}
	return key{id: hex.EncodeToString(derived("id", 6)), wrap: gcm(derived("wrap", KeyBytes))}, nil
}

// gcm is AES-256-GCM with a random nonce before each text. A data key encrypts once; a wrapping key would have to wrap 2^32 data keys
// before a repeated nonce became likely (NIST SP 800-38D, section 8.3).
func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block has another size
	}
	return aead
}

// ID is the id of the key that seals; empty: there is none. Ids are derived from the keys, and tell nothing of them.
func (k *Keyring) ID() string {
	if ids := k.IDs(); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// IDs are those of all keys, the one that seals first.
func (k *Keyring) IDs() []string {
	if k == nil || k.keys == nil {
		return nil
	}
	ids := make([]string, len(*k.keys))
	for i, one := range *k.keys {
		ids[i] = one.id
	}
	return ids
}

// Place is what a sealed value is bound to: what names it (a job and a field, say), and the targets it goes to. All of it has to be the
// same, in the same order, when the value is opened.
type Place []string

// data is the place as the encryption's associated data. Each part stands with its length, so that no two places read the same.
func (p Place) data(id string) []byte {
	out := []byte(form + id)
	for _, part := range p {
		out = binary.BigEndian.AppendUint64(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// ErrNoKey says that there is no key to seal with.
var ErrNoKey = errors.New("there is no key to seal it with: set STREAMER_SECRET_KEY (" + Mend + ")")

// Seal gives the text to store in place of a value. The same value is another text each time. The error is ErrNoKey.
func (k *Keyring) Seal(value sink.Secret, at Place) (string, error) {
	if k.ID() == "" {
		return "", ErrNoKey
	}
	first := (*k.keys)[0]
	data := at.data(first.id)
	dataKey := make([]byte, KeyBytes)
	_, _ = rand.Read(dataKey) // never fails
	out := first.wrap.Seal(nil, nil, dataKey, data)
	out = gcm(dataKey).Seal(out, nil, []byte(value.Reveal()), data)
	return form + first.id + ":" + base64.StdEncoding.EncodeToString(out), nil
}

// OpenError says why a sealed text does not open. It holds nothing of what was sealed.
type OpenError struct {
	// KeyID is the key it was sealed with, as far as that can be read.
	KeyID string
	// NoKey says that the keyring lacks this key; else the text is damaged, or of another place.
	NoKey bool
}

func (e *OpenError) Error() string {
	switch {
	case e.KeyID == "":
		return "is no sealed text that this version can read; enter the secret again"
	case e.NoKey:
		return "is sealed with key " + e.KeyID + ", which is not here; add it to STREAMER_SECRET_KEY, or enter the secret again"
	}
	return "is sealed with key " + e.KeyID + ", but not for this job, field and target, or it is damaged; enter the secret again"
}

// Sealed says that a text is meant as a sealed value, of whatever version.
func Sealed(text string) bool { return strings.HasPrefix(text, prefix) }

// KeyID is the key a text was sealed with; empty if it is no sealed text of this version.
func KeyID(sealed string) string {
	id, _, ok := cut(sealed)
	if !ok {
		return ""
	}
	return id
}

func cut(sealed string) (id, rest string, ok bool) {
	id, rest, ok = strings.Cut(strings.TrimPrefix(sealed, form), ":")
	raw, err := hex.DecodeString(id)
	return id, rest, ok && err == nil && len(raw) == 6 && strings.HasPrefix(sealed, form)
}

// Open gives what was sealed at a place. The error is an *OpenError.
func (k *Keyring) Open(sealed string, at Place) (sink.Secret, error) {
	id, rest, ok := cut(sealed)
	if !ok {
		return "", &OpenError{}
	}
	foreign := &OpenError{KeyID: id}
	if k == nil || k.keys == nil {
		return "", &OpenError{KeyID: id, NoKey: true}
	}
	for _, one := range *k.keys {
		if one.id != id {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil || len(raw) < wrappedBytes {
			return "", foreign
		}
		data := at.data(id)
		dataKey, err := one.wrap.Open(nil, nil, raw[:wrappedBytes], data)
		if err != nil || len(dataKey) != KeyBytes {
			return "", foreign
		}
		value, err := gcm(dataKey).Open(nil, nil, raw[wrappedBytes:], data)
		if err != nil {
			return "", foreign
		}
		return sink.Secret(value), nil
	}
	return "", &OpenError{KeyID: id, NoKey: true}
}
