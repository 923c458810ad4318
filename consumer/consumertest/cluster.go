package consumertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink/sinktest/proxy"
)

// Modes say how a Cluster runs.
const (
	ModeContainer = "container"
	ModeProcess   = "process"
	ModeExternal  = "external"
	ModeFake      = "fake"
)

// startWithin bounds the start of a cluster; three brokers on two busy cores took 14 s.
const startWithin = 3 * time.Minute

// Cluster is a Kafka that tests may use: its fields do not change, its methods may be called from any goroutine.
type Cluster struct {
	// Brokers are the plaintext addresses host:port, one per node, node 1 first.
	Brokers []string
	// Version is what the broker itself says it is, such as 4.1.2; empty for a fake or an external one that was not named.
	Version string
	// Mode is one of the Mode constants.
	Mode string
	// ID is Kafka's cluster id.
	ID string
	// Security is set for Secure only.
	Security *Security

	// Proxies stand before the brokers, one per node, for clients that start from their addresses; set for ThreeProxiedBrokers only.
	Proxies []*proxy.Proxy

	// Fake is set in ModeFake only: for faults and for a look inside.
	Fake *kfake.Cluster

	login   []kgo.Opt // of FakeWithLogin
	nodes   int
	ports   net.Listener // holds them; nil: they are not ours
	backend backend
	mu      sync.Mutex
	asker   *kadm.Client // made at the first question
}

// Security is what a client needs for the secured listeners of a Secure cluster.
type Security struct {
	// SASLSSL, TLS and SASLPlaintext are addresses: SASL over TLS, mutual TLS, and SASL alone.
	SASLSSL, TLS, SASLPlaintext []string
	// User and Password hold for PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
	User, Password string
	// CA, ClientCert and ClientKey are PEM files.
	CA, ClientCert, ClientKey string
}

// backend runs the nodes of a cluster. Nodes count from 1.
type backend interface {
	kill(ctx context.Context, node int) error
	stop(ctx context.Context, node int) error
	start(ctx context.Context, node int) error
	tool(ctx context.Context, class string, args []string) (string, error)
	close() error
}

// shared are the clusters which live until Main's end.
var shared struct {
	sync.Mutex
	broker, secure started
	all            []*Cluster
}

type started struct {
	done bool
	c    *Cluster
	err  error
}

// Kafka gives the real broker which all tests of this process share. Topics and groups keep its tests apart; a test that kills or
// restarts it asks for Broker. See the package comment for where it comes from and when the test is skipped.
func Kafka(t testing.TB) *Cluster {
	t.Helper()
	named(t)
	return once(t, &shared.broker, func(ctx context.Context) (*Cluster, error) {
		if b := os.Getenv("KAFKA_BROKERS"); b != "" {
			return external(ctx, strings.Split(b, ","))
		}
		return run(ctx, spec{nodes: 1})
	})
}

// Broker gives a real broker of the test's own, which it may kill, stop and start again. It ends with the test. properties are those of
// the broker, "name=value"; they win over the usual ones.
func Broker(t testing.TB, properties ...string) *Cluster {
	t.Helper()
	return own(t, spec{nodes: 1, properties: properties})
}

// ThreeBrokers gives three real brokers of the test's own, each of them controller too: of three, one may be down at a time.
// Topics have three replicas and min.insync.replicas=2. It takes 9-14 s to start and 1 GB of memory. Process mode only.
func ThreeBrokers(t testing.TB) *Cluster {
	t.Helper()
	return own(t, spec{nodes: 3, process: true})
}

// ThreeProxiedBrokers is ThreeBrokers with Proxies before them: whoever starts from the proxies' addresses is sent to proxies only,
// and the brokers talk to each other, and to the test, directly.
func ThreeProxiedBrokers(t testing.TB) *Cluster {
	t.Helper()
	return own(t, spec{nodes: 3, process: true, proxied: true})
}

// Secure gives the real broker with TLS and SASL listeners which all tests of this process share; its Security field is set.
// Its Brokers are a plaintext listener, for the test's own set-up and checks. Process mode only.
func Secure(t testing.TB) *Cluster {
	t.Helper()
	named(t)
	return once(t, &shared.secure, func(ctx context.Context) (*Cluster, error) {
		return run(ctx, spec{nodes: 1, secure: true, process: true})
	})
}

func own(t testing.TB, s spec) *Cluster {
	t.Helper()
	named(t)
	ctx, cancel := context.WithTimeout(t.Context(), startWithin)
	defer cancel()
	c, err := run(ctx, s)
	if err != nil {
		absent(t, err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Errorf("ending the Kafka of the test: %v", err)
		}
	})
	return c
}

// close ends what the cluster's own questions need, then its nodes.
func (c *Cluster) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asker != nil {
		c.asker.Close()
		c.asker = nil
	}
	for _, p := range c.Proxies {
		p.Close()
	}
	err := c.backend.close()
	if c.ports != nil {
		err = errors.Join(err, c.ports.Close())
	}
	return err
}

func once(t testing.TB, s *started, start func(context.Context) (*Cluster, error)) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if !s.done {
		if shared.all == nil && !mainRuns {
			t.Fatal("the package needs func TestMain(m *testing.M) { goleak.VerifyTestMain(consumertest.Main(m)) }, or the broker outlives its tests")
		}
		ctx, cancel := context.WithTimeout(t.Context(), startWithin)
		defer cancel()
		s.c, s.err = start(ctx)
		s.done = true
		if s.err == nil {
			shared.all = append(shared.all, s.c)
		}
	}
	if s.err != nil {
		absent(t, s.err)
	}
	return s.c
}

// absent ends a test which has no Kafka: it fails in CI and wherever a broker was there but did not start.
func absent(t testing.TB, err error) {
	t.Helper()
	if none := new(noneError); errors.As(err, &none) && os.Getenv("CI") != "true" {
		t.Skipf("NO REAL KAFKA: %v", err)
	}
	t.Fatalf("no real Kafka: %v", err)
}

func named(t testing.TB) {
	t.Helper()
	if name := t.Name(); strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "TestKafka") {
		t.Fatalf("%s uses a real Kafka: call it TestKafka…, or make race cannot leave it out and make kafka cannot find it", name)
	}
}

// mainRuns is set by Main, before any test.
var mainRuns bool

// Main wraps m so that the shared brokers end after the last test. Its Run fits goleak.VerifyTestMain.
func Main(m *testing.M) *Runner {
	mainRuns = true
	return &Runner{m}
}

// Runner is a testing.M with an end.
type Runner struct{ m *testing.M }

// Run runs the tests, then ends the shared brokers, and gives the exit code.
func (r *Runner) Run() int {
	code := r.m.Run()
	shared.Lock()
	defer shared.Unlock()
	for _, c := range shared.all {
		if err := c.close(); err != nil {
			fmt.Println("ending the shared Kafka:", err)
			code = max(code, 1)
		}
	}
	shared.all, shared.broker, shared.secure = nil, started{}, started{}
	return code
}
