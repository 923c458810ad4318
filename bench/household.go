package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"

	"github.com/klauspost/compress/flate"
)

// household reads the one row of a container by hand, its schema known beforehand: the floor's reader. It is as quick as the
// hand-written one of the measured facts, and trusts what it reads.
type household struct {
	in      bytes.Reader
	inflate io.ReadCloser
	block   bytes.Buffer
}

var errHousehold = errors.New("no container of one household")

// body gives the request body for the row.
func (h *household) body(value []byte) ([]byte, error) {
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
	if c.bad || rows != 1 {
		return nil, errHousehold
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
	return fields(h.block.Bytes())
}

// fields takes the four wanted fields out of a row of schemastest.Household.
func fields(row []byte) ([]byte, error) {
	c := cursor{rest: row}
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
	if c.bad {
		return nil, errHousehold
	}
	out := make([]byte, 0, 96+len(id)+len(village))
	out = append(append(out, `{"id":"`...), id...) // ids and villages need no escapes
	out = append(append(out, `","village":"`...), village...)
	out = strconv.AppendInt(append(out, `","members":`...), members, 10)
	out = strconv.AppendBool(append(out, `,"approved":`...), approved[0] == 1)
	return append(out, '}'), nil
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
