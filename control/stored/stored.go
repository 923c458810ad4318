// Package stored is how objects stand in the log in Kafka: JSON with a version, and with no field that the reader does not know. It knows
// no object, and no rules of any.
package stored

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Decode reads an object that is to have a version. The error says why it is to be left alone: it is of another version of streamer, or
// damaged. Fields that T does not have are an error, too: writing the object back would drop them.
func Decode[T any](text []byte, version int) (T, error) {
	var none, object T
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return none, err
	}
	if v.Version != version {
		return none, fmt.Errorf("it has version %d, and this streamer reads %d; update this instance", v.Version, version)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&object); err != nil {
		return none, err
	}
	return object, nil
}

// Encode gives an object as Decode reads it, documents within it as they are.
func Encode(object any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(object); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
