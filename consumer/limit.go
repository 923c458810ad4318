package consumer

import (
	"sync"

	"streamer/sink"
)

// Work is how busy one partition of a job is on the instance that has it.
type Work struct {
	TopicPartition
	// Busy is the part of the time in which there was something to do: 0 to 1; from Instance.Load it is one of the two.
	Busy float64 `json:"busy"`
}

// Load is what the partitions of a job on one instance have to do, and what was sent for them.
type Load struct {
	// Partitions are those that the instance has, its redrive among them.
	Partitions []Work
	// Rows are the rows that were read, Redrive those of redrives.
	Rows, Redrive Sent
}

// Sent is what a limit lets pass, and whether it holds something back.
type Sent struct {
	// Started attempts so far.
	Started uint64
	// Held says that a row waits for nothing but its turn in the rate.
	Held bool
}

// RedriveWork stands among the partitions of a job for its redrive, of which there is one at most.
var RedriveWork = TopicPartition{Partition: -1}

// rates divides the rate limits of jobs: a limit holds for all instances together, and on an instance for all sinks of the job, that
// of its runner and that of a redrive. Who divides (control) asks Instance.Load what there is to do, and says by Instance.Divide
// what this instance may take; until then a sink has the whole limit.
type rates struct {
	mu   sync.Mutex
	jobs map[string]*rateOf
}

// rateOf is the limit of one job on this instance.
type rateOf struct {
	rows, redrive float64 // shares
	sinks         map[*limited]struct{}
	ended         Load // attempts of sinks that are no more
}

// limited is a sink under the limit of its job.
type limited struct {
	sink    *sink.Sink
	part    float64 // of the job's limit that the sink's own is; 1 unless that is lower
	redrive bool
	work    func() []Work
}

// limit puts a sink under the limit of its job until it is ended by end.
func (i *Instance) limit(job string, l *limited) (end func()) {
	r := &i.rates
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begin(r.of(job), l)
}

// limitInstead puts l in the place of old, which is under the limit no more: at no time both are, or none.
func (i *Instance) limitInstead(job string, old, l *limited) (end func()) {
	r := &i.rates
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.of(job)
	j.end(old)
	return r.begin(j, l)
}

// begin counts l to the job; the caller holds mu.
func (r *rates) begin(j *rateOf, l *limited) (end func()) {
	j.sinks[l] = struct{}{}
	j.divide(l)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		j.end(l)
	}
}

// end keeps what a sink has sent; it does nothing the second time. The caller holds mu.
func (j *rateOf) end(l *limited) {
	if _, there := j.sinks[l]; !there {
		return
	}
	j.ended.add(l)
	j.ended.Rows.Held, j.ended.Redrive.Held = false, false
	delete(j.sinks, l)
}

// add counts the attempts of a sink.
func (a *Load) add(l *limited) {
	st, sent := l.sink.Stats(), &a.Rows
	if l.redrive {
		sent = &a.Redrive
	}
	sent.Started += st.Started
	sent.Held = sent.Held || st.Held
}

// of gives the job's limit. The caller holds mu.
func (r *rates) of(job string) *rateOf {
	if r.jobs == nil {
		r.jobs = map[string]*rateOf{}
	}
	j := r.jobs[job]
	if j == nil {
		j = &rateOf{rows: 1, redrive: 1, sinks: map[*limited]struct{}{}}
		r.jobs[job] = j
	}
	return j
}

// partOf is which part of the job's limit a lower one is; 1 where there is none.
func partOf(lower, job sink.Rate) float64 {
	if lower.Count == 0 || job.Count == 0 {
		return 1
	}
	lower, job = sink.Config{Rate: lower}.Defaults().Rate, sink.Config{Rate: job}.Defaults().Rate
	return min(1, lower.Count/lower.Per.Seconds()/(job.Count/job.Per.Seconds()))
}

func (j *rateOf) divide(l *limited) {
	share := j.rows
	if l.redrive {
		share = j.redrive
	}
	l.sink.SetShare(min(share/l.part, 1))
}

// Load says which partitions of a job this instance has, its redrive among them, which of them have something to do (rows that are not
// final, or records that were not read), and what was sent so far. The counts never fall.
func (i *Instance) Load(job string) Load {
	i.rates.mu.Lock()
	var sinks []*limited
	var load Load
	if j := i.rates.jobs[job]; j != nil {
		load = j.ended
		for l := range j.sinks {
			sinks = append(sinks, l)
			load.add(l)
		}
	}
	i.rates.mu.Unlock()
	for _, l := range sinks {
		load.Partitions = append(load.Partitions, l.work()...)
	}
	return load
}

// Divide says which part of a job's rate limit this instance may take from now on, for the rows it reads and for a redrive: 0 < share ≤ 1.
func (i *Instance) Divide(job string, rows, redrive float64) {
	i.rates.mu.Lock()
	defer i.rates.mu.Unlock()
	j := i.rates.of(job)
	j.rows, j.redrive = rows, redrive
	for l := range j.sinks {
		j.divide(l)
	}
}

// share is the part of the job's limit that the instance's rows may take.
func (r *rates) share(job string) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(job).rows
}

// work is the runner's part of Instance.Load. A partition on hold has nothing to do, whatever is in its log.
func (r *Runner) work() []Work {
	var out []Work
	for _, p := range r.all() {
		w := Work{TopicPartition: TopicPartition{p.topic, p.id}}
		if p.busy() {
			w.Busy = 1
		}
		out = append(out, w)
	}
	return out
}

// busy says that there are rows to send, or records to read. What only waits for its commit is no work any more.
func (p *partition) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracker == nil || p.wait.hold {
		return false
	}
	return len(p.queue) > 0 || p.tracker.Pending() > 0 || p.highWater > p.tracker.Next()
}
