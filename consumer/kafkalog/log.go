// Package kafkalog keeps small objects in a compacted Kafka topic: keys, bytes and revisions. What an object means is its user's.
//
// Three topics belong to a log, all named after its namespace: .jobs holds the objects, one partition, so that there is one order
// of writes; .audit says who changed what; .status holds reports, which nobody misses when they are an hour old.
//
// Writes are linearizable without a leader, by one transactional id per namespace (Transact). Reads are from memory: a follower keeps
// up with the log, a read may be as old as the network is slow, and Age says how old. Nothing here knows a rule of jobs.
//
// A Log follows one .jobs for life, by its topic id. When that topic is deleted, made anew, or made to delete what is old, the log is
// barred: what was read stays and ages, every write is an ErrReadOnly, and Problem says what happened and how to mend it. An empty
// topic of the same name would say that there are no jobs, and everybody would stop what runs; so a lost one is restored by people, and
// each instance started again. Nor does a Log that has read nothing make .jobs where .audit was written to already.
package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Limits of what is written, and of waits.
const (
	// MaxValueBytes is the largest value and the largest audit line.
	MaxValueBytes = 1 << 20
	// maxKeyBytes is the longest key.
	maxKeyBytes = 1 << 10
	// maxRecordBytes is what the topics take: a value, its key and what Kafka adds.
	maxRecordBytes = MaxValueBytes + 64<<10
	// askTimeout bounds a question to Kafka.
	askTimeout = 10 * time.Second
	// followRetry is the longest wait between two tries to follow the log.
	followRetry = 5 * time.Second
	// flushTimeout is what the last reports get at the end.
	flushTimeout = 2 * time.Second
)

// Entry is one object, or one line of the audit.
type Entry struct {
	Key   string
	Value []byte
	// Revision rises with every write of any key: it is the offset of the record. Those of two logs do not compare.
	Revision int64
	// Log is Kafka's id of the topic that the object is in; a log that was deleted and made anew has another one. Of objects only, and
	// of those that are missing.
	Log [16]byte
	// At is when it was written, by the broker's clock where the topic is as it would be made; of a report, see Reports.
	At time.Time
	// Writer is who has written a line of the audit: see Sign. Empty: it is not known.
	Writer string
}

// Config is what a log needs.
type Config struct {
	// Namespace begins the names of the topics and of the transactional id <namespace>.log.
	Namespace string
	// Options reach Kafka; all clients of the log are made with them.
	Options []kgo.Opt
	Log     *slog.Logger
}

// Log is one instance's view of the log, and its way to write. It is made by Open, follows while Run runs, and ends with Close. Its
// methods may be called from any goroutine.
type Log struct {
	config Config
	jobs   string // names of the topics
	status string
	audit  string
	client *kgo.Client // asks, and writes reports
	admin  *kadm.Client

	brokers atomic.Int32 // that the topics were asked of last

	writing  chan struct{} // capacity 1: held by the one Transact that runs
	writer   *kgo.Client   // of who holds writing, not fenced when it was used last; nil: not sure that we wrote last
	answered time.Time     // of who holds writing: when Kafka answered a write last

	mu       sync.Mutex
	view     *view         // nil until .jobs was read once
	read     chan struct{} // closed when view is set
	changed  chan struct{} // closed at the next change
	moved    chan struct{} // closed when the follower gets on
	wanted   int64         // the offset of .jobs that somebody waits for
	asked    asked         // where .jobs ended when it was asked last
	heard    time.Time     // the view is not older than this
	barred   *barredError  // why the log is not to be used; nil: it is
	pending  pending       // the write that runs
	name     string        // who writes: see Sign
	problems map[trouble]string
}

// trouble is a kind of problem: one of a kind is shown.
type trouble int

const (
	troubleTopics trouble = iota
	troubleFollow
	troubleForeign
	troubleWrite
	troubleReport
)

// Open makes a log. Nothing is dialled before Run, but for what Transact and Audit ask. The error names what is wrong with Options.
func Open(c Config) (*Log, error) {
	l := &Log{
		config: c,
		jobs:   c.Namespace + ".jobs", status: c.Namespace + ".status", audit: c.Namespace + ".audit",
		writing: make(chan struct{}, 1), read: make(chan struct{}), changed: make(chan struct{}), moved: make(chan struct{}),
		problems: map[trouble]string{}, heard: time.Now(),
	}
	var err error
	l.client, err = l.newClient(
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(reportTimeout),
		kgo.MaxBufferedBytes(4*MaxValueBytes),
		kgo.UnknownTopicRetries(2),
	)
	if err != nil {
		return nil, err
	}
	l.admin = kadm.NewClient(l.client)
	return l, nil
}

// Sign names who writes the lines of the audit that are written from now on.
func (l *Log) Sign(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name = name
}

func (l *Log) newClient(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(slices.Clone(l.config.Options), opts...)...)
}

// Run makes the topics where they are missing and follows them until ctx ends. What goes wrong is shown by Problem and tried again.
func (l *Log) Run(ctx context.Context) {
	var probe sync.WaitGroup
	defer probe.Wait()
	probe.Go(func() { l.probe(ctx) }) // ends with its answer, or ctx
	for try := 0; ; try++ {
		begun := time.Now()
		err := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if !kerr.IsRetriable(err) || try > 3 { // a topic that was just made is not everywhere at once
			l.unfollowed(err)
		}
		if time.Since(begun) > time.Minute {
			try = 0
		}
		select {
		case <-time.After(rand.N(min(followRetry, 100*time.Millisecond<<min(try, 8)))):
		case <-ctx.Done():
			return
		}
	}
}

// probe finds out whether the log can be written, so that Problem says it before somebody tries.
func (l *Log) probe(ctx context.Context) {
	if l.Wait(ctx) != nil {
		return
	}
	nothing := errors.New("only a question")
	_, _ = l.Update(ctx, "probe", func(Entry, bool) ([]byte, []byte, error) { return nil, nil, nothing }) // a refusal is noted there
}

// Close ends the log after Run has ended; the last reports are waited for a moment. Twice is harmless.
func (l *Log) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	_ = l.client.Flush(ctx) // reports age by themselves
	l.client.Close()
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	l.drop()
}

// Wait returns when .jobs was read once; the error says why it was not when ctx ends. With a context that has ended it is a question.
func (l *Log) Wait(ctx context.Context) error {
	select {
	case <-l.read:
		return nil
	default:
	}
	select {
	case <-l.read:
		return nil
	case <-ctx.Done():
		if p := l.Problem(); p != "" {
			return fmt.Errorf("the log in Kafka was not read yet: %s", p)
		}
		return errors.New("the log in Kafka was not read yet")
	}
}

// Get gives the object of a key as this instance knows it; false: there is none, or the log was not read yet. Its Value is not to
// be changed. An Entry that is none has its Log all the same.
func (l *Log) Get(key string) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil {
		return Entry{}, false
	}
	e, ok := l.view.objects.values[key]
	if !ok {
		e.Log = l.view.id
	}
	return e, ok
}

// List gives the objects whose keys begin with prefix, by key, as Get gives them. What it costs grows with what it gives.
func (l *Log) List(prefix string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil {
		return nil
	}
	return l.view.list(prefix)
}

// Mark is a place in what this Log has read: Since goes on from there. The zero Mark is before everything. Two are equal if nothing
// was read in between.
type Mark struct {
	// View counts how often the log was read anew, Next is the offset to go on from.
	View int
	Next int64
}

// Since gives the objects that changed after mark, in the order of the log, each once and as it is now: one without a Value was
// deleted. It costs as much as it gives. With whole, it gives all objects instead, and what is not among them does not exist (any
// more): at the zero Mark, after the log was read anew, and when more was deleted since mark than this Log remembers. now is the
// Mark to go on from. Before the log was read it gives nothing, and mark again.
func (l *Log) Since(mark Mark) (changed []Entry, whole bool, now Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.view
	if v == nil {
		return nil, false, mark
	}
	now = Mark{v.number, v.next}
	if mark.View != v.number || mark.Next < v.forgot {
		return v.list(""), true, now
	}
	return v.since(mark.Next), false, now
}

// Changed gives a channel that is closed when the next object or report arrives. It is to be asked for before what it guards is read.
// What has changed, Since tells.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Problem says what is wrong with the log, in an operator's words; empty: nothing.
func (l *Log) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, kind := range slices.Sorted(maps.Keys(l.problems)) {
		all = append(all, l.problems[kind])
	}
	return strings.Join(all, "; ")
}

// trouble notes a problem, or that there is none of its kind, and logs it when it is new.
func (l *Log) trouble(kind trouble, cause string) {
	l.mu.Lock()
	before := l.problems[kind]
	if cause == "" {
		delete(l.problems, kind)
	} else {
		l.problems[kind] = cause
	}
	l.mu.Unlock()
	if cause != "" && cause != before {
		l.config.Log.Warn(cause)
	}
}

// errPassing is a try that may go better the next time.
var errPassing = errors.New("tried again")
