package control

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
)

// seeds are what files with these texts want.
func seeds(t *testing.T, texts ...[]byte) Seeds {
	t.Helper()
	var set job.Set
	for i, text := range texts {
		set.Parse(fmt.Sprint(i, ".json"), text)
	}
	if len(set.Broken) > 0 {
		t.Fatal(set.Broken)
	}
	return Seeds{Connections: set.Connections, Jobs: set.Jobs}
}

// inFiles gives an instance job files.
func inFiles(t *testing.T, texts ...[]byte) func(*Options) {
	return func(o *Options) {
		s := seeds(t, texts...)
		o.Targets = s.Connections
		for _, d := range s.Jobs {
			o.Jobs = append(o.Jobs, Job{ID: d.ID, Owner: d.Owner, File: d.File, Definition: d})
		}
	}
}

// Connections of files come into the log in the transaction of the jobs that name them, wherever they stand, with their secrets sealed; one
// that is there already wins.
func TestSeedConnections(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	must[Connection](t)(d.Connections().Create(ctx, admin, target("cms", "o", "https://cms.test/v2", "")))
	s := seeds(t, linkedTo("a", "o", "crm"), linkedTo("b", "o", "cms"), linkedTo("c", "other", "crm"), linkedTo("e", "o", "nowhere"), linkedTo("f", "o", "bad"),
		target("crm", "o", "https://crm.test/api", `, "auth": {"bearer": "geheim"}`), target("cms", "o", "https://cms.test/v1", ""), target("bad", "../x", "https://bad.test", ""))
	for round := range 2 {
		connections, jobs, err := d.Seed(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"created", "differs", "owner"} {
			if got := became(connections[i], round); !strings.HasPrefix(got, want) {
				t.Errorf("round %d, connection %d: %s, want %s", round, i, got, want)
			}
		}
		for i, want := range []string{"created", "created", `connection: there is no connection "crm" for jobs of other`, `connection: there is no connection "nowhere" for jobs of o`, `connection: there is no connection "bad"`} {
			if got := became(jobs[i], round); !strings.HasPrefix(got, want) {
				t.Errorf("round %d, job %d: %s, want %s", round, i, got, want)
			}
		}
		if log.writes != 2 {
			t.Errorf("%d transactions", log.writes)
		}
	}
	for _, e := range log.entries {
		if strings.Contains(string(e.Value), "geheim") {
			t.Errorf("a secret in clear is stored: %s", e.Value)
		}
	}
	if n := must[Connection](t)(d.Connections().Get(ctx, admin, "crm")); n.By != bySelf.Name || strings.Join(n.Jobs, ",") != "a" {
		t.Errorf("%+v", n)
	}
}

// became says what became of a seed; what the round before has created counts as created.
func became(s Seeded, round int) string {
	switch {
	case s.Refused != nil:
		return s.Refused.Error()
	case s.Differs:
		return "differs"
	case s.Created == (round == 0):
		return "created"
	}
	return fmt.Sprintf("%+v", s)
}

// A job of a file whose connection comes only later waits for it: it is failed, with the place in its file, says so once, and runs when the
// connection is there and lets it.
func TestSeedWaitsForConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"], d.kafka.parts["b"] = 10, 10
		defer d.end()
		x := d.on("x", inFiles(t, linkedTo("a", "o", "crn"), linkedTo("b", "o", "crm"), target("crm", "o", "https://crm.test/api", "")))
		d.check(3*time.Second, "x b: ns.b order 0")
		d.state(x, "a=failed b=running")
		const cause = `0.json:1: connection: there is no connection "crn" for jobs of o; did you mean crm?`
		if got := x.Readiness().Jobs[0]; got.Cause != cause || got.File != "0.json" {
			t.Errorf("%+v", got)
		}
		create := func(name, owner string) {
			must[Connection](t)(d.Connections().Create(ctx, admin, target(name, owner, "https://crn.test/api", "")))
			time.Sleep(3 * time.Second)
		}
		create("another", "o")
		create("crn", "p")
		d.state(x, "a=failed b=running")
		must[Connection](t)(d.Connections().Replace(ctx, admin, "crn", "", target("crn", "*", "https://crn.test/api", "")))
		d.check(3*time.Second, "x a: ns.a order 0, x b: ns.b order 0")
		d.state(x, "a=running b=running")
		d.mu.Lock()
		defer d.mu.Unlock()
		if text := d.log.String(); strings.Count(text, "waits for its connection") != 1 || strings.Count(text, "the job of the file was taken into the log") != 2 || strings.Count(text, "the connection of the file was taken") != 1 {
			t.Errorf("log %s", text)
		}
	})
}

// A job that its connection refuses is tried again when the connection is another one. A connection of a file that the log cannot have is
// shown with what cannot be read.
func TestSeedTriesOtherConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		must[Connection](t)(d.Connections().Create(ctx, admin, target("crm", "o", "https://other.test", "")))
		absolute := fmt.Appendf(nil, `{"id": "a", "owner": "o", "type": "PUT", "topic": ["t"], "url": "https://crm.test/api/{id}", "datamap": {"id": "$.msg.id"}, "connection": "crm"}`)
		x := d.on("x", inFiles(t, absolute, target("bad", "../x", "https://bad.test", "")))
		time.Sleep(3 * time.Second)
		d.state(x, "a=failed")
		if files := x.Readiness().Files; len(files) != 1 || !strings.HasPrefix(files[0], `1.json:1: owner: "../x" cannot be used as a name`) {
			t.Errorf("files %q", files)
		}
		must[Connection](t)(d.Connections().Replace(ctx, admin, "crm", "", target("crm", "o", "https://crm.test/api", "")))
		d.check(3*time.Second, "x a: ns.a order 0")
	})
}

// A job that is larger than an object of the log may be is refused alone: in the transaction of all files it would keep each of them out.
func TestSeedRefusesWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	d := NewDefinitions(newMemoryLog(), testProcess(t))
	text := document("large", "o", `, "data": {"kind": "X"}`)
	large := strings.Replace(string(text), `"X"`, `"`+strings.Repeat("x", job.MaxFileBytes-len(text))+`"`, 1)
	_, jobs, err := d.Seed(t.Context(), seeds(t, []byte(large), document("b", "o", "")))
	if err != nil || !errors.Is(jobs[0].Refused, kafkalog.ErrTooLarge) || !jobs[1].Created {
		t.Errorf("%v %.200v", err, jobs)
	}
}
