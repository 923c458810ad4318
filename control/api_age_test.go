package control

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// While Kafka is away, answers come from memory and say how old they may be.
func TestAnswersSayTheirAge(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	log.age = 90 * time.Second
	d := NewDefinitions(log, testProcess(t))
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}, Definitions: d, Age: log.Age})
	for _, path := range []string{"/jobs", "/jobs/visits", "/definitions"} {
		if status, text, _ := request(t, http.MethodGet, base+"/api/v1"+path, ""); status != 200 || !strings.Contains(text, `"log_age_seconds":90`) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	s, _ := setup(t)
	s.options.Store = NewStore(log)
	if r := s.Readiness(); r.LogAgeSeconds != 90 {
		t.Errorf("readiness %+v", r)
	}
}
