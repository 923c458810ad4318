package control

import (
	"context"
	"errors"
	"strings"
	"testing"

	"streamer/consumer"
)

// accepts is an audit that knows of gaps that were accepted, as the log gives it.
type accepts struct{ err error }

func (a accepts) Audit(_ context.Context, about AuditSubject, _ int64, _ int) ([]AuditLine, int64, error) {
	line := func(action string, partitions any) AuditLine {
		return AuditLine{At: morning, Job: about.Job, By: "operator", Action: action, Detail: map[string]any{"at": "latest", "partitions": partitions}}
	}
	return []AuditLine{
		line("resume", nil),
		line("accept", "in the words of another version"),
		line("accept", []any{
			map[string]any{"topic": "visit", "partition": 1, "before": 10, "after": 20},
			map[string]any{"topic": "visit", "partition": 2, "before": -1, "after": 5},
		}),
	}, 0, a.err
}

// A record that was passed over is committed, and no letter of it is there: that is not to be called delivered without more ado.
func TestRecordsThatWerePassedOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		partition int32
		offset    int64
		state     consumer.FoundState
		letter    bool
		err       error
		says      string
	}{
		"passed over":             {1, 10, consumer.FoundCommitted, false, nil, "rows: 1 delivered; or not sent: at 2026-01-31 06:00:00Z operator accepted that visit/1 goes on at 20"},
		"of an unknown beginning": {2, 4, consumer.FoundCommitted, false, nil, "goes on at 5"},
		"before the gap":          {1, 9, consumer.FoundCommitted, false, nil, ""},
		"behind it":               {1, 20, consumer.FoundCommitted, false, nil, ""},
		"another partition":       {0, 15, consumer.FoundCommitted, false, nil, ""},
		"in flight":               {1, 15, consumer.FoundInFlight, false, nil, ""},
		"with a dead letter":      {1, 15, consumer.FoundCommitted, true, nil, ""},
		"the audit is away":       {1, 15, consumer.FoundCommitted, false, errors.New("no broker answers"), "is not known: no broker answers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := consumer.Found{Position: consumer.Position{Topic: "visit", Partition: c.partition, Offset: c.offset, Row: -1}, State: c.state, Reason: "rows: 1 delivered"}
			if c.letter {
				f.Letter = &consumer.FoundLetter{}
			}
			found := []FoundRow{{Found: f}}
			API{Audits: accepts{c.err}}.tellPassedOver(t.Context(), "visits", found)
			if got := found[0].Reason; c.says == "" && got != f.Reason || !strings.Contains(got, c.says) {
				t.Errorf("it says %q", got)
			}
		})
	}
}
