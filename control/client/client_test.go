package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"streamer/consumer"
	"streamer/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calls gives a client of a server that answers every call the same.
func calls(t *testing.T, status int, kind, body string) *Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Location", "http://192.0.2.1/")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	c, err := New(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Whatever answers at the address, the error says what it is and what to do.
func TestAnswers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name       string
		status     int
		kind, body string
		says       string
	}{
		{"a job", 200, "application/json", `{"id":"visits","state":"running"}`, ""},
		{"a problem", 404, "application/problem+json", `{"title":"Not Found","status":404,"detail":"there is no job","field":"job","mend":"see the list"}`, "job: there is no job; see the list"},
		{"a web page", 200, "text/html", "<html>", "answers what is no answer of streamer's API"},
		{"somebody else's error", 500, "text/plain", "oops", "answered 500 Internal Server Error, which is no answer of streamer's API; STREAMER_URL or --url says where streamer is"},
		{"somebody else's JSON error", 400, "application/json", `{"title":"x"}`, "answered 400 Bad Request, which is no answer"},
		{"a redirect, which is not followed", 302, "text/plain", "", "answered 302 Found, which is no answer"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := calls(t, c.status, c.kind, c.body).Job(t.Context(), "visits")
			switch {
			case c.says == "" && (err != nil || v.ID != "visits" || v.State != control.Running):
				t.Errorf("got %+v, %v", v, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	c, err := New("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Jobs(t.Context())
	var gone *UnreachableError
	if !errors.As(err, &gone) || strings.Count(err.Error(), "127.0.0.1:1/") > 0 || !strings.Contains(err.Error(), "no answer from http://127.0.0.1:1: dial tcp") {
		t.Errorf("error %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := c.Jobs(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A redrive that is cut off has no report; what came of it until then is told with the error.
func TestRedriveStream(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, body string
		redriven   int
		says       string
	}{
		{"to its end", `{"progress":{"redriven":1}}` + "\n" + `{"report":{"redriven":2,"left":0}}` + "\n", 2, ""},
		{"cut off", `{"progress":{"redriven":1}}` + "\n" + `{"prog`, 1, "the answer was cut off"},
		{"ended by a problem", `{"progress":{"redriven":1}}` + "\n" + `{"problem":{"title":"Bad Gateway","status":502,"detail":"kafka is away"}}`, 1, "kafka is away"},
		{"nothing", "", 0, "the redrive was cut off: it has no report"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			told := 0
			r, err := calls(t, 200, "application/x-ndjson", c.body).Redrive(t.Context(), "visits", control.RedriveRequest{}, func(consumer.RedriveProgress) { told++ })
			if r.Redriven != c.redriven || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %+v, %v", r, err)
			}
			if told != strings.Count(c.body, "progress") {
				t.Errorf("told %d times", told)
			}
		})
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for url, fine := range map[string]bool{
		"http://127.0.0.1:9013": true, "https://streamer.example.org/base": true, "http://[::1]:9013/": true,
		"127.0.0.1:9013": false, "localhost": false, "ftp://x": false, "http://": false, "http://u:p@x": false, "http://x?a=b": false, "http://x#a": false, "": false,
	} {
		if err := CheckURL(url); (err == nil) != fine {
			t.Errorf("%q: %v", url, err)
		}
	}
}
