package control

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"streamer/consumer"
)

func part(n int32) consumer.TopicPartition { return consumer.TopicPartition{Topic: "t", Partition: n} }

// works makes partitions, busy those that come with 1.
func works(busy ...float64) (out []consumer.Work) {
	for i, b := range busy {
		out = append(out, consumer.Work{TopicPartition: part(int32(i)), Busy: b})
	}
	return out
}

// at gives partitions other numbers, from n on.
func at(n int32, work []consumer.Work) []consumer.Work {
	for i := range work {
		work[i].Partition += n
	}
	return work
}

// wants is the claim of an instance that can use all it can get.
func wants(work []consumer.Work) claim { return claim{work, 1, 1} }

// sampled lets d see work that the limit holds back.
func sampled(d *division, now time.Time, work []consumer.Work) {
	load := consumer.Load{Partitions: work}
	for _, w := range work {
		if w.TopicPartition == consumer.RedriveWork {
			load.Redrive.Held = true
		} else if w.Busy > 0 {
			load.Rows.Held = true
		}
	}
	d.sample(now, load)
}

// settled is the share of an instance for which nothing has changed for some seconds.
func settled(d *division, now time.Time, work []consumer.Work, partitions int, others ...claim) (rows, redrive float64) {
	for i := range 95 {
		sampled(d, now.Add(time.Duration(i)*100*time.Millisecond), work)
		rows, redrive = d.share(now.Add(time.Duration(i)*100*time.Millisecond), partitions, others)
	}
	return rows, redrive
}

func TestShareIsThatOfThePartitionsWithWork(t *testing.T) {
	redrive := consumer.Work{TopicPartition: consumer.RedriveWork, Busy: 1}
	for name, c := range map[string]struct {
		own           []consumer.Work
		others        []claim
		rows, redrive float64
	}{
		"alone":                           {works(1, 1, 0), nil, 1, 0.05},
		"alone and idle":                  {works(0, 0), nil, 1, 1},
		"two of three busy ones":          {works(1, 1, 0), []claim{wants(at(3, works(1, 0)))}, 2. / 3, 0.1 / 3},
		"the other has nothing to do":     {works(1, 1), []claim{wants(at(3, works(0, 0)))}, 1, 0.05},
		"nothing to do here":              {works(0, 0), []claim{wants(at(3, works(1, 1)))}, 0.05, 0.05},
		"nothing to do anywhere":          {works(0), []claim{wants(at(3, works(0))), wants(at(5, works(0)))}, 1. / 3, 1. / 3},
		"a little to do elsewhere":        {works(1), []claim{wants(at(3, works(0.25)))}, 0.8, 0.08},
		"others still claim what we own":  {works(1, 1), []claim{wants(works(1, 1))}, 1, 0.05},
		"two others claim one":            {works(1), []claim{wants(at(3, works(1))), wants(at(3, works(0, 1)))}, 0.5, 0.05},
		"a redrive here":                  {append(works(1), redrive), nil, 0.5, 0.5},
		"a redrive elsewhere":             {works(1), []claim{wants([]consumer.Work{redrive})}, 0.5, 0.05},
		"another needs little":            {works(1), []claim{{at(3, works(0.6)), 0.1, 0.01}}, 0.9, 0.1 / 1.6},
		"two others need little":          {works(1), []claim{{at(3, works(0.6)), 0.1, 0.01}, {at(5, works(1)), 0.2, 0.01}}, 0.7, 0.1 / 2.6},
		"another needs more than its due": {works(1, 1, 1), []claim{{at(3, works(1)), 0.4, 0.01}}, 0.75, 0.025},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			rows, redrive := settled(newDivision(now, 10_000), now, c.own, 0, c.others...)
			if math.Abs(rows-c.rows) > 0.001 || math.Abs(redrive-c.redrive) > 0.001 {
				t.Errorf("shares %.3f and %.3f, want %.3f and %.3f", rows, redrive, c.rows, c.redrive)
			}
		})
	}
}

// Before it has heard of the job's other partitions an instance takes them for busy ones that others have: three that begin at one
// moment do not take the whole limit each.
func TestShareOfOneThatHasNotHeardOfAllPartitions(t *testing.T) {
	now := time.Now()
	d := newDivision(now, 10_000)
	look := func(after time.Duration, others ...claim) float64 {
		sampled(d, now.Add(after), works(1, 1, 1, 1))
		rows, _ := d.share(now.Add(after), 12, others)
		return rows
	}
	if s := look(0); s > leastShare*(1+waver) {
		t.Errorf("%v at once", s)
	}
	look(time.Second / 2)
	if s := look(2 * time.Second); math.Abs(s-4./12) > 0.001 {
		t.Errorf("%v before the others were heard", s)
	}
	look(3*time.Second, wants(at(4, works(1, 0, 0, 0))), wants(at(8, works(0, 0, 0, 0))))
	if s := look(5*time.Second, wants(at(4, works(1, 0, 0, 0))), wants(at(8, works(0, 0, 0, 0)))); math.Abs(s-4./5) > 0.001 {
		t.Errorf("%v when they were heard", s)
	}
	d = newDivision(now, 10_000) // nobody else is there
	look(0)
	look(orphanFor)
	if s := look(orphanFor + 2*time.Second); s != 1 {
		t.Errorf("%v when nobody else came", s)
	}
}

// A partition moves from one instance to another: whoever looks on sees it as busy as it was, also between the two.
func TestPartitionOnItsWayCountsOn(t *testing.T) {
	now := time.Now()
	d := newDivision(now, 10_000)
	has, lost := wants(at(4, works(1, 1))), wants(at(4, works(1)))
	settled(d, now, works(1, 1), 0, has)
	now = now.Add(9600 * time.Millisecond) // within orphanFor of the last look above
	if rows, _ := settled(d, now, works(1, 1), 0, lost); math.Abs(rows-0.5) > 0.001 {
		t.Errorf("share %v while a partition is on its way, want 1/2", rows)
	}
	now = now.Add(10 * time.Second)
	if rows, _ := settled(d, now, works(1, 1), 0, lost, wants(at(5, works(1)))); math.Abs(rows-0.5) > 0.001 {
		t.Errorf("share %v when it has arrived", rows)
	}
	now = now.Add(10 * time.Second)
	settled(d, now, works(1, 1), 0, lost)
	now = now.Add(10 * time.Second)
	if rows, _ := settled(d, now, works(1, 1), 0, lost); math.Abs(rows-2./3) > 0.001 {
		t.Errorf("share %v when it went to nobody", rows)
	}
	now = now.Add(10 * time.Second)
	sampled(d, now, works(1)) // one of our own goes
	if rows, _ := d.share(now, 0, []claim{lost}); math.Abs(rows-1./3) > 0.001 {
		t.Errorf("share %v right after we lost a partition, want 1/3", rows)
	}
	sampled(d, now, works(1, 1)) // and comes back, with what it brings along
	if rows, _ := d.share(now, 0, []claim{lost}); math.Abs(rows-2./3) > 0.001 {
		t.Errorf("share %v right after we got a partition, want 2/3", rows)
	}
}

// simulated is one instance of a simulated job.
type simulated struct {
	*division
	id    int
	parts map[int32]bool
	share float64
	sent  float64
	held  bool
	said  claim
	at    time.Time
	next  time.Time // sample
}

// Three instances and a crowd of partitions, some with a backlog, some with few records, that change hands while instances come and
// go. News take half a second to be written and a tenth to arrive. What all send together stays within a tenth of the limit.
func TestSharesOfManyAddUpThroughChurn(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			const (
				partitions = 24
				limit      = 1000.0
				step       = 10 * time.Millisecond
				length     = 60 * time.Second
			)
			rng := rand.New(rand.NewPCG(seed, 1))
			now := time.Now()
			start := now
			queue, arrives := [partitions]float64{}, [partitions]float64{}
			for i := range queue {
				switch {
				case i < 6:
					queue[i] = 1e9
				case i < 18:
					arrives[i] = 1 + 20*rng.Float64() // records a second
				}
			}
			type news struct {
				from  int
				claim claim
				at    time.Time
			}
			var air []news
			var all []*simulated
			join := func() {
				s := &simulated{id: len(all), division: newDivision(now, limit), parts: map[int32]bool{}, share: leastShare, next: now}
				all = append(all, s)
			}
			spread := func() { // a third of the partitions moves, and those that nobody has
				for p := range int32(partitions) {
					had := slices.IndexFunc(all, func(s *simulated) bool { return s.parts[p] })
					if had >= 0 && rng.IntN(3) > 0 {
						continue
					}
					if had >= 0 {
						delete(all[had].parts, p)
					}
					all[rng.IntN(len(all))].parts[p] = true
				}
			}
			heard := map[int]map[int]claim{} // to, from
			join()
			join()
			join()
			spread()
			var sent []float64 // by step
			for ; now.Sub(start) < length; now = now.Add(step) {
				switch since := now.Sub(start); since {
				case 20 * time.Second:
					join()
					spread()
				case 25 * time.Second, 30 * time.Second:
					spread()
				case 40 * time.Second: // one leaves
					gone := all[0]
					all = all[1:]
					for i := range all { // and takes back what it said
						heard[i] = heard[i+1]
						delete(heard[i], gone.id)
					}
					spread()
				}
				total := 0.0
				for p := range queue {
					if rng.Float64() < arrives[p]*step.Seconds() {
						queue[p]++
					}
				}
				var busy [partitions]float64
				for _, s := range all {
					can := s.share * limit * step.Seconds()
					var wants []int32
					for p := range s.parts {
						if queue[p] > 0 {
							wants = append(wants, p)
							busy[p] = 1
						}
					}
					slices.Sort(wants)
					for round := 0; round < 8 && can > 1e-9 && len(wants) > 0; round++ {
						each := can / float64(len(wants))
						for _, p := range wants {
							took := min(each, queue[p])
							queue[p] -= took
							can -= took
							total += took
							s.sent += took
						}
						wants = slices.DeleteFunc(wants, func(p int32) bool { return queue[p] <= 0 })
					}
					s.held = len(wants) > 0
				}
				sent = append(sent, total)
				for len(air) > 0 && !air[0].at.After(now) {
					for to := range all {
						if heard[to] == nil {
							heard[to] = map[int]claim{}
						}
						heard[to][air[0].from] = air[0].claim
					}
					air = air[1:]
				}
				for i, s := range all {
					if now.Before(s.next) {
						continue
					}
					s.next = now.Add(time.Duration(50+rng.IntN(100)) * time.Millisecond)
					var own []consumer.Work
					for p := range s.parts {
						own = append(own, consumer.Work{TopicPartition: part(p), Busy: busy[p]})
					}
					s.sample(now, consumer.Load{Partitions: own, Rows: consumer.Sent{Started: uint64(s.sent), Held: s.held}})
					var others []claim
					for from, c := range heard[i] {
						if from != s.id {
							others = append(others, c)
						}
					}
					s.share, _ = s.division.share(now, partitions, others)
					if now.Sub(s.at) >= 500*time.Millisecond && s.claim().differs(s.said) {
						s.at, s.said = now, s.claim()
						air = append(air, news{s.id, s.said, now.Add(100 * time.Millisecond)})
					}
				}
			}
			window := int(5 * time.Second / step)
			var sum, worst float64
			for i := range sent {
				if sum += sent[i]; i >= window {
					sum -= sent[i-window]
				}
				worst = max(worst, sum)
			}
			whole := 0.0
			for _, n := range sent[int(5*time.Second/step):] {
				whole += n
			}
			rate := whole / (length - 5*time.Second).Seconds()
			t.Logf("%.0f a second, the worst five seconds %.0f", rate, worst/5)
			if rate < 0.9*limit || rate > 1.1*limit {
				t.Errorf("%.0f a second, want %.0f", rate, limit)
			}
			if worst > 1.1*limit*5 {
				t.Errorf("%.0f in five seconds, want at most %.0f", worst, 1.1*limit*5)
			}
		})
	}
}
