package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"
)

// magic begins an Avro object container file (specification 1.12, "Object container files").
const magic = "Obj\x01"

const syncBytes = 16

// container reads a container file into d's Doc and rows.
func (d *Decoder) container(value []byte) (Found, *DecodeError) {
	return FoundContainer, d.blocks(value)
}

// blocks reads header and blocks of a container file.
func (d *Decoder) blocks(value []byte) *DecodeError {
	head := datumReader{buf: value, at: len(magic)}
	codec, source, err := readMetadata(&head)
	if err != nil {
		return err.atByte(head.at)
	}
	sync, err := head.take(syncBytes, "sync marker")
	if err != nil {
		return err.atByte(head.at)
	}
	if source == nil {
		return problem("the container's header has no avro.schema")
	}
	packing, err := compressionOf(codec)
	if err != nil {
		return err
	}
	schema, err := d.lookUp(source)
	if err != nil {
		return err
	}
	if err := d.written(schema); err != nil {
		return err
	}
	rows := datumReader{doc: &d.doc, limits: d.limits, logicalText: d.config.LogicalText}
	for block := 0; head.at < len(value); block++ {
		if err := d.block(&head, &rows, schema.program, packing, sync); err != nil {
			err.Block = block
			return err
		}
	}
	return nil
}

// readMetadata reads the header's map and gives the two entries that matter: codec is empty when there is none.
func readMetadata(head *datumReader) (codec string, source []byte, err *DecodeError) {
	for {
		count, err := head.long()
		if err != nil {
			return "", nil, err
		}
		if count == 0 {
			return codec, source, nil
		}
		if count < 0 {
			if count == math.MinInt64 {
				return "", nil, problem("the header's count of entries is out of range")
			}
			count = -count
			if _, err = head.long(); err != nil {
				return "", nil, err
			}
		}
		for range count { // each entry takes two bytes or more, so the value's end ends this
			key, err := head.entry()
			if err != nil {
				return "", nil, err
			}
			content, err := head.entry()
			if err != nil {
				return "", nil, err
			}
			switch string(key) {
			case "avro.codec":
				codec = view(content)
				if codec == "" {
					return "", nil, problem("the header's avro.codec is empty")
				}
			case "avro.schema":
				source = content
			}
		}
	}
}

func (r *datumReader) entry() ([]byte, *DecodeError) {
	n, err := r.long()
	if err != nil {
		return nil, err
	}
	return r.take(n, "header entry")
}

// compression is a container's codec.
type compression uint8

const (
	uncompressed compression = iota
	byDeflate
	bySnappy
)

func compressionOf(codec string) (compression, *DecodeError) {
	switch codec {
	case "", "null":
		return uncompressed, nil
	case "deflate":
		return byDeflate, nil
	case "snappy":
		return bySnappy, nil
	}
	e := problem("the container's codec is %s", quote(codec))
	e.Mend = "write it with null, deflate or snappy"
	return uncompressed, e
}

// block reads the block at head: count, size, data, sync marker.
func (d *Decoder) block(head, rows *datumReader, program *op, packing compression, sync []byte) *DecodeError {
	count, err := head.long()
	if err != nil {
		return err.atByte(head.at)
	}
	size, err := head.long()
	if err != nil {
		return err.atByte(head.at)
	}
	start := head.at
	data, err := head.take(size, "block")
	if err != nil {
		return err.atByte(head.at)
	}
	marker, err := head.take(syncBytes, "sync marker")
	if err != nil {
		return err.atByte(head.at)
	}
	if !bytes.Equal(marker, sync) {
		return problem("the sync marker after the block is not the header's").atByte(head.at - syncBytes)
	}
	if count < 0 {
		return problem("the block announces %d rows", count).atByte(start)
	}
	if have := int64(len(d.rows)); count > int64(d.limits.Rows)-have {
		return tooMuch("rows", settingRows, saturated(count, have), int64(d.limits.Rows)).atByte(start)
	}
	offset := start // of data in the value
	switch packing {
	case byDeflate:
		offset = 0
		data, err = d.deflated(data)
	case bySnappy:
		offset = 0
		data, err = d.snappied(data)
	}
	if err != nil {
		return err.atByte(start)
	}
	if least := int64(program.least); least > 0 && count > int64(len(data))/least {
		return problem("the block announces %d rows in %d bytes", count, len(data)).atByte(offset)
	}
	rows.buf, rows.at = data, 0
	for range count {
		row := int32(len(d.doc.nodes))
		if err := rows.read(program, ""); err != nil {
			err.Row = len(d.rows)
			return err.atByte(offset + rows.at)
		}
		d.rows = append(d.rows, row)
	}
	if left := len(data) - rows.at; left > 0 {
		return problem("%d bytes are left over after the block's %d rows", left, count).atByte(offset + rows.at)
	}
	return nil
}

// room makes room for n more inflated bytes, or for as many as the limit leaves and one, by which going past it is seen.
func (d *Decoder) room(n int) []byte {
	most := d.limits.InflatedBytes + 1 - int64(len(d.inflated))
	if int64(n) > most {
		n = int(most)
	}
	if free := cap(d.inflated) - len(d.inflated); free < n {
		grown := make([]byte, len(d.inflated), len(d.inflated)+max(n, min(cap(d.inflated), int(most))))
		copy(grown, d.inflated)
		d.inflated = grown
	}
	free := d.inflated[len(d.inflated):cap(d.inflated)]
	if int64(len(free)) > most {
		free = free[:most]
	}
	return free
}

// deflated inflates a raw deflate stream (RFC 1951). Bytes after its end are let be: some of Python's writers leave half a checksum.
func (d *Decoder) deflated(block []byte) ([]byte, *DecodeError) {
	d.source.Reset(block)
	if d.flate == nil {
		d.flate = flate.NewReader(&d.source)
	} else if err := d.flate.(flate.Resetter).Reset(&d.source, nil); err != nil {
		return nil, problem("the block's deflate data cannot be read")
	}
	start := len(d.inflated)
	for {
		free := d.room(max(512, 3*len(block)))
		n, err := d.flate.Read(free)
		d.inflated = d.inflated[:len(d.inflated)+n]
		if found := int64(len(d.inflated)); found > d.limits.InflatedBytes {
			return nil, tooMuch("inflated bytes", settingInflatedBytes, found, d.limits.InflatedBytes)
		}
		switch {
		case err == nil:
		case err == io.EOF:
			return d.inflated[start:len(d.inflated):len(d.inflated)], nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, problem("the block's deflate data ends early")
		default:
			return nil, problem("the block's deflate data is damaged")
		}
	}
}

// snappied inflates a snappy block, which the CRC-32 of its content follows.
func (d *Decoder) snappied(block []byte) ([]byte, *DecodeError) {
	// A copy element of three bytes gives 64 at most, so a block that claims more than that is damaged, whatever the limit.
	const growth = 64
	packed := len(block) - crc32.Size
	if packed < 0 {
		return nil, problem("the block is too short for snappy")
	}
	n, err := snappy.DecodedLen(block[:packed])
	if err != nil || n > growth*packed {
		return nil, problem("the block's snappy data is damaged")
	}
	start := len(d.inflated)
	if found := int64(start) + int64(n); found > d.limits.InflatedBytes {
		return nil, tooMuch("inflated bytes", settingInflatedBytes, found, d.limits.InflatedBytes)
	}
	out, err := snappy.Decode(d.room(n)[:n], block[:packed])
	if err != nil {
		return nil, problem("the block's snappy data is damaged")
	}
	d.inflated = d.inflated[:start+len(out)]
	if crc32.ChecksumIEEE(out) != binary.BigEndian.Uint32(block[packed:]) {
		return nil, problem("the block's content does not have its CRC-32")
	}
	return out[:len(out):len(out)], nil
}
