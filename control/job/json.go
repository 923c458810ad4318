package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"

	"streamer/internal/fault"
	"streamer/schemas"
)

// parseJSON reads one JSON value: a job or a list of jobs. The values come from schemas.ParseJSON, which keeps numbers and
// surrogate pairs exact; a second walk over the tokens says where everything stands and finds keys that stand twice, which a
// value does not show.
func parseJSON(src []byte) ([]document, Finding, bool) {
	w := jsonWalk{dec: json.NewDecoder(bytes.NewReader(src)), src: src, lines: lineStarts(src)}
	w.dec.UseNumber()
	docs, err := w.file()
	if err != nil {
		return nil, Finding{Place: w.errorPlace(err), Fault: fault.Fault{Problem: "no JSON: " + jsonProblem(err)}}, false
	}
	value, err := schemas.ParseJSON(src, schemas.Limits{Nesting: maxNesting})
	if err != nil {
		return nil, Finding{Place: Place{Line: 1, Column: 1}, Fault: fault.Fault{Problem: err.Error()}}, false
	}
	if value.Kind() != schemas.Array {
		docs[0].value = value
		return docs, Finding{}, true
	}
	i := 0
	for v := range value.Elements() {
		if i < len(docs) {
			docs[i].value = v
		}
		i++
	}
	return docs, Finding{}, true
}

var (
	errNesting  = fmt.Errorf("nested deeper than %d", maxNesting)
	errTrailing = errors.New("more text after the JSON value; several jobs are a list: [{…}, {…}]")
)

func jsonProblem(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the text ends too early"
	}
	return err.Error()
}

// jsonWalk goes once through the tokens of a JSON text.
type jsonWalk struct {
	dec   *json.Decoder
	src   []byte
	lines []int
}

// file walks the whole text: a list gives a document per element, anything else gives one.
func (w *jsonWalk) file() ([]document, error) {
	var docs []document
	one := func() error {
		d := document{places: newPlaces()}
		at := w.next()
		d.places.note("", at)
		d.line = at.Line
		if err := w.value(&d, "", 0); err != nil {
			return err
		}
		docs = append(docs, d)
		return nil
	}
	w.next()
	if start := w.skip(); start < len(w.src) && w.src[start] == '[' {
		if _, err := w.dec.Token(); err != nil {
			return nil, err
		}
		for w.dec.More() {
			if err := one(); err != nil {
				return nil, err
			}
		}
		if _, err := w.dec.Token(); err != nil {
			return nil, err
		}
	} else if err := one(); err != nil {
		return nil, err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return docs, nil
}

func (w *jsonWalk) value(d *document, path string, depth int) error {
	if depth > maxNesting {
		return errNesting
	}
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]Place{}
		for w.dec.More() {
			at := w.next()
			token, err := w.dec.Token()
			if err != nil {
				return err
			}
			key, _ := token.(string)
			child := member(path, key)
			if first, twice := seen[key]; twice {
				d.twice(child, first, at)
			}
			seen[key] = at
			d.places.note(child, at)
			if err := w.value(d, child, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for i := 0; w.dec.More(); i++ {
			child := element(path, i)
			d.places.note(child, w.next())
			if err := w.value(d, child, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = w.dec.Token()
	return err
}

// skip gives the offset of the next token.
func (w *jsonWalk) skip() int {
	at := int(w.dec.InputOffset())
	for at < len(w.src) && bytes.IndexByte([]byte(" \t\r\n,:"), w.src[at]) >= 0 {
		at++
	}
	return at
}

func (w *jsonWalk) next() Place { return w.place(w.skip()) }

func (w *jsonWalk) place(offset int) Place {
	line := sort.SearchInts(w.lines, offset+1)
	return Place{Line: line, Column: offset - w.lines[line-1] + 1}
}

// errorPlace is where the text went wrong, as far as the error knows.
func (w *jsonWalk) errorPlace(err error) Place {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && syntax.Offset > 0 {
		return w.place(int(min(syntax.Offset-1, int64(len(w.src)))))
	}
	return w.place(min(w.skip(), len(w.src)))
}

// lineStarts gives the offset of each line's first byte; there is always a first line.
func lineStarts(src []byte) []int {
	starts := []int{0}
	for i, c := range src {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}
