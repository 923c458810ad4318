package consumertest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// FakeWithLogin is Fake for a broker that lets nobody in but this user, by SCRAM-SHA-256.
func FakeWithLogin(t testing.TB, user, password string, opts ...kfake.Opt) *Cluster {
	t.Helper()
	c := Fake(t, append([]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", user, password)}, opts...)...)
	c.login = []kgo.Opt{kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism())}
	return c
}

// Fake gives an embedded broker of the test's own, in milliseconds and without a real Kafka: for everything quick, and for faults
// (its Fake field: Fault, ControlKey). It creates no topics by itself, has one node and two-digit milliseconds between rebalances.
// opts come last and win. It ends with the test. Kafka's own tools, Kill and Start do not work with it.
func Fake(t testing.TB, opts ...kfake.Opt) *Cluster {
	t.Helper()
	k, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(1),
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(map[string]string{
			"group.initial.rebalance.delay.ms": "0",
			"group.min.session.timeout.ms":     "100",
		}),
	}, opts...)...)
	if err != nil {
		t.Fatalf("fake Kafka: %v", err)
	}
	c := &Cluster{Brokers: k.ListenAddrs(), Mode: ModeFake, Fake: k, nodes: len(k.ListenAddrs()), backend: nothing{ModeFake}}
	t.Cleanup(func() {
		_ = c.close() // a fake has nothing to stop that could fail
		k.Close()
	})
	return c
}
