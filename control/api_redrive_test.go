package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/sink"
)

// Redrive does what its rate says: 1 waits for its end after the first progress, 2 fails then, 3 is refused at once, 0 goes well.
func (l letters) Redrive(ctx context.Context, f consumer.LetterFilter, o consumer.RedriveOptions, progress func(consumer.RedriveProgress)) (consumer.RedriveReport, error) {
	*l.asked = append(*l.asked, fmt.Sprintf("%v limit=%d dry=%v by=%s keep=%v past=%v", f.Class, o.Limit, o.DryRun, o.By, o.KeepKeys, o.PastGuard))
	if l.job == "births" {
		return consumer.RedriveReport{}, consumer.ErrLettersOff
	}
	if o.Rate == 3 {
		return consumer.RedriveReport{}, consumer.ErrRedriving
	}
	p := consumer.RedriveProgress{Matching: 2, Redriven: 1}
	progress(p)
	switch o.Rate {
	case 1:
		<-ctx.Done()
		*l.asked = append(*l.asked, "stopped")
		close(l.stopped)
		return consumer.RedriveReport{RedriveProgress: p, Left: 1}, ctx.Err()
	case 2:
		return consumer.RedriveReport{}, errors.New("broker 1 has gone away")
	}
	return consumer.RedriveReport{RedriveProgress: p, Left: 1, Samples: []consumer.RedriveSample{{Letter: consumer.LetterAddress{Offset: 3}, Rows: []consumer.Rendered{{
		Verdict: "send", Request: sink.Request{Method: "PUT", URL: "http://x", Header: []sink.Header{{Name: "idempotency-key", Value: "k/r1"}, {Name: "X-Token", Value: "s3cret"}},
			Body: []byte{0xff}}}}}}}, nil
}

// GiveUp takes all it is asked for; of births there are none, and with a key a redrive runs.
func (l letters) GiveUp(_ context.Context, f consumer.LetterFilter, o consumer.GiveUpOptions) (int, error) {
	*l.asked = append(*l.asked, fmt.Sprintf("give up %v by=%s dry=%v", f.Class, o.By, o.DryRun))
	switch {
	case l.job == "births":
		return 0, consumer.ErrLettersOff
	case f.Key != nil:
		return 0, consumer.ErrRedriving
	}
	return 3, nil
}

func TestGiveUpLetters(t *testing.T) {
	t.Parallel()
	var asked []string
	store := &fakeStore{}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: fakeJobs{{JobStatus: JobStatus{ID: "visits"}}, {JobStatus: JobStatus{ID: "births"}}}, Store: store,
		Letters: func(c consumer.Config) DeadLetters { return letters{job: c.Job, asked: &asked} }})
	for _, c := range []struct {
		name, job, body string
		status          int
		says            string
	}{
		{"counted only", "visits", `{"class":["rejected"],"dry_run":true}`, 200, `{"given_up":3,"dry_run":true}`},
		{"some", "visits", `{"class":["rejected"]}`, 200, `{"given_up":3}`},
		{"while a redrive runs", "visits", `{"key":"k"}`, 409, "another redrive of this job's dead letters is running"},
		{"off", "births", `{}`, 409, "dead letters of this job are off"},
		{"in a state", "visits", `{"state":["open"]}`, 400, "state: open and parked letters can be given up, no others"},
		{"of a redrive", "visits", `{"limit":5}`, 400, "limit: unknown argument"},
		{"of nobody", "deaths", `{}`, 404, "deaths"},
	} {
		status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/"+c.job+"/dead-letters/give-up", c.body)
		if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.name, status, text)
		}
	}
	if asked[0] != "give up [rejected] by=local:operator dry=true" || asked[1] != "give up [rejected] by=local:operator dry=false" || store.did[0] != "local:operator give-up visits" ||
		len(store.did) != 3 {
		t.Errorf("asked %q, audit %q", asked, store.did)
	}
}

func TestRedrive(t *testing.T) {
	t.Parallel()
	var asked []string
	jobs := fakeJobs{{JobStatus: JobStatus{ID: "visits"}}, {JobStatus: JobStatus{ID: "births"}}}
	store := &fakeStore{}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: jobs, Store: store, Letters: func(c consumer.Config) DeadLetters { return letters{job: c.Job, asked: &asked} }})
	cases := []struct {
		name, job, body string
		status          int
		says            string
	}{
		{"a dry run", "visits", `{"class":["rejected"],"limit":7,"dry_run":true,"keep_keys":true}`, 200,
			`"headers":[{"key":"idempotency-key","value":"k/r1"},{"key":"X-Token","value":"********"},{"key":"Authorization","value":"Bearer ********"}],"body":{"base64":"/w=="}}]}]}}`},
		{"all", "visits", ``, 200, "{\"progress\":{\"matching\":2,"},
		{"fails on the way", "visits", `{"rate":2}`, 200, `"problem":{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"the dead letters cannot be read: broker 1`},
		{"another one runs", "visits", `{"rate":3}`, 409, "another redrive of this job's dead letters is running; wait for it"},
		{"off", "births", `{}`, 409, "dead letters of this job are off"},
		{"a misspelt key", "visits", `{"dryrun":true}`, 400, "dryrun: unknown argument; did you mean dry_run?"},
		{"a word that is none", "visits", `{"state":["opne"]}`, 400, "did you mean open?"},
		{"no limit", "visits", `{"limit":-1}`, 400, "limit: -1 is less than 0; leave it out for all"},
		{"no rate", "visits", `{"rate":-0.5}`, 400, "rate: -0.5 is less than 0"},
		{"no time", "visits", `{"since":"today"}`, 400, "today"},
	}
	for _, c := range cases {
		status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/"+c.job+"/dead-letters/redrive", c.body)
		if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.name, status, text)
		}
	}
	if asked[0] != "[rejected] limit=7 dry=true by=local:operator keep=true past=false" {
		t.Errorf("asked %q", asked)
	}
	if got := strings.Join(store.did, ", "); got != "local:operator redrive visits, local:operator redrive visits, local:operator redrive visits, local:operator redrive births" {
		t.Errorf("audit: %s", got)
	}
}

// A redrive runs as long as somebody listens: longer than any time limit of the server, and not a moment longer than the connection.
func TestRedriveEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	var asked []string
	stopped := make(chan struct{})
	base := startAPI(t, "127.0.0.1:0", API{Jobs: fakeJobs{{JobStatus: JobStatus{ID: "visits"}}}, Store: &fakeStore{},
		Letters: func(c consumer.Config) DeadLetters { return letters{c.Job, &asked, stopped} }})
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v1/jobs/visits/dead-letters/redrive", strings.NewReader(`{"rate":1}`))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	if err != nil || !strings.Contains(line, `"redriven":1`) || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the first line: %q %v", line, err)
	}
	hangUp()
	<-stopped
}
