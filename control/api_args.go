package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
	"streamer/internal/nearest"
)

// query reads the parameters of a request one by one and remembers the first thing that is wrong with them.
type query struct {
	values map[string][]string
	err    error
}

// queryOf refuses parameters that the route does not know, and those given twice.
func queryOf(c echo.Context, known ...string) *query {
	q := &query{values: c.QueryParams()}
	names := make([]string, 0, len(q.values))
	for name := range q.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			q.fail(unknownKey(name, known))
		case len(q.values[name]) > 1:
			q.fail(refuse(http.StatusBadRequest, name, "stands twice", "give it once"))
		}
	}
	return q
}

func (q *query) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// unknownKey names an argument that a route does not have, and the one that was probably meant.
func unknownKey(name string, known []string) *Problem {
	mend := "this takes no arguments"
	if len(known) > 0 {
		mend = "known are " + strings.Join(known, ", ")
	}
	if meant := nearest.Name(name, known); meant != "" {
		mend = "did you mean " + meant + "?"
	}
	return refuse(http.StatusBadRequest, name, "unknown argument", mend)
}

func (q *query) has(name string) bool { return len(q.values[name]) > 0 }

func (q *query) text(name string) string {
	if !q.has(name) {
		return ""
	}
	return q.values[name][0]
}

// number gives a whole number between least and most; without the parameter, otherwise.
func (q *query) number(name string, least, most, otherwise int64) int64 {
	if !q.has(name) {
		return otherwise
	}
	n, err := strconv.ParseInt(q.text(name), 10, 64)
	if err != nil || n < least || n > most {
		q.fail(refuse(http.StatusBadRequest, name, strconv.Quote(q.text(name))+" is no number from "+
			strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10), ""))
	}
	return n
}

// list gives the parts of a parameter between commas.
func (q *query) list(name string) []string {
	if !q.has(name) {
		return nil
	}
	return strings.Split(q.text(name), ",")
}

// moment gives a point in time, RFC 3339.
func (q *query) moment(name string) time.Time {
	if !q.has(name) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, q.text(name))
	if err != nil {
		q.fail(refuse(http.StatusBadRequest, name, strconv.Quote(q.text(name))+" is no time", "write it as 2026-01-31T12:00:00Z"))
	}
	return t
}

// page gives how much of a list is wanted, and the cursor to go on from.
func (q *query) page() (limit int, cursor string) {
	return int(q.number("limit", 1, consumer.MaxPage, consumer.DefaultPage)), q.text("cursor")
}

// jobOf is the job in a route's path.
func jobOf(c echo.Context) string {
	id := c.Param("job")
	if plain, err := url.PathUnescape(id); err == nil && c.Request().URL.RawPath != "" {
		return plain // the router matches the path as it was written
	}
	return id
}

// bodyOf reads the body, one JSON object, into v, a pointer to a struct whose fields all have a json name. Keys are refused that it
// does not have. No body is an empty object.
func bodyOf(c echo.Context, v any) error {
	body, err := io.ReadAll(c.Request().Body) // bounded has read it already
	if err != nil {
		return err
	}
	c.Request().Body = io.NopCloser(bytes.NewReader(body)) // the call may be passed on
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	if kind := c.Request().Header.Get(echo.HeaderContentType); kind != "" && !strings.HasPrefix(kind, echo.MIMEApplicationJSON) {
		return refuse(http.StatusUnsupportedMediaType, "", "the body is "+kind+", not JSON", "send it as application/json")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return refuse(http.StatusBadRequest, "", "the body is no JSON object: "+err.Error(), "")
	}
	known := jsonNames(reflect.TypeOf(v).Elem())
	given := make([]string, 0, len(keys))
	for name := range keys {
		given = append(given, name)
	}
	slices.Sort(given)
	for _, name := range given {
		if !slices.Contains(known, name) {
			return unknownKey(name, known)
		}
	}
	var kind *json.UnmarshalTypeError
	switch err := json.Unmarshal(body, v); {
	case errors.As(err, &kind):
		return refuse(http.StatusBadRequest, kind.Field, "is a "+kind.Value+", not "+kindText(kind.Type), "")
	case err != nil:
		return refuse(http.StatusBadRequest, "", err.Error(), "")
	}
	return nil
}

// kindText is what a field takes, in words.
func kindText(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	}
	return "a number in its range"
}

// jsonNames are the keys that a struct is read from.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" {
			names = append(names, name)
			continue
		}
		names = append(names, jsonNames(t.Field(i).Type)...) // embedded
	}
	return names
}
