package control

import (
	"slices"

	"streamer/consumer"
)

// State is what a job is doing on this instance.
//
//	             ┌──── runner put out of its group, or ended with an error ─────┐
//	             ▼                                                              │
//	( ) ──► starting ─────────────────────────────────────────────────────► running ──► stopped
//	 │           │ ▲                                                            ▲  │
//	 │   refused │ │ ended with another error                                   │  │
//	 │           ▼ │                                                            │  │
//	 └──────► failed ───────── tried again, and this time not refused ──────────┘  │
//	             ▲                                                                 │
//	             └──────────────────────────── refused ────────────────────────────┘
//
// From every state a job can become stopped, and nothing follows stopped. A job whose definition is broken begins as failed and
// stays it. A runner that was put out of its group begins anew by itself; one that ended with an error is followed by another one.
// A partition that waits alone leaves its job running and names its cause (consumer.PartitionStatus).
type State string

// The states of a job.
const (
	// Starting looks for the cluster, the topics and the group.
	Starting State = "starting"
	// Running is a member of its group.
	Running State = "running"
	// Failed cannot run as it is defined, or is refused by the cluster; the cause says why.
	Failed State = "failed"
	// Stopped has left its group.
	Stopped State = "stopped"
)

// States are all states, as the metric streamer_job_state names them.
var States = []State{Starting, Running, Failed, Stopped}

// steps are the states that may follow a state.
var steps = map[State][]State{
	Starting: {Running, Failed, Stopped},
	Running:  {Starting, Failed, Stopped},
	Failed:   {Starting, Running, Stopped},
	Stopped:  {},
}

// mayBecome tells whether next may follow s. Staying is no step, and allowed.
func (s State) mayBecome(next State) bool {
	return s == next || slices.Contains(steps[s], next)
}

// ofRunner is the state that a runner's own state means.
func ofRunner(s consumer.State) State {
	switch s {
	case consumer.Running, consumer.Paused, consumer.Held:
		return Running
	case consumer.Stopped:
		return Stopped
	}
	return Starting
}
