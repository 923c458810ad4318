package sink

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
)

// A status that the row takes as an answer is one, whatever the table and the job say of it, for this row alone.
func TestAcceptedStatusIsDelivered(t *testing.T) {
	inWorld(t, Config{Statuses: map[Class][]int{Credentials: {404}}}, answers(404), func(w *world) {
		w.scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: w.api.URL()}, Accept: []int{410, 404}, Row: "reads", Final: w.final})
		w.pass(0)
		if o := w.outcome("reads"); o.Class != Delivered || o.Status != 404 || o.Reason != "" || o.Response != nil {
			t.Errorf("outcome is %+v", o)
		}
		w.row("another", "/")
		w.pass(0)
		if w.isFinal("another") {
			t.Errorf("the next row is %+v", w.outcome("another"))
		}
	})
}

// An answer is kept for whoever asked, of whatever class it is; while the row waits for another attempt nobody holds it.
func TestAnswerIsKept(t *testing.T) {
	big := strings.Repeat("x", 200)
	told := func(status int, body string) sinktest.Answer {
		return sinktest.Answer{Status: status, Header: []sinktest.Header{{Name: "Location", Value: " /groups/7 "}, {Name: "Set-Cookie", Value: "a=1"}, {Name: "set-cookie", Value: "b=2"}}, Body: []byte(body)}
	}
	for name, test := range map[string]struct {
		answers []sinktest.Answer
		class   Class
		want    string
	}{
		"delivered":             {[]sinktest.Answer{told(201, `{"id":7}`)}, Delivered, `201 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2 {"id":7} false`},
		"without a body":        {[]sinktest.Answer{told(204, "")}, Delivered, "204 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2  false"},
		"rejected":              {[]sinktest.Answer{told(409, "no")}, Rejected, "409 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2 no false"},
		"longer than the limit": {[]sinktest.Answer{told(200, big)}, Delivered, "200 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2 " + big[:100] + " true"},
		"of the last attempt":   {[]sinktest.Answer{told(503, "first"), told(200, "second")}, Delivered, "200 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2 second false"},
		"broken off":            {[]sinktest.Answer{{Status: 200, Body: []byte("broken"), Fault: sinktest.Cut}, told(422, "whole")}, Rejected, "422 Location=/groups/7 Set-Cookie=a=1 set-cookie=b=2 whole false"},
	} {
		t.Run(name, func(t *testing.T) {
			n := -1
			answer := func(*sinktest.Attempt) sinktest.Answer {
				n++
				return test.answers[n]
			}
			inWorld(t, Config{ResponseBytes: 100}, answer, func(w *world) {
				d := &Delivery{Request: Request{Method: "GET", URL: w.api.URL()}, Keep: true, Row: "a", Final: w.final}
				w.scope.Deliver(d)
				w.pass(10 * time.Second)
				o := w.outcome("a")
				if o.Class != test.class || o.Response == nil {
					t.Fatalf("outcome is %+v", o)
				}
				got := fmt.Sprint(o.Response.Status)
				for _, h := range o.Response.Header {
					if h.Name != "Content-Length" {
						got += " " + h.Name + "=" + h.Value
					}
				}
				if got += fmt.Sprintf(" %s %v", o.Response.Body, o.Response.Truncated); got != test.want {
					t.Errorf("kept  %s\nwant  %s", got, test.want)
				}
				for _, told := range w.waits {
					if told.outcome.Response != nil {
						t.Errorf("a row that waits holds %+v", told.outcome.Response)
					}
				}
				if w.scope.Look(d).Last.Response != nil {
					t.Error("a row that is looked at shows its answer")
				}
			})
		})
	}
}

// Where no answer came there is none, and one of an attempt before is not passed off as it.
func TestNoAnswerIsNotKept(t *testing.T) {
	n := 0
	answer := func(*sinktest.Attempt) sinktest.Answer {
		if n++; n == 1 {
			return sinktest.Answer{Status: 500, Body: []byte("told")}
		}
		return sinktest.Answer{Fault: sinktest.Reset}
	}
	inWorld(t, Config{Retry: Retry{Attempts: 2, GiveUpUnproven: true}}, answer, func(w *world) {
		w.scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: w.api.URL()}, Keep: true, Row: "a", Final: w.final})
		w.pass(time.Minute)
		if o := w.outcome("a"); o.Class != Target || o.Status != 0 || o.Response != nil {
			t.Errorf("outcome is %+v", o)
		}
	})
}

// An API that repeats what it was sent does not have the credentials kept with its answer, in whatever form it writes them.
func TestAnAnswerThatIsKeptHasNoCredential(t *testing.T) {
	const secret = `5ecret/"of+a<row>&`
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("demo:"+secret))
	inJSON, _ := json.Marshal(secret)
	for name, test := range map[string]struct {
		auth   Auth
		header []Header
		sent   string
	}{
		"basic":       {auth: Auth{Basic: &Basic{User: "demo", Password: secret}}, sent: basic},
		"bearer":      {auth: Auth{Bearer: secret}, sent: "Bearer " + secret},
		"token":       {auth: Auth{Token: secret}, sent: "access_token " + secret},
		"api key":     {auth: Auth{APIKey: &APIKey{Header: "X-Mine", Value: secret}}, sent: secret},
		"own header":  {header: []Header{{"X-Session-Token", secret}}, sent: secret},
		"own login":   {header: []Header{{"authorization", "ApiKey " + secret}}, sent: "ApiKey " + secret},
		"a reference": {header: []Header{{"X-Source", "a " + secret}}, sent: "a " + secret},
		"not a login": {header: []Header{{"X-Source", "nothing secret"}}, sent: "nothing secret"},
	} {
		t.Run(name, func(t *testing.T) {
			answer := func(a *sinktest.Attempt) sinktest.Answer {
				body := fmt.Sprintf(`{"sent": %q, "as": %s, "plain": "%s", "query": "?q=%s", "id": 7, "end": "%s`, test.sent, inJSON, secret, url.QueryEscape(secret), test.sent)
				return sinktest.Answer{Status: 422, Header: []sinktest.Header{{Name: "X-Echo", Value: test.sent}, {Name: "Via", Value: "a"}}, Body: []byte(body)}
			}
			hidden := []Secret{}
			if name == "a reference" {
				hidden = append(hidden, secret)
			}
			inWorld(t, Config{Auth: test.auth, ResponseBytes: 400, Hidden: hidden}, answer, func(w *world) {
				w.scope.Deliver(&Delivery{Request: Request{Method: "GET", URL: w.api.URL(), Header: test.header}, Keep: true, Row: "a", Final: w.final})
				w.pass(10 * time.Second)
				o := w.outcome("a")
				if o.Response == nil {
					t.Fatalf("outcome %+v", o)
				}
				shown := fmt.Sprint(o.Response.Header, string(o.Response.Body))
				if name == "not a login" {
					if !strings.Contains(shown, "X-Echo nothing secret") || !strings.Contains(shown, secret) {
						t.Errorf("shown %s", shown)
					}
					return
				}
				for _, form := range []string{secret, basic[6:], string(inJSON[1 : len(inJSON)-1]), url.QueryEscape(secret), "5ecret"} {
					if strings.Contains(shown, form) {
						t.Errorf("%s is in %s", form, shown)
					}
				}
				if !strings.Contains(shown, `"id": 7`) || !strings.Contains(shown, "{Via a}") {
					t.Errorf("nothing is left: %s", shown)
				}
			})
		})
	}
}

// The end of an answer that was cut may be the beginning of a credential.
func TestAnAnswerThatIsCutHasNoBeginningOfACredential(t *testing.T) {
	d := &Delivery{Request: Request{Header: []Header{{"X-Token", "0123456789abcdef"}}}}
	d.target = &target{access: &access{}}
	for end, want := range map[string]string{"x0123456789abcde": "x********", "x01234567": "x********", "x0123456": "x0123456", "x0123456789abcdef": "x********", "0123456789x": "0123456789x"} {
		r := &Response{Body: []byte(end), Truncated: true}
		r.hideEcho(d, "", nil)
		if string(r.Body) != want {
			t.Errorf("%s: %s", end, r.Body)
		}
	}
}
