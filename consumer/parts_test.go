package consumer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
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

// routed is a program with a route for each name: PUT /<name>/<id>, if when finds something; one without a condition matches all.
func (f *fixture) routed(routes ...[2]string) *mapping.Program {
	f.Helper()
	var list []string
	for _, r := range routes {
		when := ""
		if r[1] != "" {
			when = fmt.Sprintf(`, "when": %q`, r[1])
		}
		list = append(list, fmt.Sprintf(`{"name": %q, "url": "%s/%s/{id}"%s}`, r[0], f.api.URL(), r[0], when))
	}
	p, faults := mapping.Compile(mapping.Config{Type: f.value(`"PUT"`), DataMap: f.value(`{"id": "$.msg.id", "n": "$.msg.n"}`), JSONBody: f.value(`["n"]`),
		Routes: f.value("[" + strings.Join(list, ", ") + "]")})
	if err := faults.Err(); err != nil {
		f.Fatal(err)
	}
	return p
}

// A row makes one part for each route that matches, one after the other. A part that is given up keeps neither the others nor the next row,
// and is redriven alone.
func TestPartsOfARow(t *testing.T) {
	f := setup(t, consumertest.Fake(t), refuse("/mail/a"))
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "a", 7), rec(topic, 0, "b", 9))
	cfg := f.job(topic, func(c *Config) {
		c.DeadLetterShare = 1
		c.Program = f.routed([2]string{"search", "$.msg[?(@ == 1 || @ == 7)]"}, [2]string{"mail", "$.msg[?(@ == 1 || @ == 7)]"}, [2]string{"audit", "$.msg[?(@ == 1)]"})
	})
	f.api.KeepHeaders = true
	k := &keeper{}
	f.runWith(k, cfg)
	f.committed(cfg, topic)
	all := f.api.Attempts()
	if got := paths(all); got != "/search/a /mail/a /audit/a /search/a /mail/a" {
		t.Fatalf("sent %s", got)
	}
	for _, a := range all {
		if name := strings.Split(a.Path, "/")[1]; a.Route != name || !strings.HasSuffix(a.Key, fmt.Sprintf("/0/%d/0/%s", a.Offset, name)) || a.Row != 0 || a.Attempt != 1 {
			t.Errorf("%s: route %q, key %q, attempt %d", a.Path, a.Route, a.Key, a.Attempt)
		}
	}
	if s := f.rowsCounted(k); s != "dead_lettered 2, delivered 3, unmatched 1" {
		t.Errorf("counted: %s", s)
	}
	d := f.letters(cfg)
	page := f.list(d, LetterFilter{})
	if len(page.Letters) != 2 || page.Letters[0].Source.Route != "mail" || page.Letters[0].Source.Row != 0 {
		t.Fatalf("%+v", page.Letters)
	}
	found := f.find(k, cfg, Query{Topic: topic, Offset: 0})
	if len(found) != 2 || found[1].State != FoundDeadLettered || found[1].Route != "mail" || !strings.Contains(found[0].Reason, "2 delivered") {
		t.Errorf("%+v", found)
	}
	if found := f.find(k, cfg, Query{Topic: topic, Offset: 0, Row: new(int32), Route: "audit"}); len(found) != 1 || found[0].State != FoundCommitted || found[0].Route != "audit" {
		t.Errorf("%+v", found)
	}
	if found := f.find(k, cfg, Query{Topic: topic, Offset: 1, Route: "audit"}); len(found) != 1 || found[0].State != FoundNoRow {
		t.Errorf("%+v", found)
	}
	f.api.SetAnswer(nil)
	if rep := f.redrive(d, LetterFilter{}, RedriveOptions{}); rep.Redriven != 2 {
		t.Errorf("%+v", rep)
	}
	again := f.api.Attempts()[len(all):]
	if got := paths(again); got != "/mail/a /mail/a" || !strings.HasSuffix(again[0].Key, "/0/0/0/mail/r1") {
		t.Errorf("redriven: %s, %s", got, again[0].Key)
	}
}

// rowsCounted is streamer_rows_total.
func (f *fixture) rowsCounted(k *keeper) string {
	f.Helper()
	families, err := k.metrics.Gather()
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if n := m.GetCounter().GetValue(); family.GetName() == "streamer_rows_total" && n > 0 {
				out = append(out, fmt.Sprint(m.GetLabel()[1].GetValue(), " ", n))
			}
		}
	}
	return strings.Join(out, ", ")
}

// find asks the ledger.
func (f *fixture) find(k *keeper, cfg Config, q Query) []Found {
	f.Helper()
	found, err := f.ledger(k, cfg).Find(f.Context(), q, "")
	if err != nil {
		f.Fatal(err)
	}
	return found
}

// A decision is about one part.
func TestAPartIsDecidedAbout(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		return sinktest.Answer{Status: map[bool]int{true: 503, false: 200}[strings.HasPrefix(a.Path, "/mail/")]}
	})
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	cfg := f.job(topic, func(c *Config) {
		c.Program = f.routed([2]string{"mail", ""}, [2]string{"search", ""})
		c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour}
	})
	j := f.run(cfg)
	at := Position{Topic: topic, Route: "search"}
	consumertest.WaitFor(t, within, "a part that waits behind the other one", func() (any, bool) {
		found, err := j.runner.Find(t.Context(), Query{Topic: topic})
		return found, err == nil && len(found) == 2 && found[1].State == FoundBehind && found[1].Behind.Route == "mail" && found[1].Route == "search" &&
			found[0].State == FoundBackOff && found[0].Next != nil
	})
	if err := j.runner.Decide(t.Context(), at, GiveUp, "ann"); err == nil || !strings.Contains(err.Error(), "waits behind "+topic+"/0/0/0/mail") {
		t.Errorf("decided about the part behind: %v", err)
	}
	at.Route = ""
	if err := j.runner.Decide(t.Context(), at, GiveUp, "ann"); err == nil || !strings.Contains(err.Error(), "routes mail, search") {
		t.Errorf("decided about a row of two parts: %v", err)
	}
	at.Route = "mail"
	if err := j.runner.Decide(t.Context(), at, GiveUp, "ann"); err != nil {
		t.Fatal(err)
	}
	f.committed(cfg, topic)
	if l := f.list(f.letters(cfg), LetterFilter{}).Letters; len(l) != 1 || l[0].Source.Route != "mail" || !strings.Contains(l[0].Reason, "given up by ann") {
		t.Errorf("%+v", l)
	}
	if got := paths(f.api.Attempts()); got != "/mail/a /search/a" {
		t.Errorf("sent %s", got)
	}
}

// Routes change while rows wait: what a route of the same name has delivered is not sent again, whatever its place; a row all of whose parts
// are final stays so; a new route gets the others.
func TestAChangeOfRoutesKeepsWhatIsFinal(t *testing.T) {
	routesChange(t, func(j *running, _ Config, next Config) { j.change(next) }, "/audit/k2 /mail/k2 /new/k2")
}

// By a restart nothing is known of which parts a row had, so the rows of a record that is not finished are sent anew.
func TestARestartWithOtherRoutes(t *testing.T) {
	routesChange(t, func(j *running, _ Config, next Config) {
		if err := j.stop(); err != nil {
			t.Error(err)
		}
		j.f.run(next)
	}, "/audit/k0 /audit/k2 /mail/k0 /mail/k1 /mail/k2 /new/k0 /new/k1 /new/k2")
}

// And by one with the same routes each part is sent once.
func TestARestartWithTheSameRoutes(t *testing.T) {
	routesChange(t, func(j *running, cfg Config, _ Config) {
		if err := j.stop(); err != nil {
			t.Error(err)
		}
		j.f.run(cfg)
	}, "/mail/k2 /search/k2")
}

// routesChange delivers parts of three rows of a record and lets others wait, until change has been called. Then it looks at what is sent.
func routesChange(t *testing.T, change func(j *running, cfg, next Config), want string) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		if a.Path == "/mail/k2" { // the first part of the last row
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	topic := f.cluster.Topic(t, "t", 1)
	var rows []any
	for n := range 3 {
		rows = append(rows, map[string]any{"id": fmt.Sprint("k", n), "n": int64(n)})
	}
	consumertest.Produce(t, f.producer, &kgo.Record{Topic: topic, Value: schemastest.Container(idSchema, "deflate", rows...)})
	cfg := f.job(topic, func(c *Config) {
		c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour}
	})
	cfg.Program = f.routed([2]string{"mail", ""}, [2]string{"search", ""})
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "all parts but the last row's", func() (any, bool) {
		found, err := j.runner.Find(t.Context(), Query{Topic: topic})
		n := 0
		for _, x := range found {
			if x.State == FoundFinished {
				n++
			}
		}
		return found, err == nil && n == 4
	})
	consumertest.WaitFor(t, within, "a commit that tells of them", func() (any, bool) {
		m := f.metadataOf(cfg.Group, topic)[0]
		return m, m != ""
	})
	before := f.api.Len()
	f.api.SetAnswer(nil)
	next := cfg
	next.Program = f.routed([2]string{"new", ""}, [2]string{"mail", ""}, [2]string{"audit", "$.msg[?(@ == 2 || @ == 0)]"})
	change(j, cfg, next)
	f.committed(cfg, topic)
	got := strings.Fields(paths(f.api.Attempts()[before:]))
	slices.Sort(got)
	if s := strings.Join(got, " "); s != want {
		t.Errorf("sent anew: %s\nwant %s", s, want)
	}
}

// A change makes it unknown which routes match a row of which one part is final and one waits: the row is given up, not forgotten. One all of
// whose parts are final stays so.
func TestAChangeThatCannotTellTheRoutesOfARow(t *testing.T) {
	f := setup(t, consumertest.Fake(t), func(a *sinktest.Attempt) sinktest.Answer {
		return sinktest.Answer{Status: map[bool]int{true: 503, false: 200}[a.Path == "/mail/k1"]}
	})
	topic := f.cluster.Topic(t, "t", 1)
	var rows []any
	for n := range 2 {
		rows = append(rows, map[string]any{"id": fmt.Sprint("k", n), "n": int64(n), "x": 0.5})
	}
	value := schemastest.Container(`{"type": "record", "name": "r", "fields": [
		{"name": "id", "type": "string"}, {"name": "n", "type": "long"}, {"name": "x", "type": "double"}]}`, "null", rows...)
	number := func(x float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(x)) }
	value = bytes.ReplaceAll(value, number(0.5), number(math.NaN())) // which JSON has none of
	consumertest.Produce(t, f.producer, &kgo.Record{Topic: topic, Value: value})
	cfg := f.job(topic, func(c *Config) { c.Sink.Retry = sink.Retry{Initial: time.Hour, Max: time.Hour} })
	routes := [][2]string{{"search", ""}, {"mail", "$.msg[?(@ == 1)]"}}
	cfg.Program = f.routed(routes...)
	j := f.run(cfg)
	consumertest.WaitFor(t, within, "the last part alone", func() (any, bool) {
		found, err := j.runner.Find(t.Context(), Query{Topic: topic, Row: new(int32(1)), Route: "mail"})
		return found, err == nil && len(found) == 1 && found[0].State == FoundBackOff
	})
	next := cfg
	path, err := mapping.CompilePath("$.msg.x")
	if err != nil {
		t.Fatal(err)
	}
	next.Order = Order{By: OrderPath, Path: path}
	j.change(next)
	f.committed(cfg, topic)
	if l := f.list(f.letters(cfg), LetterFilter{}).Letters; len(l) != 1 || l[0].Source.Row != 1 || l[0].Class != sink.Payload {
		t.Errorf("%+v", l)
	}
}
