package consumer

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/track"
	"streamer/sink"
)

// partition is one assignment of one partition to this instance, from assign to revoke. A partition that comes back is a new
// one, so that results of the old assignment find it closed.
type partition struct {
	runner  *Runner
	topic   string
	id      int32
	topicID [16]byte

	// The worker's own: one goroutine decodes and maps. See take.
	extraction
	scopeOf *sink.Scope // of the definition that it maps by
	earlier earlier
	rows    []*row
	lanesOf []laneValue

	wake       chan struct{} // capacity 1: the worker looks again
	stop       context.CancelFunc
	workerDone chan struct{}

	mu         sync.Mutex
	life       life
	definition *definition
	scope      *sink.Scope    // the sink's part of it
	turn       *turn          // to another definition; nil: none
	again      []*record      // pending, and to be mapped anew; before all that is in the queue
	tracker    *track.Tracker // nil until the committed offset is known
	lanes      map[string]*lane
	own        *lane
	queue      []*kgo.Record // polled, not decoded
	queued     int64         // bytes in queue
	held       int64         // bytes of decoded rows that are not final
	pending    int           // decoded rows that are not final
	stuck      int           // rows that wait for an operator, since dead letters are off
	stuckSince time.Time
	letters    int           // dead letters on their way
	noLetters  chan struct{} // closed when there are none; nil: nobody waits for that
	fetched    int64         // the offset after the last record handed over
	skipTo     int64         // what is below was accepted as lost; see goOn
	kept       []*row        // that would be given up, but the guard holds the job
	looped     []*row        // that end without a dead letter; see endLoop
	paused     bool          // not fetched, since its buffer is full or it waits
	parkWait   uint64        // not 0: nothing is taken until it is known which lanes are parked
	arrivals   uint64        // so many times it waited for that
	wait       wait

	// Of this assignment: every record polled is final, or pending: in the queue, in the worker's hands, or in the tracker.
	polled, final int64
	taking        int64 // 1: the worker has one in its hands

	told      told   // what was encoded for a commit last
	began     int64  // the committed offset of the assignment
	committed int64  // last offset that the group acknowledged; -1: unknown
	metadata  string // acknowledged with it
	highWater int64  // -1: unknown

	unread unread // the next record waits for its schema

	transaction *openTransaction // that keeps what follows from being read; nil: none
}

// life is how far a partition's assignment has come.
type life uint8

const (
	open     life = iota
	draining      // revoked or stopping: no new attempts, results still count
	closed        // results are refused
)

// wait says why a partition is not read on although it is assigned.
type wait struct {
	cause string
	since time.Time
	retry time.Time // when the fetch is tried again
	hold  bool      // it is not: nothing is taken until an operator decides; see gap
	kind  HoldCause // of a hold
	next  string    // what happens next, of a hold
	gap   gap       // of a hold
	ask   bool      // whether it is to be held is being looked up
}

func (r *Runner) newPartition(topic string, id int32) *partition {
	d := r.now()
	d.outlet.scopes.Add(1)
	p := &partition{
		runner: r, topic: topic, id: id, topicID: r.topicID(topic), definition: d,
		scope:      d.outlet.sink.NewScope(),
		extraction: newExtraction(&d.Config, r.instance.schemas, r.address(topic, id)),
		wake:       make(chan struct{}, 1),
		workerDone: make(chan struct{}),
		lanes:      map[string]*lane{},
		committed:  -1, highWater: -1,
	}
	p.scopeOf, p.recent = p.scope, d.recent
	p.extraction.formats = &r.formats
	d.parking.await(p)
	ctx, stop := context.WithCancel(context.Background()) // ends with close, whose caller waits for the worker
	p.stop = stop
	go p.work(ctx)
	return p
}

// begin sets the offset that the group will read next, and what was finished above it. It is called once, before the first fetch.
func (p *partition) begin(place track.Place, done track.Finished) {
	before := p.runner.pastOf(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracker == nil {
		p.earlier.Finished = before
		p.tracker, p.committed, p.began, p.fetched = track.New(place.Offset, place.Epoch), place.Offset, place.Offset, place.Offset
		if done.Parts != p.definition.counted { // the job was changed since it was read
			done.Whole()
		}
		p.tracker.Restore(done)
		nudge(p.runner.finished) // its metadata is to be that of this assignment
	}
}

// known says what an earlier owner had finished of a record.
func (p *partition) known(rec *kgo.Record) (finished bool, final func(row int32) bool) {
	p.earlier.look(rec.Offset)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tracker.Known(rec.Offset, rec.LeaderEpoch)
}

// enqueue hands polled records to the worker. It never blocks.
func (p *partition) enqueue(records []*kgo.Record, highWater int64) {
	var bytes int64
	for _, rec := range records {
		bytes += recordBytes(rec)
	}
	p.mu.Lock()
	p.highWater = highWater
	if !p.wait.hold {
		p.wait = wait{}
	}
	if n := len(records); n > 0 && !p.wait.hold {
		p.fetched = records[n-1].Offset + 1
	}
	if p.life != open || p.wait.hold {
		p.mu.Unlock()
		return
	}
	p.queue = append(p.queue, records...)
	p.polled += int64(len(records))
	p.queued += bytes
	p.mu.Unlock()
	p.runner.account.add(bytes)
	p.signal()
}

func (p *partition) signal() { nudge(p.wake) }

// work takes the queued records through the data path, one after the other, while there is room for what they become. It ends
// with ctx.
func (p *partition) work(ctx context.Context) {
	defer close(p.workerDone)
	idle, busy := time.NewTimer(idleAfter), false
	defer idle.Stop()
	for turn := time.Now(); ; {
		if own, rec := p.dequeue(); own != nil || rec != nil {
			if own != nil {
				p.takeAgain(own)
			} else {
				p.take(rec)
			}
			p.warn()
			busy = true
			if time.Since(turn) > workerTurn {
				runtime.Gosched()
				turn = time.Now()
			}
			continue
		}
		if busy {
			idle.Reset(idleAfter)
			busy = false
		}
		select {
		case <-p.wake:
		case <-p.unread.again: // written by this goroutine alone
		case <-idle.C:
			p.decoder.Release()
		case <-ctx.Done():
			return
		}
	}
}

// workerTurn is how long a worker decodes before it lets others have its processor. The scheduler itself takes it away after 10 ms only, and
// who asks the API would wait for so long for each partition that has records.
const workerTurn = time.Millisecond

// idleAfter is how long a worker keeps the memory of its largest record when nothing comes.
const idleAfter = 10 * time.Second

// dequeue gives the next record to decode: one that is mapped anew, else one of the queue; neither if there is none or no room for it.
func (p *partition) dequeue() (own *record, rec *kgo.Record) {
	full, share := p.runner.memoryFull.Load(), p.runner.share()
	p.mu.Lock()
	d, scope := p.definition, p.scope
	switch {
	case p.turn != nil:
		p.turn.still()
		p.unread = unread{} // by another definition it may need none
	case !p.unread.over():
	case len(p.again) > 0:
		own = p.nextAgain(share)
	default:
		rec = p.nextQueued(full, share)
	}
	p.mu.Unlock()
	if p.scopeOf != scope {
		p.adopt(&d.Config, p.runner.instance.schemas)
		p.scopeOf, p.recent = scope, d.recent
	}
	return own, rec
}

// nextQueued gives the next record of the queue, if there is room. One that is too large for the room passes when nothing else is held.
// The partition's lock is held.
func (p *partition) nextQueued(full bool, share int64) *kgo.Record {
	if len(p.queue) == 0 || p.life != open || p.tracker == nil || p.parkWait > 0 {
		p.passGap()
		return nil
	}
	rec := p.queue[0]
	bytes := recordBytes(rec)
	room := p.held+bytes <= share
	if bytes > share { // it would never fit: it takes of what other partitions leave, so that no stuck row keeps it waiting
		room = p.runner.account.used.Load()+bytes <= p.runner.account.limit()
	}
	// A queue that fills the memory is emptied by decoding only: while it is the larger part, a row that is stuck does not stop that.
	if p.held > 0 && (full && p.held >= p.queued || !room) {
		return nil
	}
	p.queue[0] = nil
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		p.queue = nil
	}
	p.taking = 1
	p.queued -= bytes
	p.runner.account.add(-bytes)
	return rec
}

// recordOverhead and rowOverhead are what a record and a row take beside their bytes: structs, slices, list and map entries.
const (
	recordOverhead = 256
	rowOverhead    = 640
)

func recordBytes(rec *kgo.Record) int64 {
	n := recordOverhead + len(rec.Key) + len(rec.Value)
	for i := range rec.Headers {
		n += len(rec.Headers[i].Key) + len(rec.Headers[i].Value)
	}
	return int64(n)
}

func requestBytes(r *sink.Request) int64 {
	n := rowOverhead + len(r.URL) + len(r.Body) + len(r.User)
	for i := range r.Header {
		n += len(r.Header[i].Name) + len(r.Header[i].Value)
	}
	return int64(n)
}

// drain ends the assignment: no new attempts, those in flight may end until ctx does and are cancelled then, their results are
// collected, later ones refused. It returns the offset to commit. The order matters:
//
//  1. The life becomes draining, so the worker and finished rows start nothing more.
//  2. The worker ends: a record it was decoding is in the tracker, or was never seen.
//  3. Attempts end, and with them dead letters on their way: each result moves the tracker.
//  4. The life becomes closed. Whoever reports later changes nothing, so the offset read here is the last word of this
//     assignment, and committing it can neither pass an unfinished row nor come after the next owner's commit.
func (p *partition) drain(ctx context.Context) (c commit, changed bool) {
	scope := p.setLife(draining)
	p.stop()
	<-p.workerDone
	scope.Drain(ctx)
	select {
	case <-p.written():
	case <-ctx.Done():
	}
	return p.close()
}

// abandon ends the assignment at once: the group has given it to another member, or will. Nothing is committed.
func (p *partition) abandon() {
	scope := p.setLife(draining)
	p.stop()
	scope.Cancel()
	<-p.workerDone
	p.close()
}

// setLife gives the scope too: only an open partition is given another one.
func (p *partition) setLife(l life) *sink.Scope {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life = l
	return p.scope
}

func (p *partition) close() (c commit, changed bool) {
	f := snapshots.Get().(*track.Finished)
	defer snapshots.Put(f)
	p.mu.Lock()
	if p.life == closed {
		p.mu.Unlock()
		return c, false
	}
	p.life = closed
	p.definition.outlet.scopes.Done()
	p.runner.account.add(-p.queued - p.held)
	p.runner.unfinished.Add(int64(p.pending + len(p.again)))
	p.queue, p.again, p.lanes, p.own, p.kept = nil, nil, nil, nil, nil
	if p.tracker == nil || p.severed() {
		p.mu.Unlock()
		return c, false
	}
	p.told.changes = 0 // f is wanted in any case
	now := p.position(f)
	p.mu.Unlock()
	p.remember(f, now.Offset)
	return p.encode(f, now)
}

// waits notes that the partition cannot be read on until retry has passed, and reports whether the cause is a new one. ask says that
// the watch is to look up whether it must be held.
func (p *partition) waits(cause string, retry time.Duration, ask bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.wait.hold {
		return false
	}
	fresh := p.wait.cause != cause
	if fresh {
		p.wait = wait{cause: cause, since: now}
	}
	p.wait.retry, p.wait.ask = now.Add(retry), ask
	return fresh
}

// address is where rows come from: the fixed parts of the position headers and of the idempotency key.
type address struct {
	topic, topicID, partition string
	key                       string // idempotency key up to the offset
	suffix                    string // its end, after a reset and when a dead letter is sent again
}

func (a address) idempotencyKey(offset string, of part, step string) string {
	key := a.key + offset + "/" + strconv.Itoa(int(of.row))
	if of.route != "" {
		key += "/" + of.route
	}
	if step != "" {
		key += "/" + step
	}
	return boundKey(key + a.suffix)
}
