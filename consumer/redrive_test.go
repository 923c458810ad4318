package consumer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
	"streamer/schemas/schemastest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// mended refuses paths with a prefix until ok.
func mended(ok *atomic.Bool, prefix string) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		if strings.HasPrefix(a.Path, prefix) && !ok.Load() {
			return sinktest.Answer{Status: http.StatusUnprocessableEntity}
		}
		return sinktest.Answer{}
	}
}

func (f *fixture) redrive(d *DeadLetters, filter LetterFilter, o RedriveOptions) RedriveReport {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), within)
	defer cancel()
	rep, err := d.Redrive(ctx, filter, o, nil)
	if err != nil {
		f.Fatalf("redrive: %v (%+v)", err, rep)
	}
	return rep
}

// sent is what attempts of a status brought, in their order: path and n.
func sent(attempts []sinktest.Attempt) string {
	var out []string
	for _, a := range attempts {
		out = append(out, strings.TrimPrefix(a.Path, "/rows/")+strings.Trim(string(a.Body), `{"n:}`))
	}
	return strings.Join(out, " ")
}

// oneLetter is a job that has given one row up, that of key a, and its dead letters.
func oneLetter(t *testing.T) (*fixture, Config, *DeadLetters) {
	t.Helper()
	f := setup(t, consumertest.Fake(t), refuse("/rows/a"))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic)
	f.run(cfg)
	f.committed(cfg, topic)
	return f, cfg, f.letters(cfg)
}

// The whole round: rows rejected, the API mended, a dry run, the redrive: each arrives once, in order, at its original position, with
// another idempotency key; the list shows what became of it; a second redrive has nothing to do.
func TestRedrive(t *testing.T) { redriveRound(t, consumertest.Fake(t)) }

func redriveRound(t *testing.T, c *consumertest.Cluster) {
	var ok atomic.Bool
	f := setup(t, c, mended(&ok, "/rows/bad"))
	topic := f.cluster.Topic(t, "t", 2)
	for n := range 5 {
		consumertest.Produce(t, f.producer, rec(topic, 0, "bad0", n), rec(topic, 0, "good", n), rec(topic, 1, "bad1", n))
	}
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 1 })
	j := f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	ok.Store(true)
	before := f.api.Len()

	dry := f.redrive(d, LetterFilter{}, RedriveOptions{DryRun: true})
	if dry.Matching != 10 || fmt.Sprint(dry.Classes) != "[{rejected open 10}]" || len(dry.Samples) != 3 || dry.Left != 10 || f.api.Len() != before {
		t.Errorf("dry run: %+v", dry)
	}
	if s := dry.Samples[0]; len(s.Rows) != 1 || s.Rows[0].Verdict != "send" || !strings.HasSuffix(s.Rows[0].Request.URL, "/rows/bad0") && !strings.HasSuffix(s.Rows[0].Request.URL, "/rows/bad1") {
		t.Errorf("sample %+v", s)
	}
	// All but the last row of each key have newer rows.
	if n := dry.Newer; n.Letters != 8 || !n.Complete {
		t.Errorf("newer rows: %+v", n)
	}

	rep := f.redrive(d, LetterFilter{}, RedriveOptions{By: "ann"})
	if rep.Redriven != 10 || rep.Left != 0 || rep.FailedAgain != 0 {
		t.Errorf("%+v", rep)
	}
	again := f.api.Attempts()[before:]
	for _, key := range []string{"bad0", "bad1"} {
		mine := slices.DeleteFunc(slices.Clone(again), func(a sinktest.Attempt) bool { return a.Path != "/rows/"+key })
		if got, want := sent(mine), fmt.Sprintf("%[1]s0 %[1]s1 %[1]s2 %[1]s3 %[1]s4", key); got != want {
			t.Errorf("redriven %s, want %s", got, want)
		}
	}
	for _, a := range again {
		if a.Topic != topic || !strings.HasSuffix(a.Key, fmt.Sprintf("/%d/%d/0/r1", a.Partition, a.Offset)) || a.Attempt != 1 {
			t.Errorf("attempt %+v", a)
		}
	}
	page := f.list(d, LetterFilter{})
	if fmt.Sprint(page.Counts) != "[{rejected redriven 10}]" || page.Letters[0].OutcomeBy != "ann" || page.Letters[0].OutcomeAt.IsZero() {
		t.Errorf("%+v", page)
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Matching != 0 || f.api.Len() != before+10 {
		t.Errorf("a second redrive: %+v", rep)
	}
	if err := j.stop(); err != nil {
		t.Fatal(err)
	}
}

// What fails again is a new dead letter with one redrive more; from the fifth on it is refused, unless asked for.
func TestRedriveGuardsAgainstLoops(t *testing.T) {
	f, _, d := oneLetter(t)
	for range redriveGuard {
		if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.FailedAgain != 1 {
			t.Fatalf("%+v", rep)
		}
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Refused != 1 || rep.Matching != 0 || f.api.Len() != 1+redriveGuard {
		t.Errorf("%+v", rep)
	}
	page := f.list(d, LetterFilter{})
	last := page.Letters[len(page.Letters)-1]
	if fmt.Sprint(page.Counts) != "[{rejected failed again 5} {rejected open 1}]" || last.Redrives != 5 || last.Source.Offset != 0 || last.State != LetterOpen {
		t.Errorf("%+v", page)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{PastGuard: true, KeepKeys: true}); rep.Redriven != 1 {
		t.Errorf("%+v", rep)
	}
	if a := f.api.Attempts(); !strings.HasSuffix(a[len(a)-1].Key, "/0/0/0") || !strings.HasSuffix(a[len(a)-2].Key, "/0/0/0/r5") {
		t.Errorf("keys %s, %s", a[len(a)-2].Key, a[len(a)-1].Key)
	}
}

// Rows that the present definition does not send are final without a request; records that it can decode now send all their rows.
func TestRedriveByThePresentDefinition(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a", "/rows/b", "/rows/r1"))
	topic := f.cluster.Topic(t, "t", 1)
	whole := schemastest.Container(idSchema, "null", map[string]any{"id": "r0", "n": int64(10)}, map[string]any{"id": "r1", "n": int64(10)})
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 9), &kgo.Record{Topic: topic, Key: []byte("box"), Value: whole},
		&kgo.Record{Topic: topic, Key: []byte("gone")})
	cfg := f.job(topic, func(c *Config) { c.Schemas.Format, c.Tombstone, c.DeadLetterShare = "json", TombstoneReject, 1 })
	f.run(cfg)
	f.committed(cfg, topic)
	cfg.Schemas.Format, cfg.Tombstone = "auto", TombstoneSkip
	cfg.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, `"$[?(@.n > 4)]"`)
	d := f.letters(cfg)
	before := f.api.Len()
	f.api.SetAnswer(refuse("/rows/r1"))
	rep := f.redrive(d, LetterFilter{}, RedriveOptions{})
	if rep.Redriven != 1 || rep.Filtered != 2 || rep.FailedAgain != 1 {
		t.Errorf("%+v", rep)
	}
	got := strings.Split(sent(f.api.Attempts()[before:]), " ")
	slices.Sort(got)
	if fmt.Sprint(got) != "[b9 r010 r110]" {
		t.Errorf("sent %v", got)
	}
	var lines []string
	for _, l := range f.list(d, LetterFilter{}).Letters {
		lines = append(lines, fmt.Sprintf("%s/%d %s %s%s", l.Key, l.Source.Row, l.State, l.Outcome, l.OutcomeReason))
	}
	slices.Sort(lines)
	want := "a/0 redriven filtered|b/0 redriven |box/-1 redriven 2 rows: 1 delivered, 1 given up again|box/1 open |gone/-1 redriven tombstone"
	if s := strings.Join(lines, "|"); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

// A redrive is stopped while rows are in flight, and called again: it goes on where it was, and nothing that was recorded is sent again.
func TestRedriveIsStoppedAndResumed(t *testing.T) {
	var ok atomic.Bool
	f := setup(t, consumertest.Fake(t), mended(&ok, "/rows/"))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 40 {
		consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", n%4), n))
	}
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 1 })
	f.run(cfg)
	f.committed(cfg, topic)
	before := f.api.Len()
	f.api.SetAnswer(func(a *sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 10 * time.Millisecond} })
	d := f.letters(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		f.attempts(before + 10)
	}()
	rep, err := d.Redrive(ctx, LetterFilter{}, RedriveOptions{}, nil)
	if !errors.Is(err, context.Canceled) || rep.Redriven == 0 || rep.Redriven == 40 || rep.Left != 40-rep.Redriven {
		t.Fatalf("%v: %+v", err, rep)
	}
	if n := f.api.Len() - before; n != rep.Redriven {
		t.Errorf("%d attempts, %d recorded: those in flight end before the redrive does", n, rep.Redriven)
	}
	if again := f.redrive(d, LetterFilter{}, RedriveOptions{}); again.Redriven != 40-rep.Redriven {
		t.Errorf("resumed: %+v after %+v", again, rep)
	}
	inOrder(t, f.api.Attempts()[before:])
	if n := f.api.Len() - before; n != 40 {
		t.Errorf("%d attempts for 40 letters", n)
	}
}

// Limit, rate and filter; and two redrives at once: the second is refused, in this process and in another.
func TestRedriveIsBoundedAndAlone(t *testing.T) {
	t.Parallel()
	var ok atomic.Bool
	f := setup(t, consumertest.Fake(t), mended(&ok, "/rows/"))
	topic := f.cluster.Topic(t, "t", 1)
	for n := range 9 {
		consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", n%3), n))
	}
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 1 })
	f.run(cfg)
	f.committed(cfg, topic)
	before := f.api.Len()
	ok.Store(true)
	d := f.letters(cfg)
	if rep := f.redrive(d, LetterFilter{Key: new("k1")}, RedriveOptions{Limit: 2}); rep.Redriven != 2 || rep.Matching != 2 {
		t.Errorf("%+v", rep)
	}
	if got := sent(f.api.Attempts()[before:]); got != "k11 k14" {
		t.Errorf("sent %s", got)
	}
	hold := make(chan struct{})
	f.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { <-hold; return sinktest.Answer{} })
	ended := make(chan error, 1)
	go func() {
		_, err := d.Redrive(t.Context(), LetterFilter{}, RedriveOptions{Rate: 1000}, nil)
		ended <- err
	}()
	consumertest.WaitFor(t, within, "an attempt", func() (any, bool) { return f.api.Len(), f.api.Len() > before+2 })
	if _, err := d.Redrive(t.Context(), LetterFilter{}, RedriveOptions{}, nil); !errors.Is(err, ErrRedriving) {
		t.Errorf("a second one in this process: %v", err)
	}
	if _, err := d.GiveUp(t.Context(), LetterFilter{}, GiveUpOptions{By: "ann"}); !errors.Is(err, ErrRedriving) {
		t.Errorf("giving up what is being sent: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := f.letters(cfg).Redrive(soon, LetterFilter{}, RedriveOptions{}, nil); err == nil {
		t.Errorf("a second one in another process: %v", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// An operator gives letters up: no redrive takes them.
func TestLettersAreGivenUp(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/rows/a", "/rows/b"))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 1))
	cfg := f.job(topic)
	f.run(cfg)
	f.committed(cfg, topic)
	d := f.letters(cfg)
	if n, err := d.GiveUp(t.Context(), LetterFilter{Key: new("a"), Class: []sink.Class{sink.Rejected}}, GiveUpOptions{By: "ann"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got := strings.Split(brief(f.list(d, LetterFilter{})), ", ") // the two were given up at the same time
	slices.Sort(got)
	if want := []string{"a rejected given up", "b rejected open"}; !slices.Equal(got, want) {
		t.Error(got)
	}
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{DryRun: true}); rep.Matching != 1 {
		t.Errorf("%+v", rep)
	}
}

// A redrive is frozen before it records that a row was delivered; a newer one has begun when it goes on. Its line counts for nothing: the
// row is sent again by the newer one, and nobody takes it for final before.
func TestAFrozenRedriveRecordsNothing(t *testing.T) {
	f, cfg, d := oneLetter(t)
	letter := f.list(d, LetterFilter{}).Letters[0]
	frozen, ctx, err := d.newLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := frozen.claim(ctx, cfg.DeadLetterTopic, "frozen"); err != nil {
		t.Fatal(err)
	}
	frozen.release()
	newer, ctx, err := d.newLease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := newer.claim(ctx, cfg.DeadLetterTopic, "newer"); err != nil {
		t.Fatal(err)
	}
	newer.release()
	late := outcome{word: outcomeWordRedriven, job: cfg.Job, claim: frozen.id, of: LetterAddress{letter.Partition, letter.Offset}, source: letter.Source.address()}
	consumertest.Produce(t, f.producer, late.record(cfg.DeadLetterTopic))
	if got := brief(f.list(d, LetterFilter{})); got != "a rejected open" {
		t.Error(got)
	}
}

// A redrive that loses its group ends at once, says so, and records nothing any more.
func TestARedriveThatIsPutOutEnds(t *testing.T) {
	f, _, d := oneLetter(t)
	before := f.api.Len()
	f.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Fault: sinktest.Hang} })
	ended := make(chan error, 1)
	go func() {
		_, err := d.Redrive(t.Context(), LetterFilter{}, RedriveOptions{}, nil)
		ended <- err
	}()
	consumertest.WaitFor(t, within, "an attempt", func() (any, bool) { return f.api.Len(), f.api.Len() > before })
	f.cluster.Fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1, When: func(r kmsg.Request) bool {
		return r.(*kmsg.HeartbeatRequest).Group == d.redriveGroup()
	}})
	if err := <-ended; !errors.Is(err, errLeaseLost) {
		t.Errorf("ended with %v", err)
	}
	if got := brief(f.list(d, LetterFilter{})); got != "a rejected open" {
		t.Error(got)
	}
}
