package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

// Record is a Kafka record for a dry run.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Timestamp  time.Time
	Key, Value []byte
	Headers    []RecordHeader
	// Answers are what steps are answered in the dry run. It ends where there is none.
	Answers RecordedAnswers
	// MostFollowed bounds what Answers may lead to, in bytes of requests and a part of the answers, which may be given for many items of
	// many rows: then the dry run ends as without an answer. 0: no bound.
	MostFollowed int
}

// RecordHeader is a header of a Record.
type RecordHeader struct {
	Key   string
	Value []byte
}

func (r *Record) headers() (out []kgo.RecordHeader) {
	for _, h := range r.Headers {
		out = append(out, kgo.RecordHeader(h))
	}
	return out
}

// Rendered is what a job makes of one row.
type Rendered struct {
	// Row is its place in the record, from 0; -1 stands for a record that could not be decoded. Route is the part of it; empty: the row as
	// a whole.
	Row   int
	Route string
	// Verdict is send, filtered, not emitted, unmatched, suppressed, payload error, or waits for its schema; Problem says why in the last two.
	Verdict, Problem string
	// Format is what the record was found to be; empty if it could not be decoded.
	Format string
	// Lane says for which rows it waits: a value, "the partition" or "nobody".
	Lane string
	// Step is the step whose request it is; empty: the row's own. Open says that what comes after it depends on an answer nobody gave.
	Step string
	Open bool
	// Request is what would be sent, without authentication; only when Verdict is send.
	Request sink.Request
	// Misses say why routes make nothing of the row. They stand with what is rendered of it last.
	Misses []Miss

	index int32
}

// Miss says why a route makes nothing of a row; an empty Route: why none does.
type Miss struct {
	Route string `json:"route,omitempty"`
	Why   string `json:"why"`
}

func (r Rendered) part() part { return part{int32(r.Row), r.Route} }

// unwanted says that the row is final without a request.
func (r Rendered) unwanted() bool {
	return r.Verdict != mapping.Send.String() && r.Verdict != payloadError && !r.waits()
}

// waits says that nothing is known of the record yet.
func (r Rendered) waits() bool { return r.Verdict == awaitsSchema }

const (
	payloadError = "payload error"
	awaitsSchema = "waits for its schema"
)

// Render says which requests a job makes of a record, by the very steps that Run takes. It sends nothing.
func Render(cfg Config, rec Record) []Rendered {
	cfg = cfg.Defaults()
	return renderFrom(cfg, rec, address{key: fmt.Sprintf("<cluster>/%s/%s/<topic id>/%d/", cfg.Namespace, cfg.Group, rec.Partition)})
}

func renderFrom(cfg Config, rec Record, from address) []Rendered {
	from.topic, from.partition = rec.Topic, fmt.Sprint(rec.Partition)
	x := newExtraction(&cfg, schemas.NewCache(schemaCacheBytes), from)
	in := &kgo.Record{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value, Headers: rec.headers()}
	if in.Value == nil && cfg.Tombstone == TombstoneSkip {
		return nil
	}
	x.misses = map[int32][]mapping.Miss{}
	x.mapper.Explain()
	var out []Rendered
	left := rec.MostFollowed
	if left == 0 {
		left = math.MaxInt
	}
	rows := x.extractNow(in)
	for i, row := range rows {
		first := rendered(row)
		if row.row != wholeRecord {
			first.Format = x.found.String()
		}
		calls := follow(row.way, first, rec.Answers, &left)
		r := &calls[len(calls)-1]
		if i+1 == len(rows) || rows[i+1].row != row.row {
			for _, miss := range x.misses[row.row] {
				why := Miss{Why: miss.Why}
				if miss.Route >= 0 {
					why.Route = x.routes[miss.Route]
				}
				r.Misses = append(r.Misses, why)
			}
		}
		out = append(out, calls...)
	}
	return out
}

// follow goes the way of a part whose first request is r, as far as there are answers and left allows.
func follow(w *way, r Rendered, answers RecordedAnswers, left *int) (out []Rendered) {
	for {
		if w == nil {
			return append(out, r)
		}
		if r.Step = w.call.Step; r.Step == "" {
			return append(out, r)
		}
		var a *mapping.Response
		if *left > 0 {
			a = answers.Of(r.Step)
		}
		if r.Open = a == nil; r.Open {
			return append(out, r)
		}
		*left -= renderedBytes + len(r.Request.URL) + len(r.Request.Body) + len(a.Body)/answerShare
		if (a.Status < 200 || a.Status > 299) && !slices.Contains(w.call.Accept, a.Status) {
			r.Problem = fmt.Sprintf("answered %d, which is a failure: it is tried again, or given up", a.Status)
			return append(out, r)
		}
		out = append(out, r)
		var err error
		if r.Request, err = w.next(a); err != nil {
			r.Verdict, r.Problem, r.Request = payloadError, err.Error(), sink.Request{}
			return append(out, r)
		}
	}
}

const (
	// renderedBytes is about what a rendered request takes beside its URL and body.
	renderedBytes = 1 << 10
	// answerShare is the part of an answer that counts: it is read for each call, and not kept.
	answerShare = 16
)

func rendered(x extracted) Rendered {
	r := Rendered{Row: int(x.row), Route: x.route, index: x.index, Verdict: "send", Lane: x.lane.value, Request: x.request}
	var missing *schemas.UnavailableError
	switch {
	case errors.As(x.err, &missing):
		r.Verdict, r.Problem = awaitsSchema, missing.Cause+"; it goes on when the registry answers"
	case x.err != nil:
		r.Verdict, r.Problem = payloadError, x.err.Error()
	case x.verdict != mapping.Send:
		r.Verdict = x.verdict.String()
	}
	switch {
	case x.lane.none:
		r.Lane = "nobody"
	case x.lane.own:
		r.Lane = "the partition"
	}
	return r
}

// ReadRecord reads one record of a job's topics, without a group: no other topic is read for a job, whoever asks. Errors:
// *NoPartitionError, ErrNoRecord with what there is, or Kafka's.
func (i *Instance) ReadRecord(ctx context.Context, cfg Config, topic string, partition int32, offset int64) (Record, error) {
	f, _, err := i.Ledger(cfg).partition(ctx, topic, partition)
	switch {
	case err != nil:
		return Record{}, err
	case offset < f.start || offset >= f.stable: // what is not there yet would be waited for
		return Record{}, fmt.Errorf("read %s/%d at %d: %w; the log has those from %d to before %d", topic, partition, offset, ErrNoRecord, f.start, f.stable)
	}
	return ReadRecord(ctx, i.kafka, topic, partition, offset, i.log)
}

// ErrNoRecord says that a partition holds no record at an offset: expired, compacted away, or not written yet.
var ErrNoRecord = errors.New("no record at this offset")

// ReadRecord reads the record at one offset, without a group. A record of an aborted transaction counts as none.
func ReadRecord(ctx context.Context, c Client, topic string, partition int32, offset int64, log *slog.Logger) (Record, error) {
	opts, err := c.options("streamer.read", log, nil)
	if err != nil {
		return Record{}, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}),
	)...)
	if err != nil {
		return Record{}, err
	}
	defer client.Close()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w in time", ErrNoRecord)
		}
		return Record{}, fmt.Errorf("read %s/%d at %d: %w", topic, partition, offset, err)
	}
	found := fetches.Records()
	if len(found) == 0 {
		return Record{}, fmt.Errorf("read %s/%d at %d: %w", topic, partition, offset, ErrNoRecord)
	}
	rec := found[0]
	if rec.Offset != offset || rec.Attrs.IsControl() {
		return Record{}, fmt.Errorf("read %s/%d at %d: %w; the next one is at %d", topic, partition, offset, ErrNoRecord, rec.Offset)
	}
	out := Record{Topic: topic, Partition: partition, Offset: offset, Timestamp: rec.Timestamp, Key: rec.Key, Value: rec.Value}
	for _, h := range rec.Headers {
		out.Headers = append(out.Headers, RecordHeader(h))
	}
	return out, nil
}
