package consumer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"streamer/internal/fault"
	"streamer/sink"
)

// Client says how Kafka is reached. All connections of a process use the same one.
type Client struct {
	// Brokers are host:port of one or more brokers to start from.
	Brokers []string
	// SASL is off when its Mechanism is empty.
	SASL SASL
	// TLS is off unless enabled.
	TLS TLS
	// MetadataMinAge is how soon a change of the cluster (a new topic, a moved leader) may be asked for again. Default 1s.
	MetadataMinAge time.Duration
	// GroupProtocol is how the groups of all jobs spread their partitions. Default GroupClassic.
	GroupProtocol GroupProtocol
	// Dial replaces the network; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// SASL is a login at the brokers.
type SASL struct {
	// Mechanism is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string
	User      string
	Password  sink.Secret
}

// TLS secures the connections to the brokers.
type TLS struct {
	Enable bool
	// CAFile is a PEM file of trusted authorities; empty: the system's.
	CAFile string
	// CertFile and KeyFile are a client certificate in PEM; both or none.
	CertFile, KeyFile string
	// ServerName is the name expected in the broker's certificate; empty: the host dialled.
	ServerName string
}

// Validate reports all faults, with paths as the settings are named.
func (c Client) Validate() fault.List {
	var faults fault.List
	if len(c.Brokers) == 0 {
		faults.Add("kafka.brokers", "no broker given", "set STREAMER_KAFKA_BROKERS to host:port[,host:port]")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			faults.Add("kafka.brokers", fmt.Sprintf("%q is no host:port", b), "write it as kafka-1:9092")
		}
	}
	switch strings.ToUpper(c.SASL.Mechanism) {
	case "":
		if c.SASL.User != "" || c.SASL.Password != "" {
			faults.Add("kafka.sasl.mechanism", "a user or password is given without a mechanism", "set PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		if c.SASL.User == "" || c.SASL.Password == "" {
			faults.Add("kafka.sasl.user", "the mechanism needs a user and a password", "")
		}
	default:
		faults.Add("kafka.sasl.mechanism", fmt.Sprintf("unknown mechanism %q", c.SASL.Mechanism), "use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	}
	switch c.GroupProtocol {
	case "", GroupClassic, GroupConsumer:
	default:
		faults.Add("kafka.group_protocol", fmt.Sprintf("unknown group protocol %q", c.GroupProtocol), "use classic or consumer")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		faults.Add("kafka.tls.cert_file", "a client certificate needs both cert_file and key_file", "")
	}
	if !c.TLS.Enable && (c.TLS.CAFile != "" || c.TLS.CertFile != "" || c.TLS.ServerName != "") {
		faults.Add("kafka.tls.enable", "TLS files or names are given but TLS is off", "set kafka.tls.enable to true")
	}
	return faults
}

// dialTimeout bounds the making of a connection.
const dialTimeout = 10 * time.Second

// dialer makes connections; conf nil: without TLS. wrap may look at what passes.
func (c Client) dialer(conf *tls.Config, wrap func(net.Conn) net.Conn) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	network := &net.Dialer{Timeout: dialTimeout}
	switch {
	case conf != nil:
		dial = (&tls.Dialer{NetDialer: network, Config: conf}).DialContext
	case dial == nil:
		dial = network.DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil || wrap == nil {
			return conn, err
		}
		return wrap(conn), nil
	}
}

// options are those that every Kafka connection of the process shares. They read the TLS files. wrap, if not nil, sees each connection.
func (c Client) options(id string, log *slog.Logger, wrap func(net.Conn) net.Conn) ([]kgo.Opt, error) {
	minAge := c.MetadataMinAge
	if minAge <= 0 {
		minAge = time.Second
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.SoftwareNameAndVersion("streamer", "0.1.0"),
		kgo.MetadataMinAge(minAge),
		kgo.MetadataMaxAge(time.Minute), // new partitions are seen this soon
		kgo.DisableClientMetrics(),      // ours are at /metrics
		kgo.WithLogger(clientLog{log}),
	}
	switch strings.ToUpper(c.SASL.Mechanism) {
	case "PLAIN":
		opts = append(opts, kgo.SASL(plain.Auth{User: c.SASL.User, Pass: c.SASL.Password.Reveal()}.AsMechanism()))
	case "SCRAM-SHA-256":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.SASL.User, Pass: c.SASL.Password.Reveal()}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		opts = append(opts, kgo.SASL(scram.Auth{User: c.SASL.User, Pass: c.SASL.Password.Reveal()}.AsSha512Mechanism()))
	}
	var conf *tls.Config
	if c.TLS.Enable {
		var err error
		if conf, err = c.TLS.config(); err != nil {
			return nil, err
		}
	}
	return append(opts, kgo.Dialer(c.dialer(conf, wrap))), nil
}

func (t TLS) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.tls.ca_file: no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	return conf, nil
}

// clientLog hands the Kafka client's own log on. What it calls errors and warnings (a broker away, a rebalance) it mends
// itself, and what it cannot mend becomes a state of the job, so all of it is debug detail here.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelNone
}

func (l clientLog) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	l.log.Debug("kafka client: "+msg, keyvals...)
}
