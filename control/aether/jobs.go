package aether

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/control/service"
)

// upsert makes a job, or changes the one of that id, whatever its revision is: the original knows no revisions.
func upsert(c call) (any, error) {
	document, id, err := c.document()
	if err != nil {
		return nil, err
	}
	if inPath, is, err := c.inPath("id"); err != nil {
		return nil, err
	} else if is && inPath != id {
		return nil, service.Refuse(http.StatusUnprocessableEntity, "id", fmt.Sprintf("the document is that of job %q, not of %q", id, inPath), "send it to the path of its own id")
	}
	err = c.ask("jobs.create", args{"document": document}, nil)
	var p *service.Problem
	if errors.As(err, &p) && p.Status == http.StatusConflict && p.Field == "id" { // there is one
		err = c.ask("jobs.replace", args{"job": id, "document": document, "if_match": "*"}, nil)
	}
	return err == nil, err
}

// remove deletes a job, and waits until its last instance has left; its offsets and dead letters stay. False: there was none.
func remove(c call) (any, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	err = c.ask("jobs.delete", args{"job": id, "if_match": "*"}, nil)
	if missing(err) {
		return false, c.ask("jobs.definitions", args{"limit": 1}, nil) // an instance that has not read the log knows no job
	}
	if err == nil {
		c.gone(id)
	}
	return err == nil, err
}

const (
	// goneTimeout bounds the wait for a job that is deleted: what is in flight there may end. It is deleted all the same then.
	goneTimeout = 20 * time.Second
	goneEvery   = 50 * time.Millisecond
)

// gone waits until a job is no more: a script that deletes a job and makes it anew must not meet the old one.
func (c call) gone(id string) {
	over, again := time.NewTimer(goneTimeout), time.NewTicker(goneEvery)
	defer over.Stop()
	defer again.Stop()
	for c.ask("jobs.definition", args{"job": id}, nil) == nil {
		select {
		case <-again.C:
		case <-over.C:
			return
		case <-c.Request().Context().Done():
			return
		}
	}
}

// missing says that a method did not find the job.
func missing(err error) bool {
	var p *service.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

// definition gives a job as it was sent, its secrets masked, with when it was changed last.
func definition(c call) (any, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	var d struct {
		Document   json.RawMessage
		Modified   time.Time
		Hash       string
		Unreadable string
	}
	if err := c.ask("jobs.definition", args{"job": id}, &d); err != nil {
		return nil, err
	}
	head, isObject := bytes.CutSuffix(bytes.TrimSpace(d.Document), []byte("}"))
	if d.Unreadable != "" || !isObject {
		return nil, service.Refuse(http.StatusConflict, "id", "the job cannot be read: "+d.Unreadable, "ask an instance of the version that has written it")
	}
	if !bytes.Equal(bytes.TrimSpace(head), []byte("{")) {
		head = append(head, ',')
	}
	generated := fmt.Sprintf(`"modified":%q,"hash":%q}`, d.Modified.UTC().Format(time.RFC3339Nano), d.Hash)
	return json.RawMessage(append(head, generated...)), nil
}

// desire calls a method that says what is wanted of a job.
func desire(method string) func(call) (any, error) {
	return func(c call) (any, error) {
		id, err := c.id()
		if err != nil {
			return nil, err
		}
		err = c.ask(method, args{"job": id}, nil)
		return err == nil, err
	}
}

// validate says what is wrong with a job, in a line each.
func validate(c call) (any, error) {
	document, _, err := c.document()
	if err != nil {
		return nil, err
	}
	var found struct {
		Valid  bool
		Faults []service.Fault
	}
	if err := c.ask("jobs.validate", args{"document": document}, &found); err != nil {
		return nil, err
	}
	answer := struct {
		Valid  bool     `json:"valid"`
		Errors []string `json:"validation_errors,omitempty"`
	}{Valid: found.Valid}
	for _, f := range found.Faults {
		answer.Errors = append(answer.Errors, f.String())
	}
	return answer, nil
}

func schema(c call) (any, error) {
	var text json.RawMessage
	err := c.ask("jobs.schema", nil, &text)
	return text, err
}

// setOffset sets every partition of a job to an offset, or as near as its log has it. The answer is the preview of the reset, which goes on.
func setOffset(c call) (any, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	to, _, err := c.inPath("offset")
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(to, 10, 63)
	if err != nil {
		return nil, service.Refuse(http.StatusBadRequest, "offset", fmt.Sprintf("%q is no offset", to), "say a number from 0; streamer offsets reset has other words")
	}
	var plan json.RawMessage
	err = c.ask("offsets.reset", args{"job": id, "to": strconv.FormatUint(n, 10)}, &plan)
	return plan, err
}

// inPath gives a part of the path, as it is meant. is says that the route has it.
func (c call) inPath(name string) (text string, is bool, err error) {
	for _, known := range c.ParamNames() {
		is = is || known == name
	}
	text = c.Param(name)
	if c.Request().URL.RawPath != "" { // the router matches the path as it was written
		if text, err = url.PathUnescape(text); err != nil {
			return "", is, service.Refuse(http.StatusNotFound, name, "cannot be read", "")
		}
	}
	if is && text == "" {
		return "", is, service.Refuse(http.StatusBadRequest, name, "is empty", "it stands in the path")
	}
	return text, is, nil
}

// id is that of the job a request is about: in the path, in the query, or of a POST in a form, as the original takes it.
func (c call) id() (string, error) {
	if text, is, err := c.inPath("id"); is {
		return text, err
	}
	ids := c.QueryParams()["id"]
	if req := c.Request(); req.Method == post && kind(req) == echo.MIMEApplicationForm {
		if err := req.ParseForm(); err != nil {
			return "", service.Refuse(http.StatusBadRequest, "", "the form cannot be read: "+err.Error(), "")
		}
		ids = append(ids, req.PostForm["id"]...)
	}
	switch {
	case len(ids) == 0 || ids[0] == "":
		return "", service.Refuse(http.StatusBadRequest, "id", "is missing", "add ?id= with the id of a job")
	case len(ids) > 1:
		return "", service.Refuse(http.StatusBadRequest, "id", "stands twice", "give it once")
	}
	return ids[0], nil
}

// document is the job in the body, and its id, empty if it has none.
func (c call) document() (document json.RawMessage, id string, err error) {
	req := c.Request()
	if k := kind(req); k != "" && k != echo.MIMEApplicationJSON {
		return nil, "", service.Refuse(http.StatusUnsupportedMediaType, "", "the body is "+k+", not JSON", "send it as application/json")
	}
	text, err := io.ReadAll(req.Body) // the table has read it already
	if err != nil {
		return nil, "", err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return nil, "", service.Refuse(http.StatusBadRequest, "", "the body is no job: it has to be one JSON object", "")
	}
	_ = json.Unmarshal(fields["id"], &id) // what is no text is found by the check of the job
	return text, id, nil
}

// kind is the media type of the body, without parameters.
func kind(req *http.Request) string {
	written := req.Header.Get(echo.HeaderContentType)
	if plain, _, err := mime.ParseMediaType(written); err == nil {
		return plain
	}
	return written
}
