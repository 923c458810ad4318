package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
)

const appliedPeople = `# who reads this
id: people
owner: demo
type: POST
topic: [Person]
datamap: {id: $.msg.id}
url: API/one/{id}
`

// A job comes, changes and goes with commands alone, on an instance that has begun without any; each time its rows go where the file says.
func TestJobsApplied(t *testing.T) {
	t.Parallel()
	brokers := onePerson(t)
	paths := make(chan string, 10)
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
	defer api.Close()
	p := startWith(t, settings.Settings{Kafka: consumer.Client{Brokers: brokers}, Namespace: "streamer", Listen: "127.0.0.1:0", Jobs: t.TempDir(),
		AllowHosts: []string{"127.0.0.1"}, MemoryBytes: 64 << 20}, func(string) (string, bool) { return "", false })
	o := operator{t, "http://" + p.Addr()}
	o.sees("jobs list", "there are no jobs")
	says := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Fatalf("it does not say %q:\n%s", want, got)
		}
	}
	file := filepath.Join(t.TempDir(), "people.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll(appliedPeople, "API", api.URL)

	write(strings.ReplaceAll(text, "topic: [Person]", "topic: []"))
	says(o.types(1, "jobs apply --yes -f", file), "people.yaml:5: topic: is empty")
	write(text)
	says(o.types(0, "jobs apply --yes -f", file), "people: created, revision ")
	if got := <-paths; got != "/one/p-1" {
		t.Fatalf("the API saw %s, not /one/p-1", got)
	}
	says(o.types(0, "jobs apply --yes -f", file), "people: unchanged")

	write(text + "order: none\ndead_letter: {key: park}\n")
	says(o.types(1, "jobs diff -f", file), "warning: dead_letter.key: nothing waits for a row")
	write(strings.ReplaceAll(text, "/one/", "/two/"))
	says(o.types(1, "jobs diff -f", file), "+ \""+api.URL+"/two/{id}\"")
	says(o.types(0, "jobs apply --yes -f", file), "people: changed, revision ")
	says(o.types(0, "jobs get people -o yaml"), "url: "+api.URL+"/two/{id}\n")
	says(o.types(0, "jobs diff -f", file), "people: unchanged")
	o.sees("jobs show people", "running")
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("Person"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for late := time.Now().Add(2 * time.Minute); ; { // the instance follows within seconds
		if err := producer.ProduceSync(t.Context(), kgo.StringRecord(`{"id": "p-2"}`)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		got := <-paths
		if got == "/two/p-2" {
			break
		}
		if got != "/one/p-2" || time.Now().After(late) {
			t.Fatalf("the API saw %s, not /two/p-2", got)
		}
	}
	says(o.types(0, "jobs logs people"), ": partitions assigned ")

	write(strings.ReplaceAll(text, "id: people", "id: others"))
	says(o.types(0, "jobs apply --dry-run --prune -f", file), "people: stands in no file and would be deleted")
	says(o.types(0, "jobs delete people --yes --offsets --letters"), "people: deleted; its committed offsets and its dead letters go with it")
	o.sees("jobs list", "there are no jobs") // the instance follows within seconds
	says(o.types(1, "jobs get people"), `there is no job "people"`)
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}
