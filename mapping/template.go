package mapping

import (
	"fmt"
	"strings"

	"streamer/schemas"
)

// part is a piece of a template: a text, or with slot ≥ 0 a placeholder. raw is {+key}.
type part struct {
	text string
	slot int
	raw  bool
}

// lexTemplate cuts a template into texts and placeholders. Texts are as written, {{ and }} read as braces; ok is false after a fault.
func (k *compiler) lexTemplate(at, s string) (parts []part, ok bool) {
	ok = true
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, part{text: text.String(), slot: -1})
			text.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "{{"), strings.HasPrefix(s[i:], "}}"):
			text.WriteByte(s[i])
			i += 2
		case s[i] == '}':
			k.faults.Add(at, fmt.Sprintf("a } at character %d closes nothing", i+1), "write }} for a brace")
			return nil, false
		case s[i] == '{':
			end := placeholderEnd(s, i+1)
			if end < 0 {
				k.faults.Add(at, fmt.Sprintf("the { at character %d is not closed", i+1), "close it with }, or write {{ for a brace")
				return nil, false
			}
			flush()
			p, good := k.placeholder(at, s[i+1:end])
			ok = ok && good
			parts = append(parts, p)
			i = end + 1
		default:
			text.WriteByte(s[i])
			i++
		}
	}
	flush()
	return parts, ok
}

// placeholderEnd finds the } that closes a placeholder. In a JSONPath, texts and nested braces are passed over.
func placeholderEnd(s string, at int) int {
	isPath := strings.HasPrefix(strings.TrimPrefix(s[at:], "+"), "$")
	if !isPath {
		if end := strings.IndexAny(s[at:], "{}"); end >= 0 && s[at+end] == '}' {
			return at + end
		}
		return -1
	}
	open := 0
	for ; at < len(s); at++ {
		switch s[at] {
		case '\'', '"', '`':
			at = textEnd(s, at)
		case '{':
			open++
		case '}':
			if open == 0 {
				return at
			}
			open--
		}
	}
	return -1
}

// placeholder reads what stands between braces.
func (k *compiler) placeholder(at, inside string) (part, bool) {
	name, raw := strings.CutPrefix(inside, "+")
	p := part{raw: raw}
	if strings.HasPrefix(name, "$") {
		var ok bool
		p.slot, ok = k.inlinePath(at, name)
		return p, ok
	}
	slot, ok := k.mapped[name]
	if !ok && raw {
		slot, ok = k.mapped[inside] // a key that begins with a plus
		p.raw = !ok
	}
	if ok {
		p.slot = slot
		return p, true
	}
	mend := listed(k.names)
	if i := strings.IndexAny(name, ".[!:"); i > 0 {
		if _, known := k.mapped[name[:i]]; known {
			mend = "formats and parts of a value are not supported; map what you need, or write a JSONPath: {$.msg.a.b}"
		}
	}
	k.faults.Add(at, "unknown key {"+name+"}", mend)
	return p, false
}

// fixedText gives a part's text if every row has the same: a text, or a constant that is a text, number or boolean.
func (k *compiler) fixedText(p part) (string, bool) {
	if p.slot < 0 {
		return p.text, true
	}
	s := &k.prog.slots[p.slot]
	if s.path != nil || s.fixed.many != nil || !given(s.fixed.one) || s.fixed.one.Kind() == schemas.Array || s.fixed.one.Kind() == schemas.Object {
		return "", false
	}
	text, err := s.fixed.one.AppendText(nil)
	return string(text), err == nil
}
