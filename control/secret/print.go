package secret

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// String names the keys by their ids.
func (k *Keyring) String() string {
	if k.ID() == "" {
		return "no keys"
	}
	return "keys " + strings.Join(k.IDs(), ", ")
}

// Format writes String for every verb and flag.
func (k *Keyring) Format(f fmt.State, verb rune) {
	text := k.String()
	if verb == 'q' || f.Flag('#') {
		text = strconv.Quote(text)
	}
	_, _ = io.WriteString(f, text)
}

// MarshalText writes String.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// MarshalJSON writes String.
func (k *Keyring) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(k.String())), nil }

// MarshalYAML writes String.
func (k *Keyring) MarshalYAML() (any, error) { return k.String(), nil }

// MarshalBinary writes String, for gob and its like.
func (k *Keyring) MarshalBinary() ([]byte, error) { return []byte(k.String()), nil }

// LogValue writes String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
