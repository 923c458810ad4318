package mapping

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"

	"github.com/itchyny/gojq"
)

// jqPrice spends what a call of a function may cost, before it is made; nil is for what costs no more than a step.
type jqPrice func(m *jqMeter, v any, args []any)

// jqPrices has every function that programs may call. gojq knows others; they are not for payloads: those that ask a clock, the environment
// or an input, and those whose work does not follow from the size of what they are given (jn, yn).
var jqPrices = map[string]jqPrice{
	"type": nil, "has": nil, "empty": nil, "error": nil, "toboolean": nil, "utf8bytelength": nil, "_alternative": nil, "_range": nil,
	"_allocator": nil, "_break": nil, "infinite": nil, "nan": nil, "_each": priceEach, "_look": priceText, "length": priceText,

	"_add": priceBoth, "_subtract": priceProduct, "_multiply": priceMultiply, "_divide": priceSplit, "_modulo": priceNumbers,
	"_plus": priceNumbers, "_negate": priceNumbers, "tonumber": priceBoth,
	"_equal": priceDeep(1), "_notequal": priceDeep(1), "_greater": priceDeep(1), "_less": priceDeep(1), "_greatereq": priceDeep(1),
	"_lesseq": priceDeep(1), "bsearch": priceDeep(1),
	"_index": priceIndex, "_slice": priceIndex, "getpath": pricePath, "setpath": priceSetPath, "_setpath": priceSetPath,
	"delpaths": priceDeep(2), "_delpaths": priceDeep(2),

	"keys": priceEach, "reverse": priceEach, "add": priceElements, "join": priceElements, "flatten": priceDeep(1), "transpose": priceTranspose,
	"min": priceDeep(1), "max": priceDeep(1), "_min_by": priceDeep(2), "_max_by": priceDeep(2), "sort": priceDeep(4), "_sort_by": priceDeep(4),
	"_group_by": priceDeep(4), "unique": priceDeep(4), "_unique_by": priceDeep(4),
	"contains": priceProduct, "inside": priceProduct, "indices": priceProduct, "index": priceProduct, "rindex": priceProduct,

	"startswith": priceBoth, "endswith": priceBoth, "ltrimstr": priceBoth, "rtrimstr": priceBoth, "trimstr": priceBoth, "ltrim": priceBoth,
	"rtrim": priceBoth, "trim": priceBoth, "ascii_downcase": priceBoth, "ascii_upcase": priceBoth, "explode": priceTimes(24),
	"implode": priceBoth, "split": priceSplit, "_match": nil, "_captures": priceTimes(16),
	"tojson": priceDeep(6), "tostring": priceDeep(6), "format": priceDeep(6), "fromjson": priceTimes(32), "_tohtml": priceDeep(6),
	"_touri": priceDeep(6), "_tourid": priceDeep(6), "_tocsv": priceDeep(6), "_totsv": priceDeep(6), "_tosh": priceDeep(6),
	"_tobase64": priceDeep(6), "_tobase64d": priceDeep(6),

	"gmtime": priceNumbers, "mktime": priceNumbers, "strftime": priceTimes(64), "strptime": priceTimes(64),
	"floor": priceNumbers, "round": priceNumbers, "nearbyint": priceNumbers, "rint": priceNumbers, "ceil": priceNumbers, "trunc": priceNumbers,
	"fabs": priceNumbers, "sqrt": priceNumbers, "cbrt": priceNumbers, "exp": priceNumbers, "exp10": priceNumbers, "exp2": priceNumbers,
	"log": priceNumbers, "log10": priceNumbers, "log2": priceNumbers, "pow": priceNumbers, "fmin": priceNumbers, "fmax": priceNumbers,
	"fmod": priceNumbers, "sin": priceNumbers, "cos": priceNumbers, "tan": priceNumbers, "asin": priceNumbers, "acos": priceNumbers,
	"atan": priceNumbers, "atan2": priceNumbers, "isfinite": priceNumbers, "isinfinite": priceNumbers, "isnan": priceNumbers,
	"isnormal": priceNumbers,
}

// shallow is the size of a value without what is in its elements and members.
func (m *jqMeter) shallow(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return 16 * len(v)
	case map[string]any:
		return 48 * len(v)
	case *big.Int:
		if v.BitLen() > maxJQBits {
			m.stop(errDigits)
		}
		return v.BitLen()
	case json.Number:
		if len(v) > maxJQBits/3 {
			m.stop(errDigits)
		}
		return 4 * len(v)
	}
	return 0
}

// deep is the size of a value with all that is in it, as a tree: what is shared counts wherever it is. Once it passes what is left it is
// not counted on.
func (m *jqMeter) deep(v any) int {
	n := 0
	m.measure(v, 0, &n)
	return n
}

func (m *jqMeter) measure(v any, depth int, n *int) {
	if *n += 16 + m.shallow(v); *n > m.left || m.broken != nil {
		return
	}
	if depth > maxJQNesting {
		m.stop(errNesting)
		return
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			m.measure(e, depth+1, n)
			if *n > m.left {
				return
			}
		}
	case map[string]any:
		for name, e := range v {
			*n += len(name)
			m.measure(e, depth+1, n)
			if *n > m.left {
				return
			}
		}
	}
}

func times(a, b int) int {
	if a > 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}

// priceBoth is for what reads its input and its arguments once.
var priceBoth = priceTimes(1)

func priceTimes(factor int) jqPrice {
	return func(m *jqMeter, v any, args []any) {
		n := m.shallow(v)
		for _, a := range args {
			n += m.shallow(a)
		}
		m.spend(times(n, factor))
	}
}

func priceDeep(factor int) jqPrice {
	return func(m *jqMeter, v any, args []any) {
		n := m.deep(v)
		for _, a := range args {
			n += m.deep(a)
		}
		m.spend(times(n, factor))
	}
}

// priceText is for what is free but on texts, whose characters have to be counted.
func priceText(m *jqMeter, v any, _ []any) {
	if s, ok := v.(string); ok {
		m.spend(len(s))
	}
}

func priceEach(m *jqMeter, v any, _ []any) { m.spend(m.shallow(v)) }

// priceNumbers keeps numbers within bounds: what it takes to write one grows faster than it does.
func priceNumbers(m *jqMeter, v any, args []any) {
	switch v.(type) {
	case *big.Int, json.Number:
		m.spend(m.shallow(v))
	}
	for _, a := range args {
		switch a.(type) {
		case *big.Int, json.Number:
			m.spend(m.shallow(a))
		}
	}
}

// priceProduct is for what compares everything on one side with everything on the other.
func priceProduct(m *jqMeter, v any, args []any) {
	if len(args) == 1 {
		args = []any{v, args[0]}
	}
	a, aText := args[0].(string)
	b, bText := args[1].(string)
	if aText && bText {
		m.spend(16*(len(a)+len(b)) + times(len(a), len(b)))
		return
	}
	if isScalar(args[0]) && isScalar(args[1]) {
		priceNumbers(m, nil, args)
		return
	}
	m.spend(times(m.deep(args[0]), m.deep(args[1])/16+1))
}

func isScalar(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return true
}

func priceMultiply(m *jqMeter, _ any, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case string:
			if n, ok := gojq.ToFloat64(args[1-i]); ok && n > 0 {
				m.spend(int(min(float64(len(a))*math.Ceil(n), math.MaxInt32)))
			}
		case map[string]any:
			m.spend(m.deep(a))
		case *big.Int, json.Number:
			m.spend(times(m.shallow(a), m.shallow(args[1-i])/64+1))
		}
	}
}

func priceSplit(m *jqMeter, v any, args []any) {
	if len(args) == 1 {
		args = []any{v, args[0]}
	}
	a, aText := args[0].(string)
	b, bText := args[1].(string)
	if aText && bText {
		m.spend(len(a) + times(32, strings.Count(a, b)+1))
		return
	}
	m.spend(times(m.shallow(args[0]), m.shallow(args[1])/64+1))
}

// priceIndex is for _index and _slice, whose first argument is looked at. In a list, a list is looked for.
func priceIndex(m *jqMeter, _ any, args []any) {
	switch v := args[0].(type) {
	case string:
		m.spend(len(v))
	case []any:
		if _, ok := args[1].([]any); ok {
			priceProduct(m, nil, args[:2])
		}
	}
}

// priceElements is for add and join, which put together what is in a list.
func priceElements(m *jqMeter, v any, args []any) {
	between := 16
	if len(args) > 0 {
		between += m.shallow(args[0])
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			m.spend(between + m.shallow(e))
		}
	case map[string]any:
		for _, e := range v {
			m.spend(48 + between + m.shallow(e))
		}
	}
}

func priceTranspose(m *jqMeter, v any, _ []any) {
	rows, _ := v.([]any)
	longest := 1
	for _, r := range rows {
		if row, ok := r.([]any); ok {
			longest = max(longest, len(row))
		}
	}
	m.spend(times(16*len(rows), longest))
}

func pricePath(m *jqMeter, _ any, args []any) {
	path, _ := args[0].([]any)
	if m.spend(16 * len(path)); len(path) > maxJQNesting {
		m.stop(errNesting)
	}
}

// priceSetPath is for the copies of what a path leads through, unless gojq made one itself a moment ago and may write into it; and for a
// list that an index makes longer.
func priceSetPath(m *jqMeter, v any, args []any) {
	pricePath(m, v, args)
	var own reflect.Value
	if len(args) > 2 {
		own = reflect.ValueOf(args[2])
	}
	path, _ := args[0].([]any)
	for _, p := range path {
		var next any
		switch list := v.(type) {
		case map[string]any:
			if name, ok := p.(string); ok {
				next = list[name]
			}
		case []any:
			if i, ok := gojq.ToInt(p); ok {
				if i < 0 {
					i += len(list)
				}
				if i >= 0 && i < len(list) {
					next = list[i]
				}
				m.spend(times(16, max(0, i-len(list))))
			}
		case nil:
			if i, ok := gojq.ToInt(p); ok {
				m.spend(times(16, max(0, i)))
			}
		}
		if !isOwn(own, v) {
			m.spend(m.shallow(v))
		}
		v = next
	}
}

// isOwn says whether gojq's list of what it made has v in it.
func isOwn(own reflect.Value, v any) bool {
	if isScalar(v) || own.Kind() != reflect.Map || own.Type().Key().Kind() != reflect.Uintptr {
		return false
	}
	return own.MapIndex(reflect.ValueOf(reflect.ValueOf(v).Pointer())).IsValid()
}
