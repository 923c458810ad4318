package consumer

import (
	"context"
	"log/slog"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Runner runs one job on this instance: its membership of the group, and the data path of the partitions assigned to it.
// A Runner runs once.
type Runner struct {
	instance *Instance
	cfg      Config // as it was made: job, namespace, group, instance and topics stay so, for all else see now
	log      *slog.Logger
	rows     map[string]*rowCounter
	attempts attemptCounters

	client      *kgo.Client
	patterns    []*regexp.Regexp // of topics, when cfg.Pattern
	excluded    []*regexp.Regexp // that no pattern takes
	fence       *fence
	account     *account
	cluster     string        // id of the Kafka cluster
	owner       [8]byte       // of commit metadata, see track.Owner
	sessionTime time.Duration // a member that stops answering is given up after it
	joined      chan struct{} // closed when client is set
	member      membership
	room        chan struct{} // capacity 1: a partition has room again, or is to be paused
	restive     chan struct{} // capacity 1: restless has become true
	finished    chan struct{} // capacity 1: something may be committed
	assigned    atomic.Int64

	// commits is held while offsets are read and their commit is handed to the client, and while partitions are given up. It is
	// taken before regulating, that before mu, and mu before a partition's own lock. It may be held as long as a rebalance takes; mu never is.
	commits sync.Mutex

	mu         sync.RWMutex
	partitions map[TopicPartition]*partition
	topicIDs   map[string][16]byte
	begun      map[string]Begun // the marks, as they were read last

	metadata   map[TopicPartition]string // of the commits that onOffsets is about to see
	fetchedIDs map[string][16]byte       // of their topics, as the coordinator knows them; zero if it does not say
	past       map[TopicPartition]past   // of earlier assignments; guarded by mu
	again      prometheus.Counter        // rows sent again

	gate     gate
	guard    *guard
	known    Memory // the newest that was recalled; guarded by recalling
	resets   atomic.Int64
	gaps     gaps
	watchdog watchdog

	retentions retentions

	definition  atomic.Pointer[definition] // see now; changed by the changer, and by changes while there is no session
	changes     changes
	sessionMost time.Duration // what a drain of this session may take at most
	status      status
	said        said
	recalling   sync.Mutex // one Recall at a time
	regulating  sync.Mutex // no pause may come after the resume of a newer assignment; guards compression's size too
	compression compression
	patience    patience
	memoryFull  atomic.Bool  // the job may hold nothing more
	restless    atomic.Bool  // regulate is to be called again soon
	looks       atomic.Int64 // passes of regulate and of the commit loop
	ample       atomic.Bool  // the sink has rows enough
	busy        atomic.Int64 // partitions that hold something
	busyAt      time.Time    // when they were so many; guarded by regulating
	formats     formats      // of its records
	limits      limits       // of what the broker takes with a commit
	unfinished  atomic.Int64
}

// Session times: a member that stops answering is given up after sessionTimeout, under the consumer protocol after the group's (see
// groupTimes). Short enough that another instance goes on soon, long enough for a garbage collection of the broker.
const (
	sessionTimeout    = 10 * time.Second
	heartbeatInterval = 2 * time.Second
	// rebalanceMargin is what a member may take to join again beyond its drain.
	rebalanceMargin = 30 * time.Second
	// stopMargin bounds the last commit, and then leaving the group: each gets it.
	stopMargin = 5 * time.Second
)

// heartbeat is how often a member of the job's group says that it lives. With the answer it learns that others join, who wait for it. A job
// that runs on one instance has no others: a third of the session is often enough to stay a member, and at rest heartbeats are most of what
// a job asks. If it is given more instances, that is so from the next session on.
func (c *Config) heartbeat() time.Duration {
	if c.Instances == 1 {
		return sessionTimeout / 3
	}
	return heartbeatInterval
}

// Run joins the group and delivers until soft ends; then it stops: no new attempts, drain, commit while still a member, leave.
// When hard ends, attempts in flight are cancelled and what they would have finished is left to the next owner.
// Errors before the group is joined (no broker, a topic that is missing) are waited out and shown in Status. What waiting does
// not mend is returned as a *RefusedError; nil after a clean stop.
func (r *Runner) Run(soft, hard context.Context) error {
	defer close(r.gaps.over)
	defer r.changes.end()
	defer r.instance.forget(r)
	defer r.status.set(Stopped, "")
	for {
		r.status.set(Starting, "")
		if err := r.recollect(soft); err != nil {
			return nil // only soft ends the wait
		}
		if err := r.prepare(soft); err != nil {
			if soft.Err() != nil {
				return nil
			}
			return err
		}
		r.now().dead.prepare(soft)
		for _, b := range r.now().told {
			b.prepare(soft)
		}
		if err := r.session(soft, hard); err != nil || soft.Err() != nil {
			return err
		}
	}
}

// session is one membership of the group: until soft ends, or the group has put us out without a word (see expelled).
func (r *Runner) session(soft, hard context.Context) error {
	client, endClient := context.WithCancel(context.Background())
	defer endClient()
	member, expelled := context.WithCancel(soft)
	defer expelled()
	if err := r.join(client, hard, expelled); err != nil {
		return err
	}
	work, endWork := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { r.commitLoop(work, member) })
	background.Go(func() { r.regulateLoop(work) })
	background.Go(func() { r.watch(work) })
	background.Go(func() { r.changer(work, member) })
	background.Go(func() { r.saveHolds(work) })
	background.Go(func() { r.watchProgress(work) })
	r.status.set(Running, "")

	r.poll(member)
	r.leave(hard, endClient)

	endWork()
	background.Wait()
	endClient() // a JoinGroup that waits for others would hold up the close
	r.client.CloseAllowingRebalance()
	r.now().outlet.close()
	r.account.close()
	if soft.Err() == nil { // else the run ends, and what is wanted did not come
		r.changes.sessionEnded(r)
	}
	return r.member.refusal()
}

// wrapping makes the answers of the coordinator seen by a session's fence, error codes and all, and fetches wait as they should.
func (r *Runner) wrapping(f *fence) func(net.Conn) net.Conn {
	return func(conn net.Conn) net.Conn {
		return &groupConn{Conn: conn, told: f.told, patience: &r.patience, asked: map[int32]kmsg.Key{}}
	}
}

// join makes the client, which joins the group at once. The client ends with ctx; drains of a revoke are cut short by hard;
// expelled ends the session.
func (r *Runner) join(ctx, hard context.Context, expelled func()) error {
	r.fence = newFence(r.sessionTime)
	r.fence.consumer, r.fence.fellBack = r.consumerProtocol(), r.fellBack
	r.member = membership{end: expelled}
	r.joined = make(chan struct{})
	if err := r.changes.sessionBegins(r); err != nil {
		return err
	}
	drain := r.now().Drain
	r.sessionMost = drain + rebalanceMargin/2
	opts, err := r.instance.kafka.options(r.clientID(), r.instance.log, r.wrapping(r.fence))
	if err != nil {
		r.now().outlet.close()
		return &RefusedError{Cause: err}
	}
	opts = append(opts,
		kgo.WithContext(ctx),
		kgo.ConsumerGroup(r.cfg.Group),
		kgo.ConsumeTopics(r.cfg.Topics...),
		kgo.BlockRebalanceOnPoll(),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(r.now().heartbeat()),
		kgo.RebalanceTimeout(drain+rebalanceMargin),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtCommitted()),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.BrokerMaxReadBytes(maxReadBytes),
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(r.compression.asked),
		kgo.FetchMaxPartitionBytes(r.compression.asked),
		kgo.OnPartitionsAssigned(r.onAssigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, lost map[string][]int32) { r.onRevoked(hard, cl, lost) }),
		kgo.OnPartitionsLost(r.onLost),
		kgo.OnOffsetsFetched(r.onMetadata),
		kgo.AdjustFetchOffsetsFn(r.onOffsets),
		kgo.WithHooks(r.fence, &r.compression, &r.patience),
	)
	opts = append(opts, r.balancing()...)
	if r.cfg.Pattern {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeExcludeTopics(exclusions(r.cfg.Namespace)...))
	}
	if r.cfg.Instance != "" {
		opts = append(opts, kgo.InstanceID(r.cfg.Instance))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		r.now().outlet.close()
		return &RefusedError{Cause: err}
	}
	r.client, r.account = client, r.instance.budget.open(client.BufferedFetchBytes)
	close(r.joined) // the callbacks may run before NewClient returns, and wait here
	return nil
}
