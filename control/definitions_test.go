package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/secret"
	"streamer/control/service"
)

// testKey is a key of 32 bytes, as no installation should have one.
const testKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

func testProcess(t *testing.T) job.Process {
	t.Helper()
	keyring, err := secret.NewKeyring(testKey)
	if err != nil {
		t.Fatal(err)
	}
	return job.Process{Namespace: "ns", Secrets: job.Secrets{Keyring: keyring}}
}

// document is a job; more stands at its end.
func document(id, owner, more string) []byte {
	return fmt.Appendf(nil, `{"id": %q, "owner": %q, "type": "PUT", "topic": ["t"], "url": "https://api.test/{id}?a=1&b=2", "datamap": {"id": "$.msg.id"}%s}`, id, owner, more)
}

var (
	admin = service.Caller{Name: "basic:admin", Grants: []service.Grant{{Permission: service.Admin, Owner: service.Everyone}}}
	ann   = service.Caller{Name: "token:ann", Grants: []service.Grant{{Permission: service.Edit, Owner: "a-team"}, {Permission: service.View, Owner: "b-team"}}}
)

// operator is somebody who may do everything.
func operator(name string) service.Caller { return service.Caller{Name: name, Grants: admin.Grants} }

// refusal is the status of what was refused, and the field it is about.
func refusal(t *testing.T, err error) string {
	t.Helper()
	var p *service.Problem
	if !errors.As(err, &p) {
		t.Helper()
		return fmt.Sprintf("%v", err)
	}
	if p.Detail == "" {
		t.Errorf("%+v says nothing", p)
	}
	return strings.TrimSpace(fmt.Sprint(p.Status, " ", p.Field))
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestDefinitionIsCreatedReplacedDeleted(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	ok := must[Definition](t)

	made := ok(d.Create(ctx, ann, document("a", "a-team", `, "token": "geheim", "modified": "x", "hash": "y"`)))
	if !made.Created || made.Revision != "2" || made.By != "token:ann" || made.Owner != "a-team" || len(made.Hash) != 64 || made.Modified.IsZero() {
		t.Errorf("created %+v", made)
	}
	if text := string(made.Document); !strings.Contains(text, `"token":"********"`) || !strings.Contains(text, "a=1&b=2") || strings.Contains(text, "modified") {
		t.Errorf("document %s", text)
	}
	// What is read and sent back changes nothing, and is not written.
	again := ok(d.Create(ctx, ann, made.Document))
	if again.Created || again.Revision != made.Revision || log.writes != 1 {
		t.Errorf("created again: %+v, %d writes", again, log.writes)
	}
	same := ok(d.Replace(ctx, ann, "a", made.Revision, made.Document))
	if same.Revision != made.Revision || log.writes != 1 {
		t.Errorf("replaced by the same: %+v, %d writes", same, log.writes)
	}
	if _, err := d.Create(ctx, ann, document("a", "a-team", "")); refusal(t, err) != "409 id" {
		t.Error("created with another document:", err)
	}
	changed := ok(d.Replace(ctx, ann, "a", made.Revision, document("a", "a-team", `, "token": "********", "order": "key"`)))
	if changed.Revision != "3" || changed.Hash == made.Hash {
		t.Errorf("changed %+v", changed)
	}
	for text, want := range map[string]string{made.Revision: "412 if_match", "x": "412 if_match"} {
		if _, err := d.Replace(ctx, ann, "a", text, document("a", "a-team", "")); refusal(t, err) != want {
			t.Errorf("of revision %s: %v", text, err)
		}
		if _, err := d.Delete(ctx, ann, "a", text, Deletion{}); refusal(t, err) != want {
			t.Errorf("delete of revision %s: %v", text, err)
		}
	}
	if _, err := d.Replace(ctx, ann, "a", "0", document("a", "a-team", "")); refusal(t, err) != "412 if_match" || !strings.Contains(err.Error(), `there is a job "a" already, of revision 3`) {
		t.Errorf("it was to be new: %v", err)
	}
	if _, err := d.Replace(ctx, ann, "b", "", document("b", "a-team", "")); refusal(t, err) != "404 job" {
		t.Error("replaced what is not there:", err)
	}
	if _, err := d.Replace(ctx, ann, "b", "", document("a", "a-team", "")); refusal(t, err) != "422 id" {
		t.Error("another id:", err)
	}

	gone := ok(d.Delete(ctx, ann, "a", changed.Revision, Deletion{Letters: true, By: "forged"}))
	if gone.Deleting == nil || gone.Deleting.By != "token:ann" || !gone.Deleting.Letters {
		t.Errorf("deleting %+v", gone)
	}
	ok(d.Delete(ctx, ann, "a", changed.Revision, Deletion{Letters: true})) // once more is no error
	for _, err := range []error{
		second(d.Create(ctx, ann, document("a", "a-team", ""))),
		second(d.Replace(ctx, ann, "a", "", document("a", "a-team", ""))),
	} {
		if refusal(t, err) != "409 id" {
			t.Error("while it is being deleted:", err)
		}
	}
	if err := d.remove(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := d.Removed(ctx, "a"); err != nil {
		t.Error(err)
	}
	if _, err := d.Get(ctx, "a"); refusal(t, err) != "404 job" {
		t.Error(err)
	}
	lines, _, err := NewStore(log).Audit(ctx, AuditSubject{Job: "a"}, 0, 100)
	var did []string
	for _, l := range lines {
		did = append(did, l.By+" "+l.Action)
		for _, text := range []json.RawMessage{l.DocumentBefore, l.DocumentAfter} {
			if strings.Contains(string(text), "geheim") || strings.Contains(string(text), "sealed:") {
				t.Errorf("the audit has %s", text)
			}
		}
	}
	if want := "token:ann deleted, token:ann delete, token:ann change, token:ann create"; err != nil || strings.Join(did, ", ") != want {
		t.Errorf("audit %v, %v", did, err)
	}
	for _, e := range log.entries {
		if strings.Contains(string(e.Value), "geheim") {
			t.Errorf("a secret in clear is stored: %s", e.Value)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What is refused, and by what field it is named.
func TestDefinitionRefused(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	must[Definition](t)(d.Create(ctx, admin, document("a.b", "a-team", "")))
	must[Definition](t)(d.Create(ctx, admin, document("other", "b-team", "")))
	for name, c := range map[string]struct {
		document []byte
		want     string
	}{
		"no JSON":                          {[]byte("{"), "422 document"},
		"two jobs":                         {[]byte("[{}, {}]"), "422 document"},
		"no id":                            {[]byte(`{"owner": "a-team"}`), "422 id"},
		"an id that a path has":            {document("..", "a-team", ""), "422 id"},
		"id with a slash":                  {document("a/b", "a-team", ""), "422 id"},
		"the same id with _":               {document("a_b", "a-team", ""), "422 id"},
		"the group of another job":         {document("c", "a-team", `, "group": "ns.a.b"`), "422 group"},
		"unknown field":                    {document("c", "a-team", `, "order": "key", "oder": 1`), "422 oder"},
		"of another owner":                 {document("c", "c-team", ""), "403"},
		"of an owner who may only be seen": {document("c", "b-team", ""), "403"},
		"a sealed text that was not given": {document("c", "a-team", `, "token": "sealed:v1:x:y"`), "422 token"},
		"masked, and there is nothing":     {document("c", "a-team", `, "token": "********"`), "422 token"},
	} {
		if _, err := d.Create(ctx, ann, c.document); refusal(t, err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	// Jobs of others are in the way, and are not named to who may not view them.
	bob := service.Caller{Name: "token:bob", Grants: []service.Grant{{Permission: service.Edit, Owner: "c-team"}}}
	for id, group := range map[string]string{"a_b": "ns.own", "c": "ns.a.b"} {
		_, err := d.Create(ctx, bob, document(id, "c-team", `, "group": "`+group+`"`))
		if err == nil || !strings.Contains(err.Error(), "that of a job of another owner") || strings.Contains(err.Error(), `job "a.b"`) {
			t.Errorf("to a stranger: %v", err)
		}
		_, err = d.Create(ctx, ann, document(id, "a-team", `, "group": "`+group+`"`))
		if err == nil || !strings.Contains(err.Error(), `that of job "a.b"`) {
			t.Errorf("to who may view it: %v", err)
		}
	}
	// Nobody takes a job to an owner, or from one, whose jobs he may not edit.
	if _, err := d.Replace(ctx, ann, "other", "", document("other", "a-team", "")); refusal(t, err) != "403" {
		t.Error("taken:", err)
	}
	if _, err := d.Replace(ctx, ann, "a.b", "", document("a.b", "b-team", "")); refusal(t, err) != "403" {
		t.Error("given:", err)
	}
	// Nor does anybody learn by a question what he may not write: which secret files another owner has, where a stored secret may go.
	for name, err := range map[string]error{
		"validated as another's":             second(d.Validate(ctx, ann, document("c", "b-team", `, "token": "${file:password}"`))),
		"validated beside another's":         second(d.Validate(ctx, ann, document("other", "a-team", `, "token": "********"`))),
		"compared with what another's it is": second(d.Diff(ctx, ann, "a.b", document("a.b", "b-team", `, "token": "${file:password}"`))),
	} {
		if refusal(t, err) != "403" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if warnings, err := d.Validate(ctx, ann, document("c", "a-team", "")); err != nil || len(warnings) > 0 {
		t.Errorf("one's own: %v, %v", warnings, err)
	}
	// All faults come at once.
	_, err := d.Create(ctx, ann, []byte(`{"id": "c", "owner": "a-team", "type": "PUT", "order": "key", "url": "nowhere", "instances": -1, "oder": 1}`))
	var p *service.Problem
	if !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity || len(p.Errors) < 4 {
		t.Errorf("faults %+v", p)
	}
	if log.writes != 2 {
		t.Errorf("%d writes", log.writes)
	}
}

// A definition that a newer streamer wrote is shown as such, and not changed.
func TestDefinitionOfAnotherVersion(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	_, _ = log.Update(ctx, "job/a", func(kafkalog.Entry, bool) ([]byte, []byte, error) {
		return []byte(`{"version": 7, "id": "a", "more": 1}`), nil, nil
	})
	if got := must[Definition](t)(d.Get(ctx, "a")); !strings.Contains(got.Unreadable, "it has version 7") || got.ID != "a" {
		t.Errorf("%+v", got)
	}
	for _, err := range []error{
		second(d.Create(ctx, admin, document("a", "a-team", ""))),
		second(d.Replace(ctx, admin, "a", "", document("a", "a-team", ""))),
		second(d.Delete(ctx, admin, "a", "", Deletion{})),
		second(d.Diff(ctx, admin, "a", document("a", "a-team", ""))),
	} {
		if refusal(t, err) != "409 job" {
			t.Error(err)
		}
	}
	if log.writes != 1 {
		t.Errorf("%d writes", log.writes)
	}
}

func TestListOfDefinitions(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	for i := range 25 {
		must[Definition](t)(d.Create(ctx, admin, document(fmt.Sprintf("job-%02d", i), []string{"a-team", "b-team", "c-team"}[i%3], "")))
	}
	var ids []string
	for after, pages := "", 0; ; pages++ {
		page := must[DefinitionPage](t)(d.List(ctx, ann, after, 7, pages%2 == 0))
		for _, j := range page.Definitions {
			ids = append(ids, j.ID)
			if (j.Document != nil) != (pages%2 == 0) || j.Owner == "c-team" {
				t.Errorf("listed %+v", j)
			}
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if len(ids) != 17 || !slices.IsSorted(ids) {
		t.Errorf("listed %v", ids)
	}
	if page := must[DefinitionPage](t)(d.List(ctx, service.Caller{}, "", 7, false)); len(page.Definitions) != 0 || page.Next != "" {
		t.Errorf("nobody sees %v", page)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	made := must[Definition](t)(d.Create(ctx, ann, document("a", "a-team", `, "token": "one"`)))
	for name, c := range map[string]struct {
		more string
		want string
	}{
		"nothing":                           {`, "token": "********"`, "none"},
		"a secret":                          {`, "token": "two"`, "next attempt: auth"},
		"headers":                           {`, "token": "********", "headers": {"X": "1"}`, "drain and re-map: headers"},
		"order":                             {`, "token": "********", "order": "none"`, "drain and re-map: order"},
		"group and order":                   {`, "token": "********", "group": "ns.z", "order": "none"`, "rejoin: group rejoin, order drain and re-map"},
		"no secret":                         {``, "next attempt: token"},
		"position headers":                  {`, "token": "********", "delivery": {"position_headers": false}`, "drain and re-map: delivery"},
		"the header of the idempotency key": {`, "token": "********", "delivery": {"idempotency_header": "X-Key"}`, "drain and re-map: delivery"},
		"drain and commits":                 {`, "token": "********", "delivery": {"drain": "7s", "commit": "3s"}`, "none: delivery"},
		"retries and start":                 {`, "token": "********", "delivery": {"retry": {"attempts": 7}}, "start": "latest"`, "next attempt: delivery next attempt, start none"},
		"the login, otherwise":              {`, "auth": {"token": "one"}`, "none: token next attempt, auth none"},
	} {
		diff := must[Difference](t)(d.Diff(ctx, ann, "a", document("a", "a-team", c.more)))
		var changed, effects []string
		for _, f := range diff.Changes {
			changed = append(changed, f.Field)
			effects = append(effects, f.Field+" "+f.Effect.String())
			if strings.Contains(string(f.Before)+string(f.After), "sealed") || strings.Contains(string(f.After), "two") {
				t.Errorf("%s: it shows %s, %s", name, f.Before, f.After)
			}
		}
		got := strings.TrimSuffix(diff.Effect.String()+": "+strings.Join(changed, " "), ": ")
		if len(changed) > 1 {
			got = diff.Effect.String() + ": " + strings.Join(effects, ", ")
		}
		if got != c.want || diff.Revision != made.Revision {
			t.Errorf("%s: %s, want %s (revision %s)", name, got, c.want, diff.Revision)
		}
	}
	if diff := must[Difference](t)(d.Diff(ctx, ann, "new", document("new", "a-team", ""))); diff.Revision != "" || len(diff.Changes) != 6 || diff.Effect != consumer.EffectNone {
		t.Errorf("of a new job: %+v", diff)
	}
	if log.writes != 1 {
		t.Errorf("%d writes", log.writes)
	}
	// A job that cannot run as it is has nothing to go on with.
	process := testProcess(t)
	process.Secrets.Keyring = nil
	other := NewDefinitions(log, process)
	diff := must[Difference](t)(other.Diff(ctx, ann, "a", document("a", "a-team", `, "order": "none"`)))
	if diff.Effect != consumer.EffectRejoin || diff.Changes[0].Consequence != "the job cannot run as it is, and starts" || diff.from != nil {
		t.Errorf("of a job that cannot run: %+v", diff)
	}
}

// When topics or group change, what that does to records is counted, or it is said why not.
func TestDiffCountsRecords(t *testing.T) {
	t.Parallel()
	d := NewDefinitions(newMemoryLog(), testProcess(t))
	must[Definition](t)(d.Create(t.Context(), admin, document("visits", "health", "")))
	asked := 0
	api := API{Definitions: d, Store: &fakeStore{}, Moves: func(_ context.Context, from, to consumer.Config, _ consumer.Memory) (consumer.MovePlan, error) {
		if asked++; to.Group == "ns.away" {
			return consumer.MovePlan{}, errors.New("kafka is away")
		}
		return consumer.MovePlan{Again: 7, Partitions: []consumer.MovePartition{{Topic: from.Group, Again: 7}}}, nil
	}}
	for more, want := range map[string]string{
		`, "group": "ns.z"`:    `"offsets":{"partitions":[{"topic":"ns.visits","partition":0,"before":0,"after":0,"again":7}],"again":7,"skipped":0,"new":0}}`,
		`, "group": "ns.away"`: `"uncounted":"what is sent again or skipped cannot be counted: kafka is away"}`,
		`, "order": "none"`:    `"effect":"drain and re-map"}`,
	} {
		diff, err := definitionsService{API: api}.Diff(t.Context(), admin, DiffIn{JobIn{"visits"}, DocumentIn{document("visits", "health", more)}})
		text, _ := json.Marshal(diff)
		if err != nil || !strings.HasSuffix(string(text), want) {
			t.Errorf("%s: %s, %v", more, text, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// All jobs of files are taken over in one transaction, once; what the log has already wins.
func TestSeed(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), newMemoryLog()
	d := NewDefinitions(log, testProcess(t))
	must[Definition](t)(d.Create(ctx, admin, document("b", "o", `, "order": "none"`)))
	var files []*job.Definition
	for _, text := range [][]byte{document("a", "o", ""), document("b", "o", ""), document("c", "o", `, "group": "ns.a"`), document("d", "o", `, "token": "x"`)} {
		defs, broken := job.ParseFile("f.json", text)
		if len(broken) > 0 {
			t.Fatal(broken)
		}
		files = append(files, defs...)
	}
	for round := range 2 {
		_, out, err := d.Seed(ctx, Seeds{Jobs: files})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []Seeded{{Created: round == 0}, {Differs: true}, {}, {Created: round == 0}} {
			if out[i].Created != want.Created || out[i].Differs != want.Differs || (out[i].Refused != nil) != (i == 2) {
				t.Errorf("round %d, file %d: %+v", round, i, out[i])
			}
		}
		if log.writes != 2 {
			t.Errorf("%d writes", log.writes)
		}
	}
	if got := must[Definition](t)(d.Get(ctx, "a")); got.By != consumer.BySelf {
		t.Errorf("%+v", got)
	}
	log.failing = context.DeadlineExceeded
	if _, _, err := d.Seed(ctx, Seeds{Jobs: files}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// The key is changed while jobs are in the log: what the old one has sealed is sealed by the new one, and opens with it alone. A job that no
// key opens is named, and left.
func TestRotate(t *testing.T) {
	t.Parallel()
	raw := func(n byte) string {
		key := make([]byte, secret.KeyBytes)
		for i := range key {
			key[i] = n + byte(i)
		}
		return base64.StdEncoding.EncodeToString(key)
	}
	keys := func(text string) *secret.Keyring { return must[*secret.Keyring](t)(secret.NewKeyring(text)) }
	log := newMemoryLog()
	with := func(k *secret.Keyring) *Definitions {
		return NewDefinitions(log, job.Process{Namespace: "streamer", Secrets: job.Secrets{Keyring: k}})
	}
	document := func(id string) []byte {
		return fmt.Appendf(nil, `{"id":%q,"owner":"o","type":"POST","topic":["t"],"datamap":{},"url":"https://api.test/x","token":"hunter2"}`, id)
	}
	first, second, third := raw(1), raw(50), raw(100)
	for id, key := range map[string]string{"a": first, "b": second, "lost": third} {
		must[Definition](t)(with(keys(key)).Create(t.Context(), bySelf, document(id)))
	}
	if _, err := with(nil).Rotate(t.Context(), bySelf); refusal(t, err) != "409" {
		t.Errorf("without a key: %v", err)
	}
	both := with(keys(second + "," + first))
	done := must[Rotation](t)(both.Rotate(t.Context(), bySelf))
	if done.Resealed != 1 || done.Current != 1 || len(done.Left) != 1 || done.Left[0].Field != "lost" {
		t.Errorf("%+v", done)
	}
	if again := must[Rotation](t)(both.Rotate(t.Context(), bySelf)); again.Resealed != 0 || again.Current != 2 {
		t.Errorf("again: %+v", again)
	}
	for _, id := range []string{"a", "b"} {
		e, _ := log.Get(definitionPrefix + id)
		s := must[storedDefinition](t)(decodeDefinition(e))
		if _, err := with(keys(second)).compile(s); err != nil {
			t.Errorf("%s with the new key alone: %v", id, err)
		}
	}
}
