package consumer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/schemas"
)

// DefaultMemoryBytes bounds what records take in one process.
const DefaultMemoryBytes = 256 << 20

// clientID begins the name that all connections of this program give the brokers.
const clientID = "streamer"

// schemaCacheBytes bounds the compiled schemas of one process.
const schemaCacheBytes = 16 << 20

// Instance is what the jobs of one process share: the way to Kafka, one client for questions and dead letters, the memory budget,
// compiled schemas, metrics.
type Instance struct {
	kafka    Client
	log      *slog.Logger
	schemas  *schemas.Cache
	budget   *budget
	metrics  *metrics
	admin    *kadm.Client
	producer *kgo.Client
	store    Store
	rates    rates

	// What many jobs ask at a time.
	topics *together[string, kadm.Metadata]
	ends   *together[string, kadm.ListedOffsets]
	make   *together[newTopic, map[string]error]

	mu       sync.Mutex
	runners  []*Runner
	redrives []string // jobs whose dead letters are redriven here
}

// NewInstance makes an instance. memoryBytes ≤ 0 means DefaultMemoryBytes. Nothing is dialled before the first job runs. Close it
// after its runners have ended. The error names what is wrong with the client's settings.
func NewInstance(c Client, memoryBytes int64, reg prometheus.Registerer, log *slog.Logger) (*Instance, error) {
	return newInstance(c, memoryBytes, reg, log, outboxTimeout)
}

func newInstance(c Client, memoryBytes int64, reg prometheus.Registerer, log *slog.Logger, writeTimeout time.Duration) (*Instance, error) {
	if err := c.Validate().Err(); err != nil {
		return nil, err
	}
	if memoryBytes <= 0 {
		memoryBytes = DefaultMemoryBytes
	}
	i := &Instance{kafka: c, log: log, schemas: schemas.NewCache(schemaCacheBytes), budget: &budget{total: memoryBytes}, store: &processStore{}}
	opts, err := i.options(clientID)
	if err != nil {
		return nil, err
	}
	i.producer, err = kgo.NewClient(append(opts,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchMaxBytes(outboxBatchBytes),
		kgo.ProducerLinger(0),
		kgo.RecordPartitioner(letterPartitioner{}),
		kgo.UnknownTopicRetries(0),
		kgo.RecordDeliveryTimeout(writeTimeout),
		kgo.MaxBufferedBytes(2*outboxBatchBytes),
	)...)
	if err != nil {
		return nil, err
	}
	i.admin = kadm.NewClient(i.producer)
	i.topics = newTogether(func(ctx context.Context, names []string) (kadm.Metadata, error) {
		return i.admin.Metadata(ctx, names...)
	})
	i.ends = newTogether(func(ctx context.Context, names []string) (kadm.ListedOffsets, error) {
		return i.admin.ListEndOffsets(ctx, names...)
	})
	i.make = newTogether(i.makeTopics)
	i.metrics = newMetrics(reg, i)
	return i, nil
}

// Keep says where jobs remember what they must not forget. It is to be called before the first runner runs; without it they remember
// until the process ends.
func (i *Instance) Keep(s Store) { i.store = s }

func (i *Instance) options(id string) ([]kgo.Opt, error) { return i.kafka.options(id, i.log, nil) }

// Close ends the shared client. Runners must have ended.
func (i *Instance) Close() { i.producer.Close() }

// Reach asks the cluster for its brokers: nil if it answers.
func (i *Instance) Reach(ctx context.Context) error {
	_, err := i.admin.BrokerMetadata(ctx)
	return i.reach(err)
}

// reach says in an operator's words why Kafka does not answer.
func (i *Instance) reach(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return &RefusedError{fmt.Errorf("kafka refuses user %q: wrong user, password or mechanism (STREAMER_KAFKA_SASL_USER, _PASSWORD, _MECHANISM)", i.kafka.SASL.User)}
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("kafka does not answer at %s", strings.Join(i.kafka.Brokers, ", "))
	}
	return fmt.Errorf("kafka at %s: %w", strings.Join(i.kafka.Brokers, ", "), err)
}

// NewRunner makes the runner of one job; cfg's defaults are filled in.
func (i *Instance) NewRunner(cfg Config) *Runner {
	cfg = cfg.Defaults()
	r := &Runner{
		instance: i, cfg: cfg,
		log:        i.log.With("job", cfg.Job),
		room:       make(chan struct{}, 1),
		restive:    make(chan struct{}, 1),
		finished:   make(chan struct{}, 1),
		partitions: map[TopicPartition]*partition{},
		topicIDs:   map[string][16]byte{},
		rows:       i.metrics.rowsOf(cfg.Job),
		again:      i.metrics.redelivered.WithLabelValues(cfg.Job),
		past:       map[TopicPartition]past{},
	}
	i.metrics.metadataDropped.WithLabelValues(cfg.Job) // shown as 0 from the start
	r.limits.metadata.Store(maxMetadata)
	r.limits.request.Store(maxRequest)
	r.changes = newChanges()
	r.definition.Store(r.define(cfg))
	i.metrics.expired.WithLabelValues(cfg.Job) // 0 is worth knowing
	r.guard, r.gaps = newGuard(cfg.DeadLetterShare), newGaps()
	r.compression.asked = firstFetchBytes
	r.compilePatterns()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.runners = append(i.runners, r)
	return r
}

// compilePatterns makes what matches needs.
func (r *Runner) compilePatterns() {
	if !r.cfg.Pattern {
		return
	}
	for _, t := range r.cfg.Topics {
		r.patterns = append(r.patterns, regexp.MustCompile(t)) // checked when the job was accepted
	}
	for _, e := range exclusions(r.cfg.Namespace) {
		r.excluded = append(r.excluded, regexp.MustCompile(e))
	}
}

// forget takes an ended runner out of the metrics.
func (i *Instance) forget(r *Runner) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for at, other := range i.runners {
		if other == r {
			i.runners = append(i.runners[:at], i.runners[at+1:]...)
			return
		}
	}
}

// Defaults fills in what is left out, the sink's part too.
func (c Config) Defaults() Config {
	c.Sink = c.Sink.Defaults()
	if c.Drain <= 0 {
		c.Drain = min(c.Sink.Timeout, 5*time.Minute)
	}
	if c.Commit <= 0 {
		c.Commit = 200 * time.Millisecond
	}
	if c.DeadLetterRetention <= 0 {
		c.DeadLetterRetention = 14 * 24 * time.Hour
	}
	if c.DeadLetterShare <= 0 {
		c.DeadLetterShare = 0.5
	}
	return c
}

// address is where the rows of a partition come from.
func (r *Runner) address(topic string, id int32) address {
	topicID := encodeTopicID(r.topicID(topic))
	partition := strconv.Itoa(int(id))
	return address{topic: topic, topicID: topicID, partition: partition,
		key: strings.Join([]string{r.cluster, r.cfg.Namespace, r.cfg.Group, topicID, partition, ""}, "/"), suffix: keySuffix(int(r.resets.Load()), 0)}
}

// encodeTopicID writes a topic id as Kafka's own tools do.
func encodeTopicID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// idempotencyKeyBytes is the longest key sent as it is; receivers store keys in columns of this size.
const idempotencyKeyBytes = 255

func boundKey(key string) string {
	if len(key) <= idempotencyKeyBytes {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// learnTopics looks up the ids of topics. It tries for a while: without them idempotency keys would differ from those of the owner
// before, and what it had finished above the commit would not be believed.
func (r *Runner) learnTopics(ctx context.Context, topics []string) {
	if len(topics) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prepareRetry)
	defer cancel()
	for {
		meta, err := r.instance.admin.Metadata(ctx, topics...)
		if err == nil {
			err = meta.Topics.Error()
		}
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, t := range meta.Topics {
				r.topicIDs[t.Topic] = t.ID
			}
			return
		}
		if !sleep(ctx, permitRetry) {
			r.log.Warn("the ids of topics could not be looked up; idempotency keys carry an empty one", "topics", topics, "cause", err)
			return
		}
	}
}

func (r *Runner) topicID(name string) [16]byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.topicIDs[name]
}

func (r *Runner) topicName(id [16]byte) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for name, known := range r.topicIDs {
		if known == id {
			return name
		}
	}
	return ""
}
