package service

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// render sends what a method gave.
func (m *bound) render(c echo.Context, args *arguments, out any) error {
	text, err := json.Marshal(out)
	if err != nil {
		return err
	}
	status := m.Status
	if s, ok := out.(WithStatus); ok {
		status = s.Status()
	}
	h := c.Response().Header()
	if m.revision != nil {
		if tag := reflect.ValueOf(out).FieldByIndex(m.revision).String(); tag != "" {
			tag = `"` + tag + `"`
			h.Set("ETag", tag)
			if m.Verb == http.MethodGet && c.Request().Method != http.MethodPost && unchanged(c.Request().Header.Get("If-None-Match"), tag) {
				return c.NoContent(http.StatusNotModified)
			}
		}
	}
	if status == http.StatusCreated && m.Location != "" {
		h.Set(echo.HeaderLocation, prefix+m.location(args, text))
	}
	if status == http.StatusNoContent {
		return c.NoContent(status)
	}
	return c.JSONBlob(status, append(text, '\n'))
}

// unchanged says that a caller has what has the tag.
func unchanged(have, tag string) bool {
	return slices.ContainsFunc(strings.Split(have, ","), func(t string) bool {
		t = strings.TrimSpace(t)
		return t == "*" || strings.TrimPrefix(t, "W/") == tag
	})
}

// location is the path of what was made.
func (m *bound) location(args *arguments, answer []byte) string {
	values := map[string]json.RawMessage{}
	_ = json.Unmarshal(answer, &values) // what is no object has no fields
	return braces.ReplaceAllStringFunc(m.Location, func(name string) string {
		name = name[1 : len(name)-1]
		raw, ok := values[name]
		if !ok {
			raw = args.values[name]
		}
		var value any
		_ = json.Unmarshal(raw, &value)
		return url.PathEscape(fmt.Sprint(value))
	})
}

// streamType is the media type of a stream: a JSON value on each line.
const streamType = "application/x-ndjson"

// lastLine ends a stream that broke.
type lastLine struct {
	Problem Problem `json:"problem"`
}

// stream calls a method that answers line by line. It ends when the caller goes away.
func (t *Table) stream(c echo.Context, m *bound, by Caller, args []byte) error {
	connection := http.NewResponseController(c.Response())
	if err := connection.SetWriteDeadline(time.Time{}); err != nil { // the first line may take its time, too
		return err
	}
	emit := func(line any) error {
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		resp := c.Response()
		if !resp.Committed {
			resp.Header().Set(echo.HeaderContentType, streamType)
			resp.WriteHeader(m.Status)
		}
		if err := connection.SetWriteDeadline(time.Now().Add(lineTimeout)); err != nil {
			return err
		}
		if _, err := resp.Write(append(text, '\n')); err != nil {
			return err
		}
		return connection.Flush()
	}
	_, err := m.call(c.Request().Context(), by, args, emit)
	if err == nil && !c.Response().Committed { // no line at all
		c.Response().Header().Set(echo.HeaderContentType, streamType)
		c.Response().WriteHeader(m.Status)
	}
	if err == nil || !c.Response().Committed {
		return cmp.Or(connection.SetWriteDeadline(time.Now().Add(lineTimeout)), err)
	}
	p := problemOf(err, c.Request().Method)
	note(t.options.Log, p, c.Request(), err)
	_ = emit(lastLine{p}) // a caller who has gone is noticed by the request's context
	return nil
}
