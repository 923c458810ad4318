package consumer

import (
	"fmt"
	"testing"
	"time"
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
