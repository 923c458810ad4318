package control

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"streamer/consumer"
)

const (
	// measureEvery is how often brokers and partitions are counted again.
	measureEvery = 30 * time.Second
	// mostRequests is what a job counts at most for its requests in flight: connections beyond are not kept idle for long.
	mostRequests = 1024
)

// extent is how large a job is in Kafka; zero: not known.
type extent struct{ brokers, partitions int }

// place chooses at most n of the live instances for a job; all instances choose the same ones without a word. When one comes or
// goes, only jobs that it takes or had move. Method: rendezvous hashing (Thaler and Ravishankar 1998): the instances with the
// highest hash of (job, instance).
func place(job string, n int, live []string) []string {
	weight := func(id string) uint64 {
		sum := sha256.Sum256([]byte(job + "\x00" + id))
		return binary.BigEndian.Uint64(sum[:])
	}
	ranked := slices.SortedFunc(slices.Values(live), func(a, b string) int {
		return cmp.Or(cmp.Compare(weight(b), weight(a)), cmp.Compare(a, b))
	})
	return ranked[:min(n, len(ranked))]
}

// instances is on how many instances the job may run: what it says, but not more than it has partitions, as the others would have
// nothing to do. The caller holds mu.
func (j *supervised) instances() int {
	most := int(^uint(0) >> 1)
	if j.extent.partitions > 0 {
		most = j.extent.partitions
	} else if j.extent.brokers > 0 {
		most = 1 // its topics do not exist yet: one instance is enough to wait for them
	}
	if n := j.plan.config.Instances; n > 0 {
		most = min(most, n)
	}
	return most
}

// first says that it falls to this one of the live instances to do what has to be done once for a job. It does so to none while live is not
// known (nil).
func (s *Supervisor) first(job string, live []string) bool {
	return len(live) > 0 && place(job, 1, live)[0] == s.me.ID
}

// measure counts brokers and partitions until ctx ends: those of all jobs now and then, those of new ones at once.
func (s *Supervisor) measure(ctx context.Context) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for all := true; ; {
		var jobs []*supervised
		var configs []consumer.Config
		for _, j := range s.all() {
			j.mu.Lock()
			if j.plan != nil && (all || j.extent == nil) {
				jobs, configs = append(jobs, j), append(configs, j.plan.config)
			}
			j.mu.Unlock()
		}
		if len(jobs) > 0 {
			asked, cancel := context.WithTimeout(ctx, reachTimeout)
			brokers, partitions, err := s.options.Kafka.Extents(asked, configs)
			cancel()
			if ctx.Err() != nil {
				return
			}
			for i, j := range jobs {
				size := extent{}
				if err == nil {
					size = extent{brokers, partitions[i]}
				}
				if j.sized(size, err == nil) {
					s.redecide(j.ID)
				}
			}
		}
		select {
		case <-tick.C:
			all = true
		case <-s.unsized:
			all = false
		case <-ctx.Done():
			return
		}
	}
}

// sized notes how large a job is, and reports whether that is news. What was known stays when Kafka does not answer.
func (j *supervised) sized(e extent, answered bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.extent != nil && (!answered || *j.extent == e) {
		return false
	}
	j.extent = &e
	return true
}

// need is how many connections a job may take: for its group and its fetches from every broker, and for its requests.
func (j *supervised) need() need {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n need
	if j.plan != nil {
		n.requests = j.plan.need
	}
	if j.extent != nil {
		n.brokers = j.extent.brokers
	}
	return n
}

type need struct{ brokers, requests int }

func (n need) connections() int { return 2*n.brokers + n.requests }

// budget is what is left of the connections of a process. A job that does not fit is not started at all: with half of what it needs
// it would fail at the worst moment, and take others with it.
type budget struct{ total, used int }

func (b *budget) take(n need) { b.used += n.connections() }

// ask takes what a job needs, or says why it cannot have it.
func (b *budget) ask(n need) string {
	if left := b.total - b.used; b.total > 0 && n.connections() > left {
		return fmt.Sprintf("needs %d connections (2 to each of %d brokers, %d for requests), and %d of %d are left; raise the limit of open files or STREAMER_CONNECTIONS, "+
			"lower delivery.concurrency, or let fewer jobs run here", n.connections(), n.brokers, n.requests, max(left, 0), b.total)
	}
	b.take(n)
	return ""
}

// renew commits the offsets of jobs that run nowhere once a day until ctx ends, or Kafka would forget them. Of the live instances
// the job's first does it.
func (s *Supervisor) renew(ctx context.Context) {
	for sleep(ctx, s.options.KeepEvery/64) {
		live := s.liveIDs()
		for _, j := range s.all() {
			config, ok := j.config()
			if !ok || j.decided().run || !s.first(j.ID, live) || time.Since(j.kept) < s.options.KeepEvery {
				continue
			}
			n, err := s.keepOffsets(ctx, j, config)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				j.log.Warn("the offsets of a job that does not run could not be renewed; trying again", "cause", err)
				continue
			case n > 0:
				j.log.Info("offsets of a job that does not run renewed", "partitions", n)
			}
			j.kept = time.Now()
		}
	}
}

// keepOffsets renews the offsets of a job, unless they are being reset: what is renewed was read before.
func (s *Supervisor) keepOffsets(ctx context.Context, j *supervised, config consumer.Config) (int, error) {
	j.moving.Lock()
	defer j.moving.Unlock()
	if m, _, err := s.options.Store.look(j.ID); err != nil || m.Reset != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	return s.options.Kafka.KeepOffsets(ctx, config)
}
