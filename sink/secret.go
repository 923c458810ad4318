package sink

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// Secret is a value that must not be seen: fmt (every verb), encoding/json, YAML, slog and text encoders print the mask instead.
// An empty Secret prints as empty, so that a reader sees that none is set. The ways around the mask are Go's, not ours: fmt reads
// unexported struct fields without asking them, prints what %p does not fit (go vet refuses that), and encoding/json prints a
// map's string keys as they are. So a Secret lives in exported fields and is never a map key.
type Secret string

// mask is what a Secret prints as.
const mask = "********"

// Reveal gives the value itself. Only what builds a request calls it.
func (s Secret) Reveal() string { return string(s) }

// String masks the value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format masks the value for every verb and flag.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || f.Flag('#') {
		text = strconv.Quote(text)
	}
	_, _ = io.WriteString(f, text)
}

// MarshalText masks the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON masks the value.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(s.String())), nil }

// MarshalYAML masks the value.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalBinary masks the value, for gob and its like.
func (s Secret) MarshalBinary() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
