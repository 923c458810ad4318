package sink

import (
	"encoding/json"
	"strings"
	"testing"

	"streamer/sink/sinktest"
)

func TestRegistration(t *testing.T) {
	st := sinktest.NewTokenStorage()
	api, err := sinktest.Listen(st.Answer)
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	r := Registration{URL: api.URL() + "/", Name: "port-x", AuthorizeURL: "https://x.test/authorize", RefreshURL: "https://x.test/token", ClientID: "streamer",
		ClientSecret: "geheim", Implements: []string{"fileStorage", "metadata"}, Guard: listed}
	if note, err := r.Post(t.Context()); note != "" || err != nil {
		t.Fatalf("%q, %v", note, err)
	}
	var sent map[string]any
	want := `{"authorize_url":"https://x.test/authorize","client_id":"streamer","client_secret":"geheim","implements":["fileStorage","metadata"],"refresh_url":"https://x.test/token","servicename":"port-x"}`
	if err := json.Unmarshal(st.Service("port-x"), &sent); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(sent); string(got) != want {
		t.Errorf("sent %s", got)
	}
	whom := "the token storage " + api.URL()
	for name, test := range map[string]struct {
		answer *sinktest.Answer
		refuse bool
		note   string
		err    string
	}{
		"again":                    {nil, false, whom + ` has service "port-x" already: Service port-x already in Storage.`, ""},
		"again, which is refused":  {nil, true, "", whom + ` did not take service "port-x": Service port-x already in Storage.`},
		"not taken":                {&sinktest.Answer{Body: []byte(`{"success": false, "message": "geheim is\nno secret"}`)}, false, "", whom + ` did not take service "port-x": ******** is no secret`},
		"not taken, in base64":     {&sinktest.Answer{Body: []byte(`{"success": false, "message": "c3RyZWFtZXI6Z2VoZWlt is wrong"}`)}, false, "", whom + ` did not take service "port-x": ******** is wrong`},
		"not taken, without words": {&sinktest.Answer{Body: []byte(`{"success": false}`)}, false, "", whom + ` did not take service "port-x": it says no more`},
		"what it needs is missing": {&sinktest.Answer{Body: []byte(`{"success": false, "message": "user does not exist"}`)}, false, "", "user does not exist"},
		"a long word":              {&sinktest.Answer{Body: []byte(`{"success": false, "message": "` + strings.Repeat("x", 1000) + `"}`)}, false, "", strings.Repeat("x", 300) + "…"},
		"a page":                   {&sinktest.Answer{Body: []byte("<html>geheim")}, false, "", whom + ` answered 200 OK to service "port-x", but not whether it is registered`},
		"something else":           {&sinktest.Answer{Body: []byte(`[1]`)}, false, "", "but not whether it is registered"},
		"created":                  {&sinktest.Answer{Status: 201, Body: []byte(`{"success": true}`)}, false, "", whom + ` answered 201 Created to service "port-x"`},
		"everything that it holds": {&sinktest.Answer{Status: 404, Body: []byte("geheim")}, false, "", whom + ` answered 404 Not Found to service "port-x"`},
		"elsewhere":                {&sinktest.Answer{Status: 302, Header: []sinktest.Header{{Name: "Location", Value: "/geheim"}}}, false, "", "answered 302 Found"},
		"nothing":                  {&sinktest.Answer{Fault: sinktest.Reset}, false, "", whom + ": "},
	} {
		answer := st.Answer
		if test.answer != nil {
			answer = func(*sinktest.Attempt) sinktest.Answer { return *test.answer }
		}
		api.SetAnswer(answer)
		r := r
		r.RefuseKnown = test.refuse
		note, err := r.Post(t.Context())
		text := ""
		if err != nil {
			text = err.Error()
		}
		if note != test.note || !strings.Contains(text, test.err) || (err == nil) != (test.err == "") || strings.Contains(text, "geheim") || len(text) > 500 {
			t.Errorf("%s: %q, %v", name, note, err)
		}
	}
	r.Guard = Guard{}
	if _, err := r.Post(t.Context()); err == nil || !strings.Contains(err.Error(), "127.0.0.1 is a private address") {
		t.Errorf("outside of the guard: %v", err)
	}
	var paths []string
	for _, f := range (Registration{URL: "http://x.test", Implements: []string{"metadata", "files", "metadata"}}).Validate() {
		paths = append(paths, f.Path)
	}
	if got := strings.Join(paths, " "); got != "register.url register.servicename register.authorize_url register.refresh_url register.client_id register.client_secret register.implements[1] register.implements[2]" {
		t.Errorf("faults at %s", got)
	}
}
