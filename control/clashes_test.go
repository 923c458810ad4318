package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
)

// flowing is a job that reads topics, with commas between, and writes as more says.
func flowing(id, owner, topics, more string) []byte {
	names, err := json.Marshal(strings.Split(topics, ","))
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(nil, `{"id": %q, "owner": %q, "type": "PUT", "topic": %s, "url": "https://api.test/{id}", "datamap": {"id": "$.msg.id"}%s}`, id, owner, names, more)
}

// loses is where the dead letters of a flowing job go.
func loses(topic string) string { return fmt.Sprintf(`, "dead_letter": {"topic": %q}`, topic) }

// found are all faults, with their fields and mends; else what the error says.
func found(err error) string {
	var text []string
	for _, f := range faultsOf(err) {
		text = append(text, f.Field+": "+f.Detail+" | "+f.Mend)
	}
	if text == nil {
		return fmt.Sprint(err)
	}
	return strings.Join(text, "\n")
}

const (
	lostOfA, lostOfB, lostOfC = "ns.out.a-lost", "ns.out.b-lost", "ns.out.c-lost"
	backTo                    = "dead_letter.topic: its dead letters come back to it: "
)

// A job is refused whose dead letters would come back to it by way of others, with the way spelled out; so is one that is tried, compared or
// looked at only. What tells of answers may go round, which is warned of.
func TestDeadLettersThatGoRoundAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		there []string // documents
		last  []byte
		// fault is the beginning of the only one; warning that of a job that is taken; empty: neither.
		fault, warning string
	}{
		"two, by their names": {there: []string{string(flowing("b", "b-team", lostOfA, loses(lostOfB)))},
			last: flowing("a", "a-team", "s,"+lostOfB, loses(lostOfA)), fault: backTo + "a -> ns.out.a-lost -> b -> ns.out.b-lost -> a; "},
		"the other one reads by a pattern": {there: []string{string(flowing("b", "b-team", `^ns\.out\.a-.*$`, loses(lostOfB)))},
			last: flowing("a", "a-team", "s,"+lostOfB, loses(lostOfA)), fault: backTo + "a -> ns.out.a-lost -> b -> ns.out.b-lost -> a; "},
		"both do": {there: []string{string(flowing("b", "b-team", `^ns\.out\.a-.*$`, loses(lostOfB)))},
			last: flowing("a", "a-team", `s,^ns\.out\.(b|c)-lost$`, loses(lostOfA)), fault: backTo + "a -> ns.out.a-lost -> b -> ns.out.b-lost -> a; "},
		"three": {there: []string{string(flowing("b", "b-team", lostOfA, loses(lostOfB))), string(flowing("c", "b-team", lostOfB, loses(lostOfC)))},
			last: flowing("a", "a-team", "s,"+lostOfC, loses(lostOfA)), fault: backTo + "a -> ns.out.a-lost -> b -> ns.out.b-lost -> c -> ns.out.c-lost -> a; "},
		"the shortest way of two": {there: []string{string(flowing("b", "b-team", lostOfA, loses(lostOfB))), string(flowing("c", "b-team", lostOfA+","+lostOfB, loses(lostOfC)))},
			last: flowing("a", "a-team", "s,"+lostOfC, loses(lostOfA)), fault: backTo + "a -> ns.out.a-lost -> c -> ns.out.c-lost -> a; "},
		"one whose jobs may not be seen": {there: []string{string(flowing("b", "c-team", lostOfA, loses(lostOfB))), string(flowing("c", "c-team", lostOfB, loses(lostOfC)))},
			last:  flowing("a", "a-team", "s,"+lostOfC, loses(lostOfA)),
			fault: backTo + "a -> ns.out.a-lost -> a job of another owner -> a job of another owner -> ns.out.c-lost -> a; "},
		"with an owner that may write other topics": {there: []string{string(flowing("b", "b-team", "lost.a", loses("lost.b")))},
			last: flowing("a", "a-team", "s,lost.b", loses("lost.a")), fault: backTo + "a -> lost.a -> b -> lost.b -> a; "},
		"with parked keys": {there: []string{string(flowing("b", "b-team", lostOfA, loses(lostOfB)))},
			last: flowing("a", "a-team", "s,"+lostOfB, `, "dead_letter": {"topic": "ns.out.a-lost", "key": "park"}`), fault: backTo},
		"itself": {last: flowing("a", "a-team", "s,"+lostOfA, loses(lostOfA)), fault: `dead_letter.topic: the job reads topic "ns.out.a-lost" itself`},
		"itself, by a pattern": {last: flowing("a", "a-team", `s,^ns\.out\..*$`, loses(lostOfA)),
			fault: `dead_letter.topic: the job reads topic "ns.out.a-lost" itself`},

		"a way that does not close": {there: []string{string(flowing("b", "b-team", lostOfA, loses(lostOfB)))}, last: flowing("a", "a-team", "s", loses(lostOfA))},
		"one with dead letters off": {there: []string{string(flowing("b", "b-team", lostOfA, `, "dead_letter": "off"`))}, last: flowing("a", "a-team", "s,"+lostOfB, loses(lostOfA))},
		"one with dead letters that no job reads": {there: []string{string(flowing("b", "b-team", `^.*\.a-lost$`, ""))},
			last: flowing("a", "a-team", `s,^ns.*\.b.*$`, loses(lostOfA))},
		"two with the same dead letters": {there: []string{string(flowing("b", "b-team", "s", loses(lostOfA)))}, last: flowing("a", "a-team", "s", loses(lostOfA))},
		"others that go round among themselves": {there: []string{string(flowing("b", "b-team", lostOfA, `, "callback": {"topic": "ns.out.b"}`)), string(flowing("c", "b-team", "ns.out.b", `, "callback": {"topic": "ns.out.a-lost"}`))},
			last: flowing("a", "a-team", "s", loses(lostOfA))},

		"answers that go round": {there: []string{string(flowing("b", "b-team", "ns.out.a", `, "callback": {}`))},
			last:    flowing("a", "a-team", "s,ns.out.b", `, "callback": {}`),
			warning: "callback.topic: what it writes comes back to it: a -> ns.out.a -> b -> ns.out.b -> a | if that is not meant"},
		"answers and dead letters": {there: []string{string(flowing("b", "b-team", lostOfA, `, "response": {}`))},
			last:    flowing("a", "a-team", "s,ns.out.b.responses", loses(lostOfA)),
			warning: "dead_letter.topic: what it writes comes back to it: a -> ns.out.a-lost -> b -> ns.out.b.responses -> a | if that is not meant"},
		"what a route tells": {there: []string{string(flowing("b", "b-team", "ns.out.a", `, "callback": {}`))},
			last: []byte(`{"id": "a", "owner": "a-team", "topic": ["s", "ns.out.b"], "routes": [{"name": "r", "type": "PUT", "url": "https://api.test/{id}", "callback": true}],
				"datamap": {"id": "$.msg.id"}}`),
			warning: "callback.topic: what it writes comes back to it: a -> ns.out.a -> b -> ns.out.b -> a | "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, p := t.Context(), testProcess(t)
			p.Grants = job.Grants{job.Everyone: {Produce: []string{"ns.out.*", "lost.*"}}}
			d := NewDefinitions(newMemoryLog(), p)
			for _, text := range c.there {
				must[Definition](t)(d.Create(ctx, admin, []byte(text)))
			}
			must[Definition](t)(d.Create(ctx, admin, flowing("a", "a-team", "elsewhere", "")))
			asked := map[string]error{"diff": second(d.Diff(ctx, ann, "a", c.last)), "test": second(d.Try(ctx, ann, "a", c.last))}
			warnings, err := d.Validate(ctx, ann, c.last)
			asked["validate"] = err
			asked["replace"] = second(d.Replace(ctx, ann, "a", "", c.last))
			again := strings.Replace(string(c.last), `"id": "a"`, `"id": "a2"`, 1)
			asked["create"] = second(d.Create(ctx, ann, []byte(again)))
			for how, err := range asked {
				got := strings.ReplaceAll(found(err), "a2", "a")
				switch {
				case c.fault == "" && err != nil:
					t.Errorf("%s: %v", how, got)
				case c.fault != "" && (!strings.HasPrefix(got, c.fault) || strings.Contains(got, "\n")):
					t.Errorf("%s: %s, want %s", how, got, c.fault)
				}
			}
			switch {
			case c.warning != "" && (len(warnings) != 1 || !strings.HasPrefix(warnings[0].Field+": "+warnings[0].Detail+" | "+warnings[0].Mend, c.warning)):
				t.Errorf("warnings %+v, want %s", warnings, c.warning)
			case c.warning == "" && len(warnings) > 0:
				t.Errorf("warnings %+v", warnings)
			}
		})
	}
}

// together is a log whose writers begin their writes at the same time.
type together struct {
	*memoryLog
	begun *sync.WaitGroup
}

func (l together) Update(ctx context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error) {
	l.begun.Done()
	l.begun.Wait()
	return l.memoryLog.Update(ctx, key, change)
}

// Of two that each close half of a circle at the same time, the second one to be written sees the first.
func TestTwoWritersDoNotCloseACircle(t *testing.T) {
	t.Parallel()
	log, begun := newMemoryLog(), &sync.WaitGroup{}
	begun.Add(2)
	refused := make(chan error, 2)
	for _, text := range [][]byte{flowing("a", "o", lostOfB, loses(lostOfA)), flowing("b", "o", lostOfA, loses(lostOfB))} {
		d := NewDefinitions(together{log, begun}, testProcess(t)) // an instance each
		go func() { refused <- second(d.Create(t.Context(), admin, text)) }()
	}
	first, other := <-refused, <-refused
	if first == nil {
		first, other = other, first
	}
	if refusal(t, first) != "422 dead_letter.topic" || other != nil || log.writes != 1 {
		t.Errorf("%v, %v, %d writes", first, other, log.writes)
	}
}

// A circle is seen among the files of one transaction, and with what the log has already.
func TestSeedRefusesDeadLettersThatGoRound(t *testing.T) {
	t.Parallel()
	d := NewDefinitions(newMemoryLog(), testProcess(t))
	_, jobs, err := d.Seed(t.Context(), seeds(t, flowing("a", "o", lostOfC, loses(lostOfA)), flowing("b", "o", lostOfA, loses(lostOfB)), flowing("c", "p", lostOfB, loses(lostOfC)),
		flowing("d", "o", "s", loses(lostOfB))))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"created", "created", "dead_letter.topic: its dead letters come back to it: c -> ns.out.c-lost -> a -> ns.out.a-lost -> b -> ns.out.b-lost -> c", "created"} {
		if got := became(jobs[i], 0); !strings.HasPrefix(got, want) {
			t.Errorf("job %d: %s, want %s", i, got, want)
		}
	}
	_, jobs, err = d.Seed(t.Context(), seeds(t, flowing("e", "o", lostOfB, loses(lostOfC))))
	if err != nil || !strings.HasPrefix(became(jobs[0], 0), backTo+"e -> ns.out.c-lost -> a -> ns.out.a-lost -> b -> ns.out.b-lost -> e") {
		t.Errorf("%+v %v", jobs, err)
	}
}

// A job that goes, or reads other topics, opens the circle for the next one.
func TestACircleThatIsOpenedAgain(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	ok := must[Definition](t)
	ok(d.Create(ctx, admin, flowing("b", "o", lostOfA, loses(lostOfB))))
	closing := flowing("a", "o", lostOfB, loses(lostOfA))
	if _, err := d.Create(ctx, admin, closing); refusal(t, err) != "422 dead_letter.topic" {
		t.Error(err)
	}
	ok(d.Replace(ctx, admin, "b", "", flowing("b", "o", "s", loses(lostOfB))))
	ok(d.Create(ctx, admin, closing))
	if _, err := d.Replace(ctx, admin, "b", "", flowing("b", "o", lostOfA, loses(lostOfB))); refusal(t, err) != "422 dead_letter.topic" {
		t.Error(err)
	}
	ok(d.Delete(ctx, admin, "a", "", Deletion{}))
	if err := d.remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	ok(d.Replace(ctx, admin, "b", "", flowing("b", "o", lostOfA, loses(lostOfB))))
}
