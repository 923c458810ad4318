package demo

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"streamer/sink/sinktest"
)

// laneShown is how many attempts of a lane are shown.
const laneShown = 8

// laneStory shows the attempts of the lane in which most rows waited for a failed one, so that the order can be seen.
func (d *demo) laneStory(attempts []sinktest.Attempt) {
	lanes := map[string][]sinktest.Attempt{}
	for _, a := range attempts {
		lanes[a.Path] = append(lanes[a.Path], a) // a household has one path
	}
	var best []sinktest.Attempt
	var most time.Duration
	for _, all := range lanes {
		slices.SortFunc(all, func(a, b sinktest.Attempt) int { return cmp.Compare(a.Seq, b.Seq) })
		for i := range all {
			if i > 0 && sameRow(all[i-1], all[i]) {
				continue // begin with the first attempt
			}
			window := all[i:min(i+laneShown, len(all))]
			if score := laneScore(window); score > most {
				best, most = window, score
			}
		}
	}
	if best == nil {
		return
	}
	d.screen.tell("order", "One lane looked at closely: requests to %s as they came. No row starts before the one before it is final.", best[0].Path)
	for i, a := range best {
		answer := fmt.Sprint(a.Status)
		switch {
		case a.Status == 0:
			answer = "connection reset"
		case !a.Answered:
			answer += ", but the answer broke off"
		}
		since := ""
		if i > 0 {
			since = " (" + later(a.Start.Sub(best[i-1].End)) + ")"
		}
		d.screen.detail(fmt.Sprintf("%7.3fs  offset %d row %d, attempt %d: %s%s", a.Start.Sub(d.screen.begun).Seconds(), a.Offset, a.Row, a.Attempt, answer, since))
	}
}

func sameRow(a, b sinktest.Attempt) bool {
	return a.Partition == b.Partition && a.Offset == b.Offset && a.Row == b.Row
}

func failedAttempt(a sinktest.Attempt) bool { return a.Status >= 500 || a.Status == 0 || !a.Answered }

// queued is how soon after the one before it a row starts that had been waiting for it.
const queued = 20 * time.Millisecond

// laneScore prefers a few failed attempts on the first row, with waits between them, and rows after it which had been waiting.
func laneScore(window []sinktest.Attempt) (score time.Duration) {
	if !failedAttempt(window[0]) {
		return 0
	}
	tries, rows := 0, 0
	for i, a := range window[1:] {
		gap := a.Start.Sub(window[i].End)
		switch {
		case sameRow(a, window[i]):
			score += min(gap, time.Second)
			tries++
		case gap < queued && !failedAttempt(a):
			rows++
		}
	}
	if tries == 0 || tries > laneShown/2 {
		return 0
	}
	return score * time.Duration(rows)
}
