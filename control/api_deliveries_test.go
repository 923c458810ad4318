package control

import (
	"context"
	"errors"
	"fmt"
	"iter"
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

func (r runs) Names(from string) iter.Seq[JobName] { return namesOf(r.Here(from, "")) }

func (r runs) Here(from, to string) []JobHere {
	j := JobHere{JobStatus: JobStatus{ID: "visits", State: Running, Since: morning}}
	for _, p := range r.partitions {
		j.Assigned = append(j.Assigned, PartitionView{Topic: "visit", Partition: p})
	}
	return fakeJobs{j, {JobStatus: JobStatus{ID: "people", State: Stopped, Since: morning, Cause: "an operator stopped it"}}}.Here(from, to)
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
		if q.Row != nil && *q.Row != row+1 {
			continue
		}
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
		all = append(all, Self{ID: p.ID, Advertise: p.Advertise, Doubt: p.Doubt, Jobs: []string{"visits"}})
	}
	return append(all, Self{ID: "idle", Advertise: "http://127.0.0.1:1"})
}

func (f fleet) Telling(job string) []Self {
	return slices.DeleteFunc(f.Instances(), func(i Self) bool { return !slices.Contains(i.Jobs, job) })
}

func (f fleet) OwnerOf(_, _ string, partition int32) (Self, bool) {
	p, ok := f.owners[partition]
	return Self{ID: p.ID, Advertise: p.Advertise, Doubt: p.Doubt}, ok
}

// Whoever is asked, the instance that reads the partition answers. A call is passed on once: two instances that each take the other
// for the owner do not send it round and round.
func TestCallsReachTheOwner(t *testing.T) {
	t.Parallel()
	var decided []string
	books := func(consumer.Config) Ledger { return ledger{} }
	there := startAPI(t, "127.0.0.1:0", API{Ledger: books, Jobs: runs{[]int32{1}, &decided}, Fleet: fleet{me: "two", owners: map[int32]Peer{
		5: {ID: "one", Advertise: "http://127.0.0.1:1"}}}})
	two := Peer{ID: "two", Advertise: there}
	base := startAPI(t, "127.0.0.1:0", API{Ledger: books, Jobs: runs{[]int32{0}, &decided}, Fleet: fleet{
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
		{"read by an instance that just died", "topic=visit&partition=3&offset=7", 200, `the instance that reads the partition does not answer","committed":5,"high_watermark":40}],` +
			`"unreached":[{"instance":"four","cause":"instance four at http://127.0.0.1:1 does not answer: dial tcp 127.0.0.1:1: connect: connection refused; it may`},
		{"given back by this instance a moment ago", "topic=visit&partition=4&offset=7", 200, `"reason":"no instance reads the partition; the job is running here (streamer jobs show visits has all instances)","committed":5`},
		{"each takes the other for the owner", "topic=visit&partition=5&offset=7", 200, `"reason":"the partition is moving between instances: try again in a moment"`},
		{"read by nobody", "topic=visit&partition=6&offset=7", 200, `{"found":[{"topic":"visit","partition":6,"offset":7,"row":-1,"state":"not read yet","reason":"no instance reads`},
		{"at an address that is none", "topic=visit&partition=7&offset=7", 200, `instance five says that it is called by \"ftp:x\", which is no URL`},
		{"of a topic that the job does not read", "topic=none&partition=6&offset=7", 404, "topic: job visits does not read topic none"},
		{"while Kafka does not answer", "topic=away&partition=6&offset=7", 503, "Kafka does not tell where the record is: broker 1 has gone away"},
		{"a key, of all instances", "key=k", 200, `{"found":[{"topic":"visit","partition":0,"offset":100,"row":0,"state":"waiting behind another row","committed":0,"high_watermark":0,"instance":"one"},` +
			`{"topic":"visit","partition":1,"offset":99,"row":0,"state":"waiting behind another row","committed":0,"high_watermark":0,"instance":"two"},` +
			`{"topic":"visit","partition":3,"offset":2,"row":0,"state":"dead-lettered","committed":-1,"high_watermark":-1}],"problem":"there are many",` +
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
	status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/people/deliveries?topic=visit&partition=9&offset=1", "")
	if status != 200 || !strings.Contains(text, "no instance reads the partition; the job is stopped here: an operator stopped it (streamer") {
		t.Errorf("a stopped job: got %d %s", status, text)
	}

	posts := []struct {
		name, path, body string
		status           int
		says             string
	}{
		{"here", "give-up", `{"topic":"visit","partition":0,"offset":3,"row":0}`, 200, `{"topic":"visit","partition":0,"offset":3,"row":0,"decision":"give-up"}`},
		{"elsewhere", "retry", `{"topic":"visit","partition":1,"offset":4,"row":2}`, 200, `"decision":"retry"`},
		{"read by nobody", "retry", `{"topic":"visit","partition":6,"offset":3,"row":0}`, 409, "nobody has visit/6/3/0 in hand, so there is nothing to decide about: no instance reads"},
		{"at an instance that just died", "give-up", `{"topic":"visit","partition":3,"offset":3,"row":0}`, 502, "instance four at http://127.0.0.1:1 does not answer"},
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
	if got := fmt.Sprint(decided); got != "[give-up visit/0/3/0 by local:operator retry visit/1/4/2 by local:operator]" {
		t.Errorf("decided %s", got)
	}
}

// ledger has a record of every offset below 9, and a dead letter that one of the rows found has too.
type ledger struct{}

func (ledger) Find(_ context.Context, q consumer.Query, why string) ([]consumer.Found, error) {
	switch q.Topic {
	case "none":
		return nil, &consumer.NoPartitionError{Field: "topic", Cause: "job visits does not read topic none"}
	case "away":
		return nil, errors.New("broker 1 has gone away")
	}
	return []consumer.Found{{Position: consumer.Position{Topic: q.Topic, Partition: q.Partition, Offset: q.Offset, Row: -1}, State: consumer.FoundNotRead,
		Reason: why, Committed: 5, HighWatermark: 40}}, nil
}

func (ledger) FindKey(context.Context, string, int) ([]consumer.Found, string) {
	at := func(partition int32, offset int64) consumer.Found {
		return consumer.Found{Position: consumer.Position{Topic: "visit", Partition: partition, Offset: offset}, State: consumer.FoundDeadLettered, Committed: -1, HighWatermark: -1}
	}
	return []consumer.Found{at(3, 2), at(0, 100)}, "there are many"
}

// A name can be made to point anywhere between the check of an address and its use, so what is dialled is checked as well.
func TestPeersAreDialledOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	_, err := callHere.Get("http://192.0.2.1:9013/") //nolint:bodyclose // there is no answer
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1 is not a loopback address") {
		t.Errorf("error %v", err)
	}
}
