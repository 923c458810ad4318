package invenio

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"streamer/control/job"
)

func object() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

// plain is a text, in quotes where YAML would read it otherwise.
func plain(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if text == "<<" || text == "=" || strings.ContainsAny(text, "\u0085\u2028\u2029\r") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func put(object, key, value *yaml.Node) { object.Content = append(object.Content, key, value) }

// find gives the value of a key that is like key.
func find(object, key *yaml.Node) *yaml.Node {
	for i := 0; i < len(object.Content); i += 2 {
		if object.Content[i].Value == key.Value {
			return object.Content[i+1]
		}
	}
	return nil
}

// place marks what somebody has to fill in.
func (j *made) place(what string, line int) *yaml.Node {
	j.Places++
	return plain(fmt.Sprintf("%s: %s (line %d)", job.FillIn, what, line))
}

// keyOf is a key that is a text, or a marked place.
func (j *made) keyOf(v value) *yaml.Node {
	if v.kind == kindCode {
		return j.place(clip(v.text), v.line)
	}
	return plain(v.text)
}

// node is a value as YAML has it, with a marked place for what is code. Of a secret the code is not shown.
func (j *made) node(what string, v value, secret bool) *yaml.Node {
	scalar := func(tag, text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text} }
	switch v.kind {
	case kindBool:
		return scalar("!!bool", strconv.FormatBool(v.flag))
	case kindNumber:
		return scalar("", v.text)
	case kindText:
		return plain(v.text)
	case kindList:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v.items {
			n.Content = append(n.Content, j.node(what, item, secret))
		}
		return n
	case kindDict:
		n := object()
		for i, p := range v.pairs {
			if !p.spread && laterToo(v.pairs[i+1:], p.key) {
				continue
			}
			key := p.key
			switch key.kind {
			case kindBool, kindNumber, kindNull:
				key = value{kind: kindText, text: jsonKey(key)}
			case kindList, kindDict:
				key = value{kind: kindCode, text: "a key that is " + key.found(), line: key.line}
			}
			put(n, j.keyOf(key), j.node(what+"."+key.text, p.value, secret))
		}
		return n
	case kindCode:
		if secret {
			return j.place(what, v.line)
		}
		return j.place(clip(v.text), v.line)
	}
	return scalar("!!null", "null")
}

func laterToo(pairs []pair, key value) bool {
	for _, p := range pairs {
		if !p.spread && p.key.kind == key.kind && p.key.text == key.text && p.key.flag == key.flag {
			return true
		}
	}
	return false
}

// jsonKey is how json.dumps writes a key that is no text.
func jsonKey(v value) string {
	switch v.kind {
	case kindBool:
		return strconv.FormatBool(v.flag)
	case kindNumber:
		return v.text
	}
	return "null"
}

// found says what a value is.
func (v value) found() string {
	switch v.kind {
	case kindBool:
		return "true or false"
	case kindNumber:
		return "a number"
	case kindText:
		return "a text"
	case kindList:
		return "a list"
	case kindDict:
		return "a dict"
	case kindCode:
		return "code (" + clip(v.text) + ")"
	}
	return "None"
}

func shown(v value) string {
	if v.kind == kindText {
		return strconv.Quote(clip(v.text))
	}
	return clip(v.text)
}

// clip makes one short line of a text.
func clip(text string) string {
	const most = 60
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= most {
		return text
	}
	for i := most; ; i-- {
		if utf8.RuneStart(text[i]) {
			return text[:i] + "…"
		}
	}
}

// source shows code above the place that stands for it.
func source(v value) string {
	const most = 20
	lines := strings.Split(strings.ReplaceAll(v.text, "\r", ""), "\n")
	if len(lines) > most {
		lines = append(lines[:most], "…")
	}
	indent := -1
	for _, line := range lines[1:] {
		if n := len(line) - len(strings.TrimLeft(line, " ")); strings.TrimSpace(line) != "" && (indent < 0 || n < indent) {
			indent = n
		}
	}
	for i, line := range lines {
		if i > 0 && indent > 0 {
			line = line[min(indent, len(line)):]
		}
		lines[i] = strings.TrimRight(strings.Map(printable, line), " ")
	}
	return "line " + strconv.Itoa(v.line) + ": " + strings.Join(lines, "\n")
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r == utf8.RuneError {
		return ' '
	}
	return r
}
