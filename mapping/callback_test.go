package mapping

import (
	"encoding/json"
	"testing"

	"streamer/schemas"
)

func TestCallback(t *testing.T) {
	parse := func(text string) schemas.Value {
		v, err := schemas.ParseJSON([]byte(text), schemas.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	answer := &Response{Status: 201, Body: []byte(` {"id": 12345678901234567890}`), Header: []Header{{"Location", "/r/1"}, {"Set-Cookie", "s=hunter2"},
		{"Authorization", "hunter2"}, {"X-Key", "hunter2"}, {"Via", "a"}, {"via", "b"}}}
	const headers = `"headers":{"location":"/r/1","via":"a, b"}`
	for name, c := range map[string]struct {
		row, url string
		body     []byte
		answer   *Response
		want     string
	}{
		"a record event": {`{"service_type": "rdm_record", "service_method": "publish", "record": {"id": "r-1", "n": 1.50}, "draft": {"id": "d-1"}, "data": null, "owner": {"email": "e"}}`,
			"https://x.example.org/", []byte(`{"a":1}`), answer,
			`{"response":{"status":201,` + headers + `,"body":" {\"id\": 12345678901234567890}"},"response_json":{"id":12345678901234567890},"service_type":"rdm_record",` +
				`"service_method":"publish","request_url":"https://x.example.org/","payload":"{\"a\":1}","payload_object":{"a":1},"record_id":"r-1","draft_id":"d-1",` +
				`"record":{"id":"r-1","n":1.50},"draft":{"id":"d-1"},"data":null}`},
		"another row, no body, an answer that is no JSON": {`{"id": 7}`, "https://x.example.org/", nil, &Response{Status: 200, Body: []byte("ok"), Truncated: true},
			`{"response":{"status":200,"headers":{},"body":"ok","truncated":true},"response_json":null,"service_type":null,"service_method":null,` +
				`"request_url":"https://x.example.org/","payload":null,"payload_object":null,"record_id":null,"draft_id":null,"record":null,"draft":null,"data":{"id":7}}`},
		"bodies of no bytes": {`{"id": 7}`, "https://x.example.org/", []byte{}, &Response{Status: 204, Body: []byte{}},
			`{"response":{"status":204,"headers":{},"body":null},"response_json":null,"service_type":null,"service_method":null,` +
				`"request_url":"https://x.example.org/","payload":null,"payload_object":null,"record_id":null,"draft_id":null,"record":null,"draft":null,"data":{"id":7}}`},
		"bytes, and no answer": {`{"id": 7}`, "https://x.example.org/", []byte{0xff}, nil,
			`{"response":null,"response_json":null,"service_type":null,"service_method":null,"request_url":"https://x.example.org/","payload":{"base64":"/w=="},` +
				`"payload_object":null,"record_id":null,"draft_id":null,"record":null,"draft":null,"data":{"id":7}}`},
	} {
		p, faults := Compile(Config{Type: parse(`"POST"`), URL: parse(`"https://x.example.org/"`), DataMap: parse(`{}`), Told: true})
		if err := faults.Err(); err != nil {
			t.Fatal(err)
		}
		parts, _, err := p.NewMapper().Map(&Message{Msg: parse(c.row)}, nil)
		if err != nil || len(parts) != 1 || parts[0].Told == nil {
			t.Fatalf("%s: %+v, %v", name, parts, err)
		}
		got, err := json.Marshal(parts[0].Told.Callback(c.url, c.body, c.answer, func(name string) bool { return name == "x-key" || name == "set-cookie" || name == "authorization" }))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
		if n := parts[0].Told.Bytes(); n < len(c.row)/2 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

// What is masked is not told of.
func TestACallbackDoesNotTellOfTheOwner(t *testing.T) {
	parse := func(text string) schemas.Value {
		v, err := schemas.ParseJSON([]byte(text), schemas.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	p, faults := Compile(Config{Told: true, Events: parse(`{"rdm_record": {"https://x.example.org": {"publish": {"http_method": "POST"}}}}`)})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	parts, _, err := p.NewMapper().Map(&Message{Msg: parse(`{"record": {"id": "r"}, "owner": {"id": "hunter2"}}`),
		Event: parse(`{"servicetype": "rdm_record", "servicemethod": "publish"}`)}, nil)
	if err != nil || len(parts) != 1 {
		t.Fatalf("%+v, %v", parts, err)
	}
	got, _ := json.Marshal(parts[0].Told.Callback("", nil, nil, nil))
	if want := `{"response":null,"response_json":null,"service_type":"rdm_record","service_method":"publish","request_url":"","payload":null,"payload_object":null,` +
		`"record_id":"r","draft_id":null,"record":{"id":"r"},"draft":null,"data":null}`; string(got) != want {
		t.Errorf("%s", got)
	}
}
