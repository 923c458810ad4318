package schemas

import (
	"fmt"
	"slices"

	"streamer/internal/fault"
)

// Format says how a record value is read.
type Format string

// FormatAuto, the default (so is ""), looks at headers and bytes: a CloudEvent, an Avro container file, Avro with the id or the fingerprint
// of its schema, JSON, or UTF-8 text. FormatAether takes container files only, FormatAvro Avro with an id or fingerprint, FormatJSON one JSON
// document, FormatCloudEvent events of CloudEvents 1.0, FormatBytes anything, as one row: text if it is UTF-8, else bytes.
const (
	FormatAuto       Format = "auto"
	FormatAether     Format = "aether"
	FormatAvro       Format = "avro"
	FormatJSON       Format = "json"
	FormatCloudEvent Format = "cloudevent"
	FormatBytes      Format = "bytes"
)

// found is what a value of the format is taken for before anything is known of it.
func (f Format) found() Found {
	switch f {
	case FormatAether:
		return FoundContainer
	case FormatAvro:
		return FoundAvro
	case FormatJSON:
		return FoundJSON
	case FormatCloudEvent:
		return FoundStructured
	case FormatBytes:
		return FoundBytes
	}
	return FoundNothing
}

// Limits bound what one record value may ask for. They are checked before memory is taken, and while inflating. Zero means the default.
// Raise one when an error names it; the memory of an instance grows with them.
type Limits struct {
	// RecordBytes bounds the value as it came. Default 16 MiB, at most 1 GiB.
	RecordBytes int64
	// InflatedBytes bounds a container's blocks once inflated, added up, and again the text made while reading (field names and enum
	// symbols repeated per row, decimals, dates). Default 64 MiB, at most 1 GiB.
	InflatedBytes int64
	// Rows bounds the rows of a container. Default 100,000, at most 10,000,000.
	Rows int
	// Nesting bounds objects and lists inside each other. Default 128, at most 10,000.
	Nesting int
	// Values bounds everything in all rows, members and elements counted singly; each takes 48 bytes. Default 1,000,000, at most
	// 100,000,000.
	Values int
}

// Names of the limits as a job writes them.
const (
	settingRecordBytes   = "limits.record_bytes"
	settingInflatedBytes = "limits.inflated_bytes"
	settingRows          = "limits.rows"
	settingNesting       = "limits.nesting"
	settingValues        = "limits.values"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

func (l Limits) withDefaults() Limits {
	l.RecordBytes = orDefault(l.RecordBytes, 16*mebibyte)
	l.InflatedBytes = orDefault(l.InflatedBytes, 64*mebibyte)
	l.Rows = orDefault(l.Rows, 100_000)
	l.Nesting = orDefault(l.Nesting, 128)
	l.Values = orDefault(l.Values, 1_000_000)
	return l
}

func orDefault[T int | int64](n, value T) T {
	if n <= 0 {
		return value
	}
	return n
}

// Config says how the values of one job become rows.
type Config struct {
	Format Format
	// LogicalText writes Avro's timestamps, dates and times as RFC 3339 text in place of their raw numbers. A value outside what
	// RFC 3339 can write (a year past 9999, a time of day past 24 hours) stays a number.
	LogicalText bool
	Limits      Limits
	// Schemas are the Avro schemas, as JSON text, that data with a fingerprint may have been written by, beside those of shipped ones.
	Schemas []string
	// Registry is asked for the schemas of ids; nil: there is none. It is the process's, not the job's.
	Registry Registry
}

// Equal says that a job with c and one with o read the same of every value.
func (c Config) Equal(o Config) bool {
	return c.Format == o.Format && c.LogicalText == o.LogicalText && c.Limits == o.Limits && slices.Equal(c.Schemas, o.Schemas)
}

// Validate names everything wrong with c, with paths as in a job.
func (c Config) Validate() fault.List {
	var l fault.List
	switch c.Format {
	case "", FormatAuto, FormatAether, FormatAvro, FormatJSON, FormatCloudEvent, FormatBytes:
	default:
		l.Add("format", "unknown format "+quote(string(c.Format)), "use auto, aether, avro, json, cloudevent or bytes")
	}
	for i, source := range c.Schemas {
		if _, err := compileSchema([]string{source}); err != nil {
			l.Add(fmt.Sprintf("schemas[%d]", i), err.Problem, "")
		}
	}
	for _, f := range []struct {
		path    string
		n, most int64
	}{
		{settingRecordBytes, c.Limits.RecordBytes, gibibyte},
		{settingInflatedBytes, c.Limits.InflatedBytes, gibibyte},
		{settingRows, int64(c.Limits.Rows), 10_000_000},
		{settingNesting, int64(c.Limits.Nesting), 10_000},
		{settingValues, int64(c.Limits.Values), 100_000_000},
	} {
		if f.n < 0 || f.n > f.most {
			l.Addf(f.path, "%d is out of range; give 1 to %d, or leave it out", f.n, f.most)
		}
	}
	return l
}
