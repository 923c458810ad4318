package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"streamer/schemas/schemastest"
)

// pairs are headers, name and value in turn.
type pairs []string

func (p pairs) Len() int { return len(p) / 2 }

func (p pairs) Header(i int) (name string, value []byte) { return p[2*i], []byte(p[2*i+1]) }

const (
	structuredType = "application/cloudevents+json; charset=UTF-8"
	batchType      = "application/cloudevents-batch+json"
	attributes     = `"specversion":"1.0","id":"a-1","source":"/records","type":"org.inveniordm.records.publish"`
)

// eventOf are the headers of an event of binary mode, with more behind them.
func eventOf(more ...string) pairs {
	return append(pairs{"ce_specversion", "1.0", "ce_id", "a-1", "ce_source", "/records", "ce_type", "org.inveniordm.records.publish"}, more...)
}

const told = `{` + attributes + `}`

func TestCloudEvents(t *testing.T) {
	framedValue := string(join([]byte{0, 0, 0, 0, 7}, data("framed")))
	file := string(container(`"string"`, 2, data("x"), data("y")))
	for name, c := range map[string]struct {
		headers     Headers
		value       string
		found       string
		rows, event string // of the first row
	}{
		"structured": {pairs{"content-type", structuredType}, `{` + attributes + `,"subject":"r1","time":"2026-11-29T06:00:00Z","servicetype":"records","n":7,"data":{"id":"r1","n":1.0}}`,
			"cloudevent structured: json", `{"id":"r1","n":1.0}`, `{` + attributes + `,"subject":"r1","time":"2026-11-29T06:00:00Z","servicetype":"records","n":7}`},
		"structured, no header": {nil, `{"data":[1],` + attributes + `}`, "cloudevent structured: json", `[1]`, told},
		"a header of another case, no parameters": {pairs{"Content-Type", "Application/CloudEvents+JSON"}, `{` + attributes + `,"data":null}`,
			"cloudevent structured: json", `null`, told},
		"no data":      {nil, `{` + attributes + `}`, "cloudevent structured: nothing", `null`, told},
		"null members": {nil, `{` + attributes + `,"subject":null,"data_base64":null,"data":5}`, "cloudevent structured: json", `5`, told},
		"data of text": {nil, `{` + attributes + `,"datacontenttype":"text/plain","data":"hello"}`, "cloudevent structured: text", `"hello"`,
			`{` + attributes + `,"datacontenttype":"text/plain"}`},
		"a JSON string is JSON": {nil, `{` + attributes + `,"datacontenttype":"application/json","dataschema":"urn:a","data":"hello"}`, "cloudevent structured: json", `"hello"`,
			`{` + attributes + `,"datacontenttype":"application/json","dataschema":"urn:a"}`},
		"bytes in base64": {nil, `{` + attributes + `,"datacontenttype":"image/png","data_base64":"/wA="}`, "cloudevent structured: bytes", `"/wA="`,
			`{` + attributes + `,"datacontenttype":"image/png"}`},
		"JSON in base64": {nil, `{` + attributes + `,"datacontenttype":"application/json","data_base64":"eyJhIjoxfQ=="}`, "cloudevent structured: json", `{"a":1}`,
			`{` + attributes + `,"datacontenttype":"application/json"}`},
		"the last of members of one key": {nil, `{"id":"other",` + attributes + `,"data":1,"data":2}`, "cloudevent structured: json", `2`, told},
		"batch":                          {pairs{"content-type", batchType}, `[{` + attributes + `,"data":{"a":1}},{` + attributes + `}]`, "cloudevent batch: json", `{"a":1}|null`, told},
		"empty batch":                    {pairs{"content-type", batchType}, `[]`, "cloudevent batch: nothing", ``, ``},
		"binary JSON": {eventOf("content-type", "application/json", "other", "x", "ce_servicetype", "records"), `{"id":"r1"}`, "cloudevent binary: json", `{"id":"r1"}`,
			`{` + attributes + `,"datacontenttype":"application/json","servicetype":"records"}`},
		"binary of a JSON dialect":   {eventOf("content-type", "application/vnd.a+json; charset=utf-8"), `[]`, "cloudevent binary: json", `[]`, ``},
		"binary, said to be nothing": {eventOf(), `{"id":1}`, "cloudevent binary: json", `{"id":1}`, told},
		"binary text":                {eventOf("content-type", "text/plain"), `{"a":1}`, "cloudevent binary: text", `"{\"a\":1}"`, ``},
		"binary of another type":     {eventOf("content-type", "application/octet-stream"), "\xff", "cloudevent binary: bytes", `"/w=="`, ``},
		"binary Avro, registry":      {eventOf("content-type", "application/avro"), framedValue, "cloudevent binary: avro (registry)", `"framed"`, ``},
		"binary Avro, file":          {eventOf("content-type", "avro/binary"), file, "cloudevent binary: container file", `"x"|"y"`, ``},
		"binary JSON with an id":     {eventOf("content-type", "application/json"), "\x00\x00\x00\x00\x09{}", "cloudevent binary: json (registry)", `{}`, ``},
		"binary without data":        {eventOf("content-type", "application/json"), "", "cloudevent binary: nothing", `null`, ``},
		"attribute that is no UTF-8": {eventOf("ce_x", "a\xff"), "1", "cloudevent binary: json", `1`, `{` + attributes + `,"x":"a` + "\ufffd" + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatCloudEvent} {
				b, err := NewDecoder(Config{Format: format, Registry: testRegistry}, nil).Decode([]byte(c.value), c.headers)
				if err != nil {
					t.Fatal(err)
				}
				var rows []string
				for i := range b.Len() {
					rows = append(rows, jsonOf(t, b.Row(i)))
					if c.event != "" && jsonOf(t, b.Event(i)) != c.event {
						t.Errorf("%s, event %d: %s, want %s", format, i, jsonOf(t, b.Event(i)), c.event)
					}
					if n := b.Event(i).Len(); n != strings.Count(jsonOf(t, b.Event(i)), `":`) {
						t.Errorf("%s: an event of %d attributes: %s", format, n, jsonOf(t, b.Event(i)))
					}
				}
				if got := strings.Join(rows, "|"); got != c.rows || b.Found().String() != c.found || b.Format() != FormatCloudEvent {
					t.Errorf("%s: %s as %s (%s), want %s as %s", format, got, b.Found(), b.Format(), c.rows, c.found)
				}
				if b.Event(-1).Kind() != Absent || b.Event(b.Len()).Kind() != Absent {
					t.Error("an event that is not there")
				}
			}
		})
	}
}

func TestCloudEventsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		headers Headers
		value   string
		says    string
	}{
		"both modes at once": {eventOf("content-type", structuredType), `{` + attributes + `}`, "a CloudEvent in both modes at once"},
		"another version":    {pairs{"content-type", structuredType}, `{"specversion":"0.3","id":"a","source":"b","type":"c"}`, `a CloudEvent of version "0.3"; have the producer write version 1.0`},
		"another version, no header": {nil, `{"specversion":"0.3","id":"a","source":"b","type":"c"}`,
			`a CloudEvent of version "0.3"; have the producer write version 1.0`},
		"another version, binary":           {pairs{"ce_specversion", "2.0", "ce_id", "a", "ce_source", "b", "ce_type", "c"}, `{}`, `a CloudEvent of version "2.0"`},
		"attributes missing":                {pairs{"content-type", structuredType}, `{"specversion":"1.0","id":"","type":null}`, "no CloudEvent: it has no id, source, type"},
		"attributes missing, binary":        {pairs{"ce_specversion", "1.0", "ce_id", "a"}, `{}`, "no CloudEvent: it has no source, type"},
		"an id that is a number":            {pairs{"content-type", structuredType}, `{"specversion":"1.0","id":7,"source":"b","type":"c"}`, "it has no id"},
		"no JSON, structured":               {pairs{"content-type", structuredType}, `{"secret`, "no JSON"},
		"empty, structured":                 {pairs{"content-type", structuredType}, ``, "no JSON"},
		"a list, structured":                {pairs{"content-type", structuredType}, `[]`, "no CloudEvent: a JSON list, and no object"},
		"data that is no JSON":              {eventOf("content-type", "application/json"), `secret`, "the event's data, said to be JSON: no JSON: expected a value"},
		"data that is no Avro":              {eventOf("content-type", "application/avro"), `secret`, "no Avro with the id or the fingerprint of its schema: the value begins like text; have the producer write the id or the fingerprint of its schema in front"},
		"data twice":                        {nil, `{` + attributes + `,"data":1,"data_base64":"AA=="}`, "a CloudEvent with data and data_base64"},
		"data_base64 that is a number":      {nil, `{` + attributes + `,"data_base64":1}`, "data_base64 is a number, and no text"},
		"data_base64 that is none":          {nil, `{` + attributes + `,"data_base64":"secret!"}`, "data_base64 is no base64"},
		"events in Avro":                    {pairs{"content-type", "application/cloudevents+avro"}, `x`, `a CloudEvent written as "application/cloudevents+avro"; have the producer write application/cloudevents+json, or binary mode`},
		"a batch that is an object":         {pairs{"content-type", batchType}, `{` + attributes + `}`, "no batch of CloudEvents: a JSON object, and no list"},
		"a batch with what is none":         {pairs{"content-type", batchType}, `[{` + attributes + `},5]`, "row 1: no CloudEvent: a JSON number"},
		"a batch with another version":      {pairs{"content-type", batchType}, `[{` + attributes + `},{"specversion":"0.3","id":"a","source":"b","type":"c"}]`, "row 1: a CloudEvent of version"},
		"a batch of several Avro schemas":   {pairs{"content-type", batchType}, `[` + avroEvent(7, "x") + `,` + avroEvent(8, "\x02") + `]`, "data of several Avro schemas"},
		"a batch of more rows than allowed": {pairs{"content-type", batchType}, `[{` + attributes + `},{` + attributes + `},{` + attributes + `},{` + attributes + `}]`, "limits.rows"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, format := range []Format{FormatAuto, FormatCloudEvent} {
				b, err := NewDecoder(Config{Format: format, Limits: Limits{Rows: 3}, Registry: testRegistry}, nil).Decode([]byte(c.value), c.headers)
				var de *DecodeError
				if !errors.As(err, &de) || b != nil || !strings.Contains(de.Error(), c.says) || strings.Contains(de.Error(), "secret") || de.Format != FormatCloudEvent {
					t.Errorf("%s: %v, want %q", format, err, c.says)
				}
			}
		})
	}
	t.Run("binary mode without its mark, asked for", func(t *testing.T) {
		_, err := NewDecoder(Config{Format: FormatCloudEvent}, nil).Decode([]byte(`{}`), pairs{"ce_id", "a"})
		if err == nil || !strings.Contains(err.Error(), "it has no specversion, source, type") {
			t.Error(err)
		}
	})
}

// avroEvent is an event with data that is framed, as base64.
func avroEvent(id byte, datum string) string {
	out, _ := json.Marshal(join([]byte{0, 0, 0, 0, id}, data(datum)))
	return `{` + attributes + `,"datacontenttype":"application/avro","data_base64":` + string(out) + `}`
}

// What only looks a little like an event, or is asked for as something else, is what it is.
func TestWhatIsNoCloudEvent(t *testing.T) {
	event := `{` + attributes + `,"data":1}`
	for name, c := range map[string]struct {
		format  Format
		headers Headers
		value   string
	}{
		"no id":               {FormatAuto, nil, `{"specversion":"1.0","source":"b","type":"c"}`},
		"an id of a number":   {FormatAuto, nil, `{"specversion":"1.0","id":1,"source":"b","type":"c"}`},
		"a list of events":    {FormatAuto, nil, `[` + event + `]`},
		"headers of an event": {FormatAuto, pairs{"ce_id", "a", "content-type", "application/json"}, `{"a":1}`},
		"asked for as JSON":   {FormatJSON, eventOf(), event},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := NewDecoder(Config{Format: c.format}, nil).Decode([]byte(c.value), c.headers)
			if err != nil || b.Found() != FoundJSON || jsonOf(t, b.Row(0)) != c.value || b.Event(0).Kind() != Absent {
				t.Errorf("%v, %v", b, err)
			}
		})
	}
}

func TestTombstonesHaveAttributes(t *testing.T) {
	for _, c := range []struct {
		format  Format
		headers Headers
		event   string
		fails   string
	}{
		{FormatAuto, nil, "", ""},
		{FormatCloudEvent, nil, "", ""},
		{FormatAuto, eventOf("ce_subject", "r1"), `{` + attributes + `,"subject":"r1"}`, ""},
		{FormatJSON, eventOf(), "", ""},
		{FormatAuto, pairs{"ce_specversion", "9"}, "", "it has no id, source, type"},
	} {
		b, err := NewDecoder(Config{Format: c.format}, nil).Tombstone(c.headers)
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) || b != nil {
				t.Errorf("%v: %v, want %s", c.headers, err, c.fails)
			}
			continue
		}
		if err != nil || b.Len() != 1 || b.Row(0).Kind() != Null || c.event == "" && b.Event(0).Kind() != Absent || c.event != "" && jsonOf(t, b.Event(0)) != c.event {
			t.Errorf("%v: %v %v", c.headers, b, err)
		}
	}
}

func TestRepeatedEventsAllocateNothing(t *testing.T) {
	row, _ := json.Marshal(schemastest.HouseholdRow(1))
	d := NewDecoder(Config{}, nil)
	for name, c := range map[string]struct {
		value   []byte
		headers Headers
	}{
		"structured": {fmt.Appendf(nil, `{%s,"data":%s}`, attributes, row), &fixedHeaders{{"content-type", []byte(structuredType)}}},
		"binary": {row, &fixedHeaders{{"ce_specversion", []byte("1.0")}, {"ce_id", []byte("a")}, {"ce_source", []byte("b")}, {"ce_type", []byte("c")},
			{"content-type", []byte("application/json")}}},
	} {
		decode := func() {
			if _, err := d.Decode(c.value, c.headers); err != nil {
				t.Fatal(err)
			}
		}
		decode()
		if n := testing.AllocsPerRun(100, decode); n > 0 {
			t.Errorf("%s: %v allocations for each value", name, n)
		}
	}
}

type fixedHeaders []struct {
	name  string
	value []byte
}

func (h *fixedHeaders) Len() int                                 { return len(*h) }
func (h *fixedHeaders) Header(i int) (name string, value []byte) { return (*h)[i].name, (*h)[i].value }

// FuzzCloudEvent: any headers and value give rows with their events, or a DecodeError, or wait for a schema that is not here.
func FuzzCloudEvent(f *testing.F) {
	f.Add(structuredType, "1.0", []byte(`{`+attributes+`,"data":{"a":[1]},"x":null}`))
	f.Add(batchType, "", []byte(`[{`+attributes+`,"data_base64":"AAAAAAc="}]`))
	f.Add("application/avro", "1.0", []byte("\x00\x00\x00\x00\x07\x02a"))
	f.Add("", "1.0", []byte(`{"a":1}`))
	f.Add("", "1.0", framedBy(99, []byte("00"))) // whose schema is not here yet
	limits := Limits{RecordBytes: 1 << 20, Rows: 100, Values: 5000}
	f.Fuzz(func(t *testing.T, contentType, version string, value []byte) {
		h := pairs{"content-type", contentType, "ce_id", version, "ce_source", "b", "ce_type", "c"}
		if version != "" {
			h = append(h, "ce_specversion", version)
		}
		for _, format := range []Format{FormatAuto, FormatCloudEvent} {
			b, err := NewDecoder(Config{Format: format, Limits: limits, Registry: testRegistry}, nil).Decode(value, h)
			var de *DecodeError
			var wait *UnavailableError
			if err != nil {
				if errors.As(err, &de) == errors.As(err, &wait) || de != nil && de.Problem == "" || wait != nil && wait.Again == nil {
					t.Fatalf("error %v", err)
				}
				continue
			}
			for i := range b.Len() {
				if e := b.Event(i); b.Format() == FormatCloudEvent && (e.Field("specversion").Kind() != String || e.Field("data").Kind() != Absent && e.Field("data").node().key != "data") {
					t.Fatalf("row %d has no event", i)
				}
				if out, err := b.Row(i).AppendJSON(nil); err == nil && !json.Valid(out) || err != nil && !errors.Is(err, ErrNoJSON) {
					t.Fatalf("row %d: %s, %v", i, out, err)
				}
				if out, err := b.Event(i).AppendJSON(nil); b.Format() == FormatCloudEvent && (err != nil || !json.Valid(out)) {
					t.Fatalf("event %d: %s, %v", i, out, err)
				}
			}
		}
	})
}
