package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/control"
	"streamer/sink/sinktest"
)

// operator types commands at one instance.
type operator struct {
	t   *testing.T
	url string
}

// types runs a command that has to end with the code, and gives what it printed.
func (o operator) types(code int, command string, args ...string) string {
	o.t.Helper()
	var out, errOut bytes.Buffer
	args = append(strings.Fields(command), args...)
	if got := execute(args, []string{"STREAMER_URL=" + o.url}, strings.NewReader(""), &out, &errOut); got != code {
		o.t.Fatalf("streamer %s ended with %d, not %d:\n%s%s", strings.Join(args, " "), got, code, out.String(), errOut.String())
	}
	return out.String() + errOut.String()
}

// sees runs a command until what it prints has every part.
func (o operator) sees(command string, parts ...string) {
	o.t.Helper()
	consumertest.WaitFor(o.t, 2*time.Minute, command, func() (any, bool) {
		var out, errOut bytes.Buffer
		execute(strings.Fields(command), []string{"STREAMER_URL=" + o.url}, strings.NewReader(""), &out, &errOut)
		seen := out.String() + errOut.String()
		for _, part := range parts {
			if !strings.Contains(seen, part) {
				return seen, false
			}
		}
		return seen, true
	})
}

const operatedJob = `id: JOB
owner: demo
type: POST
topic: [TOPIC]
datamap: {id: $.msg.id}
url: API/people/{id}
order: key
delivery: {concurrency: 8, retry: {initial: 50ms, max: 200ms, attempts: 3}, breaker: {failures: 1000}}
`

// An operator's night, on two instances, with commands only. A record is rejected: it is found with its dead letter, the API is mended,
// the letter is redriven, and the record says so. Another one gets no answer it can use: it is found with its attempts, what waits
// behind it names it, it is given up, and its lane goes on. It does not matter which instance is asked, and the audit has it all.
func TestKafkaOperatorsNight(t *testing.T) {
	t.Parallel()
	cluster := consumertest.Kafka(t)
	topic, job := cluster.Topic(t, "people", 2), consumertest.Name("people")
	var mended atomic.Bool
	api, err := sinktest.Listen(func(a *sinktest.Attempt) sinktest.Answer {
		switch {
		case strings.HasSuffix(a.Path, "/bad") && !mended.Load():
			return sinktest.Answer{Status: 422}
		case strings.HasSuffix(a.Path, "/stuck"):
			return sinktest.Answer{Status: 503}
		}
		return sinktest.Answer{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	delivered := func(id string) bool {
		for _, a := range api.Attempts() {
			if strings.HasSuffix(a.Path, "/"+id) && a.Status == 200 {
				return true
			}
		}
		return false
	}
	producer := cluster.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(2) {
		for _, r := range [][2]string{{"a", "bad"}, {"s", "stuck"}, {"s", "behind"}, {"b", "good"}} {
			id := r[1]
			if r[1] == "behind" {
				id = fmt.Sprintf("behind-%d", p)
			}
			consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Partition: p, Key: []byte(r[0]), Value: []byte(`{"id": "` + id + `"}`)})
		}
	}
	definition := strings.NewReplacer("JOB", job, "TOPIC", topic, "API", api.URL()).Replace(operatedJob)
	namespace := strings.ReplaceAll(consumertest.Name("n"), ".", "-")
	one := startIn(t, namespace, consumer.Client{Brokers: cluster.Brokers}, definition)
	two := startIn(t, namespace, consumer.Client{Brokers: cluster.Brokers}, definition)
	first, second := operator{t, "http://" + one.Addr()}, operator{t, "http://" + two.Addr()}

	// Both instances have a partition, and each shows both.
	for _, o := range []operator{first, second} {
		consumertest.WaitFor(t, 2*time.Minute, "a partition on each instance", func() (any, bool) {
			var v control.JobView
			text := o.types(0, "jobs show -o json", job)
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Fatal(err)
			}
			return text, len(v.Instances) == 2 && len(v.Partitions) == 2 && v.Partitions[0].Instance != v.Partitions[1].Instance
		})
	}
	for p := range 2 {
		at := func(offset int) string {
			return fmt.Sprintf("deliveries find %s --topic %s --partition %d --offset %d", job, topic, p, offset)
		}
		for _, o := range []operator{first, second} {
			o.sees(at(0), ": dead-lettered", " is open", "rejected: answered 422")
			o.sees(at(1), fmt.Sprintf("%s/%d/1/0: ", topic, p), "target: answered 503", "of them counted")
			o.sees(at(2), "waiting behind another row", fmt.Sprintf("behind:    %s/%d/1/0", topic, p))
			o.sees(at(3), "rows: 1 delivered")
			o.sees(at(99), "not in the log")
		}
	}
	second.sees("deliveries find "+job+" --key s", topic+"/0/1/0: ", topic+"/0/2/0: waiting behind", topic+"/1/1/0: ", topic+"/1/2/0: waiting behind")

	// Mended, the dead letters are sent again.
	first.sees("deadletters list "+job, "2      rejected  open")
	mended.Store(true)
	first.sees("deadletters redrive "+job+" --dry-run", "2      rejected  open", "POST "+api.URL()+"/people/bad")
	if delivered("bad") {
		t.Error("a dry run has sent something")
	}
	if text := first.types(0, "deadletters redrive --yes", job); !strings.Contains(text, "redriven 2, filtered 0, failed again 0, left 0") {
		t.Errorf("redrive: %s", text)
	}
	second.sees("deadletters list "+job, "2      rejected  redriven")
	second.sees(fmt.Sprintf("deliveries find %s --topic %s --partition 0 --offset 0", job, topic), ": dead-lettered", " was redriven: ")
	if !delivered("bad") {
		t.Error("the redriven row did not reach the API")
	}

	// A row is given up, at whichever instance it is; its lane goes on.
	for p := range 2 {
		row := fmt.Sprintf(" %s --topic %s --partition %d --offset 1 --row 0", job, topic, p)
		second.types(0, "deliveries retry"+row)
		second.types(0, "deliveries give-up"+row)
		consumertest.WaitFor(t, 2*time.Minute, "the lane behind the row", func() (any, bool) { return api.Len(), delivered(fmt.Sprintf("behind-%d", p)) })
		first.sees(fmt.Sprintf("deliveries find %s --topic %s --partition %d --offset 1", job, topic, p), ": dead-lettered", " is open", "given up by local:operator")
		if text := second.types(1, "deliveries give-up"+row); !strings.Contains(text, "the row is final") {
			t.Errorf("given up twice: %s", text)
		}
	}
	cluster.WaitForLag(t, time.Minute, namespace+"."+job, topic)

	// A pause holds for both, and is shown by both.
	first.types(0, "jobs pause", job)
	second.sees("jobs show "+job, "state:           paused")
	second.types(0, "jobs resume", job)
	first.sees("jobs show "+job, "state:           running")

	// Of a job that is stopped it is told from Kafka alone.
	first.types(0, "jobs stop", job)
	consumertest.WaitFor(t, 2*time.Minute, "the group to be empty", func() (any, bool) {
		group := namespace + "." + job
		all, err := cluster.Admin(t).DescribeGroups(t.Context(), group)
		return fmt.Sprint(all, err), err == nil && all[group].State == "Empty"
	})
	consumertest.Produce(t, producer, &kgo.Record{Topic: topic, Key: []byte("b"), Value: []byte(`{"id": "late"}`)})
	find := fmt.Sprintf("deliveries find %s --topic %s --partition 0 --offset ", job, topic)
	second.sees(find+"4", "not read yet", "the job would go on at offset 4; no instance reads the partition; the job is stopped here: an operator stopped it", "rows: 1 to send")
	first.sees(find+"3", ": committed", "rows: 1 delivered")
	first.sees(find+"1", ": dead-lettered", " is open", "given up by local:operator")
	first.types(0, "jobs start", job)
	second.sees(find+"4", ": committed", "rows: 1 delivered", "instance:")

	audit := first.types(0, "audit --job", job)
	for _, did := range []string{"redrive", "retry", "give-up", "pause", "resume", "stop", "start"} {
		if !strings.Contains(audit, "local:operator  "+did) {
			t.Errorf("the audit has no %s:\n%s", did, audit)
		}
	}
	for _, p := range []*program{one, two} {
		p.soft()
		if err := <-p.ended; err != nil {
			t.Error(err)
		}
	}
}
