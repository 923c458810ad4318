package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"streamer/consumer"
)

// letters are dead letters of a job. They note what they were asked for.
type letters struct {
	job     string
	asked   *[]string
	stopped chan struct{} // closed when a redrive was stopped
}

func (l letters) List(_ context.Context, f consumer.LetterFilter, cursor string, limit int) (consumer.LetterPage, error) {
	key, where := "any", "anything"
	if f.Key != nil {
		key = *f.Key
	}
	if f.Where != nil {
		where = f.Where.String()
	}
	*l.asked = append(*l.asked, fmt.Sprintf("%v %v %d %v key=%q where=%s cursor=%q limit=%d",
		f.Class, f.State, f.Since.Unix(), f.Until.IsZero(), key, where, cursor, limit))
	switch l.job {
	case "births":
		return consumer.LetterPage{}, consumer.ErrLettersOff
	case "deaths":
		return consumer.LetterPage{}, errors.New("broker 1 has gone away")
	}
	if cursor == "x" {
		return consumer.LetterPage{}, &consumer.CursorError{Cursor: cursor}
	}
	return consumer.LetterPage{Letters: []consumer.Letter{{Partition: 0, Offset: 3, Key: []byte("k"), Value: []byte("secret")}, {Offset: 4, Key: []byte{0xff}}, {Offset: 5}},
		Next: "0-6", Counts: []consumer.LetterCount{}}, nil
}

func (l letters) Show(_ context.Context, partition int32, offset int64) (consumer.Letter, error) {
	if offset != 3 {
		return consumer.Letter{}, fmt.Errorf("dead letter: %w", consumer.ErrNoRecord)
	}
	return consumer.Letter{Partition: partition, Offset: offset, Key: []byte("k"), Value: []byte{0xfe}, Headers: []consumer.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "n"}}}, nil
}

func TestLetters(t *testing.T) {
	t.Parallel()
	var asked []string
	jobs := fakeJobs{{JobStatus: JobStatus{ID: "visits"}}, {JobStatus: JobStatus{ID: "births"}}, {JobStatus: JobStatus{ID: "deaths"}}, {JobStatus: JobStatus{ID: "people"}}}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: jobs, Letters: func(c consumer.Config) DeadLetters { return letters{job: c.Job, asked: &asked} }})
	cases := []struct {
		name, path string
		status     int
		says       string
	}{
		{"all", "visits/dead-letters", 200, `"next":"0-6","scanned":0,"complete":false,"letters":[{"partition":0,"offset":3,`},
		{"chosen", "visits/dead-letters?class=rejected,target&state=given+up&since=2026-01-31T12:00:00Z&key=&where=$.msg.a&cursor=0-6&limit=7", 200, "letters"},
		{"one", "visits/dead-letters/2/3", 200, `"key":"k","value":{"base64":"/g=="},"headers":[{"key":"a","value":"b"},{"key":"n","value":null}]`},
		{"none there", "visits/dead-letters/0/9", 404, "streamer deadletters list shows what there is"},
		{"no address", "visits/dead-letters/0/x", 404, `offset: "x" is no number from 0 to 9007199254740991; write partition/offset as the list`},
		{"off", "births/dead-letters", 409, "dead letters of this job are off; rows that cannot be delivered keep their lanes waiting"},
		{"kafka is away", "deaths/dead-letters", 503, "the dead letters cannot be read: broker 1 has gone away"},
		{"a broken job", "people/dead-letters", 409, `job "people" is not valid`},
		{"no such job", "visit/dead-letters", 404, "did you mean visits?"},
		{"no cursor", "visits/dead-letters?cursor=x", 400, "begin without a cursor"},
		{"no class", "visits/dead-letters?class=delivered", 400, `class: unknown word "delivered"; it is one of rejected, payload, target, parked`},
		{"no state", "visits/dead-letters?state=opne", 400, "did you mean open?"},
		{"no time", "visits/dead-letters?since=today", 400, `since: "today" is no time; write it as 2026-01-31T12:00:00Z`},
		{"no time at all", "visits/dead-letters?since=2026-01-31T12:00:00Z&until=2026-01-31T12:00:00Z", 400, "until: is not after since"},
		{"no path", "visits/dead-letters?where=" + url.QueryEscape("$.["), 400, "where: "},
	}
	for _, c := range cases {
		status, text, p := request(t, http.MethodGet, base+"/api/v1/jobs/"+c.path, "")
		if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.name, status, text)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%s: a list has a value in it: %s", c.name, text)
		}
	}
	if asked[0] != `[] [] -62135596800 true key="any" where=anything cursor="" limit=100` ||
		asked[1] != `[rejected target] [given up] 1769860800 true key="" where=$.msg.a cursor="0-6" limit=7` {
		t.Errorf("asked %q", asked)
	}
}

// Keys and values go through JSON unharmed, whatever they are.
func TestBytes(t *testing.T) {
	t.Parallel()
	for _, b := range []Bytes{nil, {}, Bytes("text"), {0xff, 0}, Bytes(`{"base64": "no"}`)} {
		text, err := json.Marshal(b)
		var back Bytes
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || string(back) != string(b) || (back == nil) != (b == nil) {
			t.Errorf("%q became %s and %q: %v", b, text, back, err)
		}
	}
}
