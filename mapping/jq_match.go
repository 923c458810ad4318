package mapping

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Bounds on a regular expression, which a row may bring along.
const (
	maxPattern     = 4 << 10
	maxPatternSize = 10_000
	maxPatterns    = 100
)

// jqRegexps are the expressions that a machine has compiled, kept while they are few.
type jqRegexps map[[2]string]jqRegexp

type jqRegexp struct {
	re   *regexp.Regexp
	size int
}

var (
	errPattern     = errors.New("a regular expression cannot be read; they are written as in RE2")
	errPatternSize = errors.New("a regular expression is too large")
	errPatternKind = errors.New("test, match, capture, scan, split and sub take texts")
	errFlags       = errors.New("a regular expression has flags other than g, i and m")
)

// match is gojq's _match, under test, match, capture, scan, splits, sub and gsub: (pattern; flags; only test). Ours keeps no pattern for
// good that a row brought, and counts what it finds before it makes values of it.
func (m *jqMachine) match(v any, args []any) any {
	text, ok := v.(string)
	pattern, isText := args[0].(string)
	flags, hasFlags := args[1].(string)
	if !ok || !isText || !hasFlags && args[1] != nil {
		return errPatternKind
	}
	re, err := m.regexp(pattern, flags)
	if err != nil {
		return err
	}
	if m.meter.spend(times(len(text), 8+re.size/16)); m.meter.broken != nil {
		return m.meter.broken
	}
	if args[2] == true {
		return re.re.MatchString(text)
	}
	most := 1
	each := 512 + 512*re.re.NumSubexp()
	if strings.Contains(flags, "g") {
		most = m.meter.left/each + 1
	}
	found := re.re.FindAllStringSubmatchIndex(text, most)
	if m.meter.spend(times(len(found), each)); m.meter.broken != nil {
		return m.meter.broken
	}
	out := make([]any, 0, len(found))
	names := re.re.SubexpNames()
	at := runeCounter{text: text}
	for _, x := range found {
		whole := at.group(x[0], x[1])
		captures := make([]any, 0, len(names)-1)
		for j := 1; j < len(names); j++ {
			g := map[string]any{"offset": -1, "length": 0, "string": nil}
			if from, to := x[2*j], x[2*j+1]; from >= 0 {
				inside := runeCounter{text: text, at: x[0], runes: at.runes}
				g = inside.group(from, to)
			}
			if g["name"] = nil; names[j] != "" {
				g["name"] = names[j]
			}
			captures = append(captures, g)
		}
		whole["captures"] = captures
		out = append(out, whole)
	}
	return out
}

// runeCounter turns rising byte offsets into offsets of characters, each byte looked at once.
type runeCounter struct {
	text      string
	at, runes int
}

func (c *runeCounter) to(at int) int {
	c.runes += utf8.RuneCountInString(c.text[c.at:at])
	c.at = at
	return c.runes
}

func (c *runeCounter) group(from, to int) map[string]any {
	offset := c.to(from)
	return map[string]any{"offset": offset, "length": utf8.RuneCountInString(c.text[from:to]), "string": c.text[from:to]}
}

// regexp compiles a pattern, or finds it among those that were.
func (m *jqMachine) regexp(pattern, flags string) (jqRegexp, error) {
	if len(pattern) > maxPattern {
		return jqRegexp{}, errPatternSize
	}
	if re, ok := m.regexps[[2]string{pattern, flags}]; ok {
		return re, nil
	}
	if strings.Trim(flags, "gim") != "" {
		return jqRegexp{}, errFlags
	}
	text := pattern
	if strings.Contains(flags, "i") {
		text = "(?i)" + text
	}
	if strings.Contains(flags, "m") {
		text = "(?s)" + text
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return jqRegexp{}, errPattern
	}
	size := patternSize(tree)
	if size > maxPatternSize {
		return jqRegexp{}, errPatternSize
	}
	if m.meter.spend(1000 + 200*size); m.meter.broken != nil {
		return jqRegexp{}, m.meter.broken
	}
	// The key outlives the row, and text may lie in its bytes.
	pattern = strings.Clone(pattern)
	re, err := regexp.Compile(strings.Clone(text))
	if err != nil {
		return jqRegexp{}, errPattern
	}
	if m.regexps == nil || len(m.regexps) >= maxPatterns {
		m.regexps = jqRegexps{}
	}
	m.regexps[[2]string{pattern, strings.Clone(flags)}] = jqRegexp{re, size}
	return m.regexps[[2]string{pattern, flags}], nil
}

// patternSize is about how many instructions an expression compiles to.
func patternSize(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)/2
	for _, s := range re.Sub {
		n += patternSize(s)
	}
	if re.Op == syntax.OpRepeat {
		return times(n, max(1, re.Min, re.Max))
	}
	return n
}
