package control

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
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
	if j.Config.Instances > 0 {
		most = min(most, j.Config.Instances)
	}
	return most
}

// measure counts brokers and partitions until ctx ends.
func (s *Supervisor) measure(ctx context.Context) {
	for {
		for _, j := range s.jobs {
			if j.Broken != "" {
				continue
			}
			asked, cancel := context.WithTimeout(ctx, reachTimeout)
			brokers, partitions, err := s.options.Kafka.Extent(asked, j.Config)
			cancel()
			if ctx.Err() != nil {
				return
			}
			j.mu.Lock()
			switch {
			case err == nil:
				j.extent = &extent{brokers, partitions}
			case j.extent == nil:
				j.extent = &extent{}
			}
			j.mu.Unlock()
			s.again()
		}
		if !sleep(ctx, measureEvery) {
			return
		}
	}
}

// need is how many connections a job may take: for its group and its fetches from every broker, and for its requests.
func (j *supervised) need() need {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := need{requests: min(j.Config.Defaults().Sink.Concurrency, mostRequests)}
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
		for _, j := range s.jobs {
			d := j.decided()
			if j.Broken != "" || d.run || len(live) == 0 || place(j.ID, 1, live)[0] != s.me.ID || time.Since(j.kept) < s.options.KeepEvery {
				continue
			}
			n, err := s.keepOffsets(ctx, j)
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
func (s *Supervisor) keepOffsets(ctx context.Context, j *supervised) (int, error) {
	j.moving.Lock()
	defer j.moving.Unlock()
	if m, _, err := s.options.Store.look(j.ID); err != nil || m.Reset != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	return s.options.Kafka.KeepOffsets(ctx, j.Config)
}
