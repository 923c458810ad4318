package consumer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

// extraction turns records into rows with their requests. It is one worker's, and keeps scratch memory from record to record.
type extraction struct {
	cfg       *Config
	address   address // where its records come from, in headers and idempotency keys
	usesKafka bool
	headers   recordHeaders
	missing   *schemas.UnavailableError // why the last record cannot be decoded yet; nil: it could be, or never can
	found     schemas.Found             // what the last record was found to be
	formats   *formats
	decoder   *schemas.Decoder
	mapper    *mapping.Mapper
	build     *schemas.Builder
	routes    []string // of the job
	parts     []mapping.Part
	recent    *recentAnswers
	out       []extracted
	misses    map[int32][]mapping.Miss // of each row, in a dry run; else nil
}

// part says which part of a record is meant: that which a route makes of a row. Without a route it is the row as a whole.
type part struct {
	row   int32 // its place in the record, from 0; wholeRecord if the record could not be decoded
	route string
}

// extracted is what became of one row by one route: a request, a verdict against one, or the reason why there can be none. Its index is
// row × routes + route, which is the row's own where a job has no routes.
type extracted struct {
	part
	index   int32
	lane    laneValue
	verdict mapping.Verdict
	request sink.Request
	way     *way // nil: request is all there is to do
	told    *mapping.Told
	err     error
}

func newExtraction(cfg *Config, cache *schemas.Cache, from address) extraction {
	reads := cfg.Schemas
	reads.Registry = cfg.Registry
	path := cfg.Order.Path
	return extraction{
		cfg: cfg, address: from,
		usesKafka: cfg.Program.UsesKafka() || path != nil && path.UsesKafka(),
		decoder:   schemas.NewDecoder(reads, cache),
		mapper:    cfg.Program.NewMapper(),
		routes:    cfg.Program.Routes(),
		recent:    &recentAnswers{},
		build:     schemas.NewBuilder(),
	}
}

// adopt makes cfg what records are brought to rows by.
func (x *extraction) adopt(cfg *Config, cache *schemas.Cache) {
	to := newExtraction(cfg, cache, x.address)
	x.cfg, x.usesKafka, x.decoder, x.mapper, x.routes = to.cfg, to.usesKafka, to.decoder, to.mapper, to.routes
}

var errTombstone = errors.New("the record has no value, and the job says tombstone: reject")

// decode gives the rows of a record; a tombstone that is delivered as it is is one.
func (x *extraction) decode(rec *kgo.Record) (batch *schemas.Batch, err error) {
	x.missing, x.headers = nil, rec.Headers
	switch {
	case rec.Value != nil:
		batch, err = x.decoder.Decode(rec.Value, &x.headers)
	case x.cfg.Tombstone == TombstoneReject:
		return nil, errTombstone
	default:
		batch, err = x.decoder.Tombstone(&x.headers)
	}
	errors.As(err, &x.missing)
	return batch, err
}

// recordHeaders are the headers of a record as schemas reads them.
type recordHeaders []kgo.RecordHeader

func (h *recordHeaders) Len() int { return len(*h) }

func (h *recordHeaders) Header(i int) (name string, value []byte) { return (*h)[i].Key, (*h)[i].Value }

// kafka is what an expression sees at $.kafka. Key and header values are text, or {"base64": …} where they are no UTF-8; a
// header name that occurs several times has a list.
func (x *extraction) kafka(rec *kgo.Record) schemas.Value {
	b := x.build
	b.Reset()
	b.BeginObject()
	b.Key("topic")
	b.String(rec.Topic)
	b.Key("partition")
	b.Int(int64(rec.Partition))
	b.Key("offset")
	b.Int(rec.Offset)
	b.Key("timestamp")
	b.Int(rec.Timestamp.UnixMilli())
	b.Key("key")
	text(b, rec.Key)
	b.Key("headers")
	b.BeginObject()
	for i, h := range rec.Headers {
		same := func(o kgo.RecordHeader) bool { return o.Key == h.Key }
		if slices.ContainsFunc(rec.Headers[:i], same) {
			continue // in the list of the first one
		}
		b.Key(h.Key)
		if !slices.ContainsFunc(rec.Headers[i+1:], same) {
			text(b, h.Value)
			continue
		}
		b.BeginArray()
		for _, o := range rec.Headers[i:] {
			if same(o) {
				text(b, o.Value)
			}
		}
		b.End()
	}
	b.End()
	b.End()
	return b.Value()
}

func text(b *schemas.Builder, v []byte) {
	switch {
	case v == nil:
		b.Null()
	case utf8.Valid(v):
		b.String(string(v))
	default:
		b.BeginObject()
		b.Key("base64")
		b.String(base64.StdEncoding.EncodeToString(v))
		b.End()
	}
}

// laneValue says which rows of the partition a row waits for.
type laneValue struct {
	value string
	own   bool // those without a value
	none  bool // for nobody
}

// rowLane is the lane of a row: by the job's order, and without one by what was found in the record. A null or missing value is
// the partition's own lane.
func (x *extraction) rowLane(rec *kgo.Record, batch *schemas.Batch, m *mapping.Message) (laneValue, error) {
	path := x.cfg.Order.Path
	switch x.cfg.Order.By {
	case OrderNone:
		return laneValue{none: true}, nil
	case OrderPartition:
		return laneValue{own: true}, nil
	case OrderKey:
		return keyLane(rec), nil
	case OrderAuto:
		if batch.Format() != schemas.FormatAether {
			return keyLane(rec), nil
		}
		path = aetherID
	}
	value, found, err := x.mapper.Lane(path, m)
	if err != nil {
		return laneValue{own: true}, err
	}
	return laneValue{value: value, own: !found}, nil
}

// aetherID is what Aether's rows are known by: its records have no key.
var aetherID = func() *mapping.Path {
	path, err := mapping.CompilePath("$.msg.id")
	if err != nil {
		panic(fmt.Sprintf("consumer: %v", err)) // a constant
	}
	return path
}()

// recordLane is the lane of a record that could not be decoded, so that it has no rows.
func (x *extraction) recordLane(rec *kgo.Record) laneValue {
	switch x.cfg.Order.By {
	case OrderNone:
		return laneValue{none: true}
	case OrderKey:
		return keyLane(rec)
	}
	return laneValue{own: true}
}

func keyLane(rec *kgo.Record) laneValue {
	return laneValue{value: string(rec.Key), own: rec.Key == nil}
}

// stamp is what all requests of a row's part carry beside what the mapping gives: where it comes from, and its trace.
type stamp struct {
	cfg     *Config
	address address
	part    part
	offset  string
	record  *kgo.Record // begins the trace
	trace   string      // empty: not begun
}

// request makes a request: what the mapping gave, the idempotency key, and where the row comes from. step is empty for the row's own one.
func (s *stamp) request(step string, r *mapping.Request) sink.Request {
	header := make([]sink.Header, len(r.Header), len(r.Header)+8)
	for i, h := range r.Header {
		header[i] = sink.Header(h)
	}
	if s.cfg.IdempotencyHeader != "" {
		header = append(header, sink.Header{Name: s.cfg.IdempotencyHeader, Value: s.address.idempotencyKey(s.offset, s.part, step)})
	}
	if !slices.ContainsFunc(header, func(h sink.Header) bool { return strings.EqualFold(h.Name, "traceparent") }) {
		header = append(header, sink.Header{Name: "traceparent", Value: s.span()})
	}
	if s.cfg.PositionHeaders {
		header = append(header,
			sink.Header{Name: "Streamer-Topic", Value: s.address.topic},
			sink.Header{Name: "Streamer-Partition", Value: s.address.partition},
			sink.Header{Name: "Streamer-Offset", Value: s.offset},
			sink.Header{Name: "Streamer-Row", Value: strconv.Itoa(int(s.part.row))})
		if s.part.route != "" {
			header = append(header, sink.Header{Name: "Streamer-Route", Value: s.part.route})
		}
		if step != "" {
			header = append(header, sink.Header{Name: "Streamer-Step", Value: step})
		}
	}
	return sink.Request{Method: r.Method, URL: r.URL, Header: header, Body: r.Body, User: r.User}
}

// span gives the traceparent of the next request: the same trace for all, and a span for each.
func (s *stamp) span() string {
	if s.trace == "" {
		s.trace = traceparent(s.record)
		return s.trace
	}
	out := appendHex(append(make([]byte, 0, 55), s.trace[:36]...), rand.Uint64()|1)
	return string(append(out, s.trace[52:]...))
}

// way begins that of a part with steps, whose first request was made with s.
func (s *stamp) way(p *mapping.Part, recent *recentAnswers) *way {
	if p.Flow == nil {
		return nil
	}
	if s.trace == "" {
		s.trace = traceparent(s.record)
	}
	w := &way{flow: p.Flow, stamp: *s, recent: recent}
	w.stamp.record = nil // would keep its whole fetch
	w.take(p.Call)
	return w
}

// traceparent names a span of the request in the record's trace (W3C Trace Context), the same on every attempt. A record without
// a valid one begins a trace, not sampled.
func traceparent(rec *kgo.Record) string {
	out := make([]byte, 0, 55)
	if parent := traceOf(rec); parent != nil {
		out = append(out, parent[:36]...)
		out = appendHex(out, rand.Uint64()|1)
		return string(append(out, parent[52:55]...))
	}
	out = append(out, "00-"...)
	out = appendHex(appendHex(out, rand.Uint64()), rand.Uint64()|1)
	out = appendHex(append(out, '-'), rand.Uint64()|1)
	return string(append(out, "-00"...))
}

// traceOf gives the record's own traceparent, nil if it has none that is valid: version 00, 32 and 16 hexadecimal digits, not all
// zero, and two of flags.
func traceOf(rec *kgo.Record) []byte {
	for _, h := range rec.Headers {
		v := h.Value
		if h.Key != "traceparent" || len(v) != 55 || string(v[:3]) != "00-" || v[35] != '-' || v[52] != '-' {
			continue
		}
		digits := bytes.Join([][]byte{v[3:35], v[36:52], v[53:]}, nil)
		isHex := !bytes.ContainsFunc(digits, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
		if isHex && string(v[3:35]) != strings.Repeat("0", 32) && string(v[36:52]) != strings.Repeat("0", 16) {
			return v
		}
	}
	return nil
}

func appendHex(out []byte, n uint64) []byte {
	return hex.AppendEncode(out, binary.BigEndian.AppendUint64(make([]byte, 0, 8), n))
}

// warn logs what the mapper noticed and no row is given up for, once each.
func (p *partition) warn() {
	for _, w := range p.mapper.Warnings() {
		p.runner.log.Warn("mapping: "+w, "topic", p.topic, "partition", p.id)
	}
}
