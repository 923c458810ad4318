package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/sink/sinktest/checker"
)

// watcher looks at streamer from outside, several times a second: the status of its runners, its metrics, committed offsets.
// It is used by one goroutine until run has returned.
type watcher struct {
	demo *demo

	open    map[string]opened                     // breakers, by job
	joined  map[string]bool                       // jobs that were told to be members
	latest  map[string]consumer.Status            // by job
	numbers map[string]numbers                    // by job
	commits map[string][]checker.Commit           // by job, only changes
	newest  map[string]map[partitionOf]int64      // by job: the last commit seen
	rate    struct{ rows, at, perSecond float64 } // rows that became final
	spoken  time.Time                             // when a plain line of progress was written last
}

type partitionOf struct {
	topic string
	id    int32
}

// opened is an open breaker with what was so when it opened.
type opened struct {
	at             time.Time
	failed, others int
}

func newWatcher(d *demo) *watcher {
	return &watcher{demo: d, open: map[string]opened{}, joined: map[string]bool{}, latest: map[string]consumer.Status{},
		commits: map[string][]checker.Commit{}, newest: map[string]map[partitionOf]int64{}, spoken: time.Now()}
}

// lookEvery is how often it looks; commits are looked up every third time.
const lookEvery = 100 * time.Millisecond

// run looks until ctx ends, and once more then.
func (w *watcher) run(ctx context.Context) {
	timer := time.NewTicker(lookEvery)
	defer timer.Stop()
	for n := 0; ; n++ {
		w.look()
		if n%3 == 0 {
			w.lookAtCommits(ctx)
		}
		select {
		case <-timer.C:
		case <-ctx.Done():
			w.look()
			w.demo.screen.redraw(nil)
			return
		}
	}
}

func (w *watcher) look() {
	for _, r := range roles {
		if st, ok := w.demo.service.status(r.job); ok {
			w.latest[r.job] = st
			w.membership(r, st)
			w.breaker(r, st)
		}
	}
	if n, err := w.demo.service.numbersOf(); err == nil {
		w.numbers = n
	}
	w.measure()
	if w.demo.screen.live() {
		w.demo.screen.redraw(w.lines())
	} else if every := w.demo.options.progressEvery(); time.Since(w.spoken) >= every {
		w.spoken = time.Now()
		w.progress()
	}
}

// membership tells once per job that it has joined its group.
func (w *watcher) membership(r role, st consumer.Status) {
	if w.joined[r.job] || st.State != consumer.Running || len(st.Partitions) == 0 {
		return
	}
	w.joined[r.job] = true
	w.demo.screen.tell("streamer", "Job %s has joined group %s and reads %s of %s.", r.job, r.group(), count(len(st.Partitions), "partition"), r.topic)
}

func (w *watcher) breaker(r role, st consumer.Status) {
	before, was := w.open[r.job]
	for _, t := range st.Delivery.Targets {
		if !t.Open {
			continue
		}
		if !was {
			failed, others := w.seen(r)
			w.open[r.job] = opened{time.Now(), failed, others}
			w.demo.story.breakerOpened(r.job, t.Target, w.demo.apis[r.api].lastTrouble(), st.Delivery.Waiting, otherJobs(r))
		}
		return
	}
	if was {
		failed, others := w.seen(r)
		delete(w.open, r.job)
		w.demo.story.breakerClosed(r.job, time.Since(before.at), failed-before.failed, others-before.others)
	}
}

// seen gives how many attempts of a job failed at its API, and how many of the other jobs were accepted.
func (w *watcher) seen(r role) (failed, others int) {
	for _, o := range roles {
		accepted, f := w.demo.apis[o.api].seen(o.job)
		if o.job == r.job {
			failed = f
		} else {
			others += accepted
		}
	}
	return failed, others
}

func otherJobs(r role) []string {
	var names []string
	for _, o := range roles {
		if o.job != r.job {
			names = append(names, o.job)
		}
	}
	return names
}

// lookAtCommits keeps committed offsets that have changed, with the time at which they were seen.
func (w *watcher) lookAtCommits(ctx context.Context) {
	for _, r := range roles {
		seen, err := w.demo.broker.commits(ctx, r)
		if err != nil {
			continue // not there yet, or the end; the last look is done by the verdict, which insists
		}
		w.keep(r, seen)
	}
}

func (w *watcher) keep(r role, seen []checker.Commit) {
	if w.newest[r.job] == nil {
		w.newest[r.job] = map[partitionOf]int64{}
	}
	for _, c := range seen {
		at := partitionOf{c.Topic, c.Partition}
		if last, ok := w.newest[r.job][at]; !ok || last != c.Offset {
			w.newest[r.job][at] = c.Offset
			w.commits[r.job] = append(w.commits[r.job], c)
		}
	}
}

// final is how many rows of a job have become final, by streamer's own metrics.
func (w *watcher) final(job string) int {
	n := 0
	for _, rows := range w.numbers[job].rows {
		n += rows
	}
	return n
}

// measure keeps how many rows become final in a second, over the last few.
func (w *watcher) measure() {
	total := 0.0
	for _, r := range roles {
		total += float64(w.final(r.job))
	}
	now := time.Since(w.demo.screen.begun).Seconds()
	if now-w.rate.at >= 1 {
		w.rate.perSecond = (total - w.rate.rows) / (now - w.rate.at)
		w.rate.rows, w.rate.at = total, now
	}
}

// waiting is how many rows of a job's topic were produced and are not final.
func (w *watcher) waiting(r role, produced map[string]int) int {
	return max(produced[r.topic]-w.final(r.job), 0)
}

// barWidth is how long the bar of the time is.
const barWidth = 12

// lines is the live display. It fits into 80 columns unless numbers get large.
func (w *watcher) lines() []string {
	d := w.demo
	records, rows := d.producer.count()
	over := time.Since(d.screen.begun).Seconds()
	head := fmt.Sprintf("%.1fs", over)
	if d.options.For > 0 {
		whole := d.options.For.Seconds()
		done := min(int(over/whole*barWidth), barWidth)
		head = fmt.Sprintf("%s%s %.1fs of %gs", strings.Repeat("━", done), strings.Repeat("╌", barWidth-done), over, whole)
	}
	out := []string{"", d.screen.paint(bold, head) + fmt.Sprintf("  %s in %s produced  %s/s final",
		count(rows[householdTopic]+rows[measurementTopic], "row"), count(records, "record"), thousands(int(w.rate.perSecond)))}
	for _, r := range roles {
		st := w.latest[r.job]
		lag := "?"
		if st.Lag >= 0 && len(st.Partitions) > 0 {
			lag = thousands(int(st.Lag))
		}
		doing := fmt.Sprintf("%4d in flight", st.Delivery.InFlight)
		if _, open := w.open[r.job]; open {
			doing = " " + d.screen.paint(yellow, "breaker OPEN")
		}
		out = append(out, fmt.Sprintf("  %-12s%8s final%7s waiting%s  lag%6s%4d dead", r.job, thousands(w.final(r.job)),
			thousands(w.waiting(r, rows)), doing, lag, d.letters.count(r.job)))
	}
	return append(out, d.screen.paint(dim, "  last: "+d.story.latest()))
}

// progress is the plain line for those without a live display.
func (w *watcher) progress() {
	records, rows := w.demo.producer.count()
	parts := make([]string, 0, len(roles))
	for _, r := range roles {
		parts = append(parts, fmt.Sprintf("%s %s final, %s waiting", r.job, thousands(w.final(r.job)), thousands(w.waiting(r, rows))))
	}
	w.demo.screen.tell("progress", "%s in %s produced; rows: %s.", count(rows[householdTopic]+rows[measurementTopic], "row"), count(records, "record"), strings.Join(parts, "; "))
}
