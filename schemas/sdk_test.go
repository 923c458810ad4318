package schemas

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// kafkaWriter writes an event of the CloudEvents SDK as the Kafka protocol binding 1.0 says, in binary mode.
type kafkaWriter struct {
	headers pairs
	value   []byte
}

func (w *kafkaWriter) Start(context.Context) error { return nil }
func (w *kafkaWriter) End(context.Context) error   { return nil }

func (w *kafkaWriter) SetAttribute(a spec.Attribute, value any) error {
	name := "ce_" + a.Name()
	if a.Kind() == spec.DataContentType {
		name = "content-type"
	}
	return w.set(name, value)
}

func (w *kafkaWriter) SetExtension(name string, value any) error { return w.set("ce_"+name, value) }

func (w *kafkaWriter) set(name string, value any) error {
	if value == nil {
		return nil
	}
	text, err := types.Format(value)
	w.headers = append(w.headers, name, text)
	return err
}

func (w *kafkaWriter) SetData(r io.Reader) (err error) {
	w.value, err = io.ReadAll(r)
	return err
}

// What the CloudEvents SDK writes is read, with every attribute, in every mode.
func TestEventsOfTheSDK(t *testing.T) {
	made := func(contentType string, data any) event.Event {
		e := event.New()
		e.SetID("e-1")
		e.SetSource("/records?a=b")
		e.SetType("org.inveniordm.rdm_record.publish")
		e.SetSubject("r1")
		e.SetTime(time.Date(2026, 11, 29, 6, 0, 0, 500, time.UTC))
		e.SetDataSchema("urn:schema")
		e.SetExtension("servicetype", "rdm_record")
		e.SetExtension("number", 7)
		if err := e.SetData(contentType, data); err != nil {
			t.Fatal(err)
		}
		return e
	}
	for name, c := range map[string]struct {
		event event.Event
		row   string
	}{
		"JSON":  {made("application/json", map[string]any{"id": "r1", "n": 1}), `{"id":"r1","n":1}`},
		"text":  {made("text/plain", "hello"), `"hello"`},
		"bytes": {made("application/octet-stream", []byte{0xff}), `"/w=="`},
	} {
		structured, err := json.Marshal(c.event)
		if err != nil {
			t.Fatal(err)
		}
		w := &kafkaWriter{}
		if _, err := binding.Write(t.Context(), (*binding.EventMessage)(&c.event), nil, w); err != nil {
			t.Fatal(err)
		}
		for mode, in := range map[string]struct {
			headers Headers
			value   []byte
		}{
			"structured": {pairs{"content-type", "application/cloudevents+json"}, structured},
			"no header":  {nil, structured},
			"batch":      {pairs{"content-type", batchType}, fmt.Appendf(nil, "[%s]", structured)},
			"binary":     {w.headers, w.value},
		} {
			b, err := NewDecoder(Config{}, nil).Decode(in.value, in.headers)
			if err != nil {
				t.Errorf("%s, %s: %v", name, mode, err)
				continue
			}
			if got := jsonOf(t, b.Row(0)); got != c.row || b.Format() != FormatCloudEvent {
				t.Errorf("%s, %s: %s, want %s", name, mode, got, c.row)
			}
			for attribute, want := range map[string]string{"id": "e-1", "source": "/records?a=b", "type": "org.inveniordm.rdm_record.publish", "subject": "r1",
				"time": "2026-11-29T06:00:00.0000005Z", "dataschema": "urn:schema", "servicetype": "rdm_record", "number": "7",
				"datacontenttype": c.event.DataContentType(), "specversion": "1.0"} {
				if got, _ := b.Event(0).Field(attribute).AppendText(nil); string(got) != want {
					t.Errorf("%s, %s: %s is %s, want %s", name, mode, attribute, got, want)
				}
			}
		}
	}
}
