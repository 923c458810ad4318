package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/track"
)

// A change of the job turns a partition from one definition to the next one in place (see Runner.Change): its tracker, queue and offsets
// stay, so nothing is committed, read or believed anew. What is replaced is the rows of unfinished records. The order matters:
//
//  1. turn is set: the worker takes nothing more, and a row that ends starts no other one of its lane.
//  2. The sink drops what waits; attempts in flight end, and each outcome moves the tracker. The worker is through with its record.
//  3. Dead letters on their way arrive, or fail: then they are not written again. With parked keys each was read back and told.
//  4. The turn is sealed: no row of the old definition is given up or kept any more. Under the same lock it was seen that none is under way.
//  5. carryOn: rows of the old definition are replaced, which makes them nobody's: whoever still has one in hand (a lane that was walked
//     down when the turn began, an operator's decision) finds its stage, and the scope that it would be delivered to has ended. Their
//     records wait in again, in the order of their offsets, and the worker takes these before the queue.
//
// If the partition is revoked or lost in between, it is no longer open, and goes the way of drain or abandon: both end the same scope and
// worker, and neither looks at the turn.

// turn is how far a partition has come on its way to another definition.
type turn struct {
	quiet   chan struct{} // closed by the worker: it takes nothing more
	isQuiet bool
	sealed  bool
}

// restLook is how often it is looked whether dead letters have arrived.
const restLook = 10 * time.Millisecond

// rest brings the partition to rest. When ctx ends attempts are broken off, and letters on their way no longer waited for.
func (p *partition) rest(ctx context.Context) {
	p.mu.Lock()
	if p.life != open || p.turn != nil && p.turn.sealed {
		p.mu.Unlock()
		return
	}
	if p.turn == nil {
		p.turn = &turn{quiet: make(chan struct{})}
	}
	t, scope, d := p.turn, p.scope, p.definition
	p.mu.Unlock()
	p.signal()
	scope.Drain(ctx)
	select {
	case <-t.quiet:
	case <-p.workerDone:
	}
	d.dead.forget() // drops those of p that have failed
	for _, b := range d.told {
		b.forget()
	}
	for over := false; ; over = !sleep(ctx, restLook) {
		if over || p.lettersArrived() && !d.parking.reading(p) { // in this order: an arrival is to be read
			if p.seal(over) {
				return
			}
		}
	}
}

// lettersArrived says that no dead letter is on its way, or that nobody waits for that.
func (p *partition) lettersArrived() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.letters == 0 || p.life != open
}

// seal ends the giving up of rows by the old definition, if none is under way; with over in any case.
func (p *partition) seal(over bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == open && !over && p.letters > 0 {
		return false
	}
	p.turn.sealed = true
	return true
}

// rests says that the partition can go on by another definition, or is being given up.
func (p *partition) rests() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life != open || p.turn != nil && p.turn.sealed
}

// past says that a row is not to be given up, kept or sent any more: it is the next owner's, or another one stands for it, or is about to.
// The lock is held.
func (p *partition) past(r *row) bool {
	return p.life == closed || r.stage == replaced || p.turn != nil && p.turn.sealed
}

// carryOn makes the partition, which rests, go on by d.
func (p *partition) carryOn(d *definition) {
	scope := d.outlet.sink.NewScope()
	p.mu.Lock()
	if p.life != open {
		p.mu.Unlock()
		scope.Cancel()
		return
	}
	var freed int64
	p.again = nil
	if p.tracker != nil {
		p.recount(d)
		for rec := range p.tracker.All() {
			own := rec.Caller.(*record)
			for r := own.rows; r != nil; r = r.sibling {
				if r.stage != done && r.stage != replaced {
					r.stage = replaced
					freed += r.bytes
				}
			}
			p.again = append(p.again, own)
		}
	}
	p.held -= freed
	p.pending, p.stuck = 0, 0
	p.lanes, p.own, p.kept = map[string]*lane{}, nil, nil
	old := p.definition
	p.definition, p.scope, p.turn = d, scope, nil
	d.outlet.scopes.Add(1)
	old.outlet.scopes.Done()
	p.parkWait = 0
	p.mu.Unlock()
	p.runner.account.add(-freed)
	old.parking.forget(p)
	d.parking.await(p)
	p.signal()
}

// recount turns what is final into parts by d's routes: a row all of whose parts are final stays so, of the others those whose route has the
// same name now. The partition's lock is held.
func (p *partition) recount(d *definition) {
	old := p.definition.routes
	if d.counted == p.definition.counted {
		return
	}
	p.tracker.Recount(func(rec *track.Record, final func(int32) bool, last int32) (counted []int32) {
		for n := range last/int32(len(old)) + 1 {
			counted = append(counted, recounted(n, old, d.routes, p.allFinal(rec, n), final)...)
		}
		return counted
	})
}

// recounted gives the indices by the new routes of what is final of row n by the old ones; all says that nothing of the row is pending.
func recounted(n int32, old, routes []string, all bool, final func(index int32) bool) (counted []int32) {
	var names []string
	for i, name := range old {
		if final(n*int32(len(old)) + int32(i)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	all = all || len(names) == len(old)
	for i, name := range routes {
		if all || slices.Contains(names, name) {
			counted = append(counted, n*int32(len(routes))+int32(i))
		}
	}
	return counted
}

// allFinal says that no part of row n is pending, of a record that is. The partition's lock is held.
func (p *partition) allFinal(rec *track.Record, n int32) bool {
	if rec == nil { // by an earlier owner: what it had pending is not known
		return false
	}
	for r := rec.Caller.(*record).rows; r != nil; r = r.sibling {
		if r.row == n && r.stage != done {
			return false
		}
	}
	return true
}

// still notes that the worker takes nothing more. The partition's lock is held.
func (t *turn) still() {
	if !t.isQuiet {
		t.isQuiet = true
		close(t.quiet)
	}
}

// nextAgain gives the next record to be mapped anew, nil if there is no room. All of them were mapped in memory before, so it takes rows
// that grow much by the new definition to let one wait. The partition's lock is held.
func (p *partition) nextAgain(share int64) *record {
	if p.life != open || p.parkWait > 0 || p.pending > 0 && p.held > 2*share {
		return nil
	}
	own := p.again[0]
	p.again[0] = nil
	if p.again = p.again[1:]; len(p.again) == 0 {
		p.again = nil
	}
	p.pending++ // stands for its rows
	return own
}

// takeAgain is take for a record that is pending already. What was tried of its rows, and decided about them, holds on.
func (p *partition) takeAgain(own *record) {
	rec := own.client(p.topic, p.id)
	if rec.Value == nil && p.cfg.Tombstone == TombstoneSkip {
		p.rows, p.lanesOf = p.rows[:0], p.lanesOf[:0]
		p.runner.counted(outcomeTombstone)
	} else {
		p.mapped(rec, own, own.Final)
		if p.missing != nil {
			p.putBack(rec, own)
			return
		}
	}
	p.inherit(own)
	for _, r := range p.reenter(own) {
		p.deliver(r)
	}
	clear(p.rows)
}

// inherit gives the new rows of a record what holds on of those that they stand for.
func (p *partition) inherit(own *record) {
	before := map[part]*row{}
	for r := own.rows; r != nil; r = r.sibling { // only the worker changes this list
		before[r.part] = r
	}
	for _, r := range p.rows {
		if old := before[r.part]; old != nil {
			if r.step == old.step {
				r.Made = max(old.Made, old.scope.Look(&old.Delivery).Attempts)
			}
			r.asked = old.asked || r.Made > 0
			r.endBy.Store(old.endBy.Load())
			r.said = old.said
		}
	}
}

// reenter is enter for a record that is pending already.
func (p *partition) reenter(own *record) []*row {
	var bytes int64
	for _, r := range p.rows {
		bytes += r.bytes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != open {
		return nil
	}
	p.pending--
	var final *row
	for r := own.rows; r != nil; {
		next := r.sibling
		if r.stage == done {
			r.sibling, final = final, r
		}
		r = next
	}
	own.rows = final
	if p.tracker.Again(&own.Record, int32(len(p.rows))) {
		p.final++
		bytes -= own.bytes
	}
	p.held += bytes
	p.runner.account.add(bytes)
	return p.line(own, p.rows, p.lanesOf)
}

// client gives the record as the client handed it over.
func (r *record) client(topic string, partition int32) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Offset: r.Offset, LeaderEpoch: r.Epoch, Timestamp: r.timestamp, Key: r.key, Value: r.value, Headers: r.headers}
}
