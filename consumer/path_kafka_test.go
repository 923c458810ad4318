package consumer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
	"streamer/sink"
	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

func TestKafkaOrder(t *testing.T) {
	c := consumertest.Kafka(t)
	orders(t, func(*testing.T) *consumertest.Cluster { return c })
}

func TestKafkaTransactions(t *testing.T) { transactions(t, consumertest.Kafka(t)) }

func TestKafkaInstancesJoinAndLeave(t *testing.T) { joinAndLeave(t, consumertest.Kafka(t)) }

func TestKafkaOffsetsOutOfRangeHoldThePartition(t *testing.T) {
	c := consumertest.Kafka(t)
	outOfRange(t, func(*testing.T) *consumertest.Cluster { return c })
}

// A compacted topic has gaps: they are skipped, the latest value of each key arrives, lag reaches 0.
func TestKafkaCompactedTopic(t *testing.T) {
	f := setup(t, consumertest.Kafka(t), nil)
	topic := f.cluster.Topic(t, "compacted", 1, "cleanup.policy=compact", "min.cleanable.dirty.ratio=0.001", "segment.ms=100",
		"max.compaction.lag.ms=200", "delete.retention.ms=100")
	const keys = 20
	var produced []*kgo.Record
	produce := func(records ...*kgo.Record) {
		consumertest.Produce(t, f.producer, records...)
		produced = append(produced, records...)
	}
	for n := range 10 {
		var batch []*kgo.Record
		for k := range keys {
			batch = append(batch, rec(topic, 0, fmt.Sprint("k", k), n))
		}
		produce(batch...)
	}
	n := 10
	consumertest.WaitFor(t, 2*time.Minute, "compaction", func() (any, bool) {
		// each write rolls the active segment, which compaction leaves alone
		produce(rec(topic, 0, "k0", n))
		n++
		left := len(f.cluster.ReadAll(t, topic))
		return left, left < 5*keys
	})
	cfg := f.job(topic)
	j := f.run(cfg)
	f.committed(cfg, topic)
	consumertest.WaitFor(t, within, "lag 0", func() (any, bool) { s := j.runner.Status(); return s.Lag, s.Lag == 0 })
	// The last record of a key must arrive; an earlier one may have been compacted away before it was read.
	last, sent := map[string]int64{}, map[int64]bool{}
	for _, r := range produced {
		last[string(r.Key)] = r.Offset
	}
	for _, a := range f.api.Attempts() {
		sent[a.Offset] = true
	}
	h := checker.History{Attempts: f.api.Attempts(), Commits: f.watches[cfg.Group].Stop(t)}
	for _, r := range produced {
		row := checker.Row{Position: checker.Position{Topic: topic, Offset: r.Offset}, Lane: string(r.Key)}
		if last[string(r.Key)] != r.Offset && !sent[r.Offset] {
			row.Want = checker.Nothing
		}
		h.Rows = append(h.Rows, row)
	}
	checker.Check(h).Check(t)
}

// The broker restarts in the middle: the job goes on by itself, in order, and loses nothing.
func TestKafkaBrokerRestart(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.Broker(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 2 * time.Millisecond} })
	topic := f.cluster.Topic(t, "t", 4)
	produceKeys(f, topic, 4, 16, 50)
	cfg := f.job(topic)
	f.run(cfg)
	f.attempts(100)
	began := time.Now()
	f.cluster.Restart(t)
	produceKeys(f, topic, 4, 16, 10)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil, brokerLost(began))
}

// One of three brokers is killed in the middle.
func TestKafkaOneOfThreeBrokersKilled(t *testing.T) {
	t.Parallel()
	f := setup(t, consumertest.ThreeBrokers(t), func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Delay: 2 * time.Millisecond} })
	topic := f.cluster.Topic(t, "t", 6, "min.insync.replicas=2")
	produceKeys(f, topic, 6, 24, 40)
	cfg := f.job(topic)
	f.run(cfg)
	f.attempts(100)
	began := time.Now()
	f.cluster.Kill(t, 2)
	produceKeys(f, topic, 6, 24, 10)
	f.attempts(400)
	f.cluster.Start(t, 2)
	f.committed(cfg, topic)
	f.verdict(cfg, topic, nil, brokerLost(began))
}

// brokerLost explains what is sent again when a broker that goes away costs the member its session, and its last commits.
func brokerLost(began time.Time) checker.Event {
	return checker.Event{Cause: checker.Broker, At: began, Until: time.Now(), Within: 2 * time.Second}
}

// produceKeys writes each times n rows of so many keys; n goes on where the last call for the topic ended.
func produceKeys(f *fixture, topic string, partitions, keys, each int) {
	f.Helper()
	for range each {
		var batch []*kgo.Record
		for k := range keys {
			batch = append(batch, rec(topic, int32(k%partitions), fmt.Sprint("k", k), f.rows[topic]))
		}
		f.rows[topic]++
		consumertest.Produce(f, f.producer, batch...)
	}
}

// SASL/SCRAM over TLS, mutual TLS, and a wrong password, which is said clearly and ends the job.
func TestKafkaSecured(t *testing.T) {
	t.Parallel()
	c := consumertest.Secure(t)
	sec := c.Security
	scram := SASL{Mechanism: "SCRAM-SHA-512", User: sec.User, Password: sink.Secret(sec.Password)}
	tls := TLS{Enable: true, CAFile: sec.CA}
	mutual := TLS{Enable: true, CAFile: sec.CA, CertFile: sec.ClientCert, KeyFile: sec.ClientKey}
	for name, client := range map[string]Client{
		"SCRAM over TLS":    {Brokers: sec.SASLSSL, SASL: scram, TLS: tls},
		"SCRAM in the open": {Brokers: sec.SASLPlaintext, SASL: SASL{Mechanism: "SCRAM-SHA-256", User: sec.User, Password: sink.Secret(sec.Password)}},
		"PLAIN over TLS":    {Brokers: sec.SASLSSL, SASL: SASL{Mechanism: "PLAIN", User: sec.User, Password: sink.Secret(sec.Password)}, TLS: tls},
		"mutual TLS":        {Brokers: sec.TLS, TLS: mutual},
	} {
		t.Run(name, func(t *testing.T) {
			f := setup(t, c, nil)
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
			cfg := f.job(topic)
			f.runOn(f.instance(client, 0), cfg)
			f.committed(cfg, topic)
			f.verdict(cfg, topic, nil)
		})
	}
	t.Run("a wrong password", func(t *testing.T) {
		f := setup(t, c, nil)
		cfg := f.job(f.cluster.Topic(t, "t", 1))
		wrong := scram
		wrong.Password = "wrong"
		j := f.runOn(f.instance(Client{Brokers: sec.SASLSSL, SASL: wrong, TLS: tls}, 0), cfg)
		err := <-j.ended
		j.ended <- err
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("kafka refuses user %q", sec.User)) {
			t.Fatalf("got %v", err)
		}
	})
}
