package mapping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/itchyny/gojq"

	"streamer/schemas"
)

// jqMachine runs a program. It belongs to one goroutine.
type jqMachine struct {
	program *jqProgram
	code    *gojq.Code
	meter   *jqMeter
	regexps jqRegexps
	// vars, values and names are scratch memory.
	vars   []any
	values []any
	names  []string
}

// machine compiles p for one goroutine.
func (p *jqProgram) machine() (*jqMachine, error) {
	query, err := gojq.Parse(p.text)
	if err != nil {
		return nil, err
	}
	(&jqWalk{program: &jqProgram{constant: map[string]bool{}}}).query(query)
	m := &jqMachine{program: p, meter: &jqMeter{}}
	var names []string
	for _, i := range p.vars {
		names = append(names, "$"+areaNames[i])
	}
	same := func(v any, _ []any) any { return v }
	m.code, err = gojq.Compile(query, gojq.WithVariables(names), gojq.WithFunction("_each", 0, 0, same), gojq.WithFunction("_look", 0, 0, same))
	if err != nil {
		return nil, err
	}
	if _, err := m.wrap(); err != nil {
		return nil, err
	}
	return m, jqLayout()
}

// wrap puts the meter before every function of gojq's that a program can call, and gives their names. gojq has no place of its own where one
// could stand: it asks a context at each of its steps, and one step may sort a list or repeat a text; and what is given to its WithFunction
// comes behind its own functions, and is never asked for one of them. What has no price here is refused, so that a later gojq cannot bring
// in what nobody has looked at.
func (m *jqMachine) wrap() (calls []string, err error) {
	codes := reflect.ValueOf(m.code).Elem().FieldByName("codes")
	if codes.Kind() != reflect.Slice {
		return nil, errJQ
	}
	for i := range codes.Len() {
		field := codes.Index(i).Elem().FieldByName("v")
		if !field.CanAddr() || field.Kind() != reflect.Interface {
			return nil, errJQ
		}
		v, ok := reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Interface().(*any)
		if !ok {
			return nil, errJQ
		}
		call, ok := (*v).([3]any)
		if !ok {
			continue
		}
		name, isName := call[2].(string)
		f, isFunc := call[0].(func(any, []any) any)
		if !isName || !isFunc {
			return nil, errJQ
		}
		price, known := jqPrices[name]
		if !known {
			return nil, fmt.Errorf("%s is not for payloads", name)
		}
		if name == "_match" {
			f = m.match
		}
		call[0] = m.metered(price, f)
		*v = call
		calls = append(calls, name)
	}
	return calls, nil
}

// jqLayout says whether wrap finds the calls of a program where gojq has them. A gojq that keeps them elsewhere would run them without the
// meter, so then there are no programs at all.
var jqLayout = sync.OnceValue(func() error {
	const program = `sort | _match("a"; null; true) | . * 2`
	query, err := gojq.Parse(program)
	if err != nil {
		return err
	}
	m := &jqMachine{meter: &jqMeter{}}
	if m.code, err = gojq.Compile(query); err != nil {
		return err
	}
	calls, err := m.wrap()
	if err != nil {
		return err
	}
	if slices.Sort(calls); !slices.Equal(calls, []string{"_match", "_multiply", "sort"}) {
		return fmt.Errorf("%w: of %s it finds the calls %v", errJQ, program, calls)
	}
	return nil
})

// errJQ cannot happen with the gojq that go.mod names: TestJQIsMetered fails with any other that is laid out in another way.
var errJQ = errors.New("this build's gojq is not the one that payloads are metered for")

func (m *jqMachine) metered(price jqPrice, f func(any, []any) any) func(any, []any) any {
	if price == nil {
		return f
	}
	return func(v any, args []any) any {
		if price(m.meter, v, args); m.meter.broken != nil {
			return m.meter.broken
		}
		return f(v, args)
	}
}

// jqMeter counts what a program does, in bytes looked at; a step of gojq's counts stepPrice. There is no clock in it, so a row fails at
// every try or at none. It is the context that gojq asks at each step.
type jqMeter struct {
	left   int
	broken error
}

const (
	// maxWork bounds one program on one row: some 0.2 s. Far above honest use.
	maxWork   = 64 << 20
	stepPrice = 64
	// maxJQNesting bounds what is compared, written and walked: Go's stack is not endless.
	maxJQNesting = 1000
	// maxJQBits bounds a whole number: 30,000 digits.
	maxJQBits = 100_000
)

var (
	errWork                     = errors.New("does more than a payload may: it loops, or makes something very large")
	errNesting                  = fmt.Errorf("nests values more than %d deep", maxJQNesting)
	errDigits                   = fmt.Errorf("makes a number of more than %d bits", maxJQBits)
	jqStop                      = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
	_           context.Context = (*jqMeter)(nil)
	errNoJSON                   = errors.New("gives a value that JSON cannot write")
	errNoNumber                 = errors.New("gives a number that JSON cannot write (NaN or infinity)")
)

// Deadline is none.
func (*jqMeter) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done counts a step, and is closed once the work is too much.
func (m *jqMeter) Done() <-chan struct{} {
	if m.spend(stepPrice); m.broken != nil {
		return jqStop
	}
	return nil
}

// Err says why.
func (m *jqMeter) Err() error { return m.broken }

// Value is none.
func (*jqMeter) Value(any) any { return nil }

func (m *jqMeter) spend(n int) {
	if m.left -= n; (m.left < 0 || n < 0) && m.broken == nil {
		m.broken = errWork
	}
}

func (m *jqMeter) stop(err error) {
	if m.broken == nil {
		m.broken = err
	}
}

// run appends what the program makes of the message as JSON: one output as it is, several as a list; false for none.
func (m *jqMachine) run(dst []byte, top map[string]any, vars *[len(areaNames)]any) (out []byte, some bool, err error) {
	// The library is not ours: what it makes of a row no test has shown must not stop the others.
	defer func() {
		if recover() != nil {
			out, err = dst, errors.New("fails on this row")
		}
	}()
	*m.meter = jqMeter{left: maxWork}
	m.values, m.vars = m.values[:0], m.vars[:0]
	for _, i := range m.program.vars {
		m.vars = append(m.vars, vars[i])
	}
	iter := m.code.RunWithContext(m.meter, top, m.vars...)
	for {
		v, more := iter.Next()
		if !more {
			break
		}
		if err, ok := v.(error); ok {
			return dst, false, m.problem(err)
		}
		if m.values = append(m.values, v); len(m.values) > maxFound {
			return dst, false, errFound
		}
	}
	defer clear(m.values)
	switch len(m.values) {
	case 0:
		return dst, false, nil
	case 1:
		out, err = m.append(dst, m.values[0], 0)
	default:
		out, err = m.append(dst, m.values, 0)
	}
	return out, true, err
}

// append writes a value. Members come by name, for gojq keeps no order.
func (m *jqMachine) append(dst []byte, v any, depth int) ([]byte, error) {
	if m.meter.spend(stepPrice); m.meter.broken != nil {
		return dst, m.meter.broken
	}
	if depth > maxJQNesting {
		return dst, errNesting
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, errNoNumber
		}
		return schemas.AppendFloat(dst, v), nil
	case *big.Int:
		m.meter.spend(v.BitLen())
		return v.Append(dst, 10), nil
	case json.Number:
		m.meter.spend(len(v))
		return append(dst, v...), nil
	case string:
		m.meter.spend(len(v))
		return schemas.AppendString(dst, v), nil
	case []any:
		return m.appendList(dst, v, depth)
	case map[string]any:
		return m.appendObject(dst, v, depth)
	default:
		return dst, errNoJSON
	}
}

func (m *jqMachine) appendList(dst []byte, list []any, depth int) (out []byte, err error) {
	dst = append(dst, '[')
	for i, e := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = m.append(dst, e, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (m *jqMachine) appendObject(dst []byte, object map[string]any, depth int) (out []byte, err error) {
	names := len(m.names)
	for name := range object {
		m.names = append(m.names, name)
	}
	slices.Sort(m.names[names:])
	dst = append(dst, '{')
	for i := names; i < names+len(object); i++ {
		if i > names {
			dst = append(dst, ',')
		}
		name := m.names[i]
		m.meter.spend(len(name))
		dst = append(schemas.AppendString(dst, name), ':')
		if dst, err = m.append(dst, object[name], depth+1); err != nil {
			break
		}
	}
	m.names = m.names[:names]
	return append(dst, '}'), err
}
