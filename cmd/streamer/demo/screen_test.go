package demo

import (
	"bytes"
	"strings"
	"testing"
)

func TestLinesBelowAreDrawnAgainUnderWhatIsTold(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, &Terminal{Width: func() int { return 80 }})
	s.redraw([]string{"one", "two"})
	s.text("told")
	s.redraw(nil)
	const erase = "\r\x1b[2A\x1b[J"
	if want := "one\ntwo\n" + erase + "told\none\ntwo\n" + erase; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestNothingIsRedrawnWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, nil)
	s.redraw([]string{"one"})
	s.text("told")
	if out.String() != "told\n" {
		t.Errorf("%q", out.String())
	}
}

func TestALineIsCutToTheTerminal(t *testing.T) {
	s := newScreen(&bytes.Buffer{}, &Terminal{Color: true, Width: func() int { return 41 }})
	long := s.paint(red, strings.Repeat("ü", 30)) + strings.Repeat("x", 30)
	if got, want := s.fit(long), s.paint(red, strings.Repeat("ü", 30))+strings.Repeat("x", 10)+s.paint("", ""); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTextIsBrokenIntoLines(t *testing.T) {
	for name, c := range map[string]struct {
		got  []string
		want string
	}{
		"at blanks":             {wrap("a bb ccc dddd", 6), "a bb|ccc|dddd"},
		"a long word stays":     {wrap("a bbbbbbbb c", 4), "a|bbbbbbbb|c"},
		"a break of its own":    {wrap("a\nb", 9), "a|b"},
		"data behind a comma":   {chunks(`{"a":1,"b":2}`, 9), `{"a":1,|"b":2}`},
		"data without a comma":  {chunks("abcdefgh", 3), "abc|def|gh"},
		"data that fits":        {chunks("abc", 3), "abc"},
		"nothing":               {chunks("", 3), ""},
		"numbers by thousands":  {[]string{thousands(7), thousands(1234), thousands(-1234567)}, "7|1,234|-1,234,567"},
		"one row and many rows": {[]string{count(1, "row"), count(1200, "row")}, "1 row|1,200 rows"},
	} {
		if got := strings.Join(c.got, "|"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
