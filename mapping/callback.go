package mapping

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"streamer/schemas"
)

// Told is what a record that tells of an answer says of the row. It holds copies, what is masked left out; the parts of a row share it.
type Told struct {
	// Quiet: the route says that it has no callback.
	Quiet bool

	service, method, recordID, draftID, record, draft, data json.RawMessage
}

// quietly is t for a route that has no callback.
func (t *Told) quietly() *Told {
	quiet := *t
	quiet.Quiet = true
	return &quiet
}

// Bytes is about how much memory t holds.
func (t *Told) Bytes() int {
	return 256 + len(t.service) + len(t.method) + len(t.recordID) + len(t.draftID) + len(t.record) + len(t.draft) + len(t.data)
}

// told copies what m's row says of itself. Of a record event that is its record, draft and data; another row is data as a whole.
func (m *Mapper) told(row schemas.Value) *Told {
	t := &Told{service: member(row, "service_type"), method: member(row, "service_method"), record: member(row, "record"), draft: member(row, "draft"),
		data: member(row, "data"), recordID: member(row.Field("record"), "id"), draftID: member(row.Field("draft"), "id")}
	if m.prog.events != nil && (t.service == nil || t.method == nil) { // a CloudEvent's attributes may name them
		service, method, _ := m.eventNames()
		t.service, t.method = rawJSON(textValue(service)), rawJSON(textValue(method))
	}
	if t.service == nil {
		return &Told{data: rawJSON(row)}
	}
	if t.recordID == nil {
		t.recordID = member(row, "id")
	}
	return t
}

func member(v schemas.Value, name string) json.RawMessage {
	if f := v.Field(name); given(f) {
		return rawJSON(f)
	}
	return nil
}

// rawJSON is v as JSON; null for what has none.
func rawJSON(v schemas.Value) json.RawMessage {
	raw, err := v.AppendJSON(nil)
	if err != nil {
		return nil
	}
	return raw
}

// Callback is the value of a record that tells of an answer.
type Callback struct {
	Response *CallbackResponse `json:"response"`
	// ResponseJSON is what the body's JSON says, null for one that is none.
	ResponseJSON  json.RawMessage `json:"response_json"`
	ServiceType   json.RawMessage `json:"service_type"`
	ServiceMethod json.RawMessage `json:"service_method"`
	RequestURL    string          `json:"request_url"`
	// Payload is the body that was sent, as a text, PayloadObject what its JSON says.
	Payload       any             `json:"payload"`
	PayloadObject json.RawMessage `json:"payload_object"`
	RecordID      json.RawMessage `json:"record_id"`
	DraftID       json.RawMessage `json:"draft_id"`
	Record        json.RawMessage `json:"record"`
	Draft         json.RawMessage `json:"draft"`
	Data          json.RawMessage `json:"data"`
}

// CallbackResponse is the answer in it.
type CallbackResponse struct {
	Status int `json:"status"`
	// Headers by their names in lower case; values of one that stands several times are joined by ", ". Those that log somebody in are left
	// out.
	Headers map[string]string `json:"headers"`
	// Body is text, or {"base64": …} where it is no UTF-8.
	Body any `json:"body"`
	// Truncated says that the body went on, and the rest was not read.
	Truncated bool `json:"truncated,omitempty"`
}

// Callback tells of the answer to a request; r is nil if none came. secret says of a header, by its name in lower case, that it is left out.
func (t *Told) Callback(url string, body []byte, r *Response, secret func(name string) bool) *Callback {
	c := &Callback{RequestURL: url, Payload: bodyText(body), PayloadObject: validJSON(body), ServiceType: t.service, ServiceMethod: t.method,
		RecordID: t.recordID, DraftID: t.draftID, Record: t.record, Draft: t.draft, Data: t.data}
	if r == nil {
		return c
	}
	c.ResponseJSON = validJSON(r.Body)
	c.Response = &CallbackResponse{Status: r.Status, Headers: map[string]string{}, Body: bodyText(r.Body), Truncated: r.Truncated}
	for _, h := range r.Header {
		name, value := strings.ToLower(h.Name), strings.ToValidUTF8(h.Value, "\ufffd")
		if secret(name) {
			continue
		}
		if before, ok := c.Response.Headers[name]; ok {
			value = before + ", " + value
		}
		c.Response.Headers[name] = value
	}
	return c
}

// bodyText is a body as JSON has it; nil for one of no bytes, which is no other than none.
func bodyText(body []byte) any {
	switch {
	case len(body) == 0:
		return nil
	case utf8.Valid(body):
		return string(body)
	}
	return map[string][]byte{"base64": body}
}

func validJSON(body []byte) json.RawMessage {
	if body = bytes.TrimSpace(body); len(body) == 0 || !utf8.Valid(body) || !json.Valid(body) {
		return nil
	}
	return body
}
