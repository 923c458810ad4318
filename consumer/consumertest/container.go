package consumertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

// ownerLabel carries the process id of the test which started a container.
const ownerLabel = "streamer.test.owner"

func init() { // before the first container; set here so that nobody forgets them
	for name, value := range map[string]string{
		"TESTCONTAINERS_RYUK_DISABLED": "true",      // its image would have to be pulled; sweep does its work
		"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1", // with a /.dockerenv on the machine it would dial the gateway instead
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err) // only for a name that is no name
		}
	}
	log.SetDefault(quiet{})
}

// quiet drops testcontainers' progress lines; what fails comes back as an error.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func image(version string) string { return "streamer-test/kafka:" + version }

// containerReady says why there is no container of this image to be had; nil: there is.
var containerReady = func() func(context.Context, string) error {
	var once sync.Once
	var failed error
	return func(ctx context.Context, image string) error {
		once.Do(func() { failed = findEngine(ctx) })
		if failed != nil {
			return failed
		}
		cl, err := testcontainers.NewDockerClientWithOpts(ctx)
		if err != nil {
			return fmt.Errorf("container mode: %w", err)
		}
		defer func() { _ = cl.Close() }()
		if _, err := cl.ImageInspect(ctx, image); err != nil {
			return fmt.Errorf("container mode: no image %s: %w", image, err)
		}
		return nil
	}
}()

// findEngine makes sure that an engine answers: the one the environment names, the machine's, or the one setup.sh started, which
// it puts into this process's environment. Then it removes what killed tests left.
func findEngine(ctx context.Context) error {
	err := ping(ctx)
	if dir, e := cache(); err != nil && e == nil && os.Getenv("DOCKER_HOST") == "" {
		sock := filepath.Join(dir, "engine", "docker.sock")
		if _, e := os.Stat(sock); e == nil {
			if e := os.Setenv("DOCKER_HOST", "unix://"+sock); e != nil {
				return e
			}
			err = ping(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("container mode: no engine answers: %w", err)
	}
	return sweep(ctx)
}

func ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cl, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	_, err = cl.Ping(ctx, client.PingOptions{})
	return err
}

// sweep removes the containers of tests whose process is gone. Those of other test runs, and of other projects, stay.
func sweep(ctx context.Context) error {
	cl, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	f := make(client.Filters).Add("label", "org.testcontainers=true").Add("label", ownerLabel)
	found, err := cl.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: f})
	if err != nil {
		return err
	}
	for _, c := range found.Items {
		owner, err := strconv.Atoi(c.Labels[ownerLabel])
		if err != nil || syscall.Kill(owner, 0) == nil || owner == os.Getpid() {
			continue
		}
		// Another test process may be sweeping too: one of the two finds it gone, which is as good.
		_, _ = cl.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
	return nil
}

// boxed runs the one node of a cluster in a container.
type boxed struct {
	c       testcontainers.Container
	brokers string
}

func startContainer(ctx context.Context, s spec, version string, port int) (*Cluster, error) {
	at := "127.0.0.1:" + strconv.Itoa(port)
	inside, err := network.ParsePort(strconv.Itoa(port) + "/tcp")
	if err != nil {
		return nil, err
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		Started: true,
		ContainerRequest: testcontainers.ContainerRequest{
			Image:        image(version),
			ExposedPorts: []string{inside.String()},
			Labels:       map[string]string{ownerLabel: strconv.Itoa(os.Getpid())},
			Env:          containerEnv(port, s.properties),
			// The same port inside and outside, and a fixed one: Kafka's tools find the broker from inside too, and a restart keeps it.
			HostConfigModifier: func(h *container.HostConfig) {
				h.PortBindings = network.PortMap{inside: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: strconv.Itoa(port)}}}
			},
			WaitingFor: wait.ForLog("Transitioning from RECOVERY to RUNNING").WithStartupTimeout(startWithin).WithPollInterval(50 * time.Millisecond),
		},
	})
	b := &boxed{c: c, brokers: at}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("container of Kafka %s: %w", version, err), b.close())
	}
	v, err := b.version(ctx)
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return &Cluster{Brokers: []string{at}, Version: v, Mode: ModeContainer, backend: b}, nil
}

// containerEnv gives the broker's properties as the image reads them; they are those of kafka-local.sh.
func containerEnv(port int, properties []string) map[string]string {
	p := strconv.Itoa(port)
	env := map[string]string{
		"KAFKA_LISTENERS":                                                   "PLAINTEXT://0.0.0.0:" + p + ",CONTROLLER://127.0.0.1:" + strconv.Itoa(port+1),
		"KAFKA_ADVERTISED_LISTENERS":                                        "PLAINTEXT://127.0.0.1:" + p,
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                                    "1@127.0.0.1:" + strconv.Itoa(port+1),
		"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":                                "3",
		"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":                        "3",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_NUM_PARTITIONS":                "3",
		"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":                                "1000",
		"KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS":                       "1000",
		"KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS":                    "500",
		"KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS":                             "1000",
		"KAFKA_LOG_CLEANER_BACKOFF_MS":                                      "500",
		"KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
		"KAFKA_HEAP_OPTS":                                                   "-Xms128m -Xmx384m",
	}
	for _, property := range properties {
		name, value, _ := strings.Cut(property, "=")
		env["KAFKA_"+strings.ToUpper(strings.ReplaceAll(name, ".", "_"))] = value
	}
	return env
}

var versionLine = regexp.MustCompile(`Kafka version: ([0-9.]+)`)

// version reads what the broker wrote about itself when it started. The engine may hand the log over a while after the broker wrote it.
func (b *boxed) version(ctx context.Context) (string, error) {
	for {
		version, err := b.logged(ctx)
		if err == nil {
			return version, nil
		}
		select {
		case <-ctx.Done():
			return "", errors.Join(err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *boxed) logged(ctx context.Context) (string, error) {
	r, err := b.c.Logs(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	text, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if m := versionLine.FindSubmatch(text); m != nil {
		return string(m[1]), nil
	}
	return "", errors.New("the broker's log names no version")
}

func (b *boxed) kill(ctx context.Context, _ int) error {
	at := time.Duration(0)
	return b.c.Stop(ctx, &at)
}

func (b *boxed) stop(ctx context.Context, _ int) error {
	within := 30 * time.Second
	return b.c.Stop(ctx, &within)
}

// start returns when the broker serves again: testcontainers' own wait would be satisfied by the log of the first start.
func (b *boxed) start(ctx context.Context, _ int) error {
	if err := b.c.Start(ctx); err != nil {
		return err
	}
	for {
		// The engine's proxy takes connections at once and drops them until the broker listens.
		_, err := clusterID(ctx, []string{b.brokers})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *boxed) tool(ctx context.Context, class string, args []string) (string, error) {
	code, r, err := b.c.Exec(ctx, append([]string{"kafka-tool", class, "--bootstrap-server", b.brokers}, args...), tcexec.Multiplexed())
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with %d: %s", class, code, out)
	}
	return string(out), err
}

func (b *boxed) close() error {
	if b.c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return b.c.Terminate(ctx, testcontainers.StopTimeout(0))
}

// nothing is the backend of a cluster that is not ours to stop.
type nothing struct{ mode string }

func (n nothing) kill(context.Context, int) error  { return n.no() }
func (n nothing) stop(context.Context, int) error  { return n.no() }
func (n nothing) start(context.Context, int) error { return n.no() }
func (n nothing) tool(context.Context, string, []string) (string, error) {
	return "", n.no()
}
func (n nothing) close() error { return nil }
func (n nothing) no() error    { return fmt.Errorf("not possible with Kafka in mode %s", n.mode) }
