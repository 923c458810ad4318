package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/sink"
)

const (
	// redriveWindow and redriveBytes bound the letters that are in memory: read, and not final.
	redriveWindow = 1024
	redriveBytes  = 32 << 20
	// redriveTell is how often progress is told, and how soon a write that failed is tried again.
	redriveTell = 500 * time.Millisecond
)

// redriveSender sends letters. One goroutine reads them in the order of the topic, that of send does all else; rows are with the sink in
// between.
type redriveSender struct {
	r       *redrive
	sink    *sink.Sink
	unlimit func() // takes sink out of the job's limit
	scope   *sink.Scope
	sources map[sourcePartition]*extraction
	recent  *recentAnswers
	watch   redriveObserver

	finals  chan redriveFinal // room for every letter of the window
	written chan redriveWritten
	window  redriveRoom

	// of the pass
	todo     map[LetterAddress]*sendingLane // letters that were not started
	seen     map[LetterAddress]bool
	stopping atomic.Bool // set by the goroutine of send; outboxes ask
	inHand   int         // letters that are being sent or recorded
	writing  int         // writes on their way
	again    []*sending
	problem  string
	broken   error // why nothing can be recorded any more
}

type sourcePartition struct {
	topic, topicID string
	partition      int32
}

// sendingLane is a lane of the pass: the letters not started yet, and those of them that were read.
type sendingLane struct {
	id      laneID
	letters []*foldedLetter
	read    map[LetterAddress]*sending
	busy    bool
}

type redriveFinal struct {
	l *sending
	o sink.Outcome
}

// redriveWritten is what came of a write: of a line of the letter, or told: of what tells of an answer, and then open says that it does not
// stand there, nor will.
type redriveWritten struct {
	l          *sending
	err        error
	told, open bool
}

func newRedriveSender(r *redrive) (*redriveSender, error) {
	s := &redriveSender{r: r, sources: map[sourcePartition]*extraction{}, recent: &recentAnswers{}, finals: make(chan redriveFinal, redriveWindow),
		written: make(chan redriveWritten, redriveWindow), window: redriveRoom{freed: make(chan struct{}, 1)}}
	s.watch = redriveObserver{metrics: r.d.instance.metrics, job: r.d.cfg.Job}
	c := r.sinkConfig()
	var err error
	if s.sink, err = sink.New(c, r.lease.fence.permit, &s.watch); err != nil {
		return nil, err
	}
	s.unlimit = r.d.instance.limit(r.d.cfg.Job, &limited{sink: s.sink, part: partOf(c.Rate, r.d.cfg.Sink.Rate), redrive: true, work: s.work})
	return s, nil
}

func (s *redriveSender) close() {
	s.unlimit()
	s.sink.Close()
}

// work is the redrive's part of Instance.Load.
func (s *redriveSender) work() []Work {
	w := Work{TopicPartition: RedriveWork}
	if st := s.sink.Stats(); st.InFlight+st.Waiting+st.Ready > 0 {
		w.Busy = 1
	}
	return []Work{w}
}

// send sends lanes. The letters are read in the order of the topic, as often as it takes: once, unless a lane's order in the topic is not
// that of its source, as where a row failed again.
func (s *redriveSender) send(ctx context.Context, lanes []redriveLane) error {
	s.todo = map[LetterAddress]*sendingLane{}
	for i := range lanes {
		lane := &sendingLane{id: lanes[i].id, letters: lanes[i].letters, read: map[LetterAddress]*sending{}}
		for _, l := range lane.letters {
			s.todo[l.at] = lane
		}
	}
	for len(s.todo) > 0 {
		if err := s.pass(ctx); err != nil {
			return err
		}
		s.dropExpired()
	}
	return nil
}

// dropExpired takes out letters that should have been read and were not: the topic has them no more.
func (s *redriveSender) dropExpired() {
	for at, lane := range s.todo {
		if s.seen[at] {
			continue
		}
		lane.letters = slices.DeleteFunc(lane.letters, func(l *foldedLetter) bool { return l.at == at })
		delete(s.todo, at)
		s.r.report.Unreadable++
	}
}

// pass reads the topic once over what is to do, and sends what comes in its lane's order; what does not is left to the next pass.
func (s *redriveSender) pass(ctx context.Context) error {
	addresses, spans := s.plan()
	reading, stop := context.WithCancel(ctx)
	defer stop()
	read, reader := make(chan *sending), make(chan error, 1)
	go func() { // ends with the spans, or with reading, and is waited for below
		_, err := s.r.d.scan(reading, spans, func(rec *kgo.Record) bool {
			at := LetterAddress{rec.Partition, rec.Offset}
			if _, wanted := slices.BinarySearchFunc(addresses, at, LetterAddress.compare); !wanted {
				return true
			}
			l := s.load(reading, rec)
			if l == nil {
				return false
			}
			select {
			case read <- l:
				return true
			case <-reading.Done():
				return false
			}
		})
		reader <- err
	}()
	s.seen = make(map[LetterAddress]bool, len(addresses))
	s.scope = s.sink.NewScope()
	tick := time.NewTicker(redriveTell)
	defer tick.Stop()
	var failure error
	var drained chan struct{}
	var patience <-chan time.Time
	done := ctx.Done()
	end := func(err error) { // no new attempts; those that run may end, and are recorded
		failure, done = cmp.Or(failure, err), nil
		s.stopping.Store(true)
		for _, b := range s.r.told {
			b.forget()
		}
		stop()
		drained = make(chan struct{})
		go func() { s.drain(ctx); close(drained) }() // waited for below; bounded by drain
	}
	for open := true; open || (s.stopping.Load() && (drained != nil || len(s.finals) > 0 || s.writing > 0)) || (!s.stopping.Load() && s.inHand > 0); {
		select {
		case l := <-read:
			s.place(l)
		case err := <-reader:
			open = false
			if err != nil && !s.stopping.Load() {
				end(err)
			}
		case f := <-s.finals:
			s.final(f)
		case w := <-s.written:
			if s.recorded(w); s.broken != nil && !s.stopping.Load() {
				end(s.broken)
			}
		case <-tick.C:
			s.rewrite()
			s.tell()
		case <-done:
			end(ctx.Err())
		case <-drained:
			drained, patience = nil, time.After(stopMargin)
		case <-patience: // the rest is not known to be written: those letters stay open
			s.writing = 0
		}
	}
	s.scope.Cancel()
	s.tell()
	return failure
}

// plan gives the letters to read, in the order of the topic.
func (s *redriveSender) plan() (addresses []LetterAddress, spans []span) {
	for at := range s.todo {
		addresses = append(addresses, at)
	}
	slices.SortFunc(addresses, LetterAddress.compare)
	return addresses, spansOf(addresses)
}

// drain lets attempts end that run, unless the right to send was lost: another redrive may be sending the same rows already.
func (s *redriveSender) drain(ctx context.Context) {
	if errors.Is(context.Cause(ctx), errLeaseLost) {
		s.scope.Cancel()
		return
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.r.d.cfg.Drain)
	defer cancel()
	s.scope.Drain(patience)
}

// load waits for room and copies a letter; nil when ctx ends first. It is the reader's.
func (s *redriveSender) load(ctx context.Context, rec *kgo.Record) *sending {
	l := &sending{letter: letterOf(rec), size: int64(len(rec.Key) + len(rec.Value))}
	if len(s.r.told) > 0 {
		l.size += s.r.d.cfg.Sink.ResponseBytes // an answer, until it is told of
	}
	if l.letter.LeftOut {
		l.size = redriveBytes // unknown until it was read, so it goes alone
	}
	if !s.window.take(ctx, l.size) {
		return nil
	}
	o := originalOf(rec)
	l.orig = original{key: slices.Clone(o.key), value: slices.Clone(o.value)} // the record would keep its whole fetch
	for _, h := range o.headers {
		l.orig.headers = append(l.orig.headers, kgo.RecordHeader{Key: h.Key, Value: slices.Clone(h.Value)})
	}
	l.letter.Key = l.orig.key
	if l.letter.LeftOut {
		var err error
		if l.orig, err = s.r.d.readSource(ctx, &l.letter); err != nil {
			l.gone = err.Error()
		}
	}
	return l
}

// place starts a letter, or lets it wait in its lane for the ones before it, or leaves it to the next pass when those stand behind it.
func (s *redriveSender) place(l *sending) {
	at := LetterAddress{l.letter.Partition, l.letter.Offset}
	s.seen[at] = true
	lane := s.todo[at]
	if lane == nil || !lane.busy && lane.letters[0].at != at {
		s.window.give(l.size)
		return
	}
	l.lane = lane
	lane.read[at] = l
	s.nextOf(lane)
}

// nextOf starts the first letter of a lane, if it was read and none is under way.
func (s *redriveSender) nextOf(lane *sendingLane) {
	if lane.busy || s.stopping.Load() {
		return
	}
	if len(lane.letters) > 0 {
		if l := lane.read[lane.letters[0].at]; l != nil {
			l.folded = lane.letters[0]
			delete(lane.read, l.folded.at)
			delete(s.todo, l.folded.at)
			lane.letters, lane.busy = lane.letters[1:], true
			s.start(l)
			return
		}
	}
	for at, l := range lane.read { // the one they wait for stands behind them
		delete(lane.read, at)
		s.window.give(l.size)
	}
}

// write records the letter's next line. Its lines are in one partition, and each waits for the one before. What tells of answers was written
// before them.
func (s *redriveSender) write(l *sending) {
	s.writing++
	// No deadline of the caller's: outboxTimeout bounds the write, and one that was begun is better waited for.
	s.r.lease.client.Produce(context.Background(), l.line, func(_ *kgo.Record, err error) { s.written <- redriveWritten{l: l, err: err} })
}

// recorded takes the answer to a write. What is not written is tried again, and its lane waits.
func (s *redriveSender) recorded(w redriveWritten) {
	s.writing = max(0, s.writing-1)
	l := w.l
	switch topic := s.r.d.cfg.DeadLetterTopic; {
	case w.told && w.open: // our own stop: the letter stays open
		return
	case w.told:
		s.tellNext(l)
		return
	case errors.Is(w.err, kerr.MessageTooLarge):
		s.leaveOpen(l, "it failed again, and its new dead letter is larger than the topic takes")
		return
	case errors.Is(w.err, kerr.UnknownTopicID):
		s.broken = fmt.Errorf("topic %s was deleted meanwhile: %w", topic, w.err)
		return
	case w.err != nil:
		s.problem = fmt.Sprintf("what became of a letter cannot be written to %s: %v; tried again", topic, w.err)
		s.again = append(s.again, l)
		return
	}
	s.problem = ""
	s.conclude(l)
}

// leaveOpen passes a letter by that cannot become final.
func (s *redriveSender) leaveOpen(l *sending, why string) {
	s.r.report.Unreadable++
	s.r.lanes[l.lane.id] = true
	s.r.d.instance.log.Warn("a dead letter cannot be redriven, and stays open", "job", s.r.d.cfg.Job, "letter", l.folded.at.String(),
		"source", l.folded.source.String(), "cause", why)
	s.leave(l)
}

// leave goes on with the lane. With parked keys it ends at a letter that is still open, or failed again.
func (s *redriveSender) leave(l *sending) {
	s.inHand--
	s.window.give(l.size)
	lane := l.lane
	lane.busy = false
	if s.r.d.cfg.DeadLetterPark && s.r.lanes[lane.id] && !lane.id.free() {
		for _, rest := range lane.letters {
			s.r.report.Behind++
			delete(s.todo, rest.at)
		}
		lane.letters = nil
	}
	s.nextOf(lane)
}

// rewrite tries again what could not be recorded.
func (s *redriveSender) rewrite() {
	again := s.again
	s.again = nil
	for _, l := range again {
		if !s.stopping.Load() {
			s.write(l)
		}
	}
}

func (s *redriveSender) tell() {
	s.r.report.InFlight, s.r.report.Problem = s.inHand, cmp.Or(s.problem, s.r.runner.status.untold(), s.watch.cause())
	s.r.tell(s.r.report.RedriveProgress)
}
