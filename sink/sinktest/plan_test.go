package sinktest

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

func TestASeedReplaysItsPlan(t *testing.T) {
	plan := func(seed uint64) *Plan {
		return &Plan{Seed: seed, Usual: Mix{Latency: Latency{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond},
			Shares: []Share{{0.1, Unavailable}, {0.2, ResetAnswer}}}}
	}
	draw := func(p *Plan, forwards bool) (out [1000]Answer) {
		for i := range out {
			n := i
			if !forwards {
				n = len(out) - 1 - i
			}
			out[n] = p.Answer(&Attempt{Topic: "t", Partition: int32(n % 3), Offset: int64(n / 3), Attempt: 1})
		}
		return out
	}
	first := draw(plan(7), true)
	if !reflect.DeepEqual(first, draw(plan(7), false)) {
		t.Error("the order of the attempts changed the faults")
	}
	if reflect.DeepEqual(first, draw(plan(8), true)) {
		t.Error("another seed gave the same faults")
	}
	counts, least, most := map[Fault]int{}, time.Hour, time.Duration(0)
	for _, a := range first {
		if a.Status == 503 {
			counts[None]++
		}
		if a.Fault != None {
			counts[a.Fault]++
		}
		least, most = min(least, a.Delay), max(most, a.Delay)
	}
	if counts[None] < 60 || counts[None] > 140 || counts[Reset] < 150 || counts[Reset] > 250 {
		t.Errorf("of 1000 attempts %d refused and %d reset, want about 100 and 200", counts[None], counts[Reset])
	}
	if least < time.Millisecond || most != 20*time.Millisecond {
		t.Errorf("latencies from %v to %v, want from 1ms to the cut at 20ms", least, most)
	}
	again := plan(7).Answer(&Attempt{Topic: "t", Attempt: 2})
	if reflect.DeepEqual(again, first[0]) {
		t.Error("the second attempt met the very same answer")
	}
}

func TestSpellsReplaceTheUsual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := func(a Answer) Mix { return Mix{Shares: []Share{{1, a}}} }
		p := &Plan{Began: time.Now(), Usual: all(ServerError), Spells: []Spell{
			{From: time.Second, Until: 3 * time.Second, Mix: all(TooMany)},
			{From: 2 * time.Second, Until: 3 * time.Second, Mix: all(Unauthorized)},
			{FromSeq: 10, UntilSeq: 12, Mix: all(HungAnswer)},
		}}
		for _, c := range []struct {
			at   time.Duration
			seq  int64
			want Answer
		}{{0, 1, ServerError}, {time.Second, 2, TooMany}, {2 * time.Second, 3, Unauthorized}, {3 * time.Second, 4, ServerError}, {3 * time.Second, 10, HungAnswer}, {3 * time.Second, 12, ServerError}} {
			time.Sleep(c.at - time.Since(p.Began)) // fake time
			if got := p.Answer(&Attempt{Seq: c.seq}); !reflect.DeepEqual(got, c.want) {
				t.Errorf("after %v, attempt %d: %+v, want %+v", c.at, c.seq, got, c.want)
			}
		}
	})
}
