package control

import (
	"context"
	"time"

	"streamer/consumer"
)

const (
	// buryEvery is how often it is looked whether jobs that are being deleted have ended everywhere.
	buryEvery = 500 * time.Millisecond
	// buryTimeout bounds one try to end what is left of a job.
	buryTimeout = 30 * time.Second
)

// bury removes jobs that are being deleted, once no live instance runs them, until ctx ends. Of the live instances, the job's first does
// it; if it dies half way, the next one begins again: each step may be done twice. The order is
//
//  1. every instance stops the job and takes its member out of the group, since the definition says that it is being deleted;
//  2. no live instance reports the job any more, so nobody commits for it;
//  3. what is to go with it goes: the group, the dead-letter topic. Kafka does not delete a group that has members: one that is not live
//     for us is waited for;
//  4. definition and memory are deleted together.
func (s *Supervisor) bury(ctx context.Context) {
	for sleep(ctx, buryEvery) {
		var live []string
		for _, j := range s.all() {
			j.mu.Lock()
			wanted, over := j.deleting, !j.awake && !j.gone
			j.mu.Unlock()
			if wanted == nil || !over {
				continue
			}
			if live == nil {
				if live = s.liveIDs(); live == nil {
					break
				}
			}
			if !s.first(j.ID, live) || len(s.Reports(j.ID)) > 0 {
				continue
			}
			asked, cancel := context.WithTimeout(ctx, buryTimeout)
			err := s.end(asked, j, wanted)
			cancel()
			if ctx.Err() != nil {
				return
			}
			j.mu.Lock()
			before := j.broken
			if j.broken = ""; err != nil {
				j.broken = "it cannot be deleted yet: " + err.Error()
			}
			news := j.broken != before
			j.mu.Unlock()
			if err != nil && news {
				j.log.Error("the job cannot be deleted yet; trying on", "cause", err)
			}
			s.redecide(j.ID)
		}
	}
}

// end deletes what is left of a job.
func (s *Supervisor) end(ctx context.Context, j *supervised, how *Deletion) error {
	if how.Offsets || how.Letters {
		config, ok := j.config()
		if !ok {
			config = consumer.Config{Job: j.ID}
			var err error
			if config.Group, config.DeadLetterTopic, err = s.options.Definitions.leftovers(j.ID); err != nil {
				return err
			}
		}
		if err := s.options.Kafka.Purge(ctx, config, how.Offsets, how.Letters); err != nil {
			return err
		}
	}
	return s.options.Definitions.remove(ctx, j.ID)
}
