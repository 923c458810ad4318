package control

import (
	"math"
	"time"

	"streamer/consumer"
)

// A job's rate limit holds for all its instances together: each may take the part of it that its partitions with work are of all
// partitions with work. Nobody decides for all; each instance says how busy its partitions are, hears the others, and divides for
// itself. What makes the sum come out right:
//
//   - Busy is an average over the last seconds, not a yes or no. A partition whose few records are sent at once is busy for a moment
//     of every second and needs a small part only; were it counted as 1 the limit would not be used up, as 0 it would be passed. One
//     whose part is too small gets a backlog, is busier, and so gets more.
//   - A partition counts once: of two that say they have it, the one that said so last is believed; of its own this instance knows best.
//   - A partition that nobody has at the moment, since it goes from one instance to another, counts as it was last, for a while.
//     Before an instance has heard of all partitions of the job, those it has not heard of count as busy, for as long.
//   - A smaller share is taken at once, a larger one when it has been due for longer than news take to reach the others; but at once
//     what a partition brings along that another instance had before: that one has lost it, and knows.
const (
	// busyOver is the time over which busy is averaged.
	busyOver = 2 * time.Second
	// orphanFor is how long a partition counts that nobody says he has.
	orphanFor = 10 * time.Second
	// growAfter is how long a larger share must have been due.
	growAfter = 750 * time.Millisecond
	// leastBusy is what an instance without work counts as, so that it can begin at once when some comes.
	leastBusy = 0.1
	// leastShare is the share of an instance that has not divided yet.
	leastShare = 0.01
)

// claim is what another instance says of a job: the partitions it has, and how busy each is.
type claim []consumer.Work

// division is how one instance divides one job's limit. It is used by one goroutine.
type division struct {
	begun   time.Time
	sampled time.Time
	own     map[consumer.TopicPartition]float64
	gained  float64 // what partitions brought along since the last share
	known   map[consumer.TopicPartition]sighting
	// due are the shares that were worked out within growAfter, the last one at the end.
	due []due
}

// sighting is how busy a partition was when it was last somebody's.
type sighting struct {
	busy float64
	at   time.Time
}

type due struct {
	at            time.Time
	rows, redrive float64
}

func newDivision(now time.Time) *division {
	return &division{begun: now, sampled: now, own: map[consumer.TopicPartition]float64{}, known: map[consumer.TopicPartition]sighting{}}
}

// sample takes what this instance's partitions are doing at a moment into the averages. Samples should come at odd times, so that they
// do not keep step with the records.
func (d *division) sample(now time.Time, work []consumer.Work) {
	weight := 1 - math.Exp(-now.Sub(d.sampled).Seconds()/busyOver.Seconds())
	d.sampled = now
	own := make(map[consumer.TopicPartition]float64, len(work))
	for _, w := range work {
		busy, ours := d.own[w.TopicPartition]
		if !ours {
			busy = w.Busy
			if last, known := d.known[w.TopicPartition]; known && now.Sub(last.at) < orphanFor {
				busy = last.busy // it goes on as it was at the other instance
				d.gained += busy
			}
		}
		own[w.TopicPartition] = busy + (w.Busy-busy)*weight
	}
	d.own = own
}

// work is what this instance says of its partitions.
func (d *division) work() []consumer.Work {
	out := make([]consumer.Work, 0, len(d.own))
	for at, busy := range d.own {
		out = append(out, consumer.Work{TopicPartition: at, Busy: math.Round(busy*100) / 100})
	}
	return out
}

// share gives this instance's parts of the limit, for its rows and for a redrive. partitions is the number of the job's, 0 if it is not
// known. The claims of the other live instances come in the order in which they were made.
func (d *division) share(now time.Time, partitions int, others []claim) (rows, redrive float64) {
	all := map[consumer.TopicPartition]float64{}
	for _, c := range others {
		for _, w := range c {
			all[w.TopicPartition] = w.Busy
			d.known[w.TopicPartition] = sighting{w.Busy, now}
		}
	}
	var ownRows, ownRedrive float64
	for at, busy := range d.own {
		all[at] = busy
		d.known[at] = sighting{busy, now}
		if at == consumer.RedriveWork {
			ownRedrive = busy
		} else {
			ownRows += busy
		}
	}
	var total float64
	heard := 0
	for at, last := range d.known {
		if at != consumer.RedriveWork {
			heard++
		}
		busy, claimed := all[at]
		if !claimed && at != consumer.RedriveWork && now.Sub(last.at) < orphanFor {
			busy = last.busy
		}
		total += busy
	}
	if unheard := partitions - heard; unheard > 0 && now.Sub(d.begun) < orphanFor {
		total += float64(unheard)
	}
	total = max(total, ownRows+ownRedrive, leastBusy*float64(1+len(others)))
	for i := range d.due {
		d.due[i].rows += d.gained / total
	}
	d.gained = 0
	return d.settle(due{now, max(ownRows, leastBusy) / total, max(ownRedrive, leastBusy) / total})
}

// settle gives the least of the shares that were due within growAfter.
func (d *division) settle(latest due) (rows, redrive float64) {
	if len(d.due) == 0 {
		d.due = append(d.due, due{latest.at, leastShare, leastShare})
	}
	d.due = append(d.due, latest)
	for len(d.due) > 2 && latest.at.Sub(d.due[1].at) >= growAfter {
		d.due = d.due[1:]
	}
	rows, redrive = latest.rows, latest.redrive
	for _, earlier := range d.due {
		rows, redrive = min(rows, earlier.rows), min(redrive, earlier.redrive)
	}
	return min(rows, 1), min(redrive, 1)
}

// differs says that what an instance has to say of its partitions is news: it has others, or one of them is busy in another way.
func differs(said, now []consumer.Work) bool {
	if len(said) != len(now) {
		return true
	}
	before := make(map[consumer.TopicPartition]float64, len(said))
	for _, w := range said {
		before[w.TopicPartition] = w.Busy
	}
	for _, w := range now {
		busy, had := before[w.TopicPartition]
		if !had || math.Abs(busy-w.Busy) >= leastBusy || w.Busy == 0 && busy > 0 || w.Busy == 1 && busy < 1 {
			return true
		}
	}
	return false
}
