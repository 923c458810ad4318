package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
)

// Readiness is what /readyz answers.
type Readiness struct {
	// Ready: the job files were read, Kafka has answered, the log was read, what connections register is registered, and the process is not stopping. A job that failed or waits does not make
	// an instance unready: the others need it.
	Ready bool `json:"ready"`
	// Kafka is empty or says why Kafka was not reached yet.
	Kafka string `json:"kafka,omitempty"`
	// Log says what is wrong with the log that instances share; empty: nothing.
	Log string `json:"log,omitempty"`
	LogAge
	// Registrations are those of connections that are not done, and why; those of the start are waited for.
	Registrations []string `json:"registrations,omitempty"`
	// Doubted are live instances to which no call is passed on, since their addresses are not proven, and why.
	Doubted  []string    `json:"doubted,omitempty"`
	Stopping bool        `json:"stopping,omitempty"`
	Jobs     []JobStatus `json:"jobs"`
	// Files names the job files that could not be read, and why; and what is wrong with connections in them.
	Files []string `json:"files,omitempty"`
}

// JobStatus is one job on this instance.
type JobStatus struct {
	ID    string    `json:"id"`
	Owner string    `json:"owner,omitempty"`
	File  string    `json:"file"`
	State State     `json:"state"`
	Cause string    `json:"cause,omitempty"`
	Since time.Time `json:"since"`
	// Partitions is how many are assigned to this instance; Waits are those that are not read on.
	Partitions int    `json:"partitions"`
	Waits      []Wait `json:"waits,omitempty"`
	// Lag in records; absent while it is not known.
	Lag *int64 `json:"lag,omitempty"`
	// InFlight rows have an attempt running or wait for the next one, as the metric streamer_in_flight has it.
	InFlight             int     `json:"in_flight"`
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
	// BreakersOpen are the targets that get only probes now.
	BreakersOpen []Breaker `json:"breakers_open,omitempty"`
	// Reset is one that is under way.
	Reset *ResetStatus `json:"reset,omitempty"`
}

// Breaker is a target whose breaker is open, and what opened it or its last probe failed with.
type Breaker struct {
	// Target is scheme://host:port.
	Target string `json:"target"`
	Cause  string `json:"cause"`
}

// Wait is a partition that is not read on.
type Wait struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Cause     string    `json:"cause"`
	Since     time.Time `json:"since"`
	Committed int64     `json:"committed"`
	Pending   int       `json:"pending"`
}

// fill takes over what the runner says of its partitions and deliveries.
func (s *JobStatus) fill(rs consumer.Status) {
	s.Partitions = len(rs.Partitions)
	if rs.Lag >= 0 && len(rs.Partitions) > 0 {
		lag := rs.Lag
		s.Lag = &lag
	}
	s.InFlight = rs.Delivery.InFlight + rs.Delivery.Waiting
	s.OldestPendingSeconds = rs.OldestPending.Seconds()
	for _, t := range rs.Delivery.Targets {
		if t.Open {
			s.BreakersOpen = append(s.BreakersOpen, Breaker{Target: t.Target, Cause: t.Cause})
		}
	}
	for _, p := range rs.Partitions {
		if p.Cause != "" {
			s.Waits = append(s.Waits, Wait{Topic: p.Topic, Partition: p.Partition, Cause: p.Cause, Since: p.Since.UTC(),
				Committed: p.Committed, Pending: p.Pending})
		}
	}
}

// Readiness tells how the instance and its jobs are, now.
func (s *Supervisor) Readiness() Readiness {
	s.mu.Lock()
	r := Readiness{Kafka: s.unreach, Stopping: s.stopping, Files: s.files()}
	reached, begun := s.reached, s.begun
	s.mu.Unlock()
	all := s.all()
	r.Jobs = make([]JobStatus, 0, len(all))
	for _, j := range all {
		st := j.status()
		st.Since = st.Since.UTC()
		r.Jobs = append(r.Jobs, st)
		// A member of a group has reached Kafka, whatever the first question said.
		reached = reached || st.State.member()
	}
	if !reached && r.Kafka == "" {
		r.Kafka = "not reached yet"
	}
	if reached {
		r.Kafka = ""
	}
	for _, i := range s.Instances() {
		if i.Doubt != "" {
			r.Doubted = append(r.Doubted, fmt.Sprintf("instance %s at %s: %s", i.ID, i.Advertise, i.Doubt))
		}
	}
	log := s.options.Store.log
	r.Log, r.LogAgeSeconds = log.Problem(), log.Age().Seconds()
	var registered bool
	registered, r.Registrations = s.registrations.waits()
	r.Ready = begun && reached && notRead(log) == nil && registered && !r.Stopping
	return r
}

// files says what is wrong with job files: those that cannot be read, their connections, and the faults of jobs that the log has too. The caller holds mu.
func (s *Supervisor) files() []string {
	files := slices.Concat(s.options.Files, s.unsown)
	for _, j := range s.strays {
		if s.jobs[j.ID] != nil {
			files = append(files, j.broken+"; job "+j.ID+" runs as the log in Kafka has it")
		}
	}
	return files
}

// stateMetric gives streamer_job_state when metrics are asked for: 1 for the state a job is in, 0 for the others.
type stateMetric struct{ s *Supervisor }

var jobState = prometheus.NewDesc("streamer_job_state", "1 for the state that the job is in on this instance, 0 for the others.",
	[]string{"job", "state"}, nil)

// Describe implements prometheus.Collector.
func (m stateMetric) Describe(out chan<- *prometheus.Desc) { out <- jobState }

// Collect implements prometheus.Collector. Jobs without an id have no line; of jobs that share one, all failed, it is one line.
func (m stateMetric) Collect(out chan<- prometheus.Metric) {
	seen := map[string]bool{"": true}
	for _, j := range m.s.all() {
		if seen[j.ID] {
			continue
		}
		seen[j.ID] = true
		now := j.status().State
		for _, state := range States {
			value := 0.0
			if state == now {
				value = 1
			}
			out <- prometheus.MustNewConstMetric(jobState, prometheus.GaugeValue, value, j.ID, string(state))
		}
	}
}
