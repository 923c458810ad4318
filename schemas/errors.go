package schemas

import (
	"fmt"
	"strings"
)

// DecodeError says why a value gave no rows: a payload error, the same at every try. It never carries what the rows hold.
type DecodeError struct {
	// Format is what the value was read as.
	Format Format
	// Problem says what is wrong, Mend what to do about it where that is not plain; lower case, no full stop.
	Problem, Mend string
	// Byte is the offset of the fault, from 0: in the value, or in the inflated block when Block is of a compressed container; -1:
	// the value as a whole.
	Byte int64
	// Block and Row are the container's block and the row in the whole value, both from 0; -1 where that says nothing.
	Block, Row int
	// Limit is what was allowed and Found what the value wanted, at least, where Setting, not empty, names the limit that was hit.
	Limit, Found int64
	Setting      string
}

// Error gives the error in one line: where, what, which limit, what to do.
func (e *DecodeError) Error() string {
	var b strings.Builder
	if e.Format != "" {
		b.WriteString(string(e.Format))
		b.WriteString(": ")
	}
	var where []string
	if e.Block >= 0 {
		where = append(where, fmt.Sprintf("block %d", e.Block))
	}
	if e.Row >= 0 {
		where = append(where, fmt.Sprintf("row %d", e.Row))
	}
	if e.Byte >= 0 {
		where = append(where, fmt.Sprintf("byte %d", e.Byte))
	}
	if len(where) > 0 {
		b.WriteString(strings.Join(where, ", "))
		b.WriteString(": ")
	}
	b.WriteString(e.Problem)
	if e.Setting != "" {
		fmt.Fprintf(&b, ": %d found, at most %d allowed; raise %s if that is meant", e.Found, e.Limit, e.Setting)
	}
	if e.Mend != "" {
		b.WriteString("; ")
		b.WriteString(e.Mend)
	}
	return b.String()
}

// problem makes an error of the value as a whole, to be placed by whoever knows the block and the row.
func problem(format string, args ...any) *DecodeError {
	return &DecodeError{Problem: fmt.Sprintf(format, args...), Byte: -1, Block: -1, Row: -1}
}

// tooMuch makes the error of a limit that was hit.
func tooMuch(what, setting string, found, limit int64) *DecodeError {
	e := problem("%s", what)
	e.Setting, e.Found, e.Limit = setting, found, limit
	return e
}

func (e *DecodeError) atByte(at int) *DecodeError {
	e.Byte = int64(at)
	return e
}
