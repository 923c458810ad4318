package consumertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// defaultVersion is the Kafka that tests run on when KAFKA_VERSION does not say.
const defaultVersion = "4.1.2"

// spec says what a cluster must be able to do.
type spec struct {
	nodes   int
	secure  bool
	process bool // containers cannot do it

	properties []string // of the brokers, name=value
	proxied    bool
}

// noneError says that this machine has no real Kafka to offer, and why.
type noneError struct{ why error }

func (e *noneError) Error() string {
	return e.why.Error() + " (test/realparts/setup.sh prepares this machine)"
}
func (e *noneError) Unwrap() error { return e.why }

// run starts a cluster in the first way that this machine offers. Its error is a *noneError if there is no way.
func run(ctx context.Context, s spec) (*Cluster, error) {
	if os.Getenv("KAFKA_BROKERS") != "" {
		return nil, &noneError{errors.New("KAFKA_BROKERS is set, and this test needs a broker of its own")}
	}
	version := os.Getenv("KAFKA_VERSION")
	if version == "" {
		version = defaultVersion
	}
	mode := os.Getenv("STREAMER_KAFKA_MODE")
	var why []error
	if mode != ModeProcess && !s.process {
		err := containerReady(ctx, image(version))
		if err == nil {
			return retried(ctx, s, version, startContainer)
		}
		why = append(why, err)
	}
	if mode != ModeContainer || s.process {
		err := processReady(ctx, version)
		if err == nil {
			return retried(ctx, s, version, startProcess)
		}
		why = append(why, err)
	}
	return nil, &noneError{errors.Join(why...)}
}

// retried starts a cluster on other ports when the first ones were taken between the look and the start.
func retried(ctx context.Context, s spec, version string, start func(context.Context, spec, string, int) (*Cluster, error)) (c *Cluster, err error) {
	var held net.Listener
	for range 3 {
		port, l, e := freePorts()
		if e != nil {
			return nil, e
		}
		if c, err = start(ctx, s, version, port); err == nil {
			held = l
			break
		}
		_ = l.Close() // another block is tried
		if allFree(port) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	c.nodes, c.ports = s.nodes, held
	if c.ID, err = clusterID(ctx, c.Brokers); err == nil && c.Version != version {
		err = fmt.Errorf("asked for Kafka %s and got %q", version, c.Version)
	}
	if err == nil {
		err = note(c)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func external(ctx context.Context, brokers []string) (*Cluster, error) {
	id, err := clusterID(ctx, brokers)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_BROKERS: %w", err)
	}
	c := &Cluster{Brokers: brokers, Version: os.Getenv("KAFKA_VERSION"), Mode: ModeExternal, ID: id, nodes: len(brokers), backend: nothing{ModeExternal}}
	return c, note(c)
}

func clusterID(ctx context.Context, brokers []string) (string, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RetryTimeout(time.Minute))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
	if err != nil {
		return "", fmt.Errorf("no answer from the broker at %v: %w", brokers, err)
	}
	return m.Cluster, nil
}

// note adds the line about c to the file that STREAMER_REAL_KAFKA_LOG names.
func note(c *Cluster) error {
	name := os.Getenv("STREAMER_REAL_KAFKA_LOG")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	dir, _ := os.Getwd()
	secure := ""
	if c.Security != nil {
		secure = " tls+sasl"
	}
	_, err = fmt.Fprintf(f, "%s kafka=%s mode=%s nodes=%d%s cluster=%s package=%s\n",
		time.Now().UTC().Format(time.TimeOnly), c.Version, c.Mode, c.nodes, secure, c.ID, filepath.Base(dir))
	return errors.Join(err, f.Close())
}

// Ports of test brokers lie below what the system hands to outgoing connections, which could hold the very port a broker wants.
const (
	firstPort = 20000
	portBlock = 40
	blocks    = 300
)

// nextBlock starts at another place in each process, and turns.
var nextBlock = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(int64(os.Getpid()) * 7)
	return &n
}()

// freePorts gives the first port of a block that nobody listens in, and holds the block until held is closed: it listens on the last port,
// which no node uses. A broker needs seconds to listen, and none does while it is restarted; to other processes its ports would look free.
func freePorts() (first int, held net.Listener, err error) {
	for range blocks {
		first = firstPort + int(nextBlock.Add(1)%blocks)*portBlock
		if held, err = listen(first + portBlock - 1); err != nil {
			continue
		}
		if allFree(first) {
			return first, held, nil
		}
		_ = held.Close() // the block is another's
	}
	return 0, nil, fmt.Errorf("no free block of ports between %d and %d", firstPort, firstPort+blocks*portBlock)
}

// allFree says that nobody listens on a port of a block, but for the last one.
func allFree(first int) bool {
	for p := first; p < first+portBlock-1; p++ {
		l, err := listen(p)
		if err != nil {
			return false
		}
		_ = l.Close() // only to see that it could be had
	}
	return true
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// realparts gives the folder of the scripts: test/realparts below the module's root.
func realparts() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "test", "realparts"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory, so no test/realparts")
		}
	}
}

// cache gives the folder that setup.sh fills.
func cache() (string, error) {
	if dir := os.Getenv("STREAMER_TEST_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "streamer-test"), nil
}
