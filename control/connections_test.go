package control

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
)

// target is a connection; more stands at its end.
func target(name, owner, base, more string) []byte {
	return fmt.Appendf(nil, `{"name": %q, "owner": %q, "base_url": %q%s}`, name, owner, base, more)
}

// linkedTo is a job with a connection.
func linkedTo(id, owner, connection string) []byte {
	return fmt.Appendf(nil, `{"id": %q, "owner": %q, "type": "PUT", "topic": ["t"], "url": "/{id}", "datamap": {"id": "$.msg.id"}, "connection": %q}`, id, owner, connection)
}

func TestConnectionIsCreatedReplacedPausedDeleted(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	c := d.Connections()
	ok := must[Connection](t)

	made := ok(c.Create(ctx, ann, target("crm", "a-team", "https://crm.test/api", `, "auth": {"bearer": "geheim"}, "hash": "y"`)))
	if !made.Created || made.Revision != "2" || made.By != "token:ann" || made.Owner != "a-team" || len(made.Hash) != 64 || len(made.Jobs) != 0 {
		t.Errorf("created %+v", made)
	}
	if text := string(made.Document); !strings.Contains(text, `"bearer":"********"`) || strings.Contains(text, "hash") {
		t.Errorf("document %s", text)
	}
	again := ok(c.Create(ctx, ann, made.Document))
	same := ok(c.Replace(ctx, ann, "crm", made.Revision, made.Document))
	if again.Created || again.Revision != made.Revision || same.Revision != made.Revision || log.writes != 1 {
		t.Errorf("the same: %+v, %+v, %d writes", again, same, log.writes)
	}
	paused := ok(c.Pause(ctx, ann, "crm"))
	if paused.Paused == nil || paused.Paused.By != "token:ann" || ok(c.Pause(ctx, admin, "crm")).Paused.By != "token:ann" || log.writes != 2 {
		t.Errorf("paused %+v, %d writes", paused.Paused, log.writes)
	}
	changed := ok(c.Replace(ctx, ann, "crm", paused.Revision, target("crm", "a-team", "https://crm.test/v2", `, "auth": {"bearer": "********"}`)))
	if changed.Paused == nil || changed.Hash == made.Hash {
		t.Errorf("changed %+v", changed)
	}
	for name, r := range map[string]struct {
		err  error
		want string
	}{
		"another document":       {second(c.Create(ctx, ann, target("crm", "a-team", "https://other.test", ""))), "409 name"},
		"another revision":       {second(c.Replace(ctx, ann, "crm", made.Revision, made.Document)), "412 if_match"},
		"deleted at another one": {c.Delete(ctx, ann, "crm", made.Revision), "412 if_match"},
		"none of the name":       {second(c.Replace(ctx, ann, "cms", "", target("cms", "a-team", "https://crm.test", ""))), "404 connection"},
		"another name":           {second(c.Replace(ctx, ann, "crm", "", target("cms", "a-team", "https://crm.test", ""))), "422 name"},
		"no JSON":                {second(c.Create(ctx, ann, []byte("{"))), "422 document"},
		"no name":                {second(c.Create(ctx, ann, []byte(`{"owner": "a-team"}`))), "422 name"},
		"moved with its secret":  {second(c.Replace(ctx, ann, "crm", "", target("crm", "a-team", "https://evil.test", `, "auth": {"bearer": "********"}`))), "422 auth.bearer"},
		"of another owner":       {second(c.Create(ctx, ann, target("x", "b-team", "https://crm.test", ""))), "403"},
		"of everybody":           {second(c.Create(ctx, ann, target("x", "*", "https://crm.test", ""))), "403"},
		"given away":             {second(c.Replace(ctx, ann, "crm", "", target("crm", "b-team", "https://crm.test/v2", `, "auth": {"bearer": "********"}`))), "403"},
		"none to pause":          {second(c.Pause(ctx, ann, "cms")), "404 connection"},
	} {
		if got := refusal(t, r.err); got != r.want {
			t.Errorf("%s: %v, want %s", name, r.err, r.want)
		}
	}
	must[Definition](t)(d.Create(ctx, ann, linkedTo("a", "a-team", "crm")))
	if got := ok(c.Get(ctx, ann, "crm")); fmt.Sprint(got.Jobs) != "[a]" {
		t.Errorf("jobs %v", got.Jobs)
	}
	if err := c.Delete(ctx, ann, "crm", ""); refusal(t, err) != "409 connection" || !strings.Contains(err.Error(), "used by a") {
		t.Error(err)
	}
	must[Definition](t)(d.Delete(ctx, ann, "a", "", Deletion{}))
	if err := d.remove(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	ok(c.Resume(ctx, ann, "crm"))
	if err := c.Delete(ctx, ann, "crm", ""); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(ctx, ann, "crm"); refusal(t, err) != "404 connection" {
		t.Error(err)
	}
	lines, _, err := NewStore(log).Audit(ctx, AuditSubject{Connection: "crm"}, 0, 100)
	var did []string
	for _, l := range lines {
		did = append(did, l.Connection+" "+l.Action)
		if text := string(l.DocumentBefore) + string(l.DocumentAfter); strings.Contains(text, "geheim") || strings.Contains(text, "sealed:") {
			t.Errorf("the audit has %s", text)
		}
	}
	if want := "crm delete, crm resume, crm change, crm pause, crm create"; err != nil || strings.Join(did, ", ") != want {
		t.Errorf("audit %v, %v", did, err)
	}
	for _, e := range log.entries {
		if strings.Contains(string(e.Value), "geheim") {
			t.Errorf("a secret in clear is stored: %s", e.Value)
		}
	}
}

// Who may use a connection, and who learns of it.
func TestConnectionsOfOthers(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	c := d.Connections()
	for name, owner := range map[string]string{"mine": "a-team", "theirs": "c-team", "ours": "*"} {
		must[Connection](t)(c.Create(ctx, admin, target(name, owner, "https://"+name+".test", "")))
	}
	for connection, want := range map[string]string{"mine": "<nil>", "ours": "<nil>", "theirs": "422 connection", "nobodys": "422 connection"} {
		_, err := d.Create(ctx, ann, linkedTo("job-"+connection, "a-team", connection))
		if got := refusal(t, err); got != want {
			t.Errorf("%s: %v", connection, err)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("there is no connection %q for jobs of a-team", connection)) {
			t.Errorf("%s: it tells %v", connection, err)
		}
	}
	if _, err := d.Create(ctx, ann, linkedTo("x", "a-team", "their")); err == nil || strings.Contains(err.Error(), "did you mean theirs") {
		t.Errorf("it tells the name of another owner's connection: %v", err)
	}
	if _, err := d.Create(ctx, ann, linkedTo("x", "a-team", "mien")); err == nil || !strings.Contains(err.Error(), "did you mean mine?") {
		t.Error(err)
	}
	page, err := c.List(ctx, ann, "", 10)
	var names []string
	for _, n := range page.Connections {
		names = append(names, n.Name)
		if n.Document != nil {
			t.Errorf("%+v", n)
		}
	}
	if err != nil || fmt.Sprint(names) != "[mine ours]" {
		t.Errorf("listed %v, %v", names, err)
	}
	for after, want := range map[string]string{"": "mine", "mine": "ours", "ours": ""} {
		page, err := c.List(ctx, ann, after, 1)
		if got := ""; err != nil || len(page.Connections) > 0 && page.Connections[0].Name != want || page.Next != "" && page.Next != want {
			t.Errorf("after %s: %+v, %s, %v", after, page, got, err)
		}
	}
	if _, err := c.Pause(ctx, ann, "ours"); refusal(t, err) != "403" {
		t.Error("everybody's is paused by one owner's editor:", err)
	}
	// A job whose owner may not use it any more would go on as it was: the change is refused, and names only what may be seen.
	eve := service.Caller{Name: "eve", Grants: []service.Grant{{Permission: service.Edit, Owner: "*"}}}
	if _, err := c.Replace(ctx, eve, "ours", "", target("ours", "c-team", "https://ours.test", "")); refusal(t, err) != "409 connection" || !strings.Contains(err.Error(), "job-ours") {
		t.Error(err)
	}
	if got := c.named(service.Caller{}, []string{"job-ours"}); strings.Contains(got, "job-ours") {
		t.Error(got)
	}
}

// A connection that a newer streamer wrote is shown as such, not changed, and not used.
func TestConnectionOfAnotherVersion(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	c := d.Connections()
	_, _ = log.Update(ctx, "connection/a", func(kafkalog.Entry, bool) ([]byte, []byte, error) {
		return []byte(`{"version": 7, "name": "a", "more": 1}`), nil, nil
	})
	if got := must[Connection](t)(c.Get(ctx, admin, "a")); !strings.Contains(got.Unreadable, "it has version 7") {
		t.Errorf("%+v", got)
	}
	for _, err := range []error{second(c.Create(ctx, admin, target("a", "o", "https://a.test", ""))), second(c.Pause(ctx, admin, "a")), c.Delete(ctx, admin, "a", "")} {
		if refusal(t, err) != "409 connection" {
			t.Error(err)
		}
	}
	if _, err := d.Create(ctx, admin, linkedTo("j", "o", "a")); refusal(t, err) != "422 connection" || !strings.Contains(err.Error(), "it has version 7") {
		t.Error(err)
	}
	if log.writes != 1 {
		t.Errorf("%d writes", log.writes)
	}
}

// A pause reaches what is shared and the jobs of every instance within two seconds, also one that starts later; it is not mixed up with a
// job's own. A change of the connection compiles its jobs anew, one of its limits does not.
func TestInstancesFollowConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		for _, id := range []string{"a", "b", "c"} {
			d.kafka.parts[id] = 10
		}
		defer d.end()
		c := d.Connections()
		ok := must[Connection](t)
		ok(c.Create(ctx, admin, target("crm", "o", "https://crm.test/one", `, "limits": {"concurrency": 3}`)))
		x, y := d.on("x"), d.on("y")
		for _, document := range [][]byte{linkedTo("a", "o", "crm"), linkedTo("b", "o", "crm"), document("c", "o", "")} {
			must[Definition](t)(d.Create(ctx, admin, document))
		}
		time.Sleep(5 * time.Second)
		d.state(x, "a=running b=running c=running")
		base := func(m *member, want string) {
			t.Helper()
			config, _ := m.Config("a")
			if target, err := m.options.Definitions.connections.use("o", "crm"); err != nil || target.Base != want || config.Sink.Shared == nil || config.Sink.Shared != target.Shared {
				t.Errorf("target %+v, %v", target, err)
			}
		}
		base(x, "https://crm.test/one")

		ok(c.Pause(ctx, admin, "crm"))
		z := d.on("z")
		time.Sleep(1900 * time.Millisecond)
		d.state(x, "a=paused b=paused c=running")
		d.state(y, "a=paused b=paused c=running")
		if j := x.Readiness().Jobs[0]; j.Cause != "connection crm is paused by basic:admin" {
			t.Errorf("job %+v", j)
		}
		if m, err := x.options.Store.Memory(ctx, "a"); err != nil || m.Desired != "" {
			t.Errorf("memory %+v, %v", m, err)
		}
		if err := x.Pause(ctx, "a", operator("ann")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		d.state(z, "a=paused b=paused c=running")

		before, _ := x.Config("b")
		ok(c.Replace(ctx, admin, "crm", "", target("crm", "o", "https://crm.test/one", `, "limits": {"concurrency": 4}`)))
		time.Sleep(time.Second)
		if after, _ := x.Config("b"); after.Program != before.Program {
			t.Error("a change of limits compiles the jobs anew")
		}
		ok(c.Resume(ctx, admin, "crm"))
		time.Sleep(1900 * time.Millisecond)
		d.state(x, "a=paused b=running c=running")
		d.state(z, "a=paused b=running c=running")
		if j := x.Readiness().Jobs[1]; j.Cause != "" {
			t.Errorf("job %+v", j)
		}
		ok(c.Replace(ctx, admin, "crm", "", target("crm", "o", "https://crm.test/two", "")))
		time.Sleep(1900 * time.Millisecond)
		for _, m := range []*member{x, y, z} {
			base(m, "https://crm.test/two")
			if after, _ := m.Config("b"); after.Program == before.Program {
				t.Error("the job is not compiled anew")
			}
		}
		d.mu.Lock()
		if got := d.running["x b"]; !strings.HasSuffix(got, "changed") {
			t.Errorf("x b runs %s", got)
		}
		d.mu.Unlock()
	})
}

// A job that is there before its connection waits, says what for, and begins by itself.
func TestJobWaitsForItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		c := d.Connections()
		must[Connection](t)(c.Create(ctx, admin, target("crm", "o", "https://crm.test", "")))
		must[Definition](t)(d.Create(ctx, admin, linkedTo("a", "o", "crm")))
		delete(d.cluster.log.entries, "connection/crm") // as if it were not written yet
		x := d.on("x")
		time.Sleep(5 * time.Second)
		if j := x.Readiness().Jobs[0]; j.State != Failed || !strings.Contains(j.Cause, `there is no connection "crm"`) {
			t.Errorf("job %+v", j)
		}
		must[Connection](t)(c.Create(context.WithoutCancel(ctx), admin, target("crm", "o", "https://crm.test", "")))
		time.Sleep(3 * time.Second)
		d.state(x, "a=running")
	})
}

// The name of a connection is no job's.
func TestAuditOfJobsHasNoConnections(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	must[Connection](t)(d.Connections().Create(ctx, admin, target("a", job.Everyone, "https://a.test", "")))
	if lines, _, err := NewStore(log).Audit(ctx, AuditSubject{Job: "a"}, 0, 10); err != nil || len(lines) != 0 {
		t.Errorf("%+v, %v", lines, err)
	}
}

// What a change of a connection does to its jobs is what comes of it when they are compiled.
func TestDiffOfAConnection(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	c := d.Connections()
	document := func(more string) []byte {
		return []byte(`{"name": "crm", "owner": "a-team", "base_url": "https://crm.test/v1"` + more + `}`)
	}
	made := must[Connection](t)(c.Create(ctx, ann, document(`, "auth": {"bearer": "geheim"}, "limits": {"concurrency": 3}`)))
	for name, x := range map[string]struct{ more, want string }{
		"nothing":        {`, "auth": {"bearer": "********"}, "limits": {"concurrency": 3}`, "none:"},
		"limits":         {`, "auth": {"bearer": "********"}, "limits": {"concurrency": 4}`, "none: limits none"},
		"a secret":       {`, "auth": {"bearer": "another"}, "limits": {"concurrency": 3}`, "next attempt: auth next attempt"},
		"the login":      {`, "auth": {"basic": {"user": "a", "password": "geheim"}}`, "next attempt: auth next attempt, limits none"},
		"the same again": {`, "auth": {"bearer": "geheim"}, "limits": {"concurrency": 3}`, "none:"},
	} {
		diff := must[Difference](t)(c.Diff(ctx, ann, "crm", document(x.more)))
		got := diff.Effect.String() + ":"
		for i, f := range diff.Changes {
			got += strings.Repeat(",", min(i, 1)) + " " + f.Field + " " + f.Effect.String()
			if text := string(f.Before) + string(f.After); strings.Contains(text, "geheim") || strings.Contains(text, "another") || strings.Contains(text, "sealed") {
				t.Errorf("%s: it shows %s", name, text)
			}
		}
		if got != x.want || diff.Revision != made.Revision {
			t.Errorf("%s: %s, want %s (revision %s)", name, got, x.want, diff.Revision)
		}
	}
	moved := []byte(`{"name": "crm", "owner": "a-team", "base_url": "https://other.test/v1", "auth": {"bearer": "geheim"}, "limits": {"concurrency": 3}}`)
	if diff := must[Difference](t)(c.Diff(ctx, ann, "crm", moved)); diff.Effect != consumer.EffectRemap || len(diff.Changes) != 1 || diff.Changes[0].Field != "base_url" {
		t.Errorf("another host: %+v", diff)
	}
	must[Definition](t)(d.Create(ctx, ann, []byte(`{"id": "j", "owner": "a-team", "type": "PUT", "topic": ["t"], "url": "/{id}", "datamap": {"id": "$.msg.id"}, "connection": "crm"}`)))
	for want, err := range map[string]error{
		"404 connection":  second(c.Diff(ctx, ann, "sms", []byte(`{"name": "sms", "owner": "a-team", "base_url": "https://a.test"}`))),
		"422 name":        second(c.Diff(ctx, ann, "sms", document(""))),
		"422 auth.bearer": second(c.Diff(ctx, ann, "crm", []byte(`{"name": "crm", "owner": "a-team", "base_url": "https://mine.test", "auth": {"bearer": "********"}}`))),
		"409 connection":  second(c.Diff(ctx, admin, "crm", []byte(`{"name": "crm", "owner": "b-team", "base_url": "https://crm.test/v1"}`))),
		"403":             second(c.Diff(ctx, service.Caller{Name: "bob"}, "crm", document(""))),
	} {
		if refusal(t, err) != want {
			t.Errorf("want %s: %v", want, err)
		}
	}
}

// A connection that only a route of a job names is one of the job's: a change of it reaches the job, it is not deleted, and its pause leaves the
// job running, since the sink sees to it.
func TestConnectionOfARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		d.kafka.parts["a"] = 10
		defer d.end()
		c := d.Connections()
		ok := must[Connection](t)
		ok(c.Create(ctx, admin, target("crm", "o", "https://crm.test/one", `, "auth": {"bearer": "geheim"}`)))
		x := d.on("x")
		must[Definition](t)(d.Create(ctx, admin, []byte(`{"id": "a", "owner": "o", "topic": ["t"], "datamap": {"id": "$.msg.id"}, "type": "PUT",
			"routes": [{"name": "own", "url": "https://own.test/{id}"}, {"name": "crm", "url": "/{id}", "connection": "crm"}]}`)))
		time.Sleep(5 * time.Second)
		d.state(x, "a=running")
		before, _ := x.Config("a")
		shared, err := x.options.Definitions.connections.use("o", "crm")
		if p := before.Sink.Places; err != nil || len(p) != 1 || p[0].Target != "crm" || p[0].Auth.Bearer != "geheim" || p[0].Shared == nil || p[0].Shared != shared.Shared || before.Sink.Shared != nil || before.Sink.Auth.Bearer != "" {
			t.Errorf("places %+v, %v", p, err)
		}
		if got := ok(c.Get(ctx, admin, "crm")); fmt.Sprint(got.Jobs) != "[a]" {
			t.Errorf("jobs %v", got.Jobs)
		}
		if err := c.Delete(ctx, admin, "crm", ""); refusal(t, err) != "409 connection" {
			t.Error(err)
		}
		ok(c.Pause(ctx, admin, "crm"))
		time.Sleep(2 * time.Second)
		d.state(x, "a=running")
		ok(c.Replace(ctx, admin, "crm", "", target("crm", "o", "https://crm.test/one", `, "auth": {"bearer": "geheim-2"}`)))
		time.Sleep(2 * time.Second)
		if after, _ := x.Config("a"); after.Sink.Places[0].Auth.Bearer != "geheim-2" {
			t.Errorf("places %+v", after.Sink.Places)
		}
	})
}
