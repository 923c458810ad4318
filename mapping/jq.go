package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"streamer/schemas"
)

// jqProgram is the text under "$jq", compiled. It is immutable; a Mapper runs it on a jqMachine of its own.
type jqProgram struct {
	text string
	// constant are texts that stand in the program, which its errors may show.
	constant map[string]bool
	// vars are the parts of the message that it asks for by $name.
	vars []int
}

// jqForbidden are functions of jq that reach beyond the message, and why each is not here.
var jqForbidden = map[string]string{
	"input": "a program sees one message", "inputs": "a program sees one message", "input_filename": "a program sees one message",
	"input_line_number": "a program sees one message", "env": "a program sees no environment", "$ENV": "a program sees no environment",
	"now": "the same row must give the same request at every try", "localtime": "the same row must give the same request on every machine",
	"strflocaltime": "the same row must give the same request on every machine", "debug": "a program says nothing but its value",
	"stderr": "a program says nothing but its value", "halt": "a program ends by its value or by error", "halt_error": "a program ends by its value or by error",
	"modulemeta": "there are no modules", "get_search_list": "there are no modules", "builtins": "it is no value of a message", "$__loc__": "it is no value of a message",
	"$__prog_args": "it is no value of a message", "getpath/2": "it is gojq's own",
}

// compileJQ makes a program of text and adds what it reads to reads. Every fault has its place.
func (k *compiler) compileJQ(at, text string) *jqProgram {
	query, err := gojq.Parse(text)
	if err != nil {
		where, problem := "", err.Error()
		if e, ok := errors.AsType[*gojq.ParseError](err); ok {
			before := text[:min(len(text), max(0, e.Offset-len(e.Token)))]
			where = fmt.Sprintf(" at character %d", utf8.RuneCountInString(before)+1)
		}
		k.faults.Add(at, jqShown(text)+where+": "+problem, "write a jq program such as .msg.title or {id: .msg.id}")
		return nil
	}
	root := reachOf(query)
	p := &jqProgram{text: text, constant: map[string]bool{}}
	w := &jqWalk{program: p}
	w.query(query)
	for _, f := range w.refused {
		k.faults.Add(at, jqShown(text)+positionOf(text, f.name)+": "+f.problem, f.mend)
	}
	if len(w.refused) > 0 {
		return nil
	}
	if _, err := p.machine(); err != nil {
		name, mend := jqUnknown(err)
		k.faults.Add(at, jqShown(text)+positionOf(text, name)+": "+err.Error(), mend)
		return nil
	}
	for _, name := range root.names() {
		if areaOf(name) == 0 {
			k.faults.Warn(at, jqShown(text)+" finds nothing at ."+name+": the message has no "+shown(name),
				k.jqRootMend(name))
		}
	}
	for i, name := range areaNames {
		if root.member(name) != nil {
			k.prog.reads |= 1 << i
		}
	}
	k.inScope(at, p.text, root.reads())
	k.prog.jqReads.add(root)
	return p
}

// jqShown gives a program on one line.
func jqShown(text string) string { return shown(strings.Join(strings.Fields(text), " ")) }

// jqRootMend says where a name may have been meant that the message does not have.
func (k *compiler) jqRootMend(name string) string {
	if k.isEvents && slices.Contains(eventArguments, name) {
		return "what the event says is at .msg: write .msg." + name
	}
	return "the row is at .msg; beside it are " + areasFor(".")
}

// areasFor lists what stands beside the row in the message.
func areasFor(before string) string {
	names := areaNames[1:indexOf(areaSteps)]
	return before + strings.Join(names[:len(names)-1], ", "+before) + " and " + before + names[len(names)-1]
}

// positionOf says where name stands in a program, for gojq's tree has no positions.
func positionOf(text, name string) string {
	if name == "" {
		return ""
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return ""
		}
		i += from
		end := i + len(name)
		if (i == 0 || !isWord(text[i-1])) && (end == len(text) || !isWord(text[end])) {
			return fmt.Sprintf(" at character %d", utf8.RuneCountInString(text[:i])+1)
		}
		from = end
	}
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// jqUnknown takes the name out of gojq's message about a function or variable that it does not know, and gives a mend.
func jqUnknown(err error) (name, mend string) {
	problem, rest, found := strings.Cut(err.Error(), ": ")
	if !found {
		name, _, _ = strings.Cut(problem, " ")
		return name, ""
	}
	name, _, _ = strings.Cut(rest, "/")
	if strings.HasPrefix(problem, "variable") {
		return name, "the message's are $msg, " + areasFor("$")
	}
	return name, "see docs/jobs.md for what programs may call"
}

// jq compiles {"$jq": program}; nil after a fault.
func (k *compiler) jq(at string, v schemas.Value) *jqProgram {
	unknownKeys(&k.faults, at, v, "$jq")
	text, ok := v.Field("$jq").Str()
	if !ok {
		k.faults.Add(under(at, "$jq"), "found "+kindOf(v.Field("$jq"))+", not a program", "write a text such as .msg.title")
		return nil
	}
	return k.compileJQ(under(at, "$jq"), text)
}
