package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/schemas/schemastest"
	"streamer/sink/sinktest/checker"
)

// poison is in the path of rows that the API refuses for good.
const poison = "poison"

// source writes the records of a run, as many rows as it is told, evenly over a time, and remembers what should come of each.
type source struct {
	r       *run
	random  *rand.Rand
	written atomic.Int64
	aborted int // records of transactions that were not committed
	owed    int // rows that the next transaction is to have
	people  int
}

// write runs until all rows are written.
func (s *source) write(rows int, over time.Duration) {
	r := s.r
	client := r.cluster.Producer(r, byKey...)
	began := time.Now()
	const tick = 200 * time.Millisecond
	wait := time.NewTicker(tick)
	defer wait.Stop()
	for int(s.written.Load()) < rows {
		due := int(min(float64(time.Since(began))/float64(over), 1) * float64(rows))
		if n := min(due, rows) - int(s.written.Load()); n > 0 {
			s.keyed(client, n*3/10)
			s.boxes(client, n*3/10)
			s.transaction(n / 10)
			s.containers(client, max(n*3/10, 1))
		}
		<-wait.C
	}
}

// byKey puts records where any other producer would: a partition that is added takes over some keys.
var byKey = []kgo.Opt{kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.MetadataMaxAge(2 * time.Second), kgo.ProducerLinger(0)}

func (s *source) send(client *kgo.Client, job *chaosJob, batch []*kgo.Record, rows [][]checker.Row) {
	if len(batch) == 0 {
		return
	}
	consumertest.Produce(s.r, client, batch...)
	for i, rec := range batch {
		for _, row := range rows[i] {
			row.Topic, row.Partition, row.Offset = rec.Topic, rec.Partition, rec.Offset
			job.rows = append(job.rows, row)
		}
		s.written.Add(int64(max(len(rows[i]), 1)))
	}
}

// json makes a keyed JSON record; one in 300 is refused by the API, one in 300 is a tombstone.
func (s *source) json(topic string, keys int) (*kgo.Record, checker.Row) {
	k := s.random.IntN(keys)
	key := fmt.Sprint("k", k)
	rec := &kgo.Record{Topic: topic, Key: []byte(key), Value: fmt.Appendf(nil, `{"id":%q}`, key)}
	row := checker.Row{Lane: key}
	switch s.random.IntN(300) {
	case 0:
		rec.Value, row.Want = fmt.Appendf(nil, `{"id":"%s-%s"}`, poison, key), checker.GivenUp
	case 1:
		rec.Value, row.Want = nil, checker.Nothing
	}
	return rec, row
}

func (s *source) keyed(client *kgo.Client, n int) {
	var batch []*kgo.Record
	var rows [][]checker.Row
	for range n {
		rec, row := s.json(s.r.json, 400)
		batch, rows = append(batch, rec), append(rows, []checker.Row{row})
	}
	s.send(client, s.r.keyed, batch, rows)
}

// boxes writes containers whose rows share the lane of their record's key.
func (s *source) boxes(client *kgo.Client, n int) {
	var batch []*kgo.Record
	var rows [][]checker.Row
	for n > 0 {
		count := min(1+s.random.IntN(250), max(n, 20))
		key := fmt.Sprint("box", s.random.IntN(300))
		var people []any
		var of []checker.Row
		for i := range count {
			person := schemastest.PersonRow(s.people)
			s.people++
			people = append(people, person)
			of = append(of, checker.Row{Position: checker.Position{Row: i}, Lane: key})
		}
		batch = append(batch, &kgo.Record{Topic: s.r.boxes, Key: []byte(key), Value: schemastest.Container(schemastest.Person, "deflate", people...)})
		rows = append(rows, of)
		n -= count
	}
	s.send(client, s.r.keyed, batch, rows)
}

// containers writes those of the other job: each row is in the lane of its id, those not approved are not sent, and one container in
// 60 is damaged.
func (s *source) containers(client *kgo.Client, n int) {
	var batch []*kgo.Record
	var rows [][]checker.Row
	for n > 0 {
		count := min(1+s.random.IntN(250), max(n, 20))
		var people []any
		var of []checker.Row
		for i := range count {
			person := schemastest.PersonRow(s.random.IntN(3000))
			row := checker.Row{Position: checker.Position{Row: i}, Lane: person["id"].(string)}
			switch {
			case s.random.IntN(300) == 0:
				person["id"], person["approved"] = poison+"-"+row.Lane, true
				row.Lane, row.Want = person["id"].(string), checker.GivenUp
			case person["approved"] == false:
				row.Want = checker.Nothing
			}
			people, of = append(people, person), append(of, row)
		}
		value := schemastest.Container(schemastest.Person, "snappy", people...)
		if s.random.IntN(60) == 0 {
			value = value[:len(value)*2/3]
			of = []checker.Row{{Position: checker.Position{Row: checker.WholeRecord}, Want: checker.GivenUp}}
		}
		batch, rows = append(batch, &kgo.Record{Topic: s.r.people, Key: fmt.Append(nil, s.random.IntN(1000)), Value: value}), append(rows, of)
		n -= count
	}
	s.send(client, s.r.named, batch, rows)
}

// transaction writes JSON records and commits them, or aborts them, or leaves them open for the next transaction to end. Which are
// to be sent is read back from the topic at the end: a broker may be killed in the middle of a commit.
func (s *source) transaction(n int) {
	if s.owed += n; s.owed < 30 {
		return
	}
	n, s.owed = s.owed, 0
	r := s.r
	client, err := kgo.NewClient(append(append(r.cluster.Options(), byKey...),
		kgo.TransactionalID(r.transacted), kgo.TransactionTimeout(20*time.Second))...)
	if err != nil {
		r.Error(err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	if client.BeginTransaction() != nil { // the broker that would give the producer its id was just killed
		return
	}
	var batch []*kgo.Record
	for range n {
		rec, _ := s.json(r.transacted, 100)
		batch = append(batch, rec)
	}
	_ = client.ProduceSync(ctx, batch...).FirstErr() // what is there at the end counts
	switch s.random.IntN(8) {
	case 0, 1:
		s.aborted += n
		_ = client.EndTransaction(ctx, kgo.TryAbort)
	case 2:
		s.aborted += n
	default:
		if client.EndTransaction(ctx, kgo.TryCommit) == nil {
			s.written.Add(int64(n))
		}
	}
}
