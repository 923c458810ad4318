package consumer

import (
	"cmp"
	"slices"
)

// laneID names a lane of a source partition. Letters without a lane have none.
type laneID struct {
	topic, topicID string
	partition      int32
	value          string
	own            bool
}

func (l *foldedLetter) laneID() laneID {
	return laneID{l.source.topic, l.source.topicID, l.source.partition, l.lane.value, l.lane.own}
}

// free says that the rows of the lane wait for nobody.
func (id laneID) free() bool { return id == laneID{} }

// redriveLane are letters to be sent one after the other.
type redriveLane struct {
	id      laneID
	letters []*foldedLetter
}

// choose gives the letters to send, as lanes in the order of the source. A row with several letters is sent for the newest of them.
//
// Where keys are parked, a lane is sent from its front, and what is parked behind goes with it; it stops at the first letter that the
// filter leaves out, or that is refused. Elsewhere later rows of the lane went on long ago, and each letter stands for itself.
func (r *redrive) choose() []redriveLane {
	lanes := map[laneID]int{}
	var out []redriveLane
	newest := map[rowAddress]int{}
	for i := range r.fold.letters {
		l := &r.fold.letters[i]
		if !l.open() || r.started[l.at] {
			continue
		}
		if at, ok := newest[l.source]; !ok || l.redrives >= r.fold.letters[at].redrives {
			newest[l.source] = i
		}
	}
	for i := range r.fold.letters {
		l := &r.fold.letters[i]
		if at, ok := newest[l.source]; !ok || at != i {
			continue
		}
		if l.lane.none {
			out = append(out, redriveLane{letters: []*foldedLetter{l}})
			continue
		}
		id := l.laneID()
		at, ok := lanes[id]
		if !ok {
			at = len(out)
			lanes[id] = at
			out = append(out, redriveLane{id: id})
		}
		out[at].letters = append(out[at].letters, l)
	}
	r.report.Refused, r.report.Behind = 0, 0
	left := r.options.Limit - len(r.started)
	kept := out[:0]
	for _, lane := range out {
		slices.SortFunc(lane.letters, func(a, b *foldedLetter) int {
			return cmp.Or(cmp.Compare(a.source.offset, b.source.offset), cmp.Compare(a.source.row, b.source.row))
		})
		lane.letters = r.take(lane)
		if r.options.Limit > 0 {
			lane.letters = lane.letters[:max(0, min(len(lane.letters), left))]
			left -= len(lane.letters)
		}
		if len(lane.letters) > 0 {
			kept = append(kept, lane)
		}
	}
	return kept
}

// take gives the letters of a lane that may be sent.
func (r *redrive) take(lane redriveLane) []*foldedLetter {
	park := r.d.cfg.DeadLetterPark
	out := lane.letters[:0:0]
	bad, sent := r.lanes[lane.id]
	blocked := park && bad && !lane.id.free()
	for _, l := range lane.letters {
		wanted := l.matches || park && l.class == ClassParked && (sent || len(out) > 0)
		switch {
		case !wanted:
			blocked = blocked || park
			continue
		case blocked:
			r.report.Behind++
			continue
		case l.redrives >= redriveGuard && !r.options.PastGuard:
			r.report.Refused++
			blocked = park
			continue
		}
		out = append(out, l)
	}
	return out
}
