package main

import (
	"bytes"
	"slices"
	"time"
)

// arrivals is what rows with numbers tell: how old they were, or whether they came again.
type arrivals struct {
	rows  int64 // that differ, if they have numbers
	again int64
	seen  []bool // by number
	ages  []time.Duration
	last  time.Time     // a new row came
	gap   time.Duration // the longest without one
}

// timed says that a number is a time in ns since 1970, not a count of rows or of a household's members.
func timed(number int64) bool { return number > 1e15 }

// note takes the arrival of a row and gives how many there were so far, without those that came again.
func (a *arrivals) note(number int64, set receiverSettings, now time.Time) int64 {
	if set.Numbers > 0 && number > 0 && number <= int64(set.Numbers) {
		if a.seen == nil {
			a.seen = make([]bool, set.Numbers+1)
		}
		if a.seen[number] {
			a.again++
			return a.rows
		}
		a.seen[number] = true
	}
	if set.Clock && timed(number) {
		a.ages = append(a.ages, time.Duration(now.UnixNano()-number))
	}
	if !a.last.IsZero() {
		a.gap = max(a.gap, now.Sub(a.last))
	}
	a.last = now
	a.rows++
	return a.rows
}

func (a *arrivals) sum(got *received) {
	slices.Sort(a.ages)
	got.Again, got.Gap = a.again, a.gap
	got.P50, got.P99, got.Timed = quantile(a.ages, 0.5), quantile(a.ages, 0.99), int64(len(a.ages))
}

// quantile is the value that a part of q of the sorted values does not pass (nearest rank); 0 for no values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(q*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// numberOf reads the number of a request's row, 0 if it has none.
func numberOf(body []byte) int64 {
	at := bytes.Index(body, members)
	if at < 0 {
		return 0
	}
	var n int64
	for _, c := range body[at+len(members):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
