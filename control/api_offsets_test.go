package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"streamer/consumer"
)

// gaps is an instance on which partitions of the job visits are held for a cause; no cause: nothing is.
type gaps struct {
	runs
	cause consumer.HoldCause
	asked *[]string
}

func (g gaps) Gaps(job string) (Gaps, bool) { return g, job == "visits" }

func (g gaps) Accept(_ context.Context, a consumer.Acceptance, by string) (out []consumer.Accepted, err error) {
	*g.asked = append(*g.asked, fmt.Sprintf("%v: %s/%d at %s dry=%v by %s", g.partitions, a.Topic, a.Partition, a.At, a.DryRun, by))
	switch {
	case a.At == "soon":
		return nil, &consumer.AcceptError{Field: "at", Cause: `"soon" says not where to go on`}
	case a.At == "7":
		return nil, errors.New("kafka is away")
	}
	mine := g.partitions
	if g.cause == consumer.HoldRecreated { // one speaks for all
		mine = []int32{0, 1}
	}
	for _, p := range mine {
		if slices.Contains(a.Done, consumer.TopicPartition{Topic: "visit", Partition: p}) {
			continue
		}
		if g.cause != "" && (a.Partition < 0 || a.Partition == p) {
			out = append(out, consumer.Accepted{Topic: "visit", Partition: p, Cause: g.cause, Before: 3, After: 9, Skipped: 6})
		}
	}
	if len(out) == 0 {
		return nil, &consumer.AcceptError{Field: "partition", Cause: "nothing is held on this instance"}
	}
	return out, nil
}

// Partitions of a job are held on two instances. Whoever is asked, all are accepted that are meant, each once: also where one instance
// speaks for all of a topic that was made anew, and the other one holds the same topic, or another.
func TestAccept(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name        string
		here, there consumer.HoldCause
		body        string
		status      int
		says        string
		asked       int
	}{
		{"all", consumer.HoldExpired, consumer.HoldLogCut, `{"at":"earliest"}`, 200, `"partition":1,"cause":"log cut","before":3,"after":9,"skipped":6}],"dry_run":false}`, 2},
		{"a dry run", consumer.HoldExpired, consumer.HoldLogCut, `{"at":"latest","dry_run":true}`, 200, `"dry_run":true}`, 2},
		{"one here", consumer.HoldExpired, consumer.HoldLogCut, `{"at":"latest","topic":"visit","partition":0}`, 200, `"partition":0`, 1},
		{"one there", consumer.HoldExpired, consumer.HoldLogCut, `{"at":"latest","topic":"visit","partition":1}`, 200, `{"accepted":[{"topic":"visit","partition":1,`, 2},
		{"only there", "", consumer.HoldLogCut, `{"at":"latest"}`, 200, `{"accepted":[{"topic":"visit","partition":1,`, 2},
		{"none", "", "", `{"at":"latest"}`, 409, "nothing is held on this instance; streamer jobs show visits says what is held", 2},
		{"a topic made anew", consumer.HoldRecreated, consumer.HoldRecreated, `{"at":"earliest"}`, 200, `"partition":1,"cause":"topic recreated","before":3,"after":9,"skipped":6}],"dry_run":false}`, 2},
		{"a topic made anew there", consumer.HoldExpired, consumer.HoldRecreated, `{"at":"earliest"}`, 200, `"partition":0,"cause":"records expired","before":3,"after":9,"skipped":6},{"topic":"visit","partition":1,"cause":"topic recreated"`, 2},
		{"single partitions lost", consumer.HoldOffsetsLost, consumer.HoldOffsetsLost, `{"at":"earliest"}`, 200, `"partition":1,"cause":"offsets lost"`, 2},
		{"kafka is away", consumer.HoldExpired, "", `{"at":"7"}`, 503, "what is held was not accepted, or in part: kafka is away", 1},
		{"no place", consumer.HoldExpired, "", `{"at":"soon"}`, 400, `at: "soon" says not where to go on`, 1},
		{"no place given", consumer.HoldExpired, "", `{}`, 400, "at: is missing", 0},
		{"a partition of no topic", consumer.HoldExpired, "", `{"at":"latest","partition":1}`, 400, "topic: is missing", 0},
		{"a negative partition", consumer.HoldExpired, "", `{"at":"latest","partition":-2}`, 400, "partition: -2 is less than 0", 0},
		{"a misspelt key", consumer.HoldExpired, "", `{"at":"latest","partitions":1}`, 400, "did you mean partition?", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			there := startAPI(t, "127.0.0.1:0", API{Fleet: lonely{"two"}, Jobs: gaps{runs{[]int32{1}, nil}, c.there, &asked}})
			base := startAPI(t, "127.0.0.1:0", API{Fleet: fleet{me: "one", peers: []Peer{{ID: "two", Advertise: there}}},
				Jobs: gaps{runs{[]int32{0}, nil}, c.here, &asked}})
			status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/visits/offsets/accept", c.body)
			if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) || len(asked) != c.asked {
				t.Errorf("got %d %s; asked %q", status, text, asked)
			}
		})
	}
}

// An instance that cannot be asked keeps what it holds, and is named.
func TestAcceptUnreached(t *testing.T) {
	t.Parallel()
	var asked []string
	base := startAPI(t, "127.0.0.1:0", API{Fleet: fleet{me: "one", peers: []Peer{{ID: "two", Advertise: "http://127.0.0.1:1"}}},
		Jobs: gaps{runs{[]int32{0}, nil}, consumer.HoldExpired, &asked}})
	status, text, _ := request(t, http.MethodPost, base+"/api/v1/jobs/visits/offsets/accept", `{"at":"earliest"}`)
	if status != 200 || !strings.Contains(text, `"unreached":[{"instance":"two","cause":"instance two at http://127.0.0.1:1 does not answer: `) {
		t.Errorf("got %d %s", status, text)
	}
	if status, _, p := request(t, http.MethodPost, base+"/api/v1/jobs/people/offsets/accept", `{"at":"earliest"}`); status != 409 || p.Error() != `job: job "people" does not run; streamer jobs show people says why` {
		// people runs nowhere, and the fleet's other instance runs visits only
		t.Errorf("got %d %s", status, p.Error())
	}
}

// audits has 250 lines.
type audits struct{}

func (audits) Audit(_ context.Context, about AuditSubject, before int64, limit int) (lines []AuditLine, next int64, err error) {
	if about.Job == "gone" {
		return nil, 0, errors.New("read the audit: kafka is away")
	}
	if before == 0 {
		before = 251
	}
	for r := before - 1; r > 0 && len(lines) < limit; r-- {
		lines, next = append(lines, AuditLine{Revision: r, Job: about.Job}), r
	}
	if next == 1 {
		next = 0
	}
	return lines, next, nil
}

func TestAuditPages(t *testing.T) {
	t.Parallel()
	base := startAPI(t, "127.0.0.1:0", API{Jobs: fakeJobs{}, Audits: audits{}})
	for _, c := range []struct {
		query  string
		status int
		says   string
	}{
		{"?limit=2", 200, `"revision":249,`},
		{"?limit=2", 200, `"next":"249"}`},
		{"?cursor=2", 200, `{"lines":[{"revision":1,`},
		{"?cursor=1", 200, `{"lines":[]}`},
		{"?cursor=0", 400, `cursor: "0" is no number`},
		{"?job=gone", 503, "read the audit: kafka is away"},
		{"?jbo=x", 400, "did you mean job?"},
	} {
		if status, text, p := request(t, http.MethodGet, base+"/api/v1/audit"+c.query, ""); status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.query, status, text)
		}
	}
}
