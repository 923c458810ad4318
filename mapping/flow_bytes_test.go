package mapping

import (
	"fmt"
	"strings"
	"testing"
)

// What a flow holds counts as long as it holds it: the answer to read and the entity while it is in hand, what the list of for_each takes,
// and what is kept of each.
func TestAFlowCountsWhatItHolds(t *testing.T) {
	t.Parallel()
	p, faults := Compile(configOf(parseJSON(t, `{"type":"PUT","url":"https://a.example.org/{$.steps.users[0].id}","datamap":{},"steps":[{"name":"users","for_each":"$.msg.users",
		"read_or_create":{"read":{"url":"https://a.example.org/users/{$.item.value.name}"},"create":{"url":"https://a.example.org/users","payload":"$.item.value"},
		"update":{"url":"https://a.example.org/users/{$.found.id}"}}}]}`)))
	if p == nil {
		t.Fatal(faults)
	}
	const large = 1 << 20
	text := strings.Repeat("x", large)
	parts, _, err := p.NewMapper().Map(&Message{Msg: parseJSON(t, fmt.Sprintf(`{"users":[{"name":"a","note":%q}]}`, text))}, nil)
	if err != nil || len(parts) != 1 || parts[0].Flow == nil {
		t.Fatal(parts, err)
	}
	f := parts[0].Flow
	const message, list = large, large // the row, and what for_each found in it
	if n := f.Bytes(); n < message+list {
		t.Errorf("%d bytes before the first answer", n)
	}
	if _, _, err := f.Next(&Response{Status: 200, Body: []byte(`{"id":"1","other":"` + text + `"}`)}); err != nil {
		t.Fatal(err)
	}
	const answer, found = large, 2 * large // what the row says is laid over what was read
	if n := f.Bytes(); n < message+list+answer+found {
		t.Errorf("%d bytes while the entity is in hand", n)
	}
	if _, _, err := f.Next(&Response{Status: 204}); err != nil {
		t.Fatal(err)
	}
	if n := f.Bytes(); n < message+found || n > message+3*found+large {
		t.Errorf("%d bytes when it is done", n)
	}
}
