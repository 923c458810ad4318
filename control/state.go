package control

import (
	"slices"

	"streamer/consumer"
)

// State is what a job is doing on this instance.
//
//	             ┌──── runner put out of its group, or ended with an error ─────┐
//	             ▼                                                              │
//	( ) ──► starting ────────────────────────────────────────► running ◄─► paused ◄─► held ◄─► running
//	 │        ▲  │ ▲                                               ▲  │
//	 │        │  │ │ ended with another error                      │  │ refused
//	 │ wanted │  ▼ │                                               │  ▼
//	 │  here  │ failed ── tried again, and this time not refused ──┘ (failed)
//	 └──────► │  ▲
//	          │  │ its memory cannot be read, or too few connections are left
//	        stopped ◄── from every state: an operator stopped it, it runs on other instances, or the process ends
//	          ▲  │
//	          │  ▼
//	       resetting ◄── from every state: an operator resets its offsets; starting, failed or stopped follows
//
// Running, paused and held are those of a member of the group, and any of them may follow another. From stopped it is a long way
// back: a job has to start before it can run. A job whose definition is broken begins as failed and stays it. A runner that was put
// out of its group begins anew by itself; one that ended with an error is followed by another one. A partition that waits alone
// leaves its job running and names its cause (consumer.PartitionStatus).
type State string

// The states of a job.
const (
	// Starting waits for the log, or looks for the cluster, the topics and the group.
	Starting State = "starting"
	// Running is a member of its group.
	Running State = "running"
	// Paused is a member of its group and starts no attempts, since an operator wants it so.
	Paused State = "paused"
	// Held is a member of its group and sends nothing but probes, since something is wrong; its holds say what.
	Held State = "held"
	// Failed cannot run as it is defined, or is refused by the cluster; the cause says why.
	Failed State = "failed"
	// Stopped is not in its group: an operator stopped it, it runs on other instances, or the process ends.
	Stopped State = "stopped"
	// Resetting has left its group on every instance, or is about to, while its offsets are set anew. It goes on as it was wanted before.
	Resetting State = "resetting"
)

// States are all states, as the metric streamer_job_state names them.
var States = []State{Starting, Running, Paused, Held, Failed, Stopped, Resetting}

// steps are the states that may follow a state.
var steps = map[State][]State{
	Starting:  {Running, Paused, Held, Failed, Stopped, Resetting},
	Running:   {Starting, Paused, Held, Failed, Stopped, Resetting},
	Paused:    {Starting, Running, Held, Failed, Stopped, Resetting},
	Held:      {Starting, Running, Paused, Failed, Stopped, Resetting},
	Failed:    {Starting, Running, Paused, Held, Stopped, Resetting},
	Stopped:   {Starting, Failed, Resetting},
	Resetting: {Starting, Failed, Stopped},
}

// member tells whether the job is a member of its group.
func (s State) member() bool { return s == Running || s == Paused || s == Held }

// mayBecome tells whether next may follow s. Staying is no step, and allowed.
func (s State) mayBecome(next State) bool {
	return s == next || slices.Contains(steps[s], next)
}

// ofRunner is the state that a runner's own state means.
func ofRunner(s consumer.State) State {
	switch s {
	case consumer.Running:
		return Running
	case consumer.Paused:
		return Paused
	case consumer.Held:
		return Held
	case consumer.Stopped:
		return Stopped
	}
	return Starting
}
