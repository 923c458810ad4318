package consumertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"streamer/sink/sinktest/proxy"
)

// process runs the nodes of a cluster as Java processes, by kafka-local.sh.
type process struct{ script, dir string }

// processReady says why a broker cannot run as a process here; nil: it can. It fetches Kafka's jars if they are not there yet.
func processReady(ctx context.Context, version string) error {
	for _, tool := range []string{"bash", "java", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("process mode: %w", err)
		}
	}
	dir, err := cache()
	if err != nil {
		return err
	}
	scripts, err := realparts()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "bash", filepath.Join(scripts, "kafka-jars.sh"), filepath.Join(dir, "kafka-"+version))
	cmd.Env = append(os.Environ(), "KAFKA_VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("process mode: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func startProcess(ctx context.Context, s spec, version string, port int) (*Cluster, error) {
	scripts, err := realparts()
	if err != nil {
		return nil, err
	}
	base, err := cache()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(base, "run"), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Join(base, "run"), "kafka-")
	if err != nil {
		return nil, err
	}
	p := &process{script: filepath.Join(scripts, "kafka-local.sh"), dir: dir}
	env := []string{
		"KAFKA_VERSION=" + version, "KAFKA_PORT=" + strconv.Itoa(port), "KAFKA_NODES=" + strconv.Itoa(s.nodes), "KAFKA_HEAP=384m",
		"KAFKA_LIBDIR=" + filepath.Join(base, "kafka-"+version), "KAFKA_OWNER=" + strconv.Itoa(os.Getpid()),
	}
	if s.secure {
		env = append(env, "KAFKA_SECURE=1")
	}
	if s.proxied {
		env = append(env, "KAFKA_PROXIED=1")
	}
	if len(s.properties) > 0 {
		env = append(env, "KAFKA_EXTRA="+strings.Join(s.properties, "\n"))
	}
	out, err := p.call(ctx, env, "up")
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	said := make(map[string]string)
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			said[name] = value
		}
	}
	list := func(name string) []string { return strings.Split(said[name], ",") }
	c := &Cluster{Brokers: list("KAFKA_BROKERS"), Mode: ModeProcess, backend: p}
	if s.secure {
		c.Security = &Security{
			SASLSSL: list("KAFKA_SASL_SSL_BROKERS"), TLS: list("KAFKA_SSL_BROKERS"), SASLPlaintext: list("KAFKA_SASL_PLAINTEXT_BROKERS"),
			User: "app", Password: "app-secret",
			CA: said["KAFKA_CA"], ClientCert: said["KAFKA_CLIENT_CERT"], ClientKey: said["KAFKA_CLIENT_KEY"],
		}
	}
	if s.proxied {
		if c.Proxies, err = stand(list("KAFKA_PROXIES"), list("KAFKA_BEHIND")); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	v, err := p.call(ctx, nil, "version")
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.Version = strings.TrimSpace(v)
	return c, nil
}

// stand puts a proxy at each address before its target.
func stand(addresses, targets []string) (all []*proxy.Proxy, err error) {
	for i, at := range addresses {
		p, err := proxy.Listen(at, targets[i])
		if err != nil {
			for _, p := range all {
				p.Close()
			}
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// call runs the script's command on the cluster's folder and gives its standard output.
func (p *process) call(ctx context.Context, env []string, command string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", append([]string{p.script, command, p.dir}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kafka-local.sh %s: %w: %s", command, err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func (p *process) kill(ctx context.Context, node int) error {
	_, err := p.call(ctx, nil, "kill", strconv.Itoa(node))
	return err
}

func (p *process) stop(ctx context.Context, node int) error {
	_, err := p.call(ctx, nil, "stop", strconv.Itoa(node))
	return err
}

func (p *process) start(ctx context.Context, node int) error {
	_, err := p.call(ctx, nil, "start", strconv.Itoa(node))
	return err
}

func (p *process) tool(ctx context.Context, class string, args []string) (string, error) {
	return p.call(ctx, nil, "tool", append([]string{class}, args...)...)
}

// close ends the nodes and removes their folder. Test data is not worth a clean shutdown.
func (p *process) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := p.call(ctx, nil, "discard")
	return errors.Join(err, os.RemoveAll(p.dir))
}
