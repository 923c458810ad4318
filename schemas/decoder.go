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
	inflated []byte
	source   bytes.Reader
	flate    io.ReadCloser
	batch    Batch
	// last is the schema of the last container: the next one's, nearly always.
	last *Schema
	// idle counts values in a row that needed little of the memory held.
	idle int
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
	schema *Schema
	format Format
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

// Schema is the writer's schema of a container, nil for every other format.
func (b *Batch) Schema() *Schema { return b.schema }

// Format is what the value was found to be: FormatAether for a container, FormatJSON, or FormatBytes for text and bytes.
func (b *Batch) Format() Format { return b.format }

// Decode reads one record value, whole, before it gives any of it. The error is a *DecodeError, the same at every try; the Batch
// is then nil. A nil value is an error, and so is one of no bytes, but with FormatBytes that is one row of empty text. The Batch's strings lie in value, which must
// not be written while the Batch is in use.
func (d *Decoder) Decode(value []byte) (*Batch, error) {
	d.settle()
	format, schema, err := d.decode(value)
	if err != nil {
		if err.Format == "" {
			err.Format = format
		}
		return nil, err
	}
	d.batch = Batch{doc: &d.doc, rows: d.rows, schema: schema, format: format}
	return &d.batch, nil
}

// Release ends the life of the last Batch and gives back the memory held for the next one; the Decoder can still be used. For a Decoder
// that has nothing to do for a while: a large record may have left it with many times the record's size.
func (d *Decoder) Release() {
	*d = Decoder{config: d.config, limits: d.limits, cache: d.cache, last: d.last}
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
	d.rows = d.rows[:0]
	d.inflated = d.inflated[:0]
}

// decode gives what the value was read as, also when it fails.
func (d *Decoder) decode(value []byte) (Format, *Schema, *DecodeError) {
	format := d.config.Format
	if size := int64(len(value)); size > d.limits.RecordBytes {
		return format, nil, tooMuch("bytes of record value", settingRecordBytes, size, d.limits.RecordBytes)
	}
	if value == nil || len(value) == 0 && format != FormatBytes {
		return format, nil, problem("the value is empty")
	}
	switch format {
	case FormatAuto:
		return d.auto(value)
	case FormatAether:
		if !isContainer(value) {
			e := problem("no Avro object container file: the value begins like %s", kindOf(value)).atByte(0)
			e.Mend = mendFor(value, "use format: auto")
			return format, nil, e
		}
		schema, err := d.container(value)
		return format, schema, err
	case FormatJSON:
		return format, nil, d.json(value)
	case FormatBytes:
		d.whole(value)
		return format, nil, nil
	}
	return format, nil, problem("format %s is not in this version", quote(string(format)))
}

func isContainer(value []byte) bool { return bytes.HasPrefix(value, []byte(magic)) }

// framed says whether value begins as schema-registry framing does: a zero byte and a schema id of four. Ids are small, so what follows
// is often valid UTF-8; but no text begins with a zero byte.
func framed(value []byte) bool { return len(value) >= 5 && value[0] == 0 }

// auto tells the formats apart by the bytes. What begins like a JSON object or list must be one; a scalar that is no JSON is text.
func (d *Decoder) auto(value []byte) (Format, *Schema, *DecodeError) {
	if isContainer(value) {
		schema, err := d.container(value)
		return FormatAether, schema, err
	}
	if framed(value) {
		return FormatAvro, nil, notHere()
	}
	start := jsonParser{src: view(bytes.TrimPrefix(value, []byte(byteOrderMark)))}
	start.space()
	if start.at < len(start.src) {
		switch c := start.src[start.at]; {
		case c == '{' || c == '[':
			err := d.json(value)
			if err != nil && err.Setting == "" {
				err.Mend = "use format: bytes if the value is text that only begins like JSON"
			}
			return FormatJSON, nil, err
		case strings.IndexByte(`"-0123456789tfn`, c) >= 0:
			if err := d.json(value); err == nil {
				return FormatJSON, nil, nil
			}
			d.doc.reset()
		}
	}
	if !utf8.Valid(value) {
		e := problem("neither a container file nor JSON nor UTF-8 text: the value begins like %s", kindOf(value)).atByte(0)
		e.Mend = mendFor(value, "use format: bytes to take it as it is")
		return FormatAuto, nil, e
	}
	d.whole(value)
	return FormatBytes, nil, nil
}

const byteOrderMark = "\ufeff"

// json takes the value as one document, one row.
func (d *Decoder) json(value []byte) *DecodeError {
	skipped := 0
	if bytes.HasPrefix(value, []byte(byteOrderMark)) {
		skipped = len(byteOrderMark)
	}
	if err := parseJSON(&d.doc, view(value[skipped:]), d.limits); err != nil {
		if err.Byte >= 0 {
			err.Byte += int64(skipped)
		}
		if err.Byte == int64(skipped) && err.Setting == "" {
			err.Mend = mendFor(value, "")
		}
		return err
	}
	d.rows = append(d.rows, 0)
	return nil
}

// whole takes the value as it is: text if it can be, else bytes.
func (d *Decoder) whole(value []byte) {
	kind := Bytes
	if utf8.Valid(value) {
		kind = String
	}
	d.doc.leaf("", kind).str = view(value)
	d.rows = append(d.rows, 0)
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
