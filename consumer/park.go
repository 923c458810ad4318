package consumer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

// With dead_letter.key: park, the rows of a lane that come after a dead letter follow it into the dead-letter topic, as letters of class
// parked, until nothing of the lane is open there: redriven in the order of the source, or given up. Three parties work on one lane: the
// owner of its partition, a redrive on any instance, and the next owner. They agree by the order of the topic alone. Its rules:
//
//   - All letters of a lane stand in one partition of the topic (letterPartitioner), and outcomes in that of their letter.
//   - A lane is parked from its first open letter until a line closes its last open one. letterFold is that rule; owner, redrive and
//     list run the same code over the same lines, so they come to the same answer.
//   - A parked letter names the letter it is parked behind. If the lane got free between the two, the parked letter is void: nobody sends
//     it or waits for it.
//   - The owner takes neither a dead letter nor a parked one for final when the broker has it, but when its follower has read it back:
//     then it knows what the lane was at that line.
//
// The race that this ends:
//
//  1. Lane L has the open letter D. The owner reads row r of L and is about to park it behind D.
//  2. A redrive elsewhere delivers D and writes "redriven" at line 7. Nothing of L is open: L is free.
//  3. The owner's letter for r comes to line 8. Had the owner called r final with the acknowledgement, r would lie there with nobody to
//     send it, while the next row of L is delivered: overtaken.
//  4. The follower reads lines 7 and 8: r was parked behind D, and L got free in between, so line 8 is void. The owner delivers r itself,
//     and the rows behind it wait for that. A redrive that still looks reads the same lines, and leaves line 8 alone.
//  5. If line 8 comes before line 7, L is not free at line 7, since r is open. The redrive reads on to the end of the topic before it
//     ends, finds r and sends it. The owner reads its line back as valid: r is final for it, and what follows is parked behind.
//
// And across owners:
//
//  6. The owner dies after its letter for r was written, and before r was committed. The next owner reads r again. It sends nothing of a
//     partition until its follower has come to where the topic ended after the assignment, so it finds the letter of r, and takes r for final.
//  7. An owner that was frozen writes its letter for r late, when the next one has delivered r: the lane was free by then, or r would
//     have been parked. If it got free behind the letter that is named, the late one is void; if it was never parked, nothing can have
//     been parked behind it.
//
// Bounded: an instance keeps an eye on 100,000 open letters of a job, at some 300 bytes each. Beyond that nothing more is parked: rows of
// parked lanes wait in memory, and with them in the end their partitions, visibly. An instance that starts with more open letters than that
// takes the lanes of those beyond for parked until it starts anew with fewer.

const (
	// parkMost bounds the open letters that an instance keeps an eye on.
	parkMost = 100_000
	// parkLook is how often the follower looks for the end of the topic while partitions wait for it.
	parkLook = 100 * time.Millisecond
	// parkAgain is how often it asks for that end anew.
	parkAgain = 5 * time.Second
)

// parking knows which lanes of a job are parked. Nil: keys go on after a dead letter.
//
// Lock: parking.mu comes after all others, and nothing is called under it.
type parking struct {
	runner  *Runner
	topic   string
	dead    *deadLetters // of the same definition
	letters *DeadLetters // the job's, for the follower
	look    chan struct{}
	wake    chan struct{} // capacity 1: settle has work

	mu      sync.Mutex
	fold    *letterFold
	read    map[int32]int64 // how far the follower is, by partition of the topic: the next offset
	writing map[rowAddress]*burial
	over    []*row       // rows of parked lanes beyond the bound
	settled []settlement // what the settler has to tell
	telling []settlement // what it tells now
	newly   []arrival    // assigned, or of another definition; and not sent from until the follower has come to the present end of the topic
}

// arrival is a partition that waits, and for the how manieth time: what is left over from an earlier time lets nothing go.
type arrival struct {
	*partition
	n uint64
}

// burial is a row whose letter is being written, or was not read back.
type burial struct {
	row   *row
	acked *LetterAddress
	voids []LetterAddress // void letters of the row that were read before an acknowledgement said which is ours
}

// settlement is a row whose place is known: final, or to be delivered after all.
type settlement struct {
	row     *row
	outcome string         // empty: deliver it
	void    *LetterAddress // the letter of it that counts for nothing
}

func newParking(r *Runner, cfg Config) *parking {
	if !cfg.DeadLetterPark || cfg.DeadLetterTopic == "" {
		return nil
	}
	return &parking{runner: r, topic: cfg.DeadLetterTopic, letters: r.instance.DeadLetters(cfg), look: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		fold: newLetterFold(r.cfg.Job, parkMost), read: map[int32]int64{}, writing: map[rowAddress]*burial{}}
}

// await makes p wait until the follower has come to the present end of the topic.
func (k *parking) await(p *partition) {
	if k == nil {
		return
	}
	p.mu.Lock()
	p.arrivals++
	p.parkWait = p.arrivals
	a := arrival{p, p.parkWait}
	p.mu.Unlock()
	k.mu.Lock()
	k.newly = append(k.newly, a)
	k.mu.Unlock()
	nudge(k.look)
}

// takes is asked before a row is delivered: true if its lane is parked, and the row goes there.
func (k *parking) takes(r *row) bool {
	if k == nil || r.lane == nil {
		return false
	}
	k.mu.Lock()
	at, parked := k.fold.parked(r.laneID())
	if !parked {
		k.mu.Unlock()
		return false
	}
	mine := k.fold.openLetter(r.rowAddress())
	_, writing := k.writing[r.rowAddress()]
	switch {
	case mine != nil: // an earlier owner wrote it, and died before it was committed
		k.settled = append(k.settled, settlement{row: r, outcome: buriedAs(mine.class)})
		k.mu.Unlock()
		nudge(k.wake)
		return true
	case looped(r.record.headers): // there is no letter to park it by
		k.settled = append(k.settled, settlement{row: r, outcome: outcomeLooped})
		k.mu.Unlock()
		r.partition.sayLooped(r, parkedBehind(at))
		nudge(k.wake)
		return true
	case writing: // cannot be: it is asked once, before
		k.mu.Unlock()
		return true
	case len(k.fold.letters) >= k.fold.most:
		k.fold.compact()
		if len(k.fold.letters) >= k.fold.most {
			k.over = append(k.over, r)
			k.mu.Unlock()
			k.runner.status.note(&k.runner.status.parked, fmt.Sprintf("%d dead letters are open, more than an instance keeps an eye on: "+
				"rows of parked keys wait; redrive or give up what is open", parkMost))
			return true
		}
	}
	k.mu.Unlock()
	p := r.partition
	p.mu.Lock()
	if p.past(r) {
		p.mu.Unlock()
		return true
	}
	if r.endBy.Load() != nil {
		p.mu.Unlock()
		p.decided(r, sink.Outcome{Attempts: r.Made})
		return true
	}
	r.stage = shelving
	p.letters++
	p.mu.Unlock()
	k.dead.bury(&letter{row: r, behind: at.String(), outcome: parkedBehind(at)})
	return true
}

func parkedBehind(at LetterAddress) sink.Outcome {
	return sink.Outcome{Class: ClassParked, Reason: "its key has a dead letter before it that is neither redriven nor given up: " + at.String()}
}

func buriedAs(class sink.Class) string {
	if class == ClassParked {
		return outcomeParked
	}
	return outcomeDeadLettered
}

// begins notes that a letter is about to be written; false: it need not be, since the follower has read it in spite of the error that its
// last write ended with (too few replicas after it was appended, say). Its row has its place then, and may have left its lane.
func (k *parking) begins(l *letter) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := l.row.rowAddress()
	switch b := k.writing[at]; {
	case b != nil && b.row == l.row:
	case l.begun:
		return false
	default: // in place of that of an earlier assignment, whose letter was never written
		k.writing[at] = &burial{row: l.row}
	}
	l.begun = true
	return true
}

// acked notes where the row's letter stands. The row is final when the follower has come by.
func (k *parking) acked(r *row, at LetterAddress) {
	k.mu.Lock()
	b := k.writing[r.rowAddress()]
	if b == nil || b.row != r {
		k.mu.Unlock()
		return
	}
	b.acked = &at
	for _, void := range b.voids {
		if void == at {
			k.settle(b, "", &void)
		}
	}
	k.mu.Unlock()
	nudge(k.wake)
}

// settle takes a row off the list. The caller holds mu, and nudges wake.
func (k *parking) settle(b *burial, outcome string, void *LetterAddress) {
	delete(k.writing, b.row.rowAddress())
	k.settled = append(k.settled, settlement{b.row, outcome, void})
}

// apply takes one line of the topic.
func (k *parking) apply(rec *kgo.Record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if rec.Offset < k.read[rec.Partition] {
		return
	}
	k.read[rec.Partition] = rec.Offset + 1
	if o, ok := outcomeOf(rec); ok {
		k.fold.outcome(&o)
		k.tryOver()
		nudge(k.wake)
		return
	}
	l := letterOf(rec)
	if l.State == LetterForeign || l.Job != k.runner.cfg.Job {
		return
	}
	state, at := k.fold.letter(&l, false), LetterAddress{rec.Partition, rec.Offset}
	b := k.writing[l.Source.address()]
	switch {
	case b == nil:
	case state != LetterVoid: // ours, or that of an owner before: the row has its place
		k.settle(b, buriedAs(l.Class), nil)
	case b.acked == nil:
		b.voids = append(b.voids, at)
	case *b.acked == at:
		k.settle(b, "", &at)
	}
	nudge(k.wake)
}

// tryOver delivers the rows beyond the bound anew: there may be room, or their lanes may be free. The caller holds mu, and nudges wake.
func (k *parking) tryOver() {
	for _, r := range k.over {
		k.settled = append(k.settled, settlement{row: r})
	}
	k.over = nil
}

// settler tells rows what has become of them, until ctx ends. It is a goroutine of its own so that neither the follower nor the writer
// walks down a lane.
func (k *parking) settler(ctx context.Context) {
	for {
		select {
		case <-k.wake:
		case <-ctx.Done():
			k.mu.Lock()
			clear(k.writing) // their partitions are closed
			k.settled, k.over, k.newly = nil, nil, nil
			k.mu.Unlock()
			return
		}
		k.mu.Lock()
		todo, over := k.settled, len(k.over)
		k.settled, k.telling = nil, k.settled
		k.mu.Unlock()
		if over == 0 {
			k.runner.status.note(&k.runner.status.parked, "")
		}
		for _, s := range todo {
			if s.outcome != "" {
				s.row.partition.ack(s.row, s.outcome)
				continue
			}
			if s.void != nil {
				k.void(s.row, *s.void)
			}
			if s.row.partition.delivers(s.row) {
				s.row.partition.deliver(s.row)
			}
		}
		k.mu.Lock()
		k.telling = nil
		k.mu.Unlock()
	}
}

// reading says whether the place of a row of p is about to be known: its letter is written and was not read back, or nobody has told it yet.
func (k *parking) reading(p *partition) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.writing {
		if b.row.partition == p && b.acked != nil {
			return true
		}
	}
	of := func(s settlement) bool { return s.row.partition == p && s.outcome != "" }
	return slices.ContainsFunc(k.settled, of) || slices.ContainsFunc(k.telling, of)
}

// forget drops all rows of p, which are mapped anew.
func (k *parking) forget(p *partition) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.writing, func(_ rowAddress, b *burial) bool { return b.row.partition == p })
	k.over = slices.DeleteFunc(k.over, func(r *row) bool { return r.partition == p })
	k.settled = slices.DeleteFunc(k.settled, func(s settlement) bool { return s.row.partition == p })
}

// void says in the topic that a letter counts for nothing. Readers know by the lines themselves; this is for those who read when the
// older ones have expired, so nothing waits for it.
func (k *parking) void(r *row, at LetterAddress) {
	o := outcome{word: outcomeWordVoid, job: k.runner.cfg.Job, of: at, source: r.rowAddress(), lane: r.laneValue(), by: BySelf,
		reason: "its key was free again before it was parked: the row was delivered in its place"}
	k.runner.instance.producer.TryProduce(context.Background(), o.record(k.topic), nil)
}

// withdraw takes back a row for which there is no room among the parked ones; false: it is not there.
func (k *parking) withdraw(r *row) bool {
	if k == nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if i := slices.Index(k.over, r); i >= 0 {
		k.over = slices.Delete(k.over, i, i+1)
		return true
	}
	again := settlement{row: r} // to be tried again
	if i := slices.Index(k.settled, again); i >= 0 {
		k.settled = slices.Delete(k.settled, i, i+1)
		return true
	}
	return false
}

// overRows are the rows for which there is no room among the parked ones.
func (k *parking) overRows() map[*row]bool {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	over := make(map[*row]bool, len(k.over))
	for _, r := range k.over {
		over[r] = true
	}
	return over
}

// delivers notes that a row goes to the sink after all; false if the partition is no longer ours.
func (p *partition) delivers(r *row) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != open || p.past(r) {
		return false
	}
	r.stage = delivering
	return true
}

func (r *row) rowAddress() rowAddress {
	p := r.partition
	return rowAddress{p.topic, p.address.topicID, p.id, r.record.Offset, r.part}
}

func (r *row) laneID() laneID {
	p := r.partition
	return laneID{p.topic, p.address.topicID, p.id, boundKey(r.lane.value), r.lane.own}
}
