package consumer

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	neturl "net/url"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"streamer/consumer/consumertest"
	"streamer/consumer/registry"
	"streamer/schemas"
	"streamer/schemas/schemastest"
	"streamer/sink"
)

// A real registry (make registry): schemas with references, an id it does not know, and a time in which it is down: nothing is lost, and
// nothing given up but the unknown id. Rows are those of container files.
func TestRealRegistry(t *testing.T) {
	url := os.Getenv("SCHEMA_REGISTRY_URL")
	if url == "" {
		t.Skip("SCHEMA_REGISTRY_URL is not set; make registry sets it")
	}
	once := &http.Transport{DisableKeepAlives: true}
	client, err := sr.NewClient(sr.URLs(url), sr.HTTPClient(&http.Client{Transport: once, Timeout: within}))
	if err != nil {
		t.Fatal(err)
	}
	register := func(subject, text string, refs ...sr.SchemaReference) uint32 {
		s, err := client.CreateSchema(t.Context(), subject, sr.Schema{Schema: text, References: refs})
		if err != nil {
			t.Fatal(err)
		}
		return uint32(s.ID)
	}
	const place = `{"type":"record","name":"Place","namespace":"org.places","fields":[{"name":"village","type":"string"}]}`
	const whole = `{"type":"record","name":"Visit","fields":[{"name":"id","type":"string"},{"name":"n","type":"long"},{"name":"at","type":` + place + `}]}`
	visit := strings.Replace(whole, place, `"org.places.Place"`, 1)
	subject := consumertest.Name("visit")
	ref := sr.SchemaReference{Name: "org.places.Place", Subject: subject + "-place", Version: 1}
	register(ref.Subject, place)
	id, household := register(subject, visit, ref), register(subject+"-household", schemastest.Household)

	// What streamer dials is a way to the registry that can be shut: the registry itself keeps nothing when it ends.
	at, err := neturl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	way := httputil.NewSingleHostReverseProxy(&neturl.URL{Scheme: at.Scheme, Host: at.Host})
	way.Transport = once
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := func(door net.Listener) *http.Server {
		s := &http.Server{Handler: way, ReadHeaderTimeout: within}
		go func() { _ = s.Serve(door) }() // ends with Close
		return s
	}
	server := open(door)
	r, err := registry.New(registry.Options{URL: "http://" + door.Addr().String() + at.Path, Guard: sink.Guard{CIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := setup(t, consumertest.Fake(t), nil)
	topic := f.cluster.Topic(t, "t", 2)
	cfg := f.job(topic, func(c *Config) {
		c.Registry, c.DeadLetterShare = r.Schema, 1
		c.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n", "at": "$.msg.at.village", "row": "$.msg"}`, f.api.URL()+"/rows/{id}", `["n","at","row"]`, "")
	})
	record := func(partition int32, id uint32, schema, key string, row any) *kgo.Record {
		return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: schemastest.Framed(id, schema, row)}
	}
	visited := func(n int) any {
		return map[string]any{"id": "a", "n": n, "at": map[string]any{"village": fmt.Sprint("v", n)}}
	}
	consumertest.Produce(t, f.producer, record(0, id, whole, "a", visited(1)), record(0, 4_000_000, whole, "a", visited(2)))
	j := f.run(cfg)
	f.committed(cfg, topic)

	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	consumertest.Produce(t, f.producer, record(0, household, schemastest.Household, "h", schemastest.HouseholdRow(1)), record(0, id, whole, "a", visited(3)),
		record(1, id, whole, "b", visited(4)))
	f.committedTo(cfg, topic, map[int32]int64{0: 2, 1: 1}) // what is known goes on
	j.waitCause(topic + "/0 waits for a schema: the schema registry at")
	if door, err = net.Listen("tcp", door.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer open(door).Close() //nolint:errcheck // the test is over
	f.committed(cfg, topic)

	letters := f.cluster.DeadLetters(t, cfg.DeadLetterTopic)
	if len(letters) != 1 || letters[0].Offset != 1 {
		t.Errorf("dead letters %+v", letters)
	}
	// The same rows out of container files make the same requests.
	d := schemas.NewDecoder(schemas.Config{}, nil)
	for _, a := range f.api.Attempts() {
		var body struct{ Row json.RawMessage }
		if err := json.Unmarshal(a.Body, &body); err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(body.Row, &plain); err != nil {
			t.Fatal(err)
		}
		schema := whole
		if plain["at"] == nil {
			schema = schemastest.Household
		}
		b, err := d.Decode(schemastest.Container(schema, "deflate", plain), nil)
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := b.Row(0).AppendJSON(nil); string(out) != string(body.Row) {
			t.Errorf("the request has %s, the container %s", body.Row, out)
		}
	}
	if n := f.api.Len(); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}
