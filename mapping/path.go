package mapping

import (
	"slices"
	"strings"

	"streamer/schemas"
)

// Path is a compiled JSONPath. It is immutable and safe for concurrent use.
type Path struct {
	text string
	// steps is set for a straight path ($.a.b[0]): a chain of look-ups without allocation. root is what it begins at.
	steps []step
	root  area
	// expr is set for every other path.
	expr expr
	// ordered says that the search can find values out of document order, or more than one way: what is found is sorted.
	ordered bool
	// reads are the parts of the message that the path can reach.
	reads area
	// warnings say where the dialect does what few people expect.
	warnings []string
}

// PathError says what is wrong with an expression.
type PathError struct {
	// Expr is the expression, Position the character in it where the problem stands, from 1.
	Expr     string
	Position int
	// Problem says what is wrong, Mend what to write instead; Mend may be empty.
	Problem, Mend string
}

// Error gives it as one line: "$.a.`parent`" at character 5: problem; mend.
func (e *PathError) Error() string {
	text := e.where() + ": " + e.Problem
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	return text
}

// area is a set of parts of the message.
type area uint16

const (
	areaMsg area = 1 << iota
	areaSchema
	areaConstant
	areaKafka
	areaEvent
	// The parts of a Flow: what the steps were answered; what a step is made for; what read answered, and the entity in it.
	areaSteps
	areaItem
	areaAnswer
	areaFound
	areaAll = 1<<iota - 1
)

// areaNames are the members of the message, in its order.
var areaNames = [...]string{"msg", "schema", "constant", "kafka", "event", "steps", "item", "answer", "found"}

func areaOf(name string) area {
	for i, n := range areaNames {
		if n == name {
			return 1 << i
		}
	}
	return 0
}

// step is one look-up of a straight path: a member, or with isIndex an element.
type step struct {
	name    string
	index   int
	isIndex bool
}

// CompilePath translates an expression: JSONPath, and the dialect that the jobs of Aether's consumer are written in. The error is a
// *PathError. What the dialect has and we cannot do is refused here, never ignored later.
func CompilePath(text string) (*Path, error) { return compilePath(text, false) }

// CompileEventPath is CompilePath for a job of record events, whose arguments stand beside the row too: $.record is $.msg.record.
func CompileEventPath(text string) (*Path, error) { return compilePath(text, true) }

func compilePath(text string, event bool) (*Path, error) {
	p := &pathParser{text: text, event: event}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	path := &Path{text: text, expr: root, warnings: p.warnings}
	path.reads = root.reads()
	if q, ok := root.(*query); ok {
		path.ordered = q.disordered()
		path.straighten(q)
	}
	return path, nil
}

// straighten turns a query of nothing but single members and elements into steps.
func (p *Path) straighten(q *query) {
	if len(q.segments) == 0 {
		return
	}
	steps := make([]step, 0, len(q.segments))
	for _, s := range q.segments {
		if s.descend || s.op != nil || len(s.selectors) != 1 {
			return
		}
		switch sel := s.selectors[0]; sel.kind {
		case selectName:
			steps = append(steps, step{name: sel.name})
		case selectIndex:
			steps = append(steps, step{index: sel.from, isIndex: true})
		default:
			return
		}
	}
	p.steps = steps
	if !steps[0].isIndex {
		p.root = areaOf(steps[0].name)
	}
}

// String gives the expression as it was written.
func (p *Path) String() string { return p.text }

// Warnings say where the expression does what few people expect: nil for nearly all.
func (p *Path) Warnings() []string { return slices.Clone(p.warnings) }

// UsesKafka says whether the path can reach the record's address, key or headers, so that the caller builds Message.Kafka.
func (p *Path) UsesKafka() bool { return p.reads&areaKafka != 0 }

// follow takes steps from v. Absent if one of them finds nothing.
func follow(v schemas.Value, steps []step) schemas.Value {
	for i := range steps {
		if s := &steps[i]; s.isIndex {
			v = v.Index(s.index)
		} else {
			v = v.Field(s.name)
		}
	}
	return v
}

// query is a path proper: where it starts and what it walks through. Inside a filter it starts at the candidate unless absolute.
type query struct {
	absolute bool
	segments []segment
	// at is where it stands in the text.
	at int
	// bare is set for a path of a single unquoted or quoted name without $, which arithmetic takes for a text.
	bare bool
}

// segment takes each value found so far to others: by selectors, of it or (descend) of everything in it too, or by op.
type segment struct {
	descend   bool
	selectors []selector
	op        textOp
}

type selectKind uint8

const (
	selectName selectKind = iota
	selectIndex
	selectSlice
	selectAll
	selectFilter
)

type selector struct {
	kind selectKind
	name string
	// from is also the index. A slice is from : to : step; hasFrom and hasTo say which were given.
	from, to, step int
	hasFrom, hasTo bool
	filter         condition
}

// disordered says whether walking q can leave document order.
func (q *query) disordered() bool {
	for _, s := range q.segments {
		if s.descend || len(s.selectors) > 1 {
			return true
		}
		for _, sel := range s.selectors {
			if sel.kind == selectSlice && sel.step < 0 {
				return true
			}
		}
	}
	return false
}

func (q *query) reads() area {
	var inFilters area
	for _, s := range q.segments {
		for _, sel := range s.selectors {
			if sel.filter != nil {
				inFilters |= sel.filter.reads()
			}
		}
	}
	if !q.absolute {
		return inFilters
	}
	if len(q.segments) == 0 || q.segments[0].descend || q.segments[0].op != nil {
		return areaAll
	}
	var first area
	for _, sel := range q.segments[0].selectors {
		if sel.kind != selectName {
			if sel.kind == selectIndex || sel.kind == selectSlice {
				continue // the message is no list
			}
			return areaAll
		}
		first |= areaOf(sel.name)
	}
	return first | inFilters
}

// unknownRoot gives the first name of an absolute path if the message has no such member.
func (q *query) unknownRoot() (string, bool) {
	if !q.absolute || len(q.segments) == 0 || q.segments[0].descend {
		return "", false
	}
	for _, sel := range q.segments[0].selectors {
		if sel.kind == selectName && areaOf(sel.name) == 0 {
			return sel.name, true
		}
	}
	return "", false
}

// shown gives an expression for an error text: quoted, and cut when it is long.
func shown(expr string) string {
	const most = 120
	if len(expr) > most {
		expr = strings.ToValidUTF8(expr[:most], "") + "…"
	}
	return `"` + expr + `"`
}
