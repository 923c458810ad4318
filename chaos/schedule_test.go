package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/proxy"
)

// step is one thing that the schedule does to the run. It may wait, such as for a broker to serve again; later steps wait with it.
type step struct {
	At   time.Duration
	Name string
	do   func(*run)
}

// deck is what happens, in shuffled order, and again shuffled when it is through: each kind of trouble comes in every run.
var deck = []string{"kill", "kill", "kill", "freeze", "roll", "broker", "reassign", "grow", "api", "api", "network", "network"}

// schedule draws the steps of a run of so long, or a little longer: the deck is gone through once at least.
func schedule(random *rand.Rand, long time.Duration, instances, brokers int) []step {
	var steps []step
	add := func(at time.Duration, do func(*run), name string, args ...any) {
		steps = append(steps, step{at, fmt.Sprintf(name, args...), do})
	}
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(random.Int64N(int64(to-from))) }
	interval := min(max(long/time.Duration(len(deck)+2), 2*time.Second), 4500*time.Millisecond)
	var (
		drawn               []string
		freezes             int
		instanceFree        = make([]time.Duration, instances)
		brokerFree, apiFree time.Duration
		networkFree         = make([]time.Duration, brokers)
	)
	for at, through := 3*time.Second, false; at < long-2*interval || !through; at += between(interval*3/4, interval*5/4) {
		if len(drawn) == 0 {
			drawn = slices.Clone(deck)
			random.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
		}
		kind := drawn[0]
		drawn = drawn[1:]
		through = through || len(drawn) == 0
		i, b := soonest(random, instanceFree, at), soonest(random, networkFree, at)
		switch kind {
		case "kill":
			at = max(at, instanceFree[i])
			back := at + between(100*time.Millisecond, 3*time.Second)
			add(at, func(r *run) { r.kill(i) }, "kill -9 instance %d", i)
			add(back, func(r *run) { r.begin(i) }, "start instance %d", i)
			instanceFree[i] = back + time.Second
		case "freeze":
			at = max(at, instanceFree[i])
			over := at + between(12*time.Second, 15*time.Second) // past its session
			if freezes++; freezes%3 == 0 {
				over = at + between(time.Second, 4*time.Second) // within it
			}
			add(at, func(r *run) { r.freeze(i) }, "stop instance %d with SIGSTOP", i)
			add(over, func(r *run) { r.thaw(i) }, "go on with instance %d", i)
			instanceFree[i] = over + time.Second
		case "roll":
			for i := range instances {
				at = max(at, instanceFree[i])
				add(at, func(r *run) { r.restart(i) }, "restart instance %d in good order", i)
				instanceFree[i] = at + time.Second
				at += time.Second
			}
		case "broker":
			at = max(at, brokerFree)
			back := at + between(2*time.Second, 8*time.Second)
			add(at, func(r *run) { r.killBroker(b + 1) }, "kill -9 broker %d", b+1)
			add(back, func(r *run) { r.startBroker(b + 1) }, "start broker %d", b+1)
			brokerFree = back + 10*time.Second
		case "reassign":
			add(max(at, brokerFree), func(r *run) { r.reassign() }, "move leaders and coordinators")
		case "grow":
			add(at, func(r *run) { r.grow() }, "add partitions")
		case "api":
			at = max(at, apiFree)
			apiFree = at + trouble(random, at, "the API", true, add, between, func(r *run) *proxy.Proxy { return r.way })
		case "network":
			at = max(at, networkFree[b])
			way := func(r *run) *proxy.Proxy { return r.cluster.Proxies[b] }
			networkFree[b] = at + trouble(random, at, fmt.Sprint("broker ", b+1), false, add, between, way)
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.At - b.At) })
	return steps
}

// soonest draws one of those that are free at a time, else it is the one that is free first.
func soonest(random *rand.Rand, free []time.Duration, at time.Duration) int {
	best := -1
	for _, i := range random.Perm(len(free)) {
		if free[i] <= at {
			return i
		}
		if best < 0 || free[i] < free[best] {
			best = i
		}
	}
	return best
}

// trouble draws what befalls the network before what, and gives how long it lasts.
func trouble(random *rand.Rand, at time.Duration, what string, http bool, add func(time.Duration, func(*run), string, ...any),
	between func(from, to time.Duration) time.Duration, way func(*run) *proxy.Proxy) time.Duration {
	last := between(2*time.Second, 7*time.Second)
	blind := func(r *run, last time.Duration) {
		if !http {
			r.blind(last)
		}
	}
	var f proxy.Faults
	kind := random.IntN(7)
	switch kind {
	case 0:
		add(at, func(r *run) { way(r).Cut(); blind(r, 0) }, "cut all connections to %s", what)
		return 0
	case 1:
		add(at, func(r *run) { way(r).HalfOpen(); blind(r, 0) }, "half-open connections to %s", what)
		return 0
	case 2:
		f.Silent = true
		if !http {
			last = between(3*time.Second, 14*time.Second) // some sessions end of it
		}
	case 3:
		f.Deaf = true
	case 4:
		f.Refuse = true
	case 5:
		f.Latency = between(10*time.Millisecond, 100*time.Millisecond)
	case 6:
		f.BytesPerSecond = 20_000 + random.IntN(100_000)
	}
	add(at, func(r *run) {
		way(r).Set(f)
		blind(r, last)
		if f.Refuse {
			way(r).Cut()
		}
	}, "network to %s: %s for %v", what, describe(f), last.Round(time.Millisecond))
	add(at+last, func(r *run) { way(r).Set(proxy.Faults{}) }, "network to %s: good", what)
	return last + time.Second
}

func describe(f proxy.Faults) string {
	switch {
	case f.Silent:
		return "silent"
	case f.Deaf:
		return "answers held back"
	case f.Refuse:
		return "connections refused"
	case f.Latency > 0:
		return fmt.Sprint(f.Latency.Round(time.Millisecond), " each way")
	}
	return fmt.Sprint(f.BytesPerSecond, " bytes a second")
}

// usual is how the API answers at all times.
var usual = sinktest.Mix{
	Latency: sinktest.Latency{Min: time.Millisecond, Mean: 6 * time.Millisecond, Max: 80 * time.Millisecond},
	Shares: []sinktest.Share{{Of: 0.005, Answer: sinktest.Unavailable}, {Of: 0.003, Answer: sinktest.ServerError}, {Of: 0.003, Answer: sinktest.TooMany},
		{Of: 0.001, Answer: sinktest.TooManyLater}, {Of: 0.003, Answer: sinktest.ResetAnswer}, {Of: 0.002, Answer: sinktest.PartialAnswer},
		{Of: 0.0005, Answer: sinktest.HungAnswer}, {Of: 0.003, Answer: sinktest.VanishAnswer}},
}

// spells draws the API's bad times during a run of so long.
func spells(random *rand.Rand, long time.Duration) (all []sinktest.Spell) {
	share := func(name string, of float64, a sinktest.Answer) sinktest.Spell {
		return sinktest.Spell{Name: name, Mix: sinktest.Mix{Latency: usual.Latency, Shares: []sinktest.Share{{Of: of, Answer: a}}}}
	}
	kinds := []sinktest.Spell{
		share("503 for all", 1, sinktest.Unavailable), share("500 for a fifth", 0.2, sinktest.ServerError),
		share("429 for a third", 0.3, sinktest.TooMany), share("429 with Retry-After for a third", 0.3, sinktest.TooManyLater),
		share("401 for all", 1, sinktest.Unauthorized), share("resets for a fifth", 0.2, sinktest.ResetAnswer),
		share("partial bodies for a fifth", 0.2, sinktest.PartialAnswer), share("hangs for a 50th", 0.02, sinktest.HungAnswer),
		{Name: "slow", Mix: sinktest.Mix{Shares: usual.Shares,
			Latency: sinktest.Latency{Min: 20 * time.Millisecond, Mean: 100 * time.Millisecond, Max: time.Second}}},
	}
	order := random.Perm(len(kinds))
	for n, at := 0, 2*time.Second; at < long-8*time.Second; n++ {
		s := kinds[order[n%len(order)]]
		s.From, s.Until = at, at+2*time.Second+time.Duration(random.Int64N(int64(4*time.Second)))
		all = append(all, s)
		at = s.Until + time.Duration(random.Int64N(int64(4*time.Second)))
	}
	return all
}

// A seed replays its schedule, and every kind of trouble is in it.
func TestASeedReplaysItsSchedule(t *testing.T) {
	names := func(seed uint64) (out []string) {
		for _, s := range schedule(rand.New(rand.NewPCG(seed, 2)), 40*time.Second, 3, 3) {
			out = append(out, fmt.Sprint(s.At, " ", s.Name))
		}
		return out
	}
	a := names(1)
	if !slices.Equal(a, names(1)) || slices.Equal(a, names(2)) {
		t.Errorf("seed 1 gives %q, then %q; seed 2 gives %q", a, names(1), names(2))
	}
	all := strings.Join(a, "\n")
	for _, want := range []string{"kill -9 instance", "SIGSTOP", "in good order", "kill -9 broker", "move leaders", "add partitions", "the API",
		"to broker"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
}
