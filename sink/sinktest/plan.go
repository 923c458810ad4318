package sinktest

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Plan answers attempts as a seed says: which fault meets an attempt depends on the seed, the row's position and the number of the
// attempt on it, and, within a Spell, on when it comes. So a seed replays the faults of a run however its requests interleave.
// Its Answer fits Receiver.SetAnswer and may be called from any goroutine; the fields do not change meanwhile.
type Plan struct {
	Seed uint64
	// Began is where a Spell's time counts from.
	Began time.Time
	// Usual holds outside of all spells.
	Usual Mix
	// Spells replace it for a while; of two that hold, the later one in this list.
	Spells []Spell
}

// Spell is a Mix for a while: from From to Until after Plan.Began, or, with UntilSeq above 0, for the attempts FromSeq ≤ Seq < UntilSeq.
type Spell struct {
	Name              string
	From, Until       time.Duration
	FromSeq, UntilSeq int64
	Mix               Mix
}

// Mix is how attempts are answered: each share of them with its Answer, the rest with 200. The zero Mix is 200 for all, at once.
type Mix struct {
	Latency Latency
	Shares  []Share
}

// Share is an Answer for a part of the attempts, 0 to 1. A Delay in it adds to the latency.
type Share struct {
	Of     float64
	Answer Answer
}

// Latency is at least Min, exponential above it with a mean of Mean in all, and cut off at Max.
type Latency struct{ Min, Mean, Max time.Duration }

// draw takes a latency by u, evenly spread from 0 to 1.
func (l Latency) draw(u float64) time.Duration {
	d := l.Min
	if l.Mean > l.Min {
		d += time.Duration(-math.Log(1-u) * float64(l.Mean-l.Min))
	}
	if l.Max > 0 {
		d = min(d, l.Max)
	}
	return d
}

// Answer draws the answer for one attempt.
func (p *Plan) Answer(a *Attempt) Answer {
	mix := p.mix(a)
	random := p.random(a)
	latency := mix.Latency.draw(random.Float64())
	var out Answer
	u := random.Float64()
	for _, s := range mix.Shares {
		if u -= s.Of; u < 0 {
			out = s.Answer
			break
		}
	}
	out.Delay += latency
	return out
}

func (p *Plan) mix(a *Attempt) Mix {
	mix, since := p.Usual, time.Since(p.Began)
	for _, s := range p.Spells {
		if s.UntilSeq > 0 && s.FromSeq <= a.Seq && a.Seq < s.UntilSeq || s.UntilSeq == 0 && s.From <= since && since < s.Until {
			mix = s.Mix
		}
	}
	return mix
}

// random is the same for the same attempt on the same row.
func (p *Plan) random(a *Attempt) *rand.Rand {
	h := fnv.New64a()
	text := append([]byte(a.Topic), '/')
	for _, n := range []int64{int64(a.Partition), a.Offset, int64(a.Row), int64(a.Attempt)} {
		text = append(strconv.AppendInt(text, n, 10), '/')
	}
	_, _ = h.Write(text) // a hash takes all
	return rand.New(rand.NewPCG(p.Seed, h.Sum64()))
}

// Answers with which APIs fail, for a Share.
var (
	Unavailable   = Answer{Status: 503}
	ServerError   = Answer{Status: 500}
	TooMany       = Answer{Status: 429}
	TooManyLater  = Answer{Status: 429, Header: []Header{{"Retry-After", "1"}}}
	Unauthorized  = Answer{Status: 401}
	ResetAnswer   = Answer{Fault: Reset}
	PartialAnswer = Answer{Fault: Cut, Body: []byte("{\"stored\": true, \"at\": \"2026-01-01T00:00:00Z\"}")}
	HungAnswer    = Answer{Fault: Hang}
	VanishAnswer  = Answer{Fault: Vanish}
)
