package consumer

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

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
	for _, err := range []error{
		kerr.OffsetOutOfRange, kerr.UnknownTopicID, &kgo.ErrDataLoss{}, kerr.TopicAuthorizationFailed, kerr.RecordListTooLarge, kerr.CorruptMessage, errors.New("damaged"),
	} {
		cause := regexp.MustCompile(`\d+`).Split(fetchCause(err), 2)[0] // up to the first number
		cause, _, _ = strings.Cut(cause, err.Error())
		if !strings.Contains(string(page), "`"+cause) {
			t.Errorf("docs/operating.md does not have %q", cause)
		}
	}
}
