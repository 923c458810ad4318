package control

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/secret"
)

const (
	instancePrefix = "instance/"
	jobPrefix      = "job/"
	// reportEvery is how often an instance says that it lives, deadAfter when it is taken for dead, and lookEvery how soon a job's
	// news are reported. The place of an instance that is killed is taken within 15 s, and this is the sum:
	//
	//  1. Its last report is 0 to 2.5 s old: it is taken for dead 5.5 to 8 s after it was killed.
	//  2. The others see that within a second (decideEvery), and the one that is chosen joins the group: 9 s, and what it takes to ask
	//     Kafka about the job.
	//  3. The dead member is in the group until its session ends, 10 s after its last heartbeat at the latest, and the group waits for it.
	//     Whoever has joined by then is given the partitions at once: 10 s, or some more on a busy machine. So nobody has to be taken
	//     out of a group, and a group that became empty does not wait once more for others (group.initial.rebalance.delay.ms).
	//
	// Under the consumer protocol the third step takes the group's own session timeout.
	//
	// An instance is not taken for dead because nobody could report: deadAfter is more than the longest time between two reports of an
	// instance and what a pause of all counts at most (longestSilence of kafkalog).
	reportEvery = 2 * time.Second
	deadAfter   = 8 * time.Second
	lookEvery   = time.Second
	// repeatEvery is when a job's report is repeated without news: the topic forgets it after an hour.
	repeatEvery = time.Minute
)

// Self is an instance as the others see it.
type Self struct {
	// ID is its name among the live ones.
	ID string `json:"id"`
	// Advertise is the URL at which others reach its API.
	Advertise string    `json:"advertise"`
	Version   string    `json:"version,omitempty"`
	Started   time.Time `json:"started"`
	// Jobs are those that run on it.
	Jobs []string `json:"jobs"`
	// Static says that it has an id of its own and comes back under it.
	Static bool `json:"static,omitempty"`
	// Proof is that of its address, made with the secret key of the installation. Doubt says why this instance does not believe it, and
	// passes no call on to it; whoever reads a report finds it out himself. Apart says that it is for its clock, or for this instance's.
	Proof string `json:"proof,omitempty"`
	Doubt string `json:"doubt,omitempty"`
	Apart bool   `json:"-"`
}

// JobReport is a job as an instance says it is there.
type JobReport struct {
	Job      string          `json:"-"`
	Instance string          `json:"-"`
	State    State           `json:"state"`
	Cause    string          `json:"cause,omitempty"`
	Holds    []consumer.Hold `json:"holds,omitempty"`
	Since    time.Time       `json:"since"`
	// Lag is that of the partitions there; absent while it is not known.
	Lag        *int64                    `json:"lag,omitempty"`
	Partitions []consumer.TopicPartition `json:"partitions"`
}

// roll remembers what instances said of themselves, so that it is decoded once.
type roll struct {
	mu    sync.Mutex
	known map[string]selfSaid // by key of the report
	told  map[string]string   // by id: the doubt that was told of last
}

type selfSaid struct {
	revision int64
	self     Self
	err      error
}

// read decodes the reports of instances, and looks whether their addresses are to be believed. News are those of whom that has changed.
func (f *roll) read(reports []kafkalog.Entry, me string, keys *secret.Keyring) (out, news []Self) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before, told := f.known, f.told
	f.known, f.told = make(map[string]selfSaid, len(reports)), map[string]string{}
	for _, e := range reports {
		said, known := before[e.Key]
		if !known || said.revision != e.Revision {
			said = selfSaid{revision: e.Revision}
			said.err = json.Unmarshal(e.Value, &said.self)
			said.self.Doubt, said.self.Apart = doubt(keys, me, said.self, e.At)
		}
		f.known[e.Key] = said
		if said.err != nil || e.Key != instancePrefix+said.self.ID || time.Since(e.At) >= deadAfter {
			continue
		}
		out = append(out, said.self)
		f.told[said.self.ID] = said.self.Doubt
		if told[said.self.ID] != said.self.Doubt {
			news = append(news, said.self)
		}
	}
	return out, news
}

// Instances gives the live instances, by id. What they say is not to be changed.
func (s *Supervisor) Instances() []Self {
	if s.options.Bulletin == nil {
		return []Self{s.self()}
	}
	live, news := s.roll.read(s.options.Bulletin.Reports(instancePrefix), s.Me().ID, s.options.Keys)
	s.tell(news)
	return live
}

// liveIDs are the ids of live instances; nil while this one is not among them: then the log does not know the present yet.
func (s *Supervisor) liveIDs() []string {
	var ids []string
	for _, i := range s.Instances() {
		ids = append(ids, i.ID)
	}
	if !slices.Contains(ids, s.me.ID) {
		return nil
	}
	return ids
}

// Reports gives what the live instances say of a job, by instance.
func (s *Supervisor) Reports(job string) []JobReport {
	if s.options.Bulletin == nil {
		return nil
	}
	live := map[string]bool{}
	for _, i := range s.Instances() {
		live[i.ID] = true
	}
	var out []JobReport
	for _, e := range s.options.Bulletin.Reports(jobPrefix + job + "/") {
		r := JobReport{Job: job, Instance: strings.TrimPrefix(e.Key, jobPrefix+job+"/")}
		if live[r.Instance] && json.Unmarshal(e.Value, &r) == nil {
			out = append(out, r)
		}
	}
	return out
}

// Telling gives the live instances that say something of a job: it runs there, or should.
func (s *Supervisor) Telling(job string) (out []Self) {
	live := s.Instances()
	for _, r := range s.Reports(job) {
		if i := slices.IndexFunc(live, func(i Self) bool { return i.ID == r.Instance }); i >= 0 {
			out = append(out, live[i])
		}
	}
	return out
}

// OwnerOf gives the live instance that says it has a partition of a job; false: none does.
func (s *Supervisor) OwnerOf(job, topic string, partition int32) (Self, bool) {
	for _, r := range s.Reports(job) {
		if !slices.Contains(r.Partitions, consumer.TopicPartition{Topic: topic, Partition: partition}) {
			continue
		}
		for _, i := range s.Instances() {
			if i.ID == r.Instance {
				return i, true
			}
		}
	}
	return Self{}, false
}

// self is this instance with the jobs that run on it now.
func (s *Supervisor) self() Self {
	self := s.me
	self.Proof = prove(s.options.Keys, self, time.Now())
	self.Jobs = []string{}
	for _, j := range s.all() {
		j.mu.Lock()
		if j.runner != nil {
			self.Jobs = append(self.Jobs, j.ID)
		}
		j.mu.Unlock()
	}
	return self
}

// share reports until ctx ends. When soft ends, an instance that will not come back says at once that it goes, so that its jobs find
// another place while it drains; its jobs are taken back in the end.
func (s *Supervisor) share(soft, ctx context.Context) {
	said := map[string]told{}
	var alive time.Time
	going := soft.Done()
	for tick := time.NewTicker(lookEvery); ; {
		if soft.Err() == nil && time.Since(alive) > reportEvery-lookEvery/2 {
			alive = time.Now()
			s.report(instancePrefix+s.me.ID, s.self())
		}
		s.shareJobs(said)
		select {
		case <-tick.C:
		case <-going:
			going = nil
			if !s.me.Static {
				s.options.Bulletin.Report(instancePrefix+s.me.ID, nil)
			}
		case <-ctx.Done():
			tick.Stop()
			for job := range said {
				s.options.Bulletin.Report(jobPrefix+job+"/"+s.me.ID, nil)
			}
			return
		}
	}
}

// told is what was reported of a job last.
type told struct {
	text []byte // without what changes all the time
	at   time.Time
}

// shareJobs reports the jobs that run here or should, if there is news or none for long. Of one that does not there is no report.
func (s *Supervisor) shareJobs(said map[string]told) {
	present := make(map[string]bool, len(said))
	for _, j := range s.all() {
		j.mu.Lock()
		quiet := j.state == Stopped && j.runner == nil || j.plan == nil
		j.mu.Unlock()
		if !quiet && s.shareJob(j, said) {
			present[j.ID] = true
		}
	}
	for job := range said {
		if !present[job] {
			s.options.Bulletin.Report(jobPrefix+job+"/"+s.me.ID, nil)
			delete(said, job)
		}
	}
}

// shareJob is about one job; false: it is stopped.
func (s *Supervisor) shareJob(j *supervised, said map[string]told) bool {
	st, rs := j.look()
	if st.State == Stopped {
		return false
	}
	last, known := said[j.ID]
	r := JobReport{State: st.State, Cause: st.Cause, Holds: rs.Holds, Since: st.Since.UTC(), Partitions: make([]consumer.TopicPartition, 0, len(rs.Partitions))}
	for _, p := range rs.Partitions {
		r.Partitions = append(r.Partitions, consumer.TopicPartition{Topic: p.Topic, Partition: p.Partition})
	}
	text, err := json.Marshal(r)
	if err != nil || known && bytes.Equal(text, last.text) && time.Since(last.at) < repeatEvery {
		return true
	}
	said[j.ID] = told{text, time.Now()}
	r.Lag = st.Lag // alone it is no news
	s.report(jobPrefix+j.ID+"/"+s.me.ID, r)
	return true
}

func (s *Supervisor) report(key string, v any) {
	if text, err := json.Marshal(v); err == nil {
		s.options.Bulletin.Report(key, text)
	}
}
