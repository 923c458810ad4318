package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"streamer/consumer"
)

// runs is an instance on which the job visits reads some partitions.
type runs struct {
	partitions []int32
	decided    *[]string
}

func (r runs) Here() []JobHere {
	j := JobHere{JobStatus: JobStatus{ID: "visits", State: Running, Since: morning}}
	for _, p := range r.partitions {
		j.Assigned = append(j.Assigned, PartitionView{Topic: "visit", Partition: p})
	}
	return []JobHere{j, {JobStatus: JobStatus{ID: "people", State: Stopped, Since: morning}}}
}

func (r runs) Deliveries(job string) (Deliveries, bool) { return r, job == "visits" }

func (r runs) Gaps(string) (Gaps, bool) { return nil, false }

func (r runs) Config(job string) (consumer.Config, bool) { return consumer.Config{Job: job}, true }

// Find finds row 1 and 2 of every record, and a row of every key in each partition.
func (r runs) Find(_ context.Context, q consumer.Query) (found []consumer.Found, err error) {
	if q.Key != nil {
		for _, p := range r.partitions {
			found = append(found, consumer.Found{Position: consumer.Position{Topic: "visit", Partition: p, Offset: 100 - int64(p)}, State: consumer.FoundBehind})
		}
		return found, nil
	}
	if !slices.Contains(r.partitions, q.Partition) {
		return nil, consumer.ErrNotAssigned
	}
	for row := range int32(2) {
		found = append(found, consumer.Found{Position: consumer.Position{Topic: q.Topic, Partition: q.Partition, Offset: q.Offset, Row: row + 1},
			State: consumer.FoundInFlight, Attempts: 3})
	}
	return found, nil
}

func (r runs) Decide(_ context.Context, at consumer.Position, d consumer.Decision, by string) error {
	if at.Offset == 9 {
		return errors.New("visit/0/9/0: the row is final")
	}
	*r.decided = append(*r.decided, fmt.Sprintf("%s %s/%d/%d/%d by %s", d, at.Topic, at.Partition, at.Offset, at.Row, by))
	return nil
}

// fleet says who reads what.
type fleet struct {
	me     string
	owners map[int32]Peer
	peers  []Peer
}

func (f fleet) Me() Self { return Self{ID: f.me} }

func (f fleet) Instances() []Self {
	all := []Self{{ID: f.me, Advertise: "http://127.0.0.1:1", Jobs: []string{"visits"}}}
	for _, p := range f.peers {
		all = append(all, Self{ID: p.ID, Advertise: p.Advertise, Jobs: []string{"visits"}})
	}
	return append(all, Self{ID: "idle", Advertise: "http://127.0.0.1:1"})
}

func (f fleet) OwnerOf(_, _ string, partition int32) (Self, bool) {
	p, ok := f.owners[partition]
	return Self{ID: p.ID, Advertise: p.Advertise}, ok
}

// Whoever is asked, the instance that reads the partition answers. A call is passed on once: two instances that each take the other
// for the owner do not send it round and round.
func TestCallsReachTheOwner(t *testing.T) {
	t.Parallel()
	var decided []string
	there := startAPI(t, "127.0.0.1:0", API{Jobs: runs{[]int32{1}, &decided}, Fleet: fleet{me: "two", owners: map[int32]Peer{
		5: {ID: "one", Advertise: "http://127.0.0.1:1"}}}})
	two := Peer{ID: "two", Advertise: there}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: runs{[]int32{0}, &decided}, Fleet: fleet{
		me: "one",
		owners: map[int32]Peer{
			1: two,
			2: {ID: "three", Advertise: "http://192.0.2.7:9013"},
			3: {ID: "four", Advertise: "http://127.0.0.1:1"},
			4: {ID: "one", Advertise: "http://127.0.0.1:1"},
			5: two,
			7: {ID: "five", Advertise: "ftp:x"},
		},
		peers: []Peer{two, {ID: "four", Advertise: "http://127.0.0.1:1"}},
	}})
	cases := []struct {
		name, query string
		status      int
		says        string
	}{
		{"read here", "topic=visit&partition=0&offset=7", 200, `"row":1,"state":"in flight","attempts":3,"committed":0,"high_watermark":0,"instance":"one"},{`},
		{"one row", "topic=visit&partition=0&offset=7&row=2", 200, `{"found":[{"topic":"visit","partition":0,"offset":7,"row":2,`},
		{"read elsewhere", "topic=visit&partition=1&offset=7", 200, `"instance":"two"`},
		{"read on another machine", "topic=visit&partition=2&offset=7", 403,
			"instance three at http://192.0.2.7:9013, and calls are passed on over loopback only, as long as nobody has to log in; call that instance on its own machine"},
		{"read by an instance that just died", "topic=visit&partition=3&offset=7", 502, "instance four at http://127.0.0.1:1 does not answer: dial tcp 127.0.0.1:1: connect: connection refused; it may"},
		{"given back by this instance a moment ago", "topic=visit&partition=4&offset=7", 503, "no instance reads visit/4 for job \"visits\" now"},
		{"each takes the other for the owner", "topic=visit&partition=5&offset=7", 503, "visit/5 is moving between instances; try again"},
		{"read by nobody", "topic=visit&partition=6&offset=7", 503, "streamer jobs show visits says which partitions it has"},
		{"at an address that is none", "topic=visit&partition=7&offset=7", 502, `instance five says that it is called by "ftp:x", which is no URL`},
		{"a key, of all instances", "key=k", 200, `{"found":[{"topic":"visit","partition":0,"offset":100,"row":0,"state":"waiting behind another row","committed":0,"high_watermark":0,"instance":"one"},` +
			`{"topic":"visit","partition":1,"offset":99,"row":0,"state":"waiting behind another row","committed":0,"high_watermark":0,"instance":"two"}],` +
			`"unreached":[{"instance":"four","cause":"instance four at`},
		{"a key and a position", "key=k&topic=visit", 400, "give either key, or topic, partition and offset"},
		{"no topic", "partition=1&offset=1", 400, "topic: is missing"},
		{"no partition", "topic=visit&offset=1", 400, "partition: is missing"},
		{"no offset", "topic=visit&partition=1", 400, "offset: is missing"},
		{"a negative offset", "topic=visit&partition=1&offset=-2", 400, `offset: "-2" is no number`},
		{"a misspelt argument", "tpoic=visit&partition=1&offset=1", 400, "tpoic: unknown argument; did you mean topic?"},
	}
	for _, c := range cases {
		status, text, p := request(t, http.MethodGet, base+"/api/v1/jobs/visits/deliveries?"+c.query, "")
		if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.name, status, text)
		}
	}
	if status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/people/deliveries?topic=visit&partition=9&offset=1", ""); status != 503 {
		t.Errorf("a stopped job: got %d %s", status, text)
	}

	posts := []struct {
		name, path, body string
		status           int
		says             string
	}{
		{"here", "give-up", `{"topic":"visit","partition":0,"offset":3,"row":0}`, 200, `{"topic":"visit","partition":0,"offset":3,"row":0,"decision":"give-up"}`},
		{"elsewhere", "retry", `{"topic":"visit","partition":1,"offset":4,"row":2}`, 200, `"decision":"retry"`},
		{"too late", "retry", `{"topic":"visit","partition":0,"offset":9,"row":0}`, 409, "visit/0/9/0: the row is final"},
		{"no row", "retry", `{"topic":"visit","partition":0,"offset":9}`, 400, "row: is missing"},
		{"a word for a number", "retry", `{"topic":"visit","partition":"a","offset":9}`, 400, "partition: is a string, not a number in its range"},
		{"a misspelt key", "retry", `{"Topic":"visit","partition":0,"offset":9}`, 400, "Topic: unknown argument; did you mean topic?"},
	}
	for _, c := range posts {
		status, text, p := request(t, http.MethodPost, base+"/api/v1/jobs/visits/deliveries/"+c.path, c.body)
		if status != c.status || !strings.Contains(text, c.says) && !strings.Contains(p.Error(), c.says) {
			t.Errorf("%s: got %d %s", c.name, status, text)
		}
	}
	if got := fmt.Sprint(decided); got != "[give-up visit/0/3/0 by operator retry visit/1/4/2 by operator]" {
		t.Errorf("decided %s", got)
	}
}

// A name can be made to point anywhere between the check of an address and its use, so what is dialled is checked as well.
func TestPeersAreDialledOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	_, err := callPeer.Get("http://192.0.2.1:9013/") //nolint:bodyclose // there is no answer
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1:9013 is not a loopback address") {
		t.Errorf("error %v", err)
	}
}
