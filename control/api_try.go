package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"streamer/consumer"
	"streamer/control/service"
)

const (
	// mostTries is how many records an instance looks at side by side: one may grow in memory to what its job allows.
	mostTries = 2
	// readWithin bounds the reading of the record, mostRendered what is answered of bodies, in bytes.
	readWithin   = 15 * time.Second
	mostRendered = 4 << 20
	// mostFollowed bounds what is made for it of steps and their answers; see consumer.Record.
	mostFollowed = 2 * mostRendered
)

// TestIn says which record is tried on which definition. Either Record is given, or Topic, Partition and Offset.
type TestIn struct {
	JobIn
	Document  json.RawMessage          `json:"document,omitempty" doc:"the job as it might become, for who may edit it; a text is read as YAML or JSON; without it the job as it is"`
	Topic     string                   `json:"topic,omitempty" doc:"topic of the record; beside record: what stands for it, else the job's first topic"`
	Partition *int32                   `json:"partition,omitempty" minimum:"0" doc:"partition of the record"`
	Offset    *int64                   `json:"offset,omitempty" minimum:"0" doc:"offset of the record"`
	Record    *TestRecord              `json:"record,omitempty" doc:"the record itself, instead of one in Kafka"`
	Answers   consumer.RecordedAnswers `json:"answers,omitempty" maxProperties:"1000" doc:"what steps are answered, by the name of one call (groups/2/read), of that call for every item (groups/read), or of the step; without one the first request of a step is the last that is shown"`
	Limit     int                      `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"100" doc:"the most rows, from the first"`
}

// TestRecord is a record that need not be in Kafka.
type TestRecord struct {
	Value     Bytes          `json:"value" doc:"its value: a text, or {base64: …}; null is a tombstone"`
	Key       Bytes          `json:"key,omitempty" doc:"its key"`
	Headers   []LetterHeader `json:"headers,omitempty" maxItems:"1000" doc:"its headers"`
	Timestamp time.Time      `json:"timestamp,omitzero" doc:"its time; now, if it is left out"`
}

// Tested is what a job makes of a record.
type Tested struct {
	Topic     string        `json:"topic"`
	Partition int32         `json:"partition"`
	Offset    int64         `json:"offset"`
	Rows      []RenderedRow `json:"rows"`
	// More is how many rows the record has beyond these.
	More int `json:"more,omitempty"`
}

// Test implements DefinitionsService.
func (a definitionsService) Test(ctx context.Context, by service.Caller, in TestIn) (Tested, error) {
	if err := in.oneRecord(); err != nil {
		return Tested{}, err
	}
	select {
	case a.tries <- struct{}{}:
		defer func() { <-a.tries }()
	case <-ctx.Done():
		return Tested{}, ctx.Err()
	}
	var document []byte
	if in.Document != nil {
		document = DocumentIn{in.Document}.text()
	}
	cfg, err := a.API.Definitions.Try(ctx, by, in.Job, document)
	if err != nil {
		return Tested{}, logProblem(err)
	}
	if faults := in.Answers.Unknown(cfg.Program); len(faults) > 0 {
		var wrong []service.Fault
		for _, f := range faults {
			wrong = append(wrong, service.Fault{Field: "answers." + f.Path, Detail: f.Problem, Mend: f.Mend})
		}
		return Tested{}, service.Wrong(wrong...)
	}
	rec, err := a.record(ctx, cfg, in)
	if err != nil {
		return Tested{}, err
	}
	rec.Answers, rec.MostFollowed = in.Answers, mostFollowed
	out := Tested{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Rows: []RenderedRow{}}
	rows, bytes := Rendered(cfg, rec), 0
	for _, row := range rows {
		bytes += len(row.Body) + len(row.BodyBase64) + len(row.URL)
		if len(out.Rows) == in.Limit || bytes > mostRendered && len(out.Rows) > 0 {
			break
		}
		out.Rows = append(out.Rows, row)
	}
	out.More = len(rows) - len(out.Rows)
	return out, nil
}

// oneRecord refuses arguments that do not say one record.
func (in TestIn) oneRecord() error {
	if in.Record == nil {
		return FindIn{Topic: in.Topic, Partition: in.Partition, Offset: in.Offset}.needPosition()
	}
	if in.Partition != nil || in.Offset != nil {
		return service.Wrong(service.Fault{Field: "record", Detail: "stands beside a partition or an offset", Mend: "give either a record, or topic, partition and offset"})
	}
	return nil
}

// record is the one that is meant.
func (a definitionsService) record(ctx context.Context, cfg consumer.Config, in TestIn) (consumer.Record, error) {
	if in.Record != nil {
		rec := consumer.Record{Topic: in.Topic, Value: in.Record.Value, Key: in.Record.Key, Timestamp: in.Record.Timestamp}
		if rec.Topic == "" {
			rec.Topic = cfg.Topics[0]
		}
		if rec.Timestamp.IsZero() {
			rec.Timestamp = time.Now()
		}
		for _, h := range in.Record.Headers {
			rec.Headers = append(rec.Headers, consumer.RecordHeader{Key: h.Key, Value: h.Value})
		}
		return rec, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	rec, err := a.Record(ctx, cfg, in.Topic, *in.Partition, *in.Offset)
	var none *consumer.NoPartitionError
	switch {
	case err == nil:
		return rec, nil
	case errors.As(err, &none):
		return rec, service.Refuse(http.StatusNotFound, none.Field, none.Cause, "streamer jobs show "+in.Job+" names its partitions")
	case errors.Is(err, consumer.ErrNoRecord):
		return rec, service.Refuse(http.StatusNotFound, "offset", err.Error(), "")
	}
	return rec, kafkaProblem("the record cannot be read", err)
}
