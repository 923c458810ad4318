package control

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"streamer/consumer"
)

// One instance that is cut off from the log goes on with what it runs; the others help meanwhile.
func TestCutOffFromTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		defer c.end()
		c.start("x")
		c.start("y")
		time.Sleep(5 * time.Second)
		was := c.runs("a")
		c.all[was].silent.Store(true)
		time.Sleep(time.Minute)
		if on := c.runs("a"); on != "x y" {
			t.Errorf("runs on %s", on)
		}
		c.all[was].silent.Store(false)
		time.Sleep(10 * time.Second)
		if on := c.runs("a"); on != was {
			t.Errorf("runs on %s", on)
		}
	})
}

// What is where: instances, what they say of a job, and who has a partition.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 10)
		defer c.end()
		lag := int64(5)
		runner := func(parts ...int32) func(*Options) {
			return func(o *Options) {
				o.NewRunner = func(consumer.Config) Runner {
					return &fakeRunner{run: func(soft, _ context.Context, r *fakeRunner) error {
						s := consumer.Status{State: consumer.Held, Since: time.Now(), Holds: []consumer.Hold{{Cause: consumer.HoldGuard}}, Lag: lag}
						for _, p := range parts {
							s.Partitions = append(s.Partitions, consumer.PartitionStatus{Topic: "t", Partition: p, Committed: 1, HighWatermark: 1})
						}
						r.show(s)
						<-soft.Done()
						return nil
					}}
				}
			}
		}
		x := c.start("x", runner(0, 1))
		c.start("y", runner(2))
		time.Sleep(10 * time.Second)
		reports := x.Reports("a")
		if len(reports) != 2 || reports[0].Instance != "x" || reports[0].State != Held || len(reports[0].Holds) != 1 || *reports[0].Lag != lag ||
			len(reports[0].Partitions) != 2 {
			t.Errorf("reports %+v", reports)
		}
		if all := x.Instances(); len(all) != 2 || all[1].ID != "y" || len(all[1].Jobs) != 1 {
			t.Errorf("instances %+v", all)
		}
		if owner, ok := x.OwnerOf("a", "t", 2); !ok || owner.Advertise != "http://y:9013" {
			t.Errorf("partition 2 is at %+v, %v", owner, ok)
		}
		if owner, ok := x.OwnerOf("a", "t", 3); ok {
			t.Errorf("partition 3 is at %+v", owner)
		}
		c.all["y"].stop(t)
		delete(c.all, "y")
		if reports := x.Reports("a"); len(reports) != 1 || len(c.log.Reports("job/a/y")) != 0 {
			t.Errorf("after y has stopped: %+v", reports)
		}
	})
}
