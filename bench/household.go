package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"
)

// household reads records by hand, their schema known beforehand: the floor's reader. It is as quick as the hand-written one of the
// measured facts, and trusts what it reads.
type household struct {
	json    bool
	in      bytes.Reader
	inflate io.ReadCloser
	block   bytes.Buffer
	rows    []householdRow
}

// householdRow is what the floor takes out of a row.
type householdRow struct {
	id   string
	body []byte
}

var errHousehold = errors.New("no record of households")

// read gives the rows of a record; the slice is used again by the next call.
func (h *household) read(value []byte) ([]householdRow, error) {
	h.rows = h.rows[:0]
	if h.json {
		row, err := jsonFields(value)
		h.rows = append(h.rows, row)
		return h.rows, err
	}
	c := cursor{rest: value}
	c.skip(4) // magic
	for n := c.int(); n != 0; n = c.int() {
		if n < 0 {
			n = -n
			c.int()
		}
		for range 2 * min(n, 64) {
			c.bytes()
		}
	}
	c.skip(16) // sync marker
	rows, packed := c.int(), c.bytes()
	if c.bad || rows < 1 || rows > 10_000 || len(c.rest) > 16 {
		return nil, errHousehold // there is one block
	}
	h.in.Reset(packed)
	if h.inflate == nil {
		h.inflate = flate.NewReader(&h.in)
	} else if err := h.inflate.(flate.Resetter).Reset(&h.in, nil); err != nil {
		return nil, err
	}
	h.block.Reset()
	if _, err := h.block.ReadFrom(h.inflate); err != nil {
		return nil, err
	}
	c = cursor{rest: h.block.Bytes()}
	for range rows {
		row, err := avroFields(&c)
		if err != nil {
			return nil, err
		}
		h.rows = append(h.rows, row)
	}
	return h.rows, nil
}

// avroFields takes the four wanted fields out of a row of schemastest.Household.
func avroFields(c *cursor) (householdRow, error) {
	id := c.bytes()
	c.bytes()     // _rev
	c.nullable(0) // headPersonID
	village := c.bytes()
	c.nullable(0) // streetAddress
	c.skip(16)    // latitude, longitude
	c.nullable(4) // altitude
	members := c.int()
	c.int() // surveyedAt
	approved := c.skip(1)
	c.nullable(0) // remarks
	if c.bad {
		return householdRow{}, errHousehold
	}
	var number [20]byte
	yes := "false"
	if approved[0] == 1 {
		yes = "true"
	}
	return bodyOf(id, village, strconv.AppendInt(number[:0], members, 10), yes), nil
}

// jsonFields takes them out of a flat JSON object whose wanted strings need no escapes.
func jsonFields(value []byte) (householdRow, error) {
	var id, village, members, approved []byte
	rest := value
	for len(rest) > 1 {
		key, after, ok := jsonString(rest[1:]) // behind { or ,
		if !ok || len(after) < 2 || after[0] != ':' {
			return householdRow{}, errHousehold
		}
		after = after[1:]
		var v []byte
		if after[0] == '"' {
			v, after, ok = jsonString(after)
		} else {
			n := bytes.IndexAny(after, ",}")
			if ok = n > 0; ok {
				v, after = after[:n], after[n:]
			}
		}
		if !ok {
			return householdRow{}, errHousehold
		}
		switch string(key) {
		case "id":
			id = v
		case "villageID":
			village = v
		case "members":
			members = v
		case "approved":
			approved = v
		}
		rest = after
	}
	if string(rest) != "}" || id == nil || village == nil || members == nil || approved == nil {
		return householdRow{}, errHousehold
	}
	return bodyOf(id, village, members, string(approved)), nil
}

// jsonString reads a string, without undoing its escapes, and gives what comes behind it.
func jsonString(in []byte) (s, rest []byte, ok bool) {
	if len(in) == 0 || in[0] != '"' {
		return nil, nil, false
	}
	for at := 1; ; {
		n := bytes.IndexByte(in[at:], '"')
		if n < 0 {
			return nil, nil, false
		}
		at += n + 1
		escapes := 0
		for in[at-2-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return in[1 : at-1], in[at:], true
		}
	}
}

// bodyOf makes the request; ids and villages need no escapes.
func bodyOf(id, village, members []byte, approved string) householdRow {
	out := make([]byte, 0, 72+len(id)+len(village)+len(members))
	out = append(append(out, `{"id":"`...), id...)
	out = append(append(out, `","village":"`...), village...)
	out = append(append(out, `","members":`...), members...)
	out = append(append(out, `,"approved":`...), approved...)
	return householdRow{string(id), append(out, '}')}
}

// cursor reads Avro's binary form.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) int() int64 {
	v, n := binary.Varint(c.rest) // Avro's zig-zag numbers are Go's
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) skip(n int64) []byte {
	if n < 0 || n > int64(len(c.rest)) {
		c.bad = true
		return make([]byte, 1)
	}
	out := c.rest[:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) bytes() []byte { return c.skip(c.int()) }

// nullable skips a union of null and a value of so many bytes, 0 for a string.
func (c *cursor) nullable(size int64) {
	switch {
	case c.int() == 0:
	case size == 0:
		c.bytes()
	default:
		c.skip(size)
	}
}
