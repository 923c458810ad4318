package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/schemas/schemastest"
)

// The formats of a topic. Those of path are formatJSON and formatContainer.
const (
	formatJSON       = "json"
	formatBinary     = "event-binary"     // CloudEvents, the attributes as headers, the row as the value
	formatStructured = "event-structured" // CloudEvents, the row in the JSON of the event
	formatContainer  = "container"        // Avro containers, deflate
	formatUnpacked   = "container-null"   // Avro containers, not packed
	formatRegistry   = "registry"         // Avro behind the id of its schema
)

// schemaID is the schema's in the stand-in registry.
const schemaID = 7

// way is a format, or a way to make the body of JSON rows.
type way struct {
	name, format string
	body         string // the job's lines for it; empty: fields
}

// ways are the cells of scenario formats. Those of the same format share a topic. The floor brings the first one's.
var ways = []way{
	{name: formatJSON, format: formatJSON},
	{name: formatBinary, format: formatBinary},
	{name: formatStructured, format: formatStructured},
	{name: formatContainer, format: formatContainer},
	{name: formatUnpacked, format: formatUnpacked},
	{name: formatRegistry, format: formatRegistry},
	{name: "payload", format: formatJSON, body: "datamap: {}\npayload: {id: $.msg.id, village: $.msg.villageID, members: $.msg.members, approved: $.msg.approved}"},
	{name: "payload-jq", format: formatJSON, body: `datamap: {}
payload: {$jq: ".msg | {id, village: .villageID, members, approved}"}`},
}

// comparisons are the targets of scenario formats, each a ratio of one round's runs: rows per CPU-second of a cell as a part of those of
// another one, or of the floor.
var comparisons = []struct {
	cell, other string // other is a cell of streamer's; empty: the floor
	target      float64
}{
	{formatJSON, "", 1},
	{formatBinary, "", 0.8},
	{formatStructured, "", 0.8},
	{formatRegistry, formatContainer, 1},
	{formatRegistry, formatUnpacked, 1},
	{"payload-jq", "payload", 0.2},
}

// formats compares what the same rows cost in each format, and the same body by JSONPath and by jq. The floor has JSON rows without an
// envelope: what an event says about itself is to be paid by streamer alone.
func (b *bench) formats(ctx context.Context) error {
	const keys, inFlight = 10_000, 256
	res := b.report.scenario("formats", fmt.Sprintf("%d rows, one a record, %d partitions, %d keys, order by key, API answers at once, %d in flight; ratio: to the floor of json, of the same round",
		b.rows, partitions, keys, inFlight), "rows/s", "CPU-s per 100,000 rows", "peak RSS, MB", "ratio")
	var forms []string
	var topics []contents
	for _, w := range ways {
		if !slices.Contains(forms, w.format) {
			forms, topics = append(forms, w.format), append(topics, contents{rows: b.rows, keys: keys, format: w.format})
		}
	}
	err := b.eachTopic(ctx, topics, func(names []string) error {
		return withRegistry(ctx, func(registry string) error {
			var trips []trip
			for _, w := range ways {
				at := slices.Index(forms, w.format)
				trips = append(trips, trip{program: "streamer", cell: w.name, topic: names[at], c: topics[at], rows: b.rows, records: b.rows,
					order: "key", inFlight: inFlight, body: w.body, registry: registry})
			}
			floor := trips[0]
			floor.program = "floor"
			return b.rotate(ctx, res, append(trips, floor))
		})
	})
	if err != nil {
		return err
	}
	for _, w := range ways {
		res.ratioTo(formatJSON, w.name)
	}
	for _, c := range comparisons {
		what, value := c.cell+", rows per CPU-second, streamer / floor", res.Ratios[c.cell]
		if c.other != "" {
			what, value = "rows per CPU-second, "+c.cell+" / "+c.other, res.compare(c.other, "streamer", c.cell, "streamer", cost)
		}
		res.check(check{What: what, Value: value, Target: c.target, AtLeast: true, Assert: true})
	}
	res.checkPeak("streamer")
	return nil
}

// rotate makes all trips in every round, each round beginning with another one.
func (b *bench) rotate(ctx context.Context, res *result, trips []trip) error {
	for round := range b.rounds {
		n := round * len(trips) / b.rounds
		for _, t := range slices.Concat(trips[n:], trips[:n]) {
			t.round = round
			r, err := b.deliver(ctx, t, "formats", atOnce)
			if err != nil {
				return fmt.Errorf("cell %s: %w", t.cell, err)
			}
			res.add(r)
			b.say("formats, %s, round %d: %s", t.cell, round+1, r)
		}
	}
	return nil
}

// eventOf are the attributes of the i-th row's event.
func eventOf(i int) [][2]string {
	return [][2]string{{"specversion", "1.0"}, {"id", fmt.Sprintf("event-%06d", i)}, {"source", "/households"}, {"type", "org.eha.household.changed"},
		{"subject", householdKey(i)}, {"time", "2026-11-29T06:00:00Z"}}
}

// binaryMode gives the headers of a row's event.
func binaryMode(i int) []kgo.RecordHeader {
	out := []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}}
	for _, a := range eventOf(i) {
		out = append(out, kgo.RecordHeader{Key: "ce_" + a[0], Value: []byte(a[1])})
	}
	return out
}

// structuredMode gives a row's event, with its header.
func structuredMode(i int, row []byte) ([]byte, []kgo.RecordHeader) {
	text := []byte{'{'}
	for _, a := range eventOf(i) {
		text = fmt.Appendf(text, "%q:%q,", a[0], a[1])
	}
	text = fmt.Appendf(text, `"datacontenttype":"application/json","data":%s}`, row)
	return text, []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}}
}

// withRegistry runs do while there is a schema registry.
func withRegistry(ctx context.Context, do func(url string) error) error {
	p, err := start("registry", struct{}{})
	if err != nil {
		return err
	}
	var url string
	if err = p.hear(ctx, &url); err == nil {
		err = do(url)
	}
	return errors.Join(err, p.end(nil))
}

// registryRole stands in for a schema registry that has one schema. It is asked once in a run: ids are cached.
func registryRole(_ []byte, s *stage) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc(fmt.Sprintf("GET /schemas/ids/%d", schemaID), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		_ = json.NewEncoder(w).Encode(map[string]string{"schema": schemastest.Household}) // who asks sees a broken answer
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(s.stopped, func() { _ = server.Close() })
	if err := s.tell("http://" + l.Addr().String()); err != nil {
		return err
	}
	_ = server.Serve(l) // until it is closed
	return nil
}
