package schemas

import (
	"fmt"
	"math"
	"strings"
	"unsafe"
)

// opcode says how one datum is read.
type opcode uint8

const (
	opNull opcode = iota
	opBoolean
	opInt
	opLong
	opFloat
	opDouble
	opBytes
	opString
	opFixed
	opEnum
	opArray
	opMap
	opUnion
	opRecord
)

// logical is the logical type of an int, long, bytes or fixed, where it is one that we write differently.
type logical uint8

const (
	plain logical = iota
	decimalText
	date
	timeMillis
	timeMicros
	timestampMillis
	timestampMicros
	timestampNanos
	localMillis
	localMicros
	localNanos
	// jsonText is a string that holds JSON: what is in it becomes part of the row.
	jsonText
)

// jsonTextName is its name in a schema. It is streamer's own; others read a string.
const jsonTextName = "streamer-json"

// op reads one datum of its type: a node of the program that a schema compiles to. Programs are shared and never written after that.
type op struct {
	code    opcode
	logical logical
	// scale is a decimal's, size a fixed's.
	scale, size int
	// least is the fewest bytes a datum can take: what a count read from the wire is held against.
	least int
	// elem is an array's or map's.
	elem *op
	// members are a union's branches or a record's fields.
	members []*op
	// names are a record's field names or an enum's symbols; nameBytes is the length of the field names added up.
	names     []string
	nameBytes int64
	// record is a record's number among the schema's, from 1, where an Object's node wants it.
	record uint64
}

// leastMost keeps sums of least from overflowing; no datum of that many bytes is ever read.
const leastMost = 1 << 40

var primitives = map[string]*op{
	"null":    {code: opNull},
	"boolean": {code: opBoolean, least: 1},
	"int":     {code: opInt, least: 1},
	"long":    {code: opLong, least: 1},
	"float":   {code: opFloat, least: 4},
	"double":  {code: opDouble, least: 8},
	"bytes":   {code: opBytes, least: 1},
	"string":  {code: opString, least: 1},
}

// logicals are the logical types of int and long, with the type each belongs to; on another type it has no meaning and is ignored, as
// the specification asks.
var logicals = map[string]struct {
	of opcode
	is logical
}{
	"date":                   {opInt, date},
	"time-millis":            {opInt, timeMillis},
	"time-micros":            {opLong, timeMicros},
	"timestamp-millis":       {opLong, timestampMillis},
	"timestamp-micros":       {opLong, timestampMicros},
	"timestamp-nanos":        {opLong, timestampNanos},
	"local-timestamp-millis": {opLong, localMillis},
	"local-timestamp-micros": {opLong, localMicros},
	"local-timestamp-nanos":  {opLong, localNanos},
}

// compiler makes the program of one schema. Names are resolved as the Avro specification says (1.12, "Names"): in the enclosing
// namespace first, then as they stand.
type compiler struct {
	named   map[string]*op
	records []*RecordType
	bytes   int64
}

func (c *compiler) compile(v Value, namespace string) (*op, error) {
	switch v.Kind() {
	case String:
		name, _ := v.Str()
		return c.lookUp(name, namespace)
	case Array:
		return c.union(v, namespace)
	case Object:
		return c.object(v, namespace)
	}
	return nil, fmt.Errorf("a type cannot be a %s", v.Kind())
}

// lookUp finds the type of a name.
func (c *compiler) lookUp(name, namespace string) (*op, error) {
	if o, ok := primitives[name]; ok {
		return o, nil
	}
	if namespace != "" && !strings.Contains(name, ".") {
		if o, ok := c.named[namespace+"."+name]; ok {
			return o, nil
		}
	}
	if o, ok := c.named[name]; ok {
		return o, nil
	}
	return nil, fmt.Errorf("unknown type %s", quote(name))
}

func (c *compiler) object(v Value, namespace string) (*op, error) {
	t := v.Field("type")
	name, ok := t.Str()
	if !ok {
		return c.compile(t, namespace)
	}
	switch name {
	case "record":
		return c.record(v, namespace)
	case "enum":
		return c.enum(v, namespace)
	case "fixed":
		return c.fixed(v, namespace)
	case "array":
		return c.list(v.Field("items"), opArray, namespace)
	case "map":
		return c.list(v.Field("values"), opMap, namespace)
	}
	o, err := c.lookUp(name, namespace)
	if err != nil {
		return nil, err
	}
	return c.withLogical(o, v), nil
}

// withLogical gives o, or a copy that knows the logical type that v declares.
func (c *compiler) withLogical(o *op, v Value) *op {
	name, _ := v.Field("logicalType").Str()
	is := plain
	scale := 0
	if l, ok := logicals[name]; ok && l.of == o.code {
		is = l.is
	} else if name == "decimal" && (o.code == opBytes || o.code == opFixed) {
		if scale, ok = decimalScale(v, o); ok {
			is = decimalText
		}
	}
	if name == jsonTextName && o.code == opString {
		is = jsonText
	}
	if is == plain {
		return o
	}
	special := *o
	special.logical, special.scale = is, scale
	return c.add(&special)
}

// decimalScale reads a decimal's scale; false where precision and scale make no decimal and the type underneath stands.
func decimalScale(v Value, o *op) (int, bool) {
	precision, ok := v.Field("precision").Int()
	if !ok || precision < 1 {
		return 0, false
	}
	if o.code == opFixed && float64(precision) > math.Floor(math.Log10(2)*float64(8*o.size-1)) {
		return 0, false
	}
	var scale int64
	if s := v.Field("scale"); s.Kind() != Absent {
		if scale, ok = s.Int(); !ok {
			return 0, false
		}
	}
	return int(scale), 0 <= scale && scale <= precision && scale <= math.MaxInt32
}

func (c *compiler) union(v Value, namespace string) (*op, error) {
	o := c.add(&op{code: opUnion, least: leastMost})
	for branch := range v.Elements() {
		b, err := c.compile(branch, namespace)
		if err != nil {
			return nil, err
		}
		o.members = append(o.members, b)
		o.least = min(o.least, 1+b.least)
	}
	c.bytes += int64(len(o.members)) * 8
	return o, nil
}

func (c *compiler) list(elem Value, code opcode, namespace string) (*op, error) {
	o := c.add(&op{code: code, least: 1})
	e, err := c.compile(elem, namespace)
	o.elem = e
	return o, err
}

// declare gives the full name that v defines and the namespace in force inside it.
func (c *compiler) declare(v Value, o *op, namespace string) (full, inside string, err error) {
	name, ok := v.Field("name").Str()
	if !ok || name == "" {
		return "", "", fmt.Errorf("a record, enum or fixed has no name")
	}
	if own, ok := v.Field("namespace").Str(); ok {
		namespace = own
	}
	full = name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		namespace = name[:i]
	} else if namespace != "" {
		full = namespace + "." + name
	}
	if _, primitive := primitives[full]; primitive || layoutKeys[full] != nil {
		return "", "", fmt.Errorf("the name %s is Avro's own", full)
	}
	c.named[full] = o
	return full, namespace, nil
}

func (c *compiler) enum(v Value, namespace string) (*op, error) {
	o := c.add(&op{code: opEnum, least: 1})
	if _, _, err := c.declare(v, o, namespace); err != nil {
		return nil, err
	}
	for symbol := range v.Field("symbols").Elements() {
		s, _ := symbol.Str()
		o.names = append(o.names, s)
	}
	c.bytes += int64(cap(o.names)) * 16
	return o, nil
}

func (c *compiler) fixed(v Value, namespace string) (*op, error) {
	o := c.add(&op{code: opFixed})
	full, _, err := c.declare(v, o, namespace)
	if err != nil {
		return nil, err
	}
	size, ok := v.Field("size").Int()
	if !ok || size < 0 || size > math.MaxInt32 {
		return nil, fmt.Errorf("fixed %s has no usable size", full)
	}
	o.size, o.least = int(size), int(size)
	special := c.withLogical(o, v)
	c.named[full] = special
	return special, nil
}

func (c *compiler) record(v Value, namespace string) (*op, error) {
	o := c.add(&op{code: opRecord})
	full, inside, err := c.declare(v, o, namespace)
	if err != nil {
		return nil, err
	}
	t := &RecordType{Name: full}
	c.records = append(c.records, t)
	o.record = uint64(len(c.records)) << 32
	least := 0 // of a record inside itself nothing is known yet: 0 is right as a lower bound
	for field := range v.Field("fields").Elements() {
		name, ok := field.Field("name").Str()
		if !ok {
			return nil, fmt.Errorf("a field of record %s has no name", full)
		}
		f, err := c.field(field, inside)
		if err != nil {
			return nil, fmt.Errorf("record %s, field %s: %w", full, name, err)
		}
		o.members = append(o.members, f)
		o.names = append(o.names, name)
		o.nameBytes += int64(len(name))
		least = min(least+f.least, leastMost)
		t.Fields = append(t.Fields, Field{Name: name, Attributes: field})
	}
	o.least = least
	c.bytes += int64(cap(o.members))*8 + int64(cap(o.names))*16 + int64(cap(t.Fields))*int64(unsafe.Sizeof(Field{}))
	return o, nil
}

// field compiles a field's type. What stands beside it is the field's, not the type's: a logicalType there has no meaning. But items,
// values, symbols or fields put there by mistake are understood, as goavro does.
func (c *compiler) field(field Value, namespace string) (*op, error) {
	t := field.Field("type")
	if name, _ := t.Str(); layoutKeys[name] != nil {
		return c.object(field, namespace)
	}
	return c.compile(t, namespace)
}

func (c *compiler) add(o *op) *op {
	c.bytes += int64(unsafe.Sizeof(*o))
	return o
}
