package consumer

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"streamer/sink"
)

func TestDefaults(t *testing.T) {
	d := Config{}.Defaults()
	if d.Sink.Timeout != 30*time.Second || d.Drain != 30*time.Second || d.Commit != 200*time.Millisecond || d.DeadLetterRetention != 14*24*time.Hour {
		t.Errorf("defaults of an empty job: %+v", d)
	}
	given := Config{Sink: sink.Config{Timeout: time.Minute}, Commit: time.Second, DeadLetterRetention: time.Hour}
	if d := given.Defaults(); d.Drain != time.Minute || d.Commit != time.Second || d.DeadLetterRetention != time.Hour {
		t.Errorf("what is given stays, and the drain is the timeout: %+v", d)
	}
	if again := d.Defaults(); again.Drain != d.Drain || again.Sink.Timeout != d.Sink.Timeout {
		t.Error("filling in twice changes something")
	}
}

// Every cause that a partition may wait for stands in the page for who is woken at night.
func TestCausesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, err := range []error{kerr.OffsetOutOfRange, kerr.UnknownTopicID, kerr.TopicAuthorizationFailed, kerr.RecordListTooLarge, kerr.CorruptMessage} {
		cause, _, _ := strings.Cut(fetchCause(err), err.Error())
		said = append(said, cause)
	}
	r, p, g := &Runner{cfg: Config{Job: "0", Group: "0"}}, &partition{topic: "0"}, gap{}
	for _, h := range []Hold{
		r.expiredHold(p, g), r.beyondHold(p, g), r.cutHold(p, g), r.unreadableHold(p, errors.New("0"), g), r.lostHold(p), r.recreatedHold("0", "0", "0"),
		r.lostAllHold(foundTopics{"0": {}}),
	} {
		said = append(said, h.Reason)
	}
	for _, cause := range said {
		cause := regexp.MustCompile(`\d+`).Split(cause, 2)[0] // up to the first number, or name
		if !strings.Contains(string(page), "`"+cause) {
			t.Errorf("docs/operating.md does not have %q", cause)
		}
	}
}
