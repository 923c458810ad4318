package sinktest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func setup(t *testing.T, answer func(*Attempt) Answer) (*Receiver, *http.Client) {
	t.Helper()
	r, err := Listen(answer)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		r.Close()
		r.Close()
	})
	return r, &http.Client{Transport: tr}
}

func TestReceiverRecordsWhatItIsSent(t *testing.T) {
	r, client := setup(t, func(a *Attempt) Answer {
		return Answer{Status: 418, Body: []byte("tea for " + a.Lane), Header: []Header{{"X-A", "b"}}}
	})
	r.KeepHeaders = true
	req, err := http.NewRequest("PUT", r.URL()+"/x?y=z", strings.NewReader("some body"))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Idempotency-Key": "k", "Streamer-Topic": "people", "Streamer-Partition": "3", "Streamer-Offset": "12345678901", "Streamer-Row": "7", "Streamer-Attempt": "2", "X-Lane": "one"} {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 418 || string(body) != "tea for one" || resp.Header.Get("X-A") != "b" {
		t.Errorf("answer is %d %q", resp.StatusCode, body)
	}
	if err := r.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	a := r.Attempts()[0]
	if a.Seq != 1 || a.Method != "PUT" || a.Path != "/x?y=z" || a.Key != "k" || a.Topic != "people" || a.Partition != 3 || a.Offset != 12345678901 ||
		a.Row != 7 || a.Attempt != 2 || a.Status != 418 || !a.Answered || a.Lane != "one" || string(a.Body) != "some body" || len(a.Header) < 7 {
		t.Errorf("recorded %+v", a)
	}
	if a.Start.IsZero() || a.End.Before(a.Start) {
		t.Errorf("from %v to %v", a.Start, a.End)
	}
}

func TestReceiverWithoutPosition(t *testing.T) {
	r, client := setup(t, nil)
	r.Lane = func(a *Attempt) string { return a.Path }
	resp, err := client.Get(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if a := r.Attempts()[0]; a.Partition != -1 || a.Offset != -1 || a.Row != -1 || a.Attempt != 0 || a.Lane != "/" || a.Body != nil {
		t.Errorf("recorded %+v", a)
	}
}

func TestReceiverBreaksAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer           Answer
		answered, failed bool
	}{
		"none":    {Answer{}, true, false},
		"close":   {Answer{Fault: Close}, true, false},
		"vanish":  {Answer{Fault: Vanish}, true, false},
		"cut":     {Answer{Fault: Cut, Body: []byte("body")}, false, true},
		"reset":   {Answer{Fault: Reset}, false, true},
		"garbage": {Answer{Fault: Garbage}, false, true},
		"hang":    {Answer{Fault: Hang}, false, true},
		"slow":    {Answer{Delay: time.Hour}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, client := setup(t, func(*Attempt) Answer { return c.answer })
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.answer.Delay > 0 || c.answer.Fault == Hang {
				r.SetAnswer(func(*Attempt) Answer { cancel(); return c.answer })
			}
			req, err := http.NewRequestWithContext(ctx, "POST", r.URL(), strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if (err != nil) != c.failed {
				t.Errorf("the client got %v", err)
			}
			if c.answer.Delay > 0 {
				r.Close() // ends what waits
			}
			if err := r.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if a := r.Attempts()[0]; a.Answered != c.answered {
				t.Errorf("recorded %+v", a)
			}
		})
	}
}

func TestReceiverWaitEndsWithItsContext(t *testing.T) {
	r, _ := setup(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReceiverStorm(t *testing.T) {
	r, client := setup(t, nil)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 20 {
				resp, err := client.Post(r.URL(), "", strings.NewReader("x"))
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				r.Attempts()
			}
		})
	}
	all.Wait()
	if r.Len() != 400 || r.Connections() == 0 {
		t.Errorf("%d attempts, %d connections", r.Len(), r.Connections())
	}
	for i, a := range r.Attempts() {
		if a.Seq != int64(i+1) {
			t.Fatalf("attempt %d has number %d", i, a.Seq)
		}
	}
}
