package consumer

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/schemas/schemastest"
	"streamer/sink"
	"streamer/sink/sinktest"
)

// refuse answers 422 to the paths given, 200 to all else.
func refuse(paths ...string) func(*sinktest.Attempt) sinktest.Answer {
	return func(a *sinktest.Attempt) sinktest.Answer {
		if slices.Contains(paths, a.Path) {
			return sinktest.Answer{Status: http.StatusUnprocessableEntity}
		}
		return sinktest.Answer{}
	}
}

// letters gives the dead letters of a job, on an instance of their own.
func (f *fixture) letters(cfg Config) *DeadLetters {
	f.Helper()
	i := f.instance(Client{Brokers: f.cluster.Brokers}, 0)
	f.Cleanup(i.Close)
	return i.DeadLetters(cfg)
}

func (f *fixture) list(d *DeadLetters, filter LetterFilter) LetterPage {
	f.Helper()
	page, err := d.List(f.Context(), filter, "", 0)
	if err != nil {
		f.Fatal(err)
	}
	return page
}

// brief is what a list has, in short: key class state.
func brief(p LetterPage) string {
	var out []string
	for _, l := range p.Letters {
		out = append(out, fmt.Sprintf("%s %s %s", l.Key, l.Class, l.State))
	}
	return strings.Join(out, ", ")
}

func path(t *testing.T, s string) *mapping.Path {
	t.Helper()
	p, err := mapping.CompilePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDeadLettersAreListedAndShown(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Fake(t), refuse("/rows/a", "/rows/b", "/rows/r1"))
	topic := f.cluster.Topic(t, "t", 2)
	a := rec(topic, 0, "a", 7)
	a.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("abc")}, {Key: "streamer-job", Value: []byte("another")}}
	container := schemastest.Container(idSchema, "null", map[string]any{"id": "r0", "n": int64(1)}, map[string]any{"id": "r1", "n": int64(40)})
	consumertest.Produce(t, f.producer, a, rec(topic, 0, "ok", 1), rec(topic, 1, "b", 9),
		&kgo.Record{Topic: topic, Key: []byte("cut"), Value: []byte(`{"id": `)},
		&kgo.Record{Topic: topic, Key: []byte("box"), Value: container})
	cfg := f.job(topic)
	d := f.letters(cfg)
	if page := f.list(d, LetterFilter{}); len(page.Letters) > 0 || !page.Complete || page.Counts == nil {
		t.Errorf("a topic that is missing is an empty list, not %+v", page)
	}
	f.run(cfg)
	f.committed(cfg, topic)
	page := f.list(d, LetterFilter{})
	if fmt.Sprint(page.Counts) != "[{payload open 1} {rejected open 3}]" || len(page.Letters) != 4 || !page.Complete || page.Next != "" || page.Scanned != 4 {
		t.Fatalf("%+v", page)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		filter LetterFilter
		want   string
		blind  int // on which where could not be tried
	}{
		"by class":                {LetterFilter{Class: []sink.Class{sink.Payload}}, "cut", 0},
		"by key":                  {LetterFilter{Key: new("b")}, "b", 0},
		"by time, since":          {LetterFilter{Since: now.Add(time.Hour)}, "", 0},
		"by time, until":          {LetterFilter{Until: now.Add(-time.Hour)}, "", 0},
		"by row":                  {LetterFilter{Where: path(t, "$.msg[?(@.n > 8)]")}, "", 1},
		"by a member of the row":  {LetterFilter{Where: path(t, "$[?(@.n > 8)].n")}, "b box", 1},
		"by the row, not another": {LetterFilter{Where: path(t, "$[?(@.n == 1)]")}, "", 1},
		"by the record":           {LetterFilter{Where: path(t, "$.kafka.headers.trace")}, "a", 1},
		"by state":                {LetterFilter{State: []LetterState{LetterRedriven}}, "", 0},
	} {
		page := f.list(d, c.filter)
		var keys []string
		for _, l := range page.Letters {
			keys = append(keys, string(l.Key))
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != c.want || page.Undecodable != c.blind {
			t.Errorf("%s: %q, %d not decoded; want %q, %d", name, got, page.Undecodable, c.want, c.blind)
		}
	}
	listed := f.list(d, LetterFilter{Key: new("a")}).Letters[0]
	shown, err := d.Show(t.Context(), listed.Partition, listed.Offset)
	if err != nil {
		t.Fatal(err)
	}
	if s := shown.Source; s.Topic != topic || s.TopicID == "" || s.Partition != 0 || s.Offset != 0 || s.Row != 0 || shown.Status != 422 || shown.Attempts != 1 ||
		shown.State != LetterOpen || string(shown.Value) != string(a.Value) || string(shown.Key) != "a" || fmt.Sprint(shown.Headers) != fmt.Sprint([]RecordHeader{
		{"trace", []byte("abc")}, {"streamer-job", []byte("another")}}) || shown.FirstAttempt.IsZero() || s.Timestamp.IsZero() {
		t.Errorf("%+v", shown)
	}
	if _, err := d.Show(t.Context(), 0, 99); !errors.Is(err, ErrNoRecord) {
		t.Errorf("a letter that is not there: %v", err)
	}
	if _, err := d.Show(t.Context(), 99, 0); !errors.Is(err, ErrNoRecord) {
		t.Errorf("a letter of a partition that is not there: %v", err)
	}
}

// A list goes over several partitions page by page. What does not belong there is shown as such.
func TestDeadLettersArePaged(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	cfg := f.job("t", func(c *Config) { c.DeadLetterTopic = f.cluster.Topic(t, "dead", 3) })
	letter := func(partition int32, key string, change ...func(*Letter)) *kgo.Record {
		l := Letter{Job: cfg.Job, Class: sink.Rejected, Source: LetterSource{Topic: "t", TopicID: "id", Offset: int64(len(key))}}
		for _, c := range change {
			c(&l)
		}
		r := envelope(cfg.DeadLetterTopic, &l, original{key: []byte(key), value: []byte(`{}`)})
		r.Partition = partition
		return r
	}
	damaged := letter(2, "damaged")
	for i := range damaged.Headers {
		if damaged.Headers[i].Key == "streamer-offset" {
			damaged.Headers[i].Value = []byte("many")
		}
	}
	consumertest.Produce(t, f.producer, letter(0, "a"), letter(0, "bb"), letter(2, "ccc"), damaged,
		&kgo.Record{Topic: cfg.DeadLetterTopic, Partition: 2, Key: []byte("stranger"), Value: []byte("?")},
		letter(2, "dddd"), letter(2, "not ours", func(l *Letter) { l.Job = "another" }))
	d := f.letters(cfg)
	var got []string
	pages, cursor := 0, ""
	for {
		page, err := d.List(t.Context(), LetterFilter{}, cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Letters {
			got = append(got, fmt.Sprintf("%s:%s:%s", l.Key, l.State, l.Problem))
		}
		if pages++; pages == 1 && (page.OtherJobs != 1 || page.Foreign != 2 || fmt.Sprint(page.Counts) != "[{rejected open 4}]") {
			t.Errorf("%+v", page)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	want := "a:open:|bb:open:|ccc:open:|damaged:foreign:a damaged dead letter: the header streamer-offset is no number|" +
		"stranger:foreign:no dead letter: it has no header streamer-job|dddd:open:"
	if strings.Join(got, "|") != want || pages != 3 {
		t.Errorf("%d pages: %s", pages, strings.Join(got, "|"))
	}
	var wrong *CursorError
	if _, err := d.List(t.Context(), LetterFilter{}, "x", 2); !errors.As(err, &wrong) {
		t.Errorf("a wrong cursor: %v", err)
	}
	if _, err := f.letters(f.job("t", func(c *Config) { c.DeadLetterTopic = "" })).List(t.Context(), LetterFilter{}, "", 2); !errors.Is(err, ErrLettersOff) {
		t.Errorf("dead letters off: %v", err)
	}
}

// The fold, as a table of logs: what stands in the topic, and the states that come of it.
func TestLetterFold(t *testing.T) {
	row := rowAddress{"t", "id", 0, 5, part{}}
	letter := func(redrives int, claim string) func(*letterFold, int64) {
		return func(f *letterFold, at int64) {
			l := Letter{Offset: at, Source: LetterSource{Topic: "t", TopicID: "id", Offset: 5}, Redrives: redrives, State: LetterOpen, claim: claim}
			f.letter(&l, true)
		}
	}
	says := func(word, claim string, of int64) func(*letterFold, int64) {
		return func(f *letterFold, at int64) {
			f.outcome(&outcome{word: word, job: "j", claim: claim, source: row, of: LetterAddress{0, of}, offset: at})
		}
	}
	type log = []func(*letterFold, int64)
	for name, c := range map[string]struct {
		log  log
		want string
	}{
		"open":                             {log{letter(0, "")}, "open"},
		"redriven":                         {log{letter(0, ""), says("redriven", "c", 0)}, "redriven"},
		"redriven, one row of two letters": {log{letter(0, ""), letter(0, ""), says("redriven", "c", 0)}, "redriven redriven"},
		"given up":                         {log{letter(0, ""), says("given up", "c", 0)}, "given up"},
		"filtered":                         {log{letter(0, ""), says("filtered", "c", 0)}, "redriven"},
		"failed again":                     {log{letter(0, ""), letter(1, "c")}, "failed again open"},
		"failed again, then redriven":      {log{letter(0, ""), letter(1, "c"), says("redriven", "c", 1)}, "failed again redriven"},
		"given up anew after a redrive":    {log{letter(0, ""), says("redriven", "c", 0), letter(0, "")}, "redriven open"},
		"void":                             {log{letter(0, ""), letter(0, ""), says("void", "", 1)}, "open void"},
		"an outcome of a fenced redrive":   {log{letter(0, ""), says("claim", "c", 0), says("claim", "d", 0), says("redriven", "c", 0)}, "open"},
		"a letter of a fenced redrive":     {log{letter(0, ""), says("claim", "d", 0), letter(1, "c")}, "open void"},
	} {
		f := newLetterFold("j", 0)
		for at, step := range c.log {
			step(f, int64(at))
		}
		var got []string
		for _, l := range f.letters {
			got = append(got, string(l.state))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
	t.Run("what is final is forgotten when room is needed", func(t *testing.T) {
		f := newLetterFold("j", 2)
		letter(0, "")(f, 0)
		letter(1, "")(f, 1)
		letter(2, "")(f, 2)
		letter(3, "")(f, 3)
		if len(f.letters) > 2 || f.dropped != 0 || !f.letters[len(f.letters)-1].open() {
			t.Errorf("%d letters, %d dropped", len(f.letters), f.dropped)
		}
	})
}

func TestOutcomeRecords(t *testing.T) {
	o := outcome{word: outcomeWordRedriven, job: "j", of: LetterAddress{2, 9}, source: rowAddress{"t", "id", 3, 4, part{row: -1}}, claim: "c", by: "ann",
		reason: "why", lane: laneValue{own: true}}
	rec := o.record("dead")
	for _, h := range rec.Headers {
		if !strings.HasPrefix(h.Key, "streamer-outcome") {
			t.Errorf("header %s: it could be taken for a dead letter", h.Key)
		}
	}
	if rec.Key != nil || rec.Value != nil || rec.Partition != 2 {
		t.Errorf("%+v", rec)
	}
	if got, ok := outcomeOf(rec); !ok || got != func() outcome { o.at, o.offset = got.at, got.offset; return o }() {
		t.Errorf("%+v, want %+v", got, o)
	}
	if l := letterOf(rec); l.State != LetterForeign {
		t.Errorf("an outcome is no dead letter: %+v", l)
	}
	for _, spoil := range []string{"streamer-outcome-of", "streamer-outcome-source", "streamer-outcome"} {
		bad := o.record("dead")
		for i := range bad.Headers {
			if bad.Headers[i].Key == spoil {
				bad.Headers[i].Value = nil
			}
		}
		if _, ok := outcomeOf(bad); ok {
			t.Errorf("a damaged %s counts", spoil)
		}
	}
}
