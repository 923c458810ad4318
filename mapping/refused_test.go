package mapping

import (
	"errors"
	"strings"
	"testing"
)

// TestRefused holds what cannot be translated to its position and mend.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		expr          string
		position      int
		problem, mend string
	}{
		{"", 1, "empty", "$.msg.id"},
		{"   ", 1, "empty", "$.msg.id"},
		{"$.a.`parent`", 5, "parent is not supported", "filter the parent"},
		{"$.l.`sorted`", 5, "sorted is not supported", "document order"},
		{"$.l.`keys`", 5, "keys is not supported", "len"},
		{"$.l.`str()`", 5, "str() is not supported", "len"},
		{"$.l.`size`", 5, "unknown operator", "len"},
		{"$.l.`len", 5, "does not end", "`"},
		{"$.l`len`", 4, "a dot before it", ".`len`"},
		{"$.é.`parent`", 5, "parent is not supported", "filter"},
		{"$.a where b", 5, "where is not supported", "filter"},
		{"$.a|$.b", 4, "union | of paths", "[a,b]"},
		{"$.a & $.b", 5, "intersection & of paths", "filter"},
		{"$.a.(b|c)", 5, "a group inside a path", "[a,b]"},
		{"$.l[/a]", 5, "sorting", "document order"},
		{"$.l[\\a]", 5, "sorting", "document order"},
		{"$.l[/a,\\b]", 5, "sorting", "document order"},
		{"$.a / 2", 5, "division", "* 0.01"},
		{"$.a > 3", 5, "outside of a filter", "$[?(@.age > 3)]"},
		{"$.a = 3", 5, "outside of a filter", "$[?(@.age > 3)]"},
		{"$.a-$.b", 5, "$ in the middle", "spaces"},
		{"$a", 2, "unexpected 'a'", ""},
		{"$.a b", 5, "unexpected 'b'", "quote"},
		{"$.", 3, "ends where a name is expected", ""},
		{"$..", 4, "ends where a name is expected", ""},
		{"$.-a", 3, "cannot begin with -", "'-name'"},
		{"$.a..`len`", 6, "unexpected '`'", ""},
		{"$[", 2, "does not end", "]"},
		{"$[]", 3, "nothing between", "[*]"},
		{"$['a", 3, "quoted text does not end", "'"},
		{"$['a'", 2, "does not end", "]"},
		{"$[1 2]", 5, "unexpected '2'", "]"},
		{"$[99999999999]", 3, "no index", "32 bits"},
		{"$[::0]", 3, "step 0", "leave the step out"},
		{"$[(@.length-1)]", 3, "script", "[-1]"},
		{"$.l[?", 4, "filter does not end", "]"},
		{"$.l[?a = 1", 4, "filter does not end", "]"},
		{"$.l[?a = 1 | b = 2]", 12, "does not join", "||"},
		{"$.l[?1 = 2]", 8, "both sides are constants", "name"},
		{"$.l[?(a = 1]", 12, "parenthesis", ")"},
		{"$.l[?a =~ '(']", 11, "cannot use the pattern", "RE2"},
		{"$.l[?a =~ '(?=b)']", 11, "cannot use the pattern", "look-around"},
		{"$.s.`split(-)`", 5, "three arguments", "split(c, i, max)"},
		{"$.s.`split(-, a, 1)`", 5, "two numbers", "split(c, i, max)"},
		{"$.s.`sub(/a/)`", 5, "replacement", "sub(/re/"},
		{"$.s.`sub(a, b)`", 5, "between slashes", "sub(/re/"},
		{"$.s.`sub(/(/, b)`", 5, "cannot use the pattern", "RE2"},
		{"$.s.`sub(/a/, \\\\1)`", 5, "no group", "groups"},
		{"3", 1, "constant alone", "constant"},
		{"$.a +", 6, "ends where a name", ""},
		{"($.a", 1, "parenthesis does not end", ")"},
		{"$.a + 1e", 7, "no number", "JSON"},
		{strings.Repeat("(", 40) + "$.a" + strings.Repeat(")", 40), 34, "nested", ""},
		{"$." + strings.Repeat("a", 9000), 1, "8192", ""},
		{"$.\xff", 1, "UTF-8", ""},
	} {
		name := c.expr
		if len(name) > 40 {
			name = name[:40]
		}
		t.Run(name, func(t *testing.T) {
			p, err := CompilePath(c.expr)
			var e *PathError
			if p != nil || !errors.As(err, &e) {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if e.Position != c.position || !strings.Contains(e.Problem, c.problem) || !strings.Contains(e.Mend, c.mend) {
				t.Errorf("at %d: %s; %s\nwant at %d: …%s…; …%s…", e.Position, e.Problem, e.Mend, c.position, c.problem, c.mend)
			}
			if len(c.expr) < 100 && !strings.Contains(err.Error(), c.expr) && c.expr != "$.\xff" {
				t.Errorf("%q does not show the expression", err)
			}
		})
	}
}
