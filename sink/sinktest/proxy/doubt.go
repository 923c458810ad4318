package proxy

import (
	"cmp"
	"slices"
	"time"

	"streamer/sink/sinktest"
)

// unreadFor is how long an answer may lie unread on a client's machine before a reset discards it.
const unreadFor = time.Second

// Doubt goes through attempts that came through a proxy whose connections ended so, and marks the answers that the network lost: an
// attempt whose answer the proxy did not deliver was not answered, and one that was delivered just before the proxy reset the
// connection is doubtful. Only the last attempt of a connection can be either: the client sends the next one when it has read the
// answer.
func Doubt(attempts []sinktest.Attempt, ended []Conn) {
	byPeer := map[string][]*sinktest.Attempt{}
	for i := range attempts {
		a := &attempts[i]
		byPeer[a.Peer] = append(byPeer[a.Peer], a)
	}
	for _, of := range byPeer {
		slices.SortFunc(of, func(a, b *sinktest.Attempt) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	conns := map[string][]Conn{} // by the proxy's port, which may have served several
	for _, c := range ended {
		conns[c.Peer] = append(conns[c.Peer], c)
	}
	for peer, of := range conns {
		slices.SortFunc(of, func(a, b Conn) int { return a.Began.Compare(b.Began) })
		for i, c := range of {
			next := time.Now()
			if i+1 < len(of) {
				next = of[i+1].Began
			}
			doubtLast(byPeer[peer], c, next)
		}
	}
}

// doubtLast marks the last attempt of a connection, whose port was used again from next on. The API may have read it when the
// connection had ended at the proxy already.
func doubtLast(of []*sinktest.Attempt, c Conn, next time.Time) {
	var last *sinktest.Attempt
	for _, a := range of {
		if !a.Start.Before(c.Began) && a.Start.Before(next) {
			last = a
		}
	}
	switch {
	case last == nil || !last.Answered:
	case !c.Unanswered.IsZero() && !last.Start.Before(c.Unanswered):
		last.Answered = false
	case c.Cut && c.Ended.Sub(last.End) < unreadFor:
		last.Doubtful = true
	}
}
