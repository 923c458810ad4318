package consumer

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
	"streamer/sink"
)

// This file is the product: poll → decode → filter, mask → map → deliver → ack → commit.

// poll hands what the client has fetched to the partitions, until ctx ends. It never waits for a partition: one whose buffer is
// full is paused, so that nothing more of it arrives.
//
// A rebalance waits from the moment that PollFetches returns records until AllowRebalance: records of an assignment are handed
// to the partition object of the same assignment, never to that of a later one, which may begin further back.
func (r *Runner) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := r.client.PollFetches(ctx)
		fetches.EachError(r.logCut) // first: what is fetched behind a cut may come with the news of it
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			// Records may come with an error: those before a damaged batch. They will not be fetched again.
			if p := r.partition(f.Topic, f.Partition); p != nil && (f.Err == nil || len(f.Records) > 0) {
				r.instance.metrics.polled.Add(float64(len(f.Records)))
				p.enqueue(f.Records, f.HighWatermark)
			}
		})
		fetches.EachError(r.fetchFailed)
		r.regulate()
		r.client.AllowRebalance()
	}
}

// take brings one record from its bytes to rows that are delivered, or wait in their lanes for the row before them.
// Only the partition's worker calls it.
func (p *partition) take(rec *kgo.Record) {
	finished, final := p.known(rec)
	switch {
	case finished: // by an earlier owner, whose commit said so
		p.skip(rec, "")
		return
	case rec.Attrs.IsControl(): // the marker of a transaction: final as it is, and counted, so that lag reaches 0
		p.skip(rec, "")
		return
	case rec.Value == nil && p.cfg.Tombstone == TombstoneSkip:
		p.skip(rec, outcomeTombstone)
		return
	}
	own := p.mapped(rec, nil, final)
	switch {
	case p.missing != nil: // for the schema that the value was written by
		p.putBack(rec, nil)
		return
	case own == nil:
		p.skip(rec, "")
		return
	}
	for _, row := range p.enter(own, p.rows, p.lanesOf) {
		p.deliver(row)
	}
	clear(p.rows)
}

// mapped makes rows and lanesOf those of a record that are not final. own is the record when it is pending already; else it is made for
// the first of them, so that filtered records are not copied, and is nil if there is none.
func (p *partition) mapped(rec *kgo.Record, own *record, final func(row int32) bool) *record {
	rows, lanes := p.rows[:0], p.lanesOf[:0]
	all := p.extract(rec)
	if p.missing == nil {
		p.canBeRead()
	}
	for _, x := range all {
		if final != nil && p.isFinal(&x, own, final) {
			continue
		}
		if x.err == nil && x.verdict != mapping.Send {
			p.runner.counted(verdictOutcome(x.verdict))
			continue
		}
		if own == nil {
			own = newRecord(rec)
		}
		row := &row{partition: p, scope: p.scopeOf, record: own, part: x.part, index: x.index}
		if x.err != nil {
			row.payload = unmapped(x.err)
		}
		row.Request, row.Final, row.Row = x.request, p.runner.final, row
		if row.way = x.way; row.way != nil {
			row.Accept, row.step = row.way.call.Accept, row.way.call.Step
		}
		row.told = x.told
		row.Keep = row.told != nil || row.step != ""
		row.bytes = row.size()
		rows, lanes = append(rows, row), append(lanes, x.lane)
	}
	p.rows, p.lanesOf = rows, lanes
	return own
}

// isFinal says that x is final; own is its record, if that is pending already. A part that stands for a row as a whole is final if all
// are that the row could become: some of a row may be, by a definition that could tell its routes, while others wait.
func (p *partition) isFinal(x *extracted, own *record, final func(index int32) bool) bool {
	n := int32(0)
	for i := range places(x.part, p.routes) {
		if final(x.index + i) {
			n++
		}
	}
	if n == 0 || n == places(x.part, p.routes) {
		return n > 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return own != nil && p.allFinal(&own.Record, x.row)
}

// places is for how many parts of a record one stands: for all of its row, if it was not told which routes match that.
func places(of part, routes []string) int32 {
	if of.route == "" && of.row != wholeRecord {
		return int32(len(routes))
	}
	return 1
}

// extract does decode → filter, mask → map. The whole value is decoded before the first row of it can be sent. A record that
// cannot be decoded is one row with the error, and so is a row whose routes cannot be told. One that cannot be decoded yet has none, and
// says what it waits for.
func (x *extraction) extract(rec *kgo.Record) []extracted {
	x.out = x.out[:0]
	batch, err := x.decode(rec)
	switch {
	case x.missing != nil:
		return x.out
	case err != nil:
		return append(x.out, extracted{part: part{row: wholeRecord}, index: wholeRecord, lane: x.recordLane(rec), err: err})
	}
	x.found = batch.Found()
	x.formats.count(x.found)
	message := mapping.Message{Avro: batch.Schema(), Tombstone: rec.Value == nil}
	if x.usesKafka {
		message.Kafka = x.kafka(rec)
	}
	offset, loop := strconv.FormatInt(rec.Offset, 10), x.cfg.tells() && hops(rec.Headers) >= MaxHops
	for i := range int32(batch.Len()) {
		message.Msg, message.Event = batch.Row(int(i)), batch.Event(int(i))
		whole := extracted{part: part{row: i}, index: i * int32(len(x.routes))}
		x.parts = x.parts[:0]
		if whole.lane, whole.err = x.rowLane(rec, batch, &message); whole.err == nil { // before masking hides what it may need
			x.parts, whole.verdict, whole.err = x.mapper.Map(&message, x.parts)
			if x.misses != nil {
				x.misses[i] = x.mapper.Misses()
			}
		}
		if len(x.parts) == 0 {
			x.out = append(x.out, whole)
		}
		for j := range x.parts {
			one := extracted{part: part{i, x.routes[x.parts[j].Route]}, index: whole.index + int32(x.parts[j].Route), lane: whole.lane, err: x.parts[j].Err}
			if one.err == nil {
				s := stamp{cfg: x.cfg, address: x.address, part: one.part, offset: offset, record: rec}
				one.request = s.request(x.parts[j].Call.Step, &x.parts[j].Call.Request)
				one.way = s.way(&x.parts[j], x.recent)
			}
			switch {
			case !loop:
				one.told = x.parts[j].Told
			case one.err == nil: // nobody is told of that either: it may be who is told that makes the loop
				one.err = errLoop
			}
			x.out = append(x.out, one)
		}
	}
	return x.out
}

// enter notes the record and its rows as pending and gives those that wait for nobody: the first row of each lane.
func (p *partition) enter(own *record, rows []*row, lanes []laneValue) []*row {
	bytes := own.bytes
	for _, row := range rows {
		bytes += row.bytes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taking = 0
	if p.life != open || own.Offset < p.tracker.Next() { // revoked meanwhile, or a fetch that repeats what was read
		p.final++
		return nil
	}
	p.runner.account.add(bytes)
	p.held += bytes
	p.tracker.Track(&own.Record, int32(len(rows)))
	for _, row := range rows {
		p.runner.sending(p.earlier.sent(row.index))
	}
	return p.line(own, rows, lanes)
}

// line puts the rows of a record into their lanes and gives those that are the first. The partition's lock is held.
func (p *partition) line(own *record, rows []*row, lanes []laneValue) []*row {
	p.pending += len(rows)
	first := rows[:0]
	for i, row := range rows {
		row.sibling, own.rows = own.rows, row
		if lanes[i].none || p.join(row, lanes[i].value, lanes[i].own) {
			row.stage = delivering
			first = append(first, row)
		}
	}
	return first
}

// deliver starts what a row needs to become final. It never waits.
func (p *partition) deliver(r *row) {
	switch {
	case r.said != nil: // by the definition before
		p.tell(r)
		return
	case p.decided(r, sink.Outcome{Attempts: r.Made}): // somebody gave it up before it came here
		return
	}
	switch {
	case r.payload != nil:
		p.giveUp(r, *r.payload)
	case p.runner.now().parking.takes(r): // behind a dead letter of its key
	case !p.recalled(r):
	case r.payload != nil: // of an answer that was kept
		p.giveUp(r, *r.payload)
	default:
		r.scope.Deliver(&r.Delivery)
	}
	if r.endBy.Load() != nil { // meanwhile
		p.endInHand(r)
	}
}

// final takes the outcome of a delivered row from the sink.
func (r *Runner) final(d *sink.Delivery, o sink.Outcome) {
	row := d.Row.(*row)
	row.Made, row.asked = o.Attempts, row.asked || o.Attempts > 0
	switch {
	case o.Class == sink.Delivered && row.step != "":
		row.partition.stepped(row, o)
	case o.Class == sink.Delivered:
		r.guard.delivered(time.Now())
		row.partition.delivered(row, o)
	case row.partition.decided(row, o): // somebody gave it up meanwhile
	case o.Class == sink.Interrupted: // our own stop: the row is not final, and the next owner sends it
	default:
		row.partition.giveUp(row, o)
	}
}

// ack notes that a row is final and starts the next one of its lane.
func (p *partition) ack(r *row, outcome string) {
	p.mu.Lock()
	if p.life == closed || r.stage == replaced { // refused: another member owns the partition now, or another row stands for it
		p.mu.Unlock()
		return
	}
	freed := r.bytes
	r.stage = done
	if p.tracker.DoneAll(&r.record.Record, r.index, places(r.part, p.definition.routes)) {
		freed += r.record.bytes
		p.final++
	}
	nudge(p.runner.finished)
	p.held -= freed
	p.pending--
	next := p.leave(r)
	more, roomy := len(p.queue)+len(p.again) > 0, p.paused && float64(p.held+p.queued) < lowMark*float64(p.runner.share())
	if p.life != open || p.turn != nil {
		next = nil
	}
	if next != nil {
		next.stage = delivering
	}
	p.mu.Unlock()
	p.runner.account.add(-freed)
	p.runner.counted(outcome)
	p.runner.instance.metrics.deliverySeconds.Observe(time.Since(r.record.Polled).Seconds())
	if more {
		p.signal()
	}
	if roomy {
		p.runner.signalRoom()
	}
	if next != nil {
		p.deliver(next)
	}
}

// skip notes that a record is final as it was read.
func (p *partition) skip(rec *kgo.Record, outcome string) {
	p.mu.Lock()
	p.tracker.Skip(rec.Offset, rec.LeaderEpoch)
	nudge(p.runner.finished)
	p.taking = 0
	p.final++
	p.mu.Unlock()
	if outcome != "" {
		p.runner.counted(outcome)
	}
}

// commitLoop commits what is finished, Config.Commit after something did, until ctx ends, and sleeps while nothing does. A slow commit
// delays the next one: there is one at a time, and it takes all that finished meanwhile. Once member has ended, its commits no longer
// wait for a rebalance: the last one is made by leave.
func (r *Runner) commitLoop(ctx, member context.Context) {
	began := time.Now() // of the last commit
	for {
		select {
		case <-r.finished: // during the last commit, whose time counts
		default:
			select {
			case <-r.finished:
				began = time.Now()
			case <-ctx.Done():
				return
			}
		}
		if !r.awaitCommit(ctx, began) {
			return
		}
		r.looks.Add(1)
		began = time.Now()
		r.commitFinished(ctx, member)
	}
}

// awaitCommit waits for Config.Commit since began, also when that is changed meanwhile. It gives false when ctx ends.
func (r *Runner) awaitCommit(ctx context.Context, began time.Time) bool {
	due := time.NewTimer(time.Until(began.Add(r.now().Commit)))
	defer due.Stop()
	for {
		select {
		case <-due.C:
			return true
		case <-r.changes.pace:
			due.Reset(time.Until(began.Add(r.now().Commit)))
		case <-ctx.Done():
			return false
		}
	}
}

// commitFinished commits the finished work of all open partitions. The positions are read, and the commit is handed to the
// client, under the lock that revoke takes to remove a partition, else:
//
//  1. The loop reads offset 100 of partition P and is put aside by the scheduler.
//  2. P is revoked: its drain ends at 120, which is committed. Another member takes P over and commits 130.
//  3. The loop goes on and commits 100, as a valid member of the group that no longer owns P; the broker accepts it.
//  4. A crash of the other member sends 30 finished records again.
//
// Under the lock the client has our commit of 100 before revoke can hand it that of 120, and it sends them in this order.
func (r *Runner) commitFinished(ctx, member context.Context) {
	err := r.commitOnce(ctx, member, false)
	var size *sizeError
	if errors.As(err, &size) { // what finished is not to wait for a metadata that fits: the next commit brings it
		err = r.commitOnce(ctx, member, true)
		nudge(r.finished)
	}
	if err != nil {
		nudge(r.finished)
	}
	r.noteCommit(err)
}

// commitOnce commits the present positions; bare leaves out metadata.
func (r *Runner) commitOnce(ctx, member context.Context, bare bool) error {
	hand, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(member, cancel)
	r.commits.Lock()
	answers := r.hand(hand, r.positions(bare)) // waits while the group rebalances
	r.commits.Unlock()
	stop()
	return answers.wait(ctx)
}
