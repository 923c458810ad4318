package consumer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestACauseIsLoggedOncePerMinute(t *testing.T) {
	var s said
	now := time.Unix(0, 0)
	for _, c := range []struct {
		cause string
		after time.Duration
		want  bool
	}{
		{"503", 0, true}, {"reset", 0, true}, {"503", time.Second, false}, {"reset", 59 * time.Second, false},
		{"503", 61 * time.Second, true}, {"503", 62 * time.Second, false},
	} {
		if got := s.first(c.cause, now.Add(c.after)); got != c.want {
			t.Errorf("%s after %v: %v", c.cause, c.after, got)
		}
	}
	later := now.Add(time.Hour)
	said := 0
	for i := range 100 {
		if s.first(fmt.Sprint(i), later) {
			said++
		}
	}
	if said != 32 {
		t.Errorf("%d different causes logged at once, want the first 32", said)
	}
}

// What the watchdog saw last of partitions that this instance has no longer is not told: in a session that waits for Kafka, or after a
// rebalance, it would be the cause of nothing.
func TestStallsAreOfAssignedPartitions(t *testing.T) {
	here, gone := &partition{topic: "t", id: 0}, &partition{topic: "t", id: 1}
	r := &Runner{partitions: map[TopicPartition]*partition{{"t", 0}: here, {"t", 1}: gone}, rows: newMetrics(prometheus.NewRegistry(), &Instance{}).rowsOf("job")}
	now := time.Now()
	for _, at := range []time.Time{now.Add(-2 * stallAfter), now} {
		r.watchdog.look(at, []view{{of: here, lag: 1}, {of: gone, lag: 1}})
	}
	if s := r.Status(); len(s.Stalls) != 2 || !strings.HasPrefix(s.Cause, "t/0 makes no progress: broker, and 1 more partitions") {
		t.Fatalf("while both are here: %+v", s)
	}
	delete(r.partitions, TopicPartition{"t", 1})
	if s := r.Status(); len(s.Stalls) != 1 || s.Stalls[0].Partition != 0 || s.Cause != "t/0 makes no progress: broker" {
		t.Errorf("while one is here: %+v", s)
	}
	clear(r.partitions)
	if s := r.Status(); len(s.Stalls) != 0 || s.Cause != "" {
		t.Errorf("between two sessions: %+v", s)
	}
}
