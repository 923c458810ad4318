package consumer

import (
	"time"

	"streamer/sink"
)

// letterFold follows a part of a dead-letter topic, record by record, and knows what has become of each letter in it. Outcomes stand
// behind their letters, so the state of a letter is final knowledge only at the end of the log.
type letterFold struct {
	job     string
	letters []foldedLetter // in the order of reading
	last    map[rowAddress]int32
	claims  map[int32]string // the newest redrive, by partition of the topic
	lanes   map[laneID]*foldedLane
	freed   []laneID // lanes of which nothing is open, the oldest first
	most    int      // letters that are kept; 0: no bound
	dropped int      // letters beyond it
}

// foldedLane is a lane that has open letters, or had some lately.
type foldedLane struct {
	open  int
	head  LetterAddress // the letter that parked it
	freed LetterAddress // the line that closed its last open letter; only the latest one is kept
	full  bool          // letters of it were dropped: it never gets free in this fold
}

// freedLanes is how many lanes are remembered after they got free. A letter parked behind one that is free already is void, and comes
// within moments of it.
const freedLanes = 10_000

// foldedLetter is what is kept of a letter: some two hundred bytes.
type foldedLetter struct {
	at       LetterAddress
	source   rowAddress
	class    sink.Class
	lane     laneValue
	redrives int
	matches  bool  // the filter chose it
	before   int32 // the letter of the same row before this one; -1: none

	state  LetterState
	how    string // outcome word
	by     string
	reason string
	when   time.Time
}

func newLetterFold(job string, most int) *letterFold {
	return &letterFold{job: job, last: map[rowAddress]int32{}, claims: map[int32]string{}, lanes: map[laneID]*foldedLane{}, most: most}
}

// letter takes a dead letter of the job and gives its state.
//
// A row that failed again has a newer letter with more redrives. That record alone closes the older one, so that there is no moment in
// which neither, or only the older one, is open.
func (f *letterFold) letter(l *Letter, matches bool) LetterState {
	n := foldedLetter{at: LetterAddress{l.Partition, l.Offset}, source: l.Source.address(), class: l.Class, lane: l.lane, redrives: l.Redrives,
		matches: matches, before: -1, state: l.State}
	if n.lane.value != "" {
		n.lane.value = boundKey(n.lane.value)
	}
	if f.most > 0 && len(f.letters) >= f.most {
		f.compact()
		if len(f.letters) >= f.most {
			f.dropped++
			f.opened(&n).full = true
			return n.state
		}
	}
	if before, ok := f.last[n.source]; ok {
		n.before = before
		n.source = f.letters[before].source // the same strings
	}
	newest := f.claims[l.Partition]
	switch {
	case l.claim != "" && newest != "" && l.claim != newest:
		n.state = LetterVoid // an earlier redrive wrote it when it had lost the job's dead letters to a newer one
	case f.late(l, &n):
		n.state = LetterVoid
	default:
		f.opened(&n) // before the older ones are closed: the lane is not free in between
		for i := n.before; i >= 0; i = f.letters[i].before {
			if o := &f.letters[i]; o.redrives < n.redrives && o.open() {
				o.state, o.when = LetterFailedAgain, l.At
				f.closed(o, n.at)
			}
		}
	}
	f.last[n.source] = int32(len(f.letters))
	f.letters = append(f.letters, n)
	return n.state
}

// late says that a letter was parked behind one whose lane got free before it was written. The rules of park.go.
func (f *letterFold) late(l *Letter, n *foldedLetter) bool {
	if l.behind == "" || n.lane.none {
		return false
	}
	behind, err := parseLetterAddress(l.behind)
	lane := f.lanes[n.laneID()]
	return err == nil && lane != nil && behind.Partition == l.Partition && lane.freed.Partition == l.Partition && lane.freed.Offset > behind.Offset
}

// opened notes an open letter in its lane, closed one that is final.
func (f *letterFold) opened(n *foldedLetter) *foldedLane {
	if n.lane.none {
		return &foldedLane{}
	}
	id := n.laneID()
	lane := f.lanes[id]
	if lane == nil {
		lane = &foldedLane{freed: LetterAddress{Offset: -1}}
		f.lanes[id] = lane
	}
	if lane.open++; lane.open == 1 {
		lane.head = n.at
	}
	return lane
}

func (f *letterFold) closed(n *foldedLetter, by LetterAddress) {
	if n.lane.none {
		return
	}
	id := n.laneID()
	lane := f.lanes[id]
	if lane.open--; lane.open > 0 || lane.full {
		return
	}
	lane.freed = by
	if f.freed = append(f.freed, id); len(f.freed) > freedLanes {
		if old := f.lanes[f.freed[0]]; old != nil && old.open == 0 && !old.full {
			delete(f.lanes, f.freed[0])
		}
		f.freed = f.freed[1:]
	}
}

// parked gives the letter that a row of the lane is to be parked behind; false if the lane is free.
func (f *letterFold) parked(id laneID) (LetterAddress, bool) {
	lane := f.lanes[id]
	if lane == nil || lane.open == 0 && !lane.full {
		return LetterAddress{}, false
	}
	return lane.head, true
}

// openLetter gives the newest letter of a row, nil if it has none that is open.
func (f *letterFold) openLetter(source rowAddress) *foldedLetter {
	i, ok := f.last[source]
	if !ok || !f.letters[i].open() {
		return nil
	}
	return &f.letters[i]
}

func (l *foldedLetter) open() bool { return l.state == LetterOpen || l.state == LetterParked }

// outcome takes what has become of a row: it closes all its letters so far. A void letter is the only one that is void.
func (f *letterFold) outcome(o *outcome) {
	if o.job != f.job {
		return
	}
	newest := f.claims[o.of.Partition]
	if o.word == outcomeWordClaim {
		f.claims[o.of.Partition] = o.claim
		return
	}
	if o.claim != "" && newest != "" && o.claim != newest {
		return // of a redrive that had been fenced off
	}
	i, ok := f.last[o.source]
	if !ok {
		return
	}
	for ; i >= 0; i = f.letters[i].before {
		l := &f.letters[i]
		if !l.open() || o.word == outcomeWordVoid && l.at != o.of {
			continue
		}
		l.state, l.how, l.by, l.reason, l.when = stateOf(o.word), o.word, o.by, o.reason, o.at
		f.closed(l, LetterAddress{o.of.Partition, o.offset})
	}
}

func stateOf(word string) LetterState {
	switch word {
	case outcomeWordGivenUp:
		return LetterGivenUp
	case outcomeWordVoid:
		return LetterVoid
	}
	return LetterRedriven
}

// compact forgets letters that are final.
func (f *letterFold) compact() {
	open := f.letters[:0]
	clear(f.last)
	for _, l := range f.letters {
		if !l.open() {
			continue
		}
		l.before = -1
		if before, ok := f.last[l.source]; ok {
			l.before = before
		}
		f.last[l.source] = int32(len(open))
		open = append(open, l)
	}
	clear(f.letters[len(open):])
	f.letters = open
}

// tell writes what the fold knows into l.
func (l *foldedLetter) tell(out *Letter) {
	out.State, out.OutcomeAt, out.OutcomeBy, out.OutcomeReason = l.state, l.when, l.by, l.reason
	if l.how != "" && l.how != string(l.state) {
		out.Outcome = l.how
	}
}
