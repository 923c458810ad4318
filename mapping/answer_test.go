package mapping

import (
	"testing"

	"streamer/schemas"
)

func TestAnswerAsExpressionsSeeIt(t *testing.T) {
	t.Parallel()
	header := []Header{{"Location", "/groups/7"}, {"Set-Cookie", "a=1"}, {"set-cookie", "b\xff"}}
	for name, test := range map[string]struct{ body, want string }{
		"JSON":    {`{"id": 90071992547409931, "ok": true}`, `{"id":90071992547409931,"ok":true}`},
		"text":    {"geht", `"geht"`},
		"no text": {"a\xff", "\"a\ufffd\""},
		"cut":     {`{"id": 7`, `"{\"id\": 7"`},
		"nothing": {"", `""`},
	} {
		r := Response{Status: 201, Header: header, Body: []byte(test.body)}
		got, err := r.Value().AppendJSON(nil)
		want := `{"status":201,"headers":{"location":"/groups/7","set-cookie":"a=1, b` + "\ufffd" + `"},"body":` + test.want + `}`
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v\nwant %s", name, got, err, want)
		}
	}
}

func TestPathHolds(t *testing.T) {
	t.Parallel()
	v := (&Response{Status: 200, Body: []byte(`{"success": false, "errors": [], "items": [{"n": 1}]}`)}).Value()
	for text, want := range map[string]bool{
		"$.body.success": false, "$.body.errors": true, "$.body.items[?@.n == 1]": true, "$.body.items[?@.n == 2]": false, "$.status": true,
		"$[?@ == 200]": true, "$.headers.x": false, "$.nothing.at.all": false,
	} {
		p, err := CompilePath(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Holds(v); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if p, _ := CompilePath("$.a"); p.Holds(schemas.Value{}) {
		t.Error("it holds for nothing")
	}
}

// Whose token goes along is made of the row; a row that names nobody is a payload error.
func TestUser(t *testing.T) {
	t.Parallel()
	compile := func(user string) (*Program, error) {
		c := Config{Type: parseJSON(t, `"POST"`), URL: parseJSON(t, `"https://a.test/"`), DataMap: parseJSON(t, `{"name": "$.msg.name"}`), User: parseJSON(t, user)}
		p, faults := Compile(c)
		return p, faults.Err()
	}
	for name, test := range map[string]struct{ user, row, want, problem string }{
		"of the row":   {`"{$.msg.name}"`, `{"name": "ann@example.org"}`, "ann@example.org", ""},
		"a mapped key": {`"x/{name}"`, `{"name": 7}`, "x/7", ""},
		"fixed":        {`"portal"`, `{}`, "portal", ""},
		"nobody":       {`"{$.msg.name}"`, `{}`, "", "auth.token_storage.user: found no user, whose token would go along"},
		"null":         {`"{$.msg.name}"`, `{"name": null}`, "", "auth.token_storage.user: found no user, whose token would go along"},
		"an empty one": {`"{$.msg.name}"`, `{"name": ""}`, "", "auth.token_storage.user: found no user, whose token would go along"},
		"a line end":   {`"{$.msg.name}"`, `{"name": "a\nb"}`, "", "auth.token_storage.user ($.msg.name): found a text with a line end or control character, which auth.token_storage.user cannot hold"},
	} {
		p, err := compile(test.user)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var r Request
		_, err = mapOne(p.NewMapper(), &Message{Msg: parseJSON(t, test.row)}, &r)
		if text := ""; err != nil {
			text = err.Error()
			if text != test.problem {
				t.Errorf("%s: %s", name, text)
			}
		} else if r.User != test.want || test.problem != "" {
			t.Errorf("%s: %q", name, r.User)
		}
	}
	for _, bad := range []string{"7", `""`, `"${env:STREAMER_VALUE_A}"`, `"{nobody}"`, `"{$.msg["`} {
		if _, err := compile(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
