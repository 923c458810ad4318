package mapping

import (
	"strings"
	"testing"
)

// TestURLRefused: scheme, host and port are literal and valid, in every branch.
func TestURLRefused(t *testing.T) {
	for name, c := range map[string]struct{ url, path, problem string }{
		"no scheme":                   {`"api.example.org/x"`, "url", "http:// or https://"},
		"another scheme":              {`"ftp://h/x"`, "url", "http:// or https://"},
		"a placeholder as scheme":     {`"{a}://h/x"`, "url", "http:// or https://"},
		"a placeholder as URL":        {`"{a}"`, "url", "http:// or https://"},
		"a placeholder as host":       {`"http://{a}/x"`, "url", "host or port"},
		"… reserved":                  {`"http://{+a}/x"`, "url", "host or port"},
		"… by path":                   {`"http://{$.msg.a}/x"`, "url", "host or port"},
		"… behind a host":             {`"http://h{a}/x"`, "url", "host or port"},
		"… as port":                   {`"http://h:{a}/x"`, "url", "host or port"},
		"… as user":                   {`"http://{a}@h/x"`, "url", "host or port"},
		"no host":                     {`"http:///x"`, "url", "host"},
		"no host but a port":          {`"http://:80/x"`, "url", "host"},
		"a port too high":             {`"http://h:70000/x"`, "url", "host"},
		"a port of letters":           {`"http://h:x/x"`, "url", "host"},
		"a space in the host":         {`"http://a b/x"`, "url", "host"},
		"a user":                      {`"http://u:p@h/x"`, "url", "user or password"},
		"letters of elsewhere":        {`"http://exämple.org/x"`, "url", "host"},
		"a backslash":                 {`"http://h\\x/{a}"`, "url", "backslash"},
		"a line end":                  {`"http://h/a\nb"`, "url", "control character"},
		"dots in the path":            {`"http://h/a/../{a}"`, "url", ". or .."},
		"encoded dots in the path":    {`"http://h/a/%2e%2e/{a}"`, "url", ". or .."},
		"an unknown key":              {`"http://h/{b}"`, "url", "unknown key {b}"},
		"a format":                    {`"http://h/{a:>5}"`, "url", "unknown key {a:>5}"},
		"a part of a value":           {`"http://h/{a.b}"`, "url", "unknown key {a.b}"},
		"an empty placeholder":        {`"http://h/{}"`, "url", "unknown key {}"},
		"an open brace":               {`"http://h/{a"`, "url", "not closed"},
		"a closing brace":             {`"http://h/a}"`, "url", "closes nothing"},
		"a faulty path":               {`"http://h/{$.msg[}"`, "url", "character"},
		"no text":                     {`5`, "url", "not a URL"},
		"a branch with another fault": {`{"when":"$.msg.a","then":"http://{a}/","else":"http://h/"}`, "url.then", "host or port"},
		"a branch missing":            {`{"when":"$.msg.a","then":"http://h/"}`, "url.else", "missing"},
		"no condition":                {`{"then":"http://h/","else":"http://h/"}`, "url.when", "found nothing"},
		"a misspelt branch":           {`{"when":"$.a","then":"http://h/","esle":"http://h/"}`, "url.esle", "unknown key"},
		"too deep":                    {strings.Repeat(`{"when":"$.msg.a","else":"http://h/","then":`, 40) + `"http://h/"` + strings.Repeat("}", 40), "", "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			p, faults := Compile(configOf(parseJSON(t, `{"type":"GET","datamap":{"a":"$.msg.a"},"url":`+c.url+`}`)))
			if p != nil {
				t.Fatal("accepted")
			}
			for _, f := range faults.Errors() {
				if (c.path == "" || f.Path == c.path) && strings.Contains(f.Problem, c.problem) {
					return
				}
			}
			t.Errorf("want %s: …%s…; got\n%v", c.path, c.problem, faults)
		})
	}
}

// TestURLForms: what a template says itself is normalised once.
func TestURLForms(t *testing.T) {
	for template, want := range map[string]string{
		"http://h":                             "http://h/",
		"HTTP://H.Example:/x":                  "http://h.example/x",
		"https://h:8443?a={a}":                 "https://h:8443/?a=1",
		"http://h/a b/é?x=[1]&y=a b#c d":       "http://h/a%20b/%C3%A9?x=[1]&y=a%20b#c%20d",
		"http://h/100%/%41":                    "http://h/100%25/%41",
		"http://h/x?":                          "http://h/x",
		"http://h/x?&a=1&&b=2&":                "http://h/x?a=1&b=2",
		"http://h/x#{a}?{a}":                   "http://h/x#1?1",
		"http://[::1]:80/{a}":                  "http://[::1]:80/1",
		"http://h/{$.msg['a']}":                "http://h/1",
		"http://h/{$.msg.l[?@ =~ 'x{2}']}":     "http://h/xx",
		"http://h/{$.msg.s.`split(}, 1, -1)`}": "http://h/r",
	} {
		p := compileJob(t, `{"type":"GET","datamap":{"a":"$.msg.a"},"url":`+jsonText(template)+`}`)
		var r Request
		if _, err := mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, `{"a":1,"l":["x","xx"],"s":"l}r"}`)}, &r); err != nil || r.URL != want {
			t.Errorf("%s gives %s, %v; want %s", template, r.URL, err, want)
		}
	}
}
