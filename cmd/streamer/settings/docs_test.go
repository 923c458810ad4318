package settings

import (
	"os"
	"strings"
	"testing"
)

// docs/settings.md has the table of the program, row by row.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	page, rows := string(text), 0
	for _, s := range Table {
		flag, fallback := "(none)", "none"
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		switch {
		case s.Default != "":
			fallback = "`" + s.Default + "`"
		case s.Example != "":
			fallback = "none, e.g. `" + s.Example + "`"
		}
		rows++
		if row := "| " + strings.Join([]string{"`" + s.Env + "`", flag, "`" + s.Key + "`", fallback, s.Doc}, " | ") + " |"; !strings.Contains(page, row) {
			t.Errorf("docs/settings.md has no row\n%s", row)
		}
	}
	if got := strings.Count(page, "\n| `STREAMER_"); got != rows {
		t.Errorf("docs/settings.md has %d rows for %d settings", got, rows)
	}
}
