package consumer

import (
	"fmt"
	"strings"
	"time"
)

// A gap is what lies between where a job would go on and what the log has: records that expired before they were delivered, offsets
// that were lost, a log that was cut, another topic of the same name. Nobody but an operator may say that it is passed over
// (Runner.Accept); until then its partition is held: not read, and not committed past.

// gap is why a partition is held, in numbers.
type gap struct {
	from int64 // where the job would go on
	to   int64 // where the log goes on: its start, or where it was cut
	lost int64 // records from from up to to that were not finished
}

// hold keeps the partition from being read until an operator decides, and reports whether the cause is new. A hold of the same cause
// gets newer numbers and keeps its since; of two causes the first stays, since what follows from it would hide it. But a topic that
// was made anew is no longer the log that any other hold was of.
func (p *partition) hold(h Hold, g gap) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := !p.wait.hold || p.wait.kind != h.Cause
	if fresh && p.wait.hold && h.Cause != HoldRecreated {
		return false
	}
	if !fresh {
		h.Since = p.wait.since
	}
	p.wait = wait{cause: h.Reason, since: h.Since, hold: true, kind: h.Cause, next: h.Next, gap: g}
	return fresh
}

// severed says that the partition's offsets are of a log that is gone: they must not be committed to the new one. For who holds the lock.
func (p *partition) severed() bool { return p.wait.kind == HoldRecreated }

// holdPartition is hold, and says so in the log when it is new.
func (r *Runner) holdPartition(p *partition, h Hold, g gap) {
	h.Since = time.Now()
	if p.hold(h, g) {
		r.log.Error("partition held", "topic", p.topic, "partition", p.id, "cause", string(h.Cause), "reason", h.Reason, "next", h.Next)
	}
	r.signalRoom() // pauses it
}

// accept is the command that ends a hold.
func (r *Runner) acceptCommand(topic string, partition int32, at string) string {
	out := "streamer offsets accept " + r.cfg.Job
	if topic != "" {
		out += " --topic " + topic
	}
	if partition >= 0 {
		out += fmt.Sprintf(" --partition %d", partition)
	}
	return out + " --at " + at
}

// expiredHold is of records that the log had lost before they were read.
func (r *Runner) expiredHold(p *partition, g gap) Hold {
	return Hold{Cause: HoldExpired,
		Reason: fmt.Sprintf("records expired: the job would go on at offset %d, the log begins at %d; of the %d offsets between, %d were not finished", g.from, g.to, g.to-g.from, g.lost),
		Next:   "nothing more is read until the loss is accepted: " + r.acceptCommand(p.topic, p.id, "earliest") + " goes on where the log begins; then raise the topic's retention"}
}

// beyondHold is of an offset past the end of the log.
func (r *Runner) beyondHold(p *partition, g gap) Hold {
	return Hold{Cause: HoldLogCut,
		Reason: fmt.Sprintf("the log ends before the job's offset: the job would go on at %d, the log ends at %d; it was cut or restored from a copy, or the offset was set by hand", g.from, g.to),
		Next:   "nothing is read until it is said where to go on: " + r.acceptCommand(p.topic, p.id, "committed") + " goes on where the log is, earliest and an offset send rows again"}
}

// cutHold is of a log that was cut below what was read of it.
func (r *Runner) cutHold(p *partition, g gap) Hold {
	return Hold{Cause: HoldLogCut,
		Reason: fmt.Sprintf("the log was cut behind us: we had read up to %d, it was cut at %d, as after an unclean leader election", g.from, g.to),
		Next:   "nothing more is read until it is said where to go on: " + r.acceptCommand(p.topic, p.id, "committed") + " goes on at the committed offset or the cut, whichever is lower"}
}

// unreadableHold is of a batch that the client cannot read.
func (r *Runner) unreadableHold(p *partition, err error, g gap) Hold {
	return Hold{Cause: HoldUnreadable,
		Reason: fmt.Sprintf("what was fetched cannot be read: %v; the last offset that could is %d", err, g.from-1),
		Next:   "nothing more is read until it is said where to go on: " + r.acceptCommand(p.topic, p.id, "committed") + " reads the same again, an offset goes on there"}
}

// lostHold is of a partition that has begun and has no committed offset.
func (r *Runner) lostHold(p *partition) Hold {
	return Hold{Cause: HoldOffsetsLost,
		Reason: fmt.Sprintf("the offset was lost: the job has begun to read %s/%d, and group %s has no committed offset of it any more", p.topic, p.id, r.cfg.Group),
		Next:   "nothing is read until it is said where to go on: " + r.acceptCommand(p.topic, p.id, "earliest|latest|OFFSET")}
}

// recreatedHold is of a topic that is another one than the job has begun.
func (r *Runner) recreatedHold(topic, begun, now string) Hold {
	return Hold{Cause: HoldRecreated,
		Reason: fmt.Sprintf("the topic was deleted and made anew: the job has begun %s with id %s, it is %s now; nothing of the new one is read, and nothing is committed to it", topic, begun, now),
		Next:   "if the new topic is meant, say where to begin it: " + r.acceptCommand(topic, -1, "earliest|latest|OFFSET")}
}

// lostAllHold is of a group that has lost every offset.
func (r *Runner) lostAllHold(lost foundTopics) Hold {
	return Hold{Cause: HoldOffsetsLost,
		Reason: fmt.Sprintf("all offsets were lost: the job has begun to read %s, and group %s has no committed offset any more; Kafka forgets those of a group without members after offsets.retention.minutes",
			strings.Join(lost.names(), ", "), r.cfg.Group),
		Next: "nothing is read until it is said where to go on: " + r.acceptCommand("", -1, "earliest|latest")}
}

// holdAll holds a job whose group has lost every offset. It has not joined its group then, and looks again by itself.
func (r *Runner) holdAll(lost foundTopics) error {
	h := r.lostAllHold(lost)
	h.Since = time.Now()
	if r.gate.hold(h) {
		r.log.Error("job held", "cause", string(h.Cause), "reason", h.Reason, "next", h.Next)
	}
	r.gaps.lost = lost
	return &heldError{h}
}

// endHoldOfAll takes the hold of holdAll back.
func (r *Runner) endHoldOfAll() {
	r.gaps.lost = nil
	if r.gate.release(HoldOffsetsLost) {
		r.log.Info("job no longer held: its group has committed offsets", "cause", string(HoldOffsetsLost))
	}
}

// heldError says that the job is held before it has joined its group.
type heldError struct{ Hold }

func (e *heldError) Error() string { return e.Reason + "; " + e.Next }

// gaps is what a runner knows of gaps beside what its partitions hold. Make it with newGaps.
type gaps struct {
	look    chan struct{}    // capacity 1: look now
	accepts chan *acceptance // taken by who prepares the group, and by the watch of a session
	over    chan struct{}    // closed when the runner has ended
	lost    foundTopics      // what a job that is held as a whole has lost; of who prepares the group
}

func newGaps() gaps {
	return gaps{look: make(chan struct{}, 1), accepts: make(chan *acceptance), over: make(chan struct{})}
}

// lookAgain makes the watch look at the topics now.
func (r *Runner) lookAgain() { nudge(r.gaps.look) }
