package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"streamer/consumer"
	"streamer/control/service"
)

// lonely is an instance that knows no other.
type lonely struct{ id string }

func (l lonely) Me() Self                                  { return Self{ID: l.id} }
func (l lonely) Instances() []Self                         { return []Self{l.Me()} }
func (l lonely) Telling(string) []Self                     { return []Self{l.Me()} }
func (l lonely) OwnerOf(_, _ string, _ int32) (Self, bool) { return Self{}, false }

// fakeStore keeps memories, and what is wanted of jobs.
type fakeStore struct {
	mu   sync.Mutex
	jobs map[string]consumer.Memory
	did  []string
	err  error
}

func (s *fakeStore) Memory(_ context.Context, job string) (consumer.Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[job], nil
}

func (s *fakeStore) Desired(job string) (consumer.Desired, bool) {
	m, err := s.Memory(context.Background(), job)
	return m.Desired, err == nil
}

func (s *fakeStore) Remember(_ context.Context, job string, a consumer.Audit, change func(*consumer.Memory) error) (consumer.Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return consumer.Memory{}, s.err
	}
	m := s.jobs[job]
	if err := change(&m); err != nil {
		return consumer.Memory{}, err
	}
	if s.jobs == nil {
		s.jobs = map[string]consumer.Memory{}
	}
	s.jobs[job] = m
	s.did = append(s.did, a.By+" "+a.Action+" "+job)
	return m, nil
}

// want is what Supervisor does with a word.
func (s *fakeStore) want(ctx context.Context, job string, by service.Caller, word string, desired consumer.Desired) error {
	_, err := s.Remember(ctx, job, consumer.Audit{By: by.Name, Action: word}, func(m *consumer.Memory) error {
		if m.Desired == consumer.WantStopped && (word == "pause" || word == "resume") {
			return fmt.Errorf("%w: job %s is stopped", ErrNotNow, job)
		}
		if m.Desired = desired; word == "start" || word == "resume" {
			m.Hold = nil
		}
		return nil
	})
	return err
}

func (s *fakeStore) Start(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, "start", consumer.WantRunning)
}

func (s *fakeStore) Stop(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, "stop", consumer.WantStopped)
}

func (s *fakeStore) Pause(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, "pause", consumer.WantPaused)
}

func (s *fakeStore) Resume(ctx context.Context, job string, by service.Caller) error {
	return s.want(ctx, job, by, "resume", consumer.WantRunning)
}

// A job goes through everything an operator can want of it.
func TestDesire(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: store, Desires: store})
	steps := []struct {
		word          string
		status        int
		before, after string
	}{
		{"start", 200, "running", "running"},
		{"pause", 200, "running", "paused"},
		{"pause", 200, "paused", "paused"},
		{"resume", 200, "paused", "running"},
		{"stop", 200, "running", "stopped"},
		{"pause", 409, "", ""},
		{"resume", 409, "", ""},
		{"start", 200, "stopped", "running"},
	}
	for i, s := range steps {
		status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/visits/"+s.word, "{}", "Content-Type", "application/json")
		if want := fmt.Sprintf(`{"job":"visits","before":%q,"desired":%q}`, s.before, s.after); status != s.status || status == 200 && strings.TrimSpace(text) != want {
			t.Errorf("step %d, %s: got %d %s", i, s.word, status, text)
		}
		if status == 409 && p.Error() != `job: job "visits" is stopped; streamer jobs start visits` {
			t.Errorf("step %d, %s: %v", i, s.word, p.Error())
		}
	}
	if got := strings.Join(store.did, ", "); got != "local:operator start visits, local:operator pause visits, local:operator pause visits, local:operator resume visits, local:operator stop visits, local:operator start visits" {
		t.Errorf("did %s", got)
	}
}

// A job that the dead-letter guard holds is wanted running all the time: resume ends the hold, and says which.
func TestResumeEndsAHold(t *testing.T) {
	t.Parallel()
	hold := consumer.Hold{Cause: consumer.HoldGuard, Reason: "51 of 100", Next: "resume", Since: morning}
	store := &fakeStore{jobs: map[string]consumer.Memory{"visits": {Hold: &hold}}}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: store, Desires: store})
	_, text, _ := request(t, http.MethodPost, base+"/api/v1/jobs/visits/resume", "")
	var d DesiredChange
	if err := json.Unmarshal([]byte(text), &d); err != nil || d.HoldEnded == nil || d.HoldEnded.Cause != consumer.HoldGuard || store.jobs["visits"].Hold != nil {
		t.Errorf("got %s", text)
	}
}

func TestDesireRefusals(t *testing.T) {
	t.Parallel()
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Desires: &fakeStore{err: errors.New("kafka is away")}})
	cases := []struct {
		name, path, body, kind string
		status                 int
		says                   string
	}{
		{"no such job", "visit/stop", "", "", 404, `did you mean visits?`},
		{"the log cannot be written", "visits/stop", "", "", 503, "the log in Kafka cannot be read or written: kafka is away"},
		{"an unknown key", "visits/stop", `{"forec": true}`, "application/json", 400, "forec: unknown argument; this takes no arguments"},
		{"no JSON", "visits/stop", "{", "application/json", 400, "no JSON object"},
		{"a list", "visits/stop", "[]", "application/json", 400, "no JSON object"},
		{"a form", "visits/stop", "a=b", "application/x-www-form-urlencoded", 415, "send it as application/json"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/"+c.path, c.body, "Content-Type", c.kind); status != c.status || !strings.Contains(p.Error(), c.says) {
				t.Errorf("got %d %s", status, text)
			}
		})
	}
	if status, _, _ := request(t, http.MethodGet, base+"/api/v1/jobs/visits/stop", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered %d", status)
	}
}
