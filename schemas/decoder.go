package schemas

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Decoder turns record values into rows. It keeps its memory from one value to the next, so that a value like the last one costs no
// allocation. One goroutine at a time.
type Decoder struct {
	config Config
	limits Limits
	cache  *Cache

	doc      Doc
	rows     []int32
	events   []int32 // of the rows, in a batch of events
	inflated []byte
	source   bytes.Reader
	flate    io.ReadCloser
	batch    Batch
	// last is the schema of the last container: the next one's, nearly always.
	last *Schema
	// registered are the schemas of the ids met last; known, once needed, those that can be had by fingerprint.
	registered map[int]kept
	known      map[uint64]*Schema
	// waits is why the value cannot be read yet.
	waits *UnavailableError
	// idle counts values in a row that needed little of the memory held.
	idle int
}

// Headers are a record's.
type Headers interface {
	Len() int
	// Header gives the header at i, 0 ≤ i < Len.
	Header(i int) (name string, value []byte)
}

// NewDecoder gives a Decoder. c has passed Validate; cache may be shared with other Decoders, nil means one of its own.
func NewDecoder(c Config, cache *Cache) *Decoder {
	if cache == nil {
		cache = NewCache(0)
	}
	if c.Format == "" {
		c.Format = FormatAuto
	}
	return &Decoder{config: c, limits: c.Limits.withDefaults(), cache: cache}
}

// Batch is what one record value holds. It is valid until its Decoder's next Decode or Release.
type Batch struct {
	doc    *Doc
	rows   []int32
	events []int32
	schema *Schema
	found  Found
}

// Len is the number of rows; a container may have none.
func (b *Batch) Len() int { return len(b.rows) }

// Row gives a row, 0 ≤ i < Len; Absent for any other i.
func (b *Batch) Row(i int) Value {
	if i < 0 || i >= len(b.rows) {
		return Value{}
	}
	return Value{b.doc, b.rows[i]}
}

// Event gives the attributes of the CloudEvent that row i is the data of, extensions among them; Absent if it is none's. Those of binary
// mode are text, and content-type is there as datacontenttype, as in structured mode.
func (b *Batch) Event(i int) Value {
	switch {
	case i < 0 || i >= len(b.rows) || b.found <= foundData:
		return Value{}
	case b.found&^foundData == FoundBatch:
		return Value{b.doc, b.events[i]}
	}
	return Value{b.doc, 0}
}

// Schema is the writer's schema of Avro data, nil for every other.
func (b *Batch) Schema() *Schema { return b.schema }

// Found is what the value was found to be.
func (b *Batch) Found() Found { return b.found }

// Format is the format by which the value was read: FormatBytes for text and bytes.
func (b *Batch) Format() Format { return b.found.Format() }

// Decode reads one record value, whole, before it gives any of it; h are the record's headers, nil for none. The error is a *DecodeError,
// the same at every try, or an *UnavailableError: then the same value is to be tried again later. The Batch is nil then. A nil
// value is an error, and so is one of no bytes, but that is one row of empty text with FormatBytes, and a CloudEvent without data where
// headers have one. The Batch's strings lie in value and in h, which must not be written while the Batch is in use.
func (d *Decoder) Decode(value []byte, h Headers) (*Batch, error) {
	d.settle()
	return d.done(d.decode(value, h))
}

// Tombstone gives what a record without a value is: one row of null, with the attributes of the CloudEvent that its headers may have. The
// error is that of Decode.
func (d *Decoder) Tombstone(h Headers) (*Batch, error) {
	d.settle()
	found, err := FoundNothing, (*DecodeError)(nil)
	if d.config.Format == FormatAuto || d.config.Format == FormatCloudEvent {
		if mode, _ := modeOf(h); mode == FoundBinary {
			found, err = FoundBinary, d.attributes(h)
		}
	}
	d.nothing()
	return d.done(found, err)
}

// done makes the Batch of what was read, or the error.
func (d *Decoder) done(found Found, err *DecodeError) (*Batch, error) {
	if err != nil {
		if d.waits != nil {
			return nil, d.waits
		}
		if err.Format == "" {
			err.Format = found.Format()
		}
		return nil, err
	}
	d.batch.doc, d.batch.rows, d.batch.events, d.batch.found = &d.doc, d.rows, d.events, found
	return &d.batch, nil
}

// nothing adds a row of null.
func (d *Decoder) nothing() {
	d.rows = append(d.rows, int32(len(d.doc.nodes)))
	d.doc.leaf("", Null)
}

// Release ends the life of the last Batch and gives back the memory held for the next one; the Decoder can still be used. For a Decoder
// that has nothing to do for a while: a large record may have left it with many times the record's size.
func (d *Decoder) Release() {
	*d = Decoder{config: d.config, limits: d.limits, cache: d.cache, last: d.last, registered: d.registered, known: d.known}
}

// settle forgets the last value, and its memory too when it was large and the last values needed little of it.
func (d *Decoder) settle() {
	const (
		kept = 1 * mebibyte
		most = 16 // values
	)
	held := cap(d.doc.nodes)*nodeBytes + cap(d.doc.text) + cap(d.inflated) + 4*cap(d.rows)
	used := len(d.doc.nodes)*nodeBytes + len(d.doc.text) + len(d.inflated) + 4*len(d.rows)
	if held > kept && used < held/4 {
		d.idle++
	} else {
		d.idle = 0
	}
	if d.idle > most {
		d.Release()
		return
	}
	d.doc.reset()
	d.rows, d.events = d.rows[:0], d.events[:0]
	d.inflated = d.inflated[:0]
	d.batch, d.waits = Batch{}, nil
}

// decode gives what the value was read as, also when it fails.
func (d *Decoder) decode(value []byte, h Headers) (Found, *DecodeError) {
	format := d.config.Format
	asked := format.found()
	if size := int64(len(value)); size > d.limits.RecordBytes {
		return asked, tooMuch("bytes of record value", settingRecordBytes, size, d.limits.RecordBytes)
	}
	if value == nil {
		return asked, problem("the value is empty")
	}
	if format == FormatAuto || format == FormatCloudEvent {
		if mode, contentType := modeOf(h); mode != 0 || format == FormatCloudEvent {
			return d.cloudEvent(value, h, mode, contentType)
		}
	}
	if len(value) == 0 && format != FormatBytes {
		return asked, problem("the value is empty")
	}
	if (format == FormatAuto || format == FormatAvro) && headed(value, h) {
		e := problem("the header %s names the schema of the value, and it is not read", headerSchemaID)
		e.Mend = "have the producer write the id in front of the value (in Java: value.schema.id.serializer=io.confluent.kafka.serializers.schema.id.PrefixSchemaIdSerializer), " +
			"or use format: bytes to take the value as it is"
		return FoundAvro, e
	}
	switch format {
	case FormatAuto:
		return d.auto(value)
	case FormatAether:
		if !isContainer(value) {
			e := problem("no Avro object container file: the value begins like %s", kindOf(value)).atByte(0)
			e.Mend = mendFor(value, mendAuto)
			return asked, e
		}
		return d.container(value)
	case FormatAvro:
		return d.avro(value)
	case FormatJSON:
		return d.json(value)
	default:
		return d.whole(value)
	}
}

func isContainer(value []byte) bool { return bytes.HasPrefix(value, []byte(magic)) }

// auto tells the formats apart by the bytes. What begins like a JSON object or list must be one; a scalar that is no JSON is text.
func (d *Decoder) auto(value []byte) (Found, *DecodeError) {
	found, err := d.sniffed(value)
	if err == nil && found == FoundJSON && d.isEvent(0) {
		d.rows = d.rows[:0]
		found, err = d.event(0)
		if found |= FoundStructured; err != nil && err.Setting == "" {
			err.Mend = joined(err.Mend, "use format: json to take it as it is")
		}
	}
	return found, err
}

// sniffed is auto, without a look at what a JSON document says.
func (d *Decoder) sniffed(value []byte) (Found, *DecodeError) {
	switch {
	case isContainer(value):
		return d.container(value)
	case framed(value):
		return d.framed(value)
	case isSingleObject(value):
		return d.singleObject(value)
	}
	start := jsonParser{src: view(bytes.TrimPrefix(value, []byte(byteOrderMark)))}
	start.space()
	if start.at < len(start.src) {
		switch c := start.src[start.at]; {
		case c == '{' || c == '[':
			found, err := d.json(value)
			if err != nil && err.Setting == "" {
				err.Mend = "use format: bytes if the value is text that only begins like JSON"
			}
			return found, err
		case strings.IndexByte(`"-0123456789tfn`, c) >= 0:
			before := len(d.doc.nodes)
			if found, err := d.json(value); err == nil {
				return found, nil
			}
			d.doc.nodes = d.doc.nodes[:before]
		}
	}
	if !utf8.Valid(value) {
		e := problem("neither Avro nor JSON nor UTF-8 text: the value begins like %s", kindOf(value)).atByte(0)
		e.Mend = mendFor(value, "use format: bytes to take it as it is")
		return FoundNothing, e
	}
	return d.whole(value)
}

const byteOrderMark = "\ufeff"

// json takes the value as one document, one row.
func (d *Decoder) json(value []byte) (Found, *DecodeError) {
	skipped := 0
	if bytes.HasPrefix(value, []byte(byteOrderMark)) {
		skipped = len(byteOrderMark)
	}
	row := int32(len(d.doc.nodes))
	if err := parseJSON(&d.doc, view(value[skipped:]), d.limits); err != nil {
		if err.Byte >= 0 {
			err.Byte += int64(skipped)
		}
		if err.Byte == int64(skipped) && err.Setting == "" {
			err.Mend = mendFor(value, "")
		}
		return FoundJSON, err
	}
	d.rows = append(d.rows, row)
	return FoundJSON, nil
}

// whole takes the value as it is: text if it can be, else bytes.
func (d *Decoder) whole(value []byte) (Found, *DecodeError) {
	found, kind := FoundBytes, Bytes
	if utf8.Valid(value) {
		found, kind = FoundText, String
	}
	d.rows = append(d.rows, int32(len(d.doc.nodes)))
	d.doc.leaf("", kind).str = view(value)
	return found, nil
}

// lookUp gives the schema of a container's header: the last one's if the text is the same, else the cache's.
func (d *Decoder) lookUp(source []byte) (*Schema, *DecodeError) {
	if d.last != nil && d.last.source == string(source) {
		return d.last, nil
	}
	s, err := d.cache.schema(source)
	if err == nil {
		d.last = s
	}
	return s, err
}
