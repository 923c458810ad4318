package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// watchdogEvery is how often progress is looked at, stallAfter how long a partition with lag may make none before it is called
	// stalled: longer than a rebalance and a usual back-off, short enough to be read before somebody asks.
	watchdogEvery = 5 * time.Second
	stallAfter    = 30 * time.Second
	// loopRebalances within loopWithin are called a rebalance loop.
	loopRebalances = 5
	loopWithin     = time.Minute
)

// StallCause is why a partition with lag makes no progress.
type StallCause string

// The causes, in the order in which they are looked for: what comes first explains what comes later.
const (
	StallHeld        StallCause = "held"
	StallPaused      StallCause = "paused"
	StallRebalance   StallCause = "rebalance loop"
	StallGroup       StallCause = "group"
	StallDeadLetters StallCause = "dead letters"
	StallBreaker     StallCause = "breaker"
	StallLimit       StallCause = "limit"
	StallLane        StallCause = "stuck lane"
	StallSlow        StallCause = "slow target"
	StallSchema      StallCause = "schema registry"
	StallBroker      StallCause = "broker"
	StallMemory      StallCause = "memory"
	StallTransaction StallCause = "open transaction"
)

// StallCauses are all causes, as the metric names them.
var StallCauses = []StallCause{StallHeld, StallPaused, StallRebalance, StallGroup, StallDeadLetters, StallBreaker, StallLimit, StallLane, StallSlow,
	StallSchema, StallBroker, StallMemory, StallTransaction}

// Stall is a partition that has lag and makes no progress.
type Stall struct {
	// Topic and Partition say which; where a stall is shown they stand around it.
	Topic     string     `json:"-"`
	Partition int32      `json:"-"`
	Cause     StallCause `json:"cause"`
	Reason    string     `json:"reason"`
	// Since is when progress was last seen.
	Since time.Time `json:"since"`
}

// watchdog says which partitions do not move, and why. It reports and restarts nothing: a restart would hide the cause, and send rows
// again.
type watchdog struct {
	mu         sync.Mutex
	seen       map[TopicPartition]sight
	stalls     []Stall
	rebalances []time.Time
}

// sight is what was seen of a partition when it last moved.
type sight struct {
	offset int64 // committable
	since  time.Time
	told   StallCause
}

// view is one partition as the watchdog sees it.
type view struct {
	of         *partition
	lag        int64
	offset     int64 // committable; -1: unknown
	hold       *Hold
	jobHolds   []Hold
	paused     bool
	rebalances int  // lately
	fenced     bool // the group has not answered lately
	head       *Found
	headWait   string
	fetch      string // why it is not fetched
	memory     bool
	open       string // the transaction that it waits for
	unread     string // why the next record cannot be decoded yet
}

// rebalanced notes that partitions came or went.
func (w *watchdog) rebalanced(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rebalances = append(w.rebalances, now)
	w.rebalances = w.rebalances[max(0, len(w.rebalances)-2*loopRebalances):]
}

// lately counts the rebalances within loopWithin.
func (w *watchdog) lately(now time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.rebalances {
		if now.Sub(at) < loopWithin {
			n++
		}
	}
	return n
}

// look compares views with what was seen before, and gives the stalls that are new or have another cause now, and what moves again.
// Partitions that are not ours any more are forgotten, but for what an offset says of them when they come back.
func (w *watchdog) look(now time.Time, views []view) (news []Stall, moving []TopicPartition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[TopicPartition]sight{}
	}
	w.stalls = nil
	for _, v := range views {
		at := TopicPartition{v.of.topic, v.of.id}
		s, known := w.seen[at]
		if !known || v.lag <= 0 || v.offset > s.offset {
			if s.told != "" {
				moving = append(moving, at)
			}
			w.seen[at] = sight{offset: v.offset, since: now}
			continue
		}
		if now.Sub(s.since) < stallAfter {
			continue
		}
		stall := Stall{Topic: at.Topic, Partition: at.Partition, Since: s.since}
		stall.Cause, stall.Reason = v.diagnose()
		w.stalls = append(w.stalls, stall)
		if s.told != stall.Cause {
			news = append(news, stall)
		}
		s.told = stall.Cause
		w.seen[at] = s
	}
	slices.SortFunc(w.stalls, func(a, b Stall) int {
		return strings.Compare(fmt.Sprintf("%s/%09d", a.Topic, a.Partition), fmt.Sprintf("%s/%09d", b.Topic, b.Partition))
	})
	return news, moving
}

// read gives the stalls of the last look.
func (w *watchdog) read() []Stall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.stalls)
}

// diagnose names the cause of a stall.
func (v view) diagnose() (StallCause, string) {
	row := func() string {
		out := fmt.Sprintf("row %s: %s, after %d attempts, %d of them counted", v.head.Position, v.head.State, v.head.Attempts, v.head.Counted)
		if v.head.Last != "" {
			out += "; the last one: " + v.head.Last
		}
		return out
	}
	switch {
	case v.hold != nil:
		return StallHeld, string(v.hold.Cause) + ": " + v.hold.Reason
	case len(v.jobHolds) > 0:
		return StallHeld, string(v.jobHolds[0].Cause) + ": " + v.jobHolds[0].Reason
	case v.paused:
		return StallPaused, "an operator paused the job"
	case v.rebalances >= loopRebalances:
		return StallRebalance, fmt.Sprintf("%d rebalances in the last minute: a member comes and goes, or answers too late", v.rebalances)
	case v.fenced:
		return StallGroup, "the group has not answered a heartbeat lately, so no attempt may start"
	}
	if v.head != nil {
		switch {
		case v.head.State == FoundNoRoom:
			return StallDeadLetters, row() + "; " + v.head.Reason
		case v.head.State == FoundBurying || v.head.State == FoundParking:
			return StallDeadLetters, "the dead letter of row " + v.head.Position.String() + " is not acknowledged"
		case v.head.State == FoundStuck || v.head.State == FoundUnproven || v.head.State == FoundKept:
			return StallLane, row() + "; " + v.head.Reason
		case v.headWait == "breaker":
			return StallBreaker, "the target's breaker is open; " + row()
		case v.headWait == "rate":
			return StallLimit, "the job's rate limit; " + row()
		case v.headWait == "hold":
			return StallHeld, "the target refuses; " + row()
		case v.head.State == FoundInFlight:
			return StallSlow, row()
		}
		return StallLane, row()
	}
	switch {
	case v.unread != "":
		return StallSchema, v.unread
	case v.fetch != "":
		return StallBroker, v.fetch
	case v.memory:
		return StallMemory, "the job may hold no more in memory (STREAMER_MEMORY)"
	case v.open != "":
		return StallTransaction, v.open
	}
	return StallBroker, "there is lag, and nothing is fetched"
}

// watchProgress looks at every partition until ctx ends.
func (r *Runner) watchProgress(ctx context.Context) {
	tick := time.NewTicker(watchdogEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		news, moving := r.watchdog.look(now, r.views(now))
		for _, s := range news {
			r.log.Warn("no progress", "topic", s.Topic, "partition", s.Partition, "cause", string(s.Cause), "reason", s.Reason, "since", s.Since.Format(time.RFC3339))
		}
		for _, at := range moving {
			r.log.Info("progress again", "topic", at.Topic, "partition", at.Partition)
		}
	}
}

// views gathers what the watchdog needs to know.
func (r *Runner) views(now time.Time) []view {
	paused, _, holds := r.gate.read()
	rebalances, fenced, memory := r.watchdog.lately(now), r.fence.permit() > 0, r.memoryFull.Load()
	var out []view
	for _, p := range r.all() {
		s := p.status()
		v := view{of: p, lag: s.Lag(), offset: -1, hold: s.Hold, jobHolds: holds, paused: paused, rebalances: rebalances, fenced: fenced,
			memory: memory && s.Paused, open: s.open, unread: s.unread}
		if s.Hold == nil && s.Cause != s.open {
			v.fetch = s.Cause
		}
		head := p.head(&v.offset)
		if head != nil {
			f := p.describe(head)
			v.head, v.headWait = &f, f.wait
		}
		out = append(out, v)
	}
	return out
}

// head is the row that keeps the committed offset back, or the one that it waits behind; nil: none. It also gives that offset.
func (p *partition) head(offset *int64) *row {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracker == nil {
		return nil
	}
	*offset, _ = p.tracker.Committable()
	oldest := p.tracker.Oldest()
	if oldest == nil {
		return nil
	}
	var head *row
	for r := oldest.Caller.(*record).rows; r != nil; r = r.sibling {
		if r.stage != done {
			head = r // the last of the list is the first of the record
		}
	}
	if head != nil && head.stage == behind {
		head = head.lane.first
	}
	return head
}
