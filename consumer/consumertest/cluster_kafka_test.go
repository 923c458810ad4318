package consumertest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"streamer/consumer/consumertest"
)

// roundTrip writes n records, reads them back, commits half of them, and looks at what the cluster says about it.
func roundTrip(t *testing.T, c *consumertest.Cluster, n int) {
	t.Helper()
	topic, group := c.Topic(t, "round-trip", 2), consumertest.Name("round-trip")
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte{byte(i)}})
	}
	consumertest.Produce(t, c.Producer(t), records...)
	if got := c.ReadAll(t, topic); len(got) != n {
		t.Fatalf("read %d records back, want %d", len(got), n)
	}
	if got := c.EndOffsets(t, topic); got[0] != int64(n/2) || got[1] != int64(n/2) {
		t.Fatalf("end offsets %v, want %d each", got, n/2)
	}
	var half kadm.Offsets
	half.Add(kadm.Offset{Topic: topic, Partition: 1, At: int64(n / 2), LeaderEpoch: -1})
	if err := c.Admin(t).CommitAllOffsets(t.Context(), group, half); err != nil {
		t.Fatal(err)
	}
	done := c.Committed(t, group)[topic]
	if len(done) != 1 || done[1] != int64(n/2) {
		t.Fatalf("committed %v, want only partition 1 at %d", done, n/2)
	}
	if lag := c.Lag(t, group, topic); lag != int64(n/2) {
		t.Fatalf("lag %d, want the %d records of partition 0", lag, n/2)
	}
}

func TestFakeRoundTrip(t *testing.T) { roundTrip(t, consumertest.Fake(t), 20) }

func TestKafkaSharedRoundTrip(t *testing.T) {
	c := consumertest.Kafka(t)
	t.Logf("Kafka %s as %s at %v", c.Version, c.Mode, c.Brokers)
	roundTrip(t, c, 20)
	if again := consumertest.Kafka(t); again != c {
		t.Fatal("two tests got two shared brokers")
	}
}

func TestKafkaToolDescribesGroup(t *testing.T) {
	c := consumertest.Kafka(t)
	topic, group := c.Topic(t, "described", 1), consumertest.Name("described")
	consumertest.Produce(t, c.Producer(t), &kgo.Record{Topic: topic}, &kgo.Record{Topic: topic})
	var one kadm.Offsets
	one.Add(kadm.Offset{Topic: topic, At: 1, LeaderEpoch: -1})
	if err := c.Admin(t).CommitAllOffsets(t.Context(), group, one); err != nil {
		t.Fatal(err)
	}
	out := c.Tool(t, consumertest.ToolGroups, "--describe", "--group", group)
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) > 5 && f[1] == topic {
			if f[3] != "1" || f[4] != "2" || f[5] != "1" {
				t.Fatalf("current offset, end, lag = %v, want 1 2 1", f[3:6])
			}
			return
		}
	}
	t.Fatalf("the tool does not name the topic:\n%s", out)
}

// A restart must keep address and data; a kill loses neither what was acknowledged nor the address.
func TestKafkaBrokerRestartAndKill(t *testing.T) {
	for _, mode := range []string{consumertest.ModeContainer, consumertest.ModeProcess} {
		t.Run(mode, func(t *testing.T) {
			if m := os.Getenv("STREAMER_KAFKA_MODE"); m != "" && m != mode {
				t.Skipf("STREAMER_KAFKA_MODE=%s", m)
			}
			t.Setenv("STREAMER_KAFKA_MODE", mode)
			c := consumertest.Broker(t)
			if c.Mode != mode {
				t.Fatalf("mode %s, want %s", c.Mode, mode)
			}
			topic, p := c.Topic(t, "restarted", 1), c.Producer(t)
			consumertest.Produce(t, p, &kgo.Record{Topic: topic, Value: []byte("before")})
			c.Restart(t)
			consumertest.Produce(t, p, &kgo.Record{Topic: topic, Value: []byte("between")})
			c.Kill(t, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if err := c.Client(t).Ping(ctx); err == nil {
				t.Fatal("a killed broker answers")
			}
			c.Start(t, 1)
			consumertest.Produce(t, p, &kgo.Record{Topic: topic, Value: []byte("after")})
			if got := c.ReadAll(t, topic); len(got) != 3 {
				t.Fatalf("%d records survived restart and kill, want 3", len(got))
			}
		})
	}
}

func TestKafkaThreeBrokersSurviveOneKilled(t *testing.T) {
	t.Parallel()
	c := consumertest.ThreeBrokers(t)
	if len(c.Brokers) != 3 {
		t.Fatalf("brokers %v, want three", c.Brokers)
	}
	topic, p := c.Topic(t, "three", 3), c.Producer(t)
	write := func() {
		for partition := range int32(3) {
			consumertest.Produce(t, p, &kgo.Record{Topic: topic, Partition: partition})
		}
	}
	write()
	c.Kill(t, 2)
	if conn, err := net.Dial("tcp", c.Brokers[1]); err == nil { // its port must be free for the next start
		_ = conn.Close()
		t.Error("something of a killed broker still listens")
	}
	write()
	c.Start(t, 2)
	write()
	if got := c.ReadAll(t, topic); len(got) != 9 {
		t.Fatalf("%d records, want 9", len(got))
	}
}

func TestKafkaSecure(t *testing.T) {
	t.Parallel()
	c := consumertest.Secure(t)
	s := c.Security
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(s.ClientCert, s.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	trusting := kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	user := func(password string) kgo.Opt {
		return kgo.SASL(scram.Auth{User: s.User, Pass: password}.AsSha512Mechanism())
	}
	cases := []struct {
		name string
		opts []kgo.Opt
		ok   bool
	}{
		{"scram over tls", []kgo.Opt{kgo.SeedBrokers(s.SASLSSL...), trusting, user(s.Password)}, true},
		{"scram without tls", []kgo.Opt{kgo.SeedBrokers(s.SASLPlaintext...), user(s.Password)}, true},
		{"wrong password", []kgo.Opt{kgo.SeedBrokers(s.SASLSSL...), trusting, user("no")}, false},
		{"unknown authority", []kgo.Opt{kgo.SeedBrokers(s.SASLSSL...), kgo.DialTLSConfig(new(tls.Config)), user(s.Password)}, false},
		{"client certificate", []kgo.Opt{kgo.SeedBrokers(s.TLS...), kgo.DialTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})}, true},
		{"no client certificate", []kgo.Opt{kgo.SeedBrokers(s.TLS...), trusting}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.Client(t, append(tc.opts, kgo.RequestRetries(2))...).Ping(ctx); (err == nil) != tc.ok {
				t.Fatalf("ping: %v, want ok: %v", err, tc.ok)
			}
		})
	}
}
