package consumer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

func TestKafkaRedrive(t *testing.T) { redriveRound(t, consumertest.Kafka(t)) }

func TestKafkaAKeyIsParkedUntilItIsRedriven(t *testing.T) { parkRound(t, consumertest.Kafka(t)) }

func TestKafkaADeadLetterTooLargeForItsTopic(t *testing.T) {
	tooLargeForTopic(t, consumertest.Kafka(t))
}

// The dead-letter topic is deleted while rows are given up. It is made anew, as the job wants it, and no row is lost: each has a letter in
// the old topic or in the new one.
func TestKafkaTheDeadLetterTopicIsDeleted(t *testing.T) {
	t.Parallel()
	for name, park := range map[string]bool{"keys go on": false, "keys are parked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Kafka(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Status: 422} })
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 0))
			cfg := f.job(topic, func(c *Config) { c.DeadLetterShare, c.DeadLetterPark, c.DeadLetterRetention = 1, park, 3*24*time.Hour })
			j := f.run(cfg)
			f.committed(cfg, topic)
			adm := f.cluster.Admin(t)
			id := func() (id kadm.TopicID) {
				meta, err := adm.Metadata(t.Context(), cfg.DeadLetterTopic)
				if err != nil {
					t.Fatal(err)
				}
				return meta.Topics[cfg.DeadLetterTopic].ID
			}
			before, n := id(), 0
			if _, err := adm.DeleteTopic(t.Context(), cfg.DeadLetterTopic); err != nil {
				t.Fatal(err)
			}
			one := func() { consumertest.Produce(t, f.producer, rec(topic, 0, fmt.Sprint("k", n), n)); n++ }
			// For a moment a broker may still take letters for the old topic: rows are given up until there is another one.
			consumertest.WaitFor(t, within, "another dead-letter topic", func() (any, bool) {
				one()
				now := id()
				return now, now != before && now != kadm.TopicID{}
			})
			for range 5 {
				one()
			}
			f.committed(cfg, topic)
			if n := len(f.deadLetters(cfg)); n < 5 {
				t.Errorf("%d dead letters in the new topic, want 5", n)
			}
			configs, err := adm.DescribeTopicConfigs(t.Context(), cfg.DeadLetterTopic)
			if err != nil || len(configs) != 1 {
				t.Fatal(err)
			}
			for _, c := range configs[0].Configs {
				if c.Key == "retention.ms" && c.MaybeValue() != "259200000" {
					t.Errorf("retention.ms %s", c.MaybeValue())
				}
			}
			if s := j.runner.Status(); strings.Contains(s.Cause, "cannot") {
				t.Errorf("still says %q", s.Cause)
			}
		})
	}
}

// A redrive is killed in the middle: for Kafka, its connections are gone without a word. The next one waits until its session has ended,
// and goes on: each letter is delivered, in order, and only what was in flight is sent twice, with the same key.
func TestKafkaARedriveIsKilled(t *testing.T) {
	t.Parallel()
	const keys, each = 4, 25
	var ok atomic.Bool
	f := setup(t, consumertest.Kafka(t), mended(&ok, "/rows/"))
	topic := f.cluster.Topic(t, "t", 1)
	produceKeys(f, topic, 1, keys, each)
	cfg := f.job(topic, func(c *Config) { c.DeadLetterShare = 1 })
	f.run(cfg)
	f.committed(cfg, topic)
	before := f.api.Len()
	ok.Store(true)
	f.api.SetAnswer(func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 5 * time.Millisecond} })

	var cut atomic.Bool
	i := f.instance(Client{Brokers: f.cluster.Brokers, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if cut.Load() {
			return nil, net.ErrClosed
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return cuttable{conn, &cut}, err
	}}, 0)
	t.Cleanup(i.Close)
	killed, kill := context.WithCancel(t.Context())
	ended := make(chan RedriveReport, 1)
	go func() {
		rep, err := i.DeadLetters(cfg).Redrive(killed, LetterFilter{}, RedriveOptions{}, nil)
		if err == nil {
			err = errors.New("it was not killed in time")
		}
		t.Log(err)
		ended <- rep
	}()
	f.attempts(before + 30)
	cut.Store(true)
	kill()
	first := <-ended

	rep := f.redrive(f.letters(cfg), LetterFilter{}, RedriveOptions{})
	t.Logf("recorded %d, then %d", first.Redriven, rep.Redriven)
	if rep.Redriven < keys*each-first.Redriven-2*keys || rep.Left != 0 {
		t.Errorf("%+v after %+v", rep, first)
	}
	attempts := f.api.Attempts()[before:]
	inOrder(t, attempts)
	seen := map[string]int{}
	twice := 0
	for _, a := range attempts {
		if seen[a.Key]++; seen[a.Key] == 2 {
			twice++
		}
		if seen[a.Key] > 2 {
			t.Errorf("%s was sent %d times", a.Key, seen[a.Key])
		}
	}
	if len(seen) != keys*each || twice > 2*keys {
		t.Errorf("%d rows were sent, %d of them twice", len(seen), twice)
	}
	if page := f.list(f.letters(cfg), LetterFilter{}); fmt.Sprint(page.Counts) != fmt.Sprintf("[{rejected redriven %d}]", keys*each) {
		t.Errorf("%+v", page.Counts)
	}
}

// cuttable is a connection whose machine is switched off.
type cuttable struct {
	net.Conn
	cut *atomic.Bool
}

func (c cuttable) Write(b []byte) (int, error) {
	if c.cut.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c cuttable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.cut.Load() {
		return 0, net.ErrClosed
	}
	return n, err
}
