package consumer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/schemas"
)

// confluentKafka is the client that the page is tried with.
const confluentKafka = "confluent-kafka==2.6.1"

// python gives an interpreter that has the client, made once in the cache folder.
func python(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("STREAMER_TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(user, "streamer-test")
	}
	venv := filepath.Join(cache, "python-"+strings.ReplaceAll(confluentKafka, "==", "-"))
	bin := filepath.Join(venv, "bin", "python")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	if exec.CommandContext(ctx, bin, "-c", "import confluent_kafka").Run() == nil {
		return bin
	}
	for _, c := range [][]string{{"python3", "-m", "venv", venv}, {bin, "-m", "pip", "install", "-q", confluentKafka}} {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v (Debian: python3-venv)\n%s", c, err, out)
		}
	}
	return bin
}

// standIns are the parts of Invenio-Records-Resources that the component of the page uses: a unit of work calls the hooks of its operations.
const standIns = `
class Operation:
    def on_register(self, uow): pass
    def on_commit(self, uow): pass
    def on_rollback(self, uow): pass
    def on_post_commit(self, uow): pass

class UnitOfWork:
    def __init__(self): self.operations = []
    def register(self, operation):
        operation.on_register(self)
        self.operations.append(operation)
    def commit(self):
        for o in self.operations: o.on_commit(self)
        for o in self.operations: o.on_post_commit(self)
    def rollback(self):
        for o in self.operations: o.on_rollback(self)
`

const drive = `
import sqlite3, sys
import record_events_component as component
from record_events import RecordEvents
from record_events_relay import relay
from invenio_records_resources.services.uow import UnitOfWork

record = {"id": "r2", "parent": {"id": "p1"}, "metadata": {"title": "Tïtle"}, "access": {"record": "public"}}
class Identity: id = 7

for mode in ("binary", "structured"):
    component.events = RecordEvents(sys.argv[1], source="https://repository.test", topic=sys.argv[2], mode=mode)
    for end in ("commit", "rollback"):
        c = component.RecordEventsComponent(None)
        c.uow = UnitOfWork()
        c.publish(Identity(), draft=None, record={**record, "end": end})
        getattr(c.uow, end)()
    c.uow = UnitOfWork()
    c.delete_record(Identity(), data={"note": "x"}, record=record)
    c.uow.commit()
    assert component.events.flush() == 0

db = sqlite3.connect(":memory:")
db.execute("CREATE TABLE record_event_outbox (id INTEGER PRIMARY KEY, event TEXT NOT NULL)")
import json
for n in range(3):
    event = component.events.make("community", "rename", id="c%d" % n, old_slug="a", slug="b")
    db.execute("INSERT INTO record_event_outbox (event) VALUES (?)", (json.dumps(event),))
assert relay(db, component.events, at_most=2) == 2
assert relay(db, component.events) == 1
assert relay(db, component.events) == 0
`

// The modules of docs/record-events.md run as they stand there, and what they send is read as record events.
func TestKafkaRecordEventsPage(t *testing.T) {
	cluster := consumertest.Kafka(t)
	topic := cluster.Topic(t, "record-events", 1)
	page, err := os.ReadFile("../docs/record-events.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blocks := regexp.MustCompile("(?s)```python\n# ([a-z_]+\\.py)\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	for _, b := range blocks {
		write(b[1], b[2])
	}
	if len(blocks) != 3 {
		t.Fatalf("the page has %d modules, want 3", len(blocks))
	}
	services := "invenio_records_resources/services"
	for _, name := range []string{"invenio_records_resources", services, services + "/records"} {
		write(name+"/__init__.py", "")
	}
	write(services+"/uow.py", standIns)
	write(services+"/records/components.py", "class ServiceComponent:\n    def __init__(self, service): self.service = service\n")
	write("drive.py", drive)
	interpreter := python(t) // which may be installed first
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, interpreter, "drive.py", strings.Join(cluster.Brokers, ","), topic)
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	d := schemas.NewDecoder(schemas.Config{}, nil)
	var got []string
	for _, rec := range cluster.ReadAll(t, topic) {
		headers := recordHeaders(rec.Headers)
		b, err := d.Decode(rec.Value, &headers)
		if err != nil {
			t.Fatalf("offset %d: %v", rec.Offset, err)
		}
		text := func(v schemas.Value) string { out, _ := v.AppendText(nil); return string(out) }
		row, event := b.Row(0), b.Event(0)
		got = append(got, fmt.Sprint(b.Found(), " ", string(rec.Key), " ", text(event.Field("type")), " ", text(event.Field("subject")), " ",
			text(event.Field("servicemethod")), " ", text(row.Field("service_method")), " ", text(row.Field("record").Field("end")), text(row.Field("slug")),
			text(row.Field("data").Field("note"))))
		if event.Field("time").Kind() != schemas.String || event.Field("id").Kind() != schemas.String || !event.Field("time").Equal(row.Field("time")) {
			t.Errorf("%s", text(event))
		}
	}
	want := `cloudevent binary: json p1 org.inveniordm.rdm_record.publish r2 publish publish commit
cloudevent binary: json p1 org.inveniordm.rdm_record.delete_record r2 delete_record delete_record x
cloudevent structured: json p1 org.inveniordm.rdm_record.publish r2 publish publish commit
cloudevent structured: json p1 org.inveniordm.rdm_record.delete_record r2 delete_record delete_record x
cloudevent structured: json c0 org.inveniordm.community.rename c0 rename rename b
cloudevent structured: json c1 org.inveniordm.community.rename c1 rename rename b
cloudevent structured: json c2 org.inveniordm.community.rename c2 rename rename b`
	if strings.Join(got, "\n") != want {
		t.Errorf("read\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
