package nearest

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	t.Parallel()
	known := []string{"datamap", "delivery", "dead_letter", "url", "type", "topic"}
	cases := []struct{ name, given, want string }{
		{"a letter missing", "delivry", "delivery"},
		{"two letters swapped", "datampa", "datamap"},
		{"a letter too many", "urll", "url"},
		{"another separator", "dead-letter", "dead_letter"},
		{"plural", "topics", "topic"},
		{"nothing like it", "frobnicate", ""},
		{"empty", "", ""},
		{"far too long to be a name", strings.Repeat("url", 1000), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Name(c.given, known); got != c.want {
				t.Errorf("Name(%q) = %q, want %q", c.given, got, c.want)
			}
		})
	}
}
