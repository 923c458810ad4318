package mapping

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// operator reads a back-quoted operator.
func (p *pathParser) operator() (textOp, error) {
	at := p.at
	text, lost, err := p.backQuoted()
	if err != nil {
		return nil, err
	}
	switch name := strings.TrimSpace(text); {
	case name == "this":
		return this, nil
	case name == "len":
		return lengthOp{}, nil
	case strings.HasPrefix(name, "split("):
		return p.split(text, at)
	case strings.HasPrefix(name, "sub("):
		if lost != "" {
			p.warnings = append(p.warnings, shown(p.text)+": in back-quotes a backslash is lost before "+lost+
				"; write two backslashes to keep it")
		}
		return p.sub(name, at)
	case name == "parent":
		return nil, p.fail(at, "the operator parent is not supported", "filter the parent instead: $.list[?(@.name)]")
	case name == "sorted":
		return nil, p.fail(at, "the operator sorted is not supported", "what is found comes in document order; let the producer or the receiver sort")
	case name == "keys" || name == "path" || name == "str()":
		return nil, p.fail(at, "the operator "+name+" is not supported", "use len, split(c, i, max) or sub(/re/, repl)")
	default:
		return nil, p.fail(at, "unknown operator "+shown(name), "use len, split(c, i, max) or sub(/re/, repl)")
	}
}

const splitForm = "write split(c, i, max): separator, index from 0, most splits or -1"

// split reads split(c, i, max). The two numbers are taken from the end, so that the separator may be a comma or a space.
func (p *pathParser) split(text string, at int) (textOp, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return nil, p.fail(at, "split without )", splitForm)
	}
	args := text[strings.IndexByte(text, '(')+1 : end]
	second := strings.LastIndexByte(args, ',')
	if second < 0 {
		return nil, p.fail(at, "split takes three arguments", splitForm)
	}
	first := strings.LastIndexByte(args[:second], ',')
	if first < 0 {
		return nil, p.fail(at, "split takes three arguments", splitForm)
	}
	index, err1 := strconv.Atoi(strings.TrimSpace(args[first+1 : second]))
	most, err2 := strconv.Atoi(strings.TrimSpace(args[second+1:]))
	if err1 != nil || err2 != nil {
		return nil, p.fail(at, "split needs two numbers after the separator", splitForm)
	}
	sep := args[:first]
	if trimmed := strings.TrimSpace(sep); trimmed != "" {
		sep = trimmed
	} else if sep != "" {
		sep = sep[:1]
	}
	if n := len(sep); n >= 3 && (sep[0] == '\'' || sep[0] == '"') && sep[n-1] == sep[0] {
		sep = sep[1 : n-1]
	}
	if sep == "" {
		return nil, p.fail(at, "split without a separator", splitForm)
	}
	return splitOp{sep, index, most}, nil
}

const subForm = "write sub(/re/, replacement)"

// sub reads sub(/re/, repl) as the original does: the pattern ends at the last "/," and the text at the last ")".
func (p *pathParser) sub(text string, at int) (textOp, error) {
	body, ok := strings.CutPrefix(text, "sub(/")
	end := strings.LastIndexByte(body, ')')
	if !ok || end < 0 {
		return nil, p.fail(at, "sub needs a pattern between slashes", subForm)
	}
	body = body[:end]
	comma := strings.LastIndex(body, "/,")
	if comma < 0 {
		return nil, p.fail(at, "sub needs a replacement", subForm)
	}
	re, err := p.compilePattern(strings.TrimSpace(body[:comma]), at)
	if err != nil {
		return nil, err
	}
	parts, problem := replacement(strings.TrimSpace(body[comma+2:]), re)
	if problem != "" {
		return nil, p.fail(at, problem, `groups are written \\1 or \\g<name>`)
	}
	return subOp{re, parts}, nil
}

// replacePart is a text, or with group ≥ 0 what that group matched.
type replacePart struct {
	text  string
	group int
}

// replacement reads a template of Python's re.sub: \1, \g<1>, \g<name>, \n and the like, \\.
func replacement(s string, re *regexp.Regexp) (parts []replacePart, problem string) {
	var text strings.Builder
	group := func(name string) string {
		n, err := strconv.Atoi(name)
		if err != nil {
			n = re.SubexpIndex(name)
		}
		if n < 0 || n > re.NumSubexp() {
			return "the pattern has no group " + shown(name)
		}
		parts = append(parts, replacePart{text.String(), -1}, replacePart{"", n})
		text.Reset()
		return ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			text.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; {
		case isDigit(c):
			end := i + 1
			if end < len(s) && isDigit(s[end]) {
				end++
			}
			if problem = group(s[i:end]); problem != "" {
				return nil, problem
			}
			i = end - 1
		case strings.HasPrefix(s[i:], "g<") && strings.IndexByte(s[i:], '>') > 0:
			end := i + strings.IndexByte(s[i:], '>')
			if problem = group(s[i+2 : end]); problem != "" {
				return nil, problem
			}
			i = end
		case strings.IndexByte("abfnrtv", c) >= 0:
			text.WriteByte("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case c == '\\':
			text.WriteByte(c)
		case isNameStart(c) && c < utf8.RuneSelf && c != '_':
			return nil, "unknown escape \\" + string(rune(c)) + " in the replacement"
		default:
			text.WriteByte('\\')
			text.WriteByte(c)
		}
	}
	return append(parts, replacePart{text.String(), -1}), ""
}
