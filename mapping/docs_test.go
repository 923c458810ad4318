package mapping

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs gives the section on mapping of the users' page on jobs.
func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "<!-- mapping:")
	section, _, ended := strings.Cut(section, "<!-- /mapping -->")
	if !found || !ended {
		t.Fatal("docs/jobs.md has lost the marks around the section on mapping")
	}
	return section
}

// TestDocs runs the tables of the users' page.
func TestDocs(t *testing.T) {
	cell := regexp.MustCompile("^`+ ?(.*?) ?`+$")
	kind, ran := "", map[string]int{}
	for line := range strings.Lines(docs(t)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			kind = ""
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		for i, c := range cells {
			c = strings.TrimSpace(c)
			if m := cell.FindStringSubmatch(c); m != nil {
				c = m[1]
			}
			cells[i] = strings.ReplaceAll(c, "\x00", "|")
		}
		if len(cells) < 3 || strings.HasPrefix(cells[0], "---") {
			continue
		}
		if kind == "" {
			kind = cells[0]
			continue
		}
		ran[kind]++
		t.Run(kind+"/"+cells[0]+" over "+cells[1], func(t *testing.T) {
			if got := example(t, kind, cells[0], cells[1]); got != cells[2] {
				t.Errorf("gives %s; the page says %s", got, cells[2])
			}
		})
	}
	for kind, least := range map[string]int{"expression": 35, "url": 10, "payload": 4, "filter": 5, "emit": 6} {
		if ran[kind] < least {
			t.Errorf("%d examples of %s, expected at least %d", ran[kind], kind, least)
		}
	}
}

// example runs one row of a table and gives what its last column should say.
func example(t *testing.T, kind, what, row string) string {
	msg := &Message{Msg: parseJSON(t, row)}
	job := `{"type":"POST","url":"http://h/","datamap":{},`
	var r Request
	switch kind {
	case "expression":
		p := compileJob(t, `{"type":"POST","url":"http://h/","datamap":{"v":`+jsonText(what)+`},"json_body":["v"]}`)
		if _, err := mapOne(p.NewMapper(), msg, &r); err != nil {
			t.Fatal(err)
		}
		v := parseJSON(t, string(r.Body)).Field("v")
		if text, err := v.AppendJSON(nil); err == nil {
			return string(text)
		}
		return ""
	case "url":
		p := compileJob(t, `{"type":"GET","datamap":{},"url":`+jsonText(what)+`}`)
		if _, err := mapOne(p.NewMapper(), msg, &r); err != nil {
			return "error"
		}
		return r.URL
	case "payload":
		if _, err := mapOne(compileJob(t, job+`"payload":`+what+`}`).NewMapper(), msg, &r); err != nil {
			return "error"
		}
		return string(r.Body)
	case "filter":
		what = jsonText(what)
	}
	v, err := mapOne(compileJob(t, job+`"`+kind+`":`+what+`}`).NewMapper(), msg, &r)
	if err != nil {
		t.Fatal(err)
	}
	if v == Send {
		return "yes"
	}
	return "no"
}
