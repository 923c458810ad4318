package control

import (
	"math"
	"time"

	"streamer/consumer"
)

// A job's rate limit holds for all its instances together: each may take the part of it that its partitions with work are of all
// partitions with work, and what others do not need. Nobody decides for all; each instance says how busy its partitions are and what
// they need, hears the others, and divides for itself. What makes the sum come out right:
//
//   - Busy is an average over the last seconds, not a yes or no. A partition whose few records are sent at once is busy for a moment
//     of every second and needs a small part only.
//   - Need is what was sent in the last seconds and a little more, unless the limit itself held it back: whose rows wait for their turn
//     needs all it can get. What is left by those who need less is for those who do (max-min fairness, Bertsekas
//     and Gallager, Data Networks, 6.5.2). Without that, a partition with few records would keep the share of its busy moments for itself.
//   - A partition counts once: of two that say they have it, the one that said so last is believed; of its own this instance knows best.
//   - A partition that nobody has at the moment, since it goes from one instance to another, counts as it was last, for a while.
//     Before an instance has heard of all partitions of the job, those it has not heard of count as busy, for as long.
//   - A smaller share is taken at once, a larger one when it has been due for longer than news take to reach the others; but at once
//     what a partition brings along that another instance had before: that one has lost it, and knows.
const (
	// busyOver is the time over which busy and need are averaged.
	busyOver = 2 * time.Second
	// orphanFor is how long a partition counts that nobody says he has.
	orphanFor = 10 * time.Second
	// growAfter is how long a larger share must have been due, but for the part of it that averages waver by.
	growAfter = 750 * time.Millisecond
	waver     = 0.06
	// leastBusy is what an instance without work counts as, so that it can begin at once when some comes.
	leastBusy = 0.1
	// leastShare is the share of an instance that has not divided yet.
	leastShare = 0.01
	// spare and leastSpare are what is needed beyond what was sent: a part of it, and of the limit.
	spare, leastSpare = 0.15, 0.01
	// heldBack is the part of the time in which a row waits for its turn, for one who needs more.
	heldBack = 0.75
)

// claim is what an instance says of a job: the partitions it has, how busy each is, and what parts of the limit its rows and its
// redrive can use.
type claim struct {
	Work    []consumer.Work `json:"work"`
	Rows    float64         `json:"rows"`
	Redrive float64         `json:"redrive"`
}

// division is how one instance divides one job's limit. It is used by one goroutine.
type division struct {
	limit         float64 // attempts a second
	begun         time.Time
	sampled       time.Time
	own           map[consumer.TopicPartition]float64
	rows, redrive usage
	gained        float64   // what partitions brought along since the last share
	strange       time.Time // until then it has partitions of which it does not know what they need
	known         map[consumer.TopicPartition]sighting
	// due are the shares that were worked out within growAfter, the last one at the end.
	due []due
}

// usage is what one of the instance's two users of the limit sends, as a part of the limit, and the part of the time in which the limit
// holds something back: averages.
type usage struct {
	started    uint64 // attempts by the last sample
	used, held float64
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

func newDivision(now time.Time, limit float64) *division {
	return &division{
		limit: limit, begun: now, sampled: now,
		own: map[consumer.TopicPartition]float64{}, known: map[consumer.TopicPartition]sighting{},
	}
}

// sample takes what this instance's partitions are doing at a moment into the averages. Samples should come at odd times, so that they
// do not keep step with the records.
func (d *division) sample(now time.Time, load consumer.Load) {
	passed := now.Sub(d.sampled).Seconds()
	weight := 1 - math.Exp(-passed/busyOver.Seconds())
	d.sampled = now
	own := make(map[consumer.TopicPartition]float64, len(load.Partitions))
	for _, w := range load.Partitions {
		busy, ours := d.own[w.TopicPartition]
		if !ours {
			busy = w.Busy
			if last, known := d.known[w.TopicPartition]; known && now.Sub(last.at) < orphanFor {
				busy = last.busy // it goes on as it was at the other instance
				d.gained += busy
			}
			if busy > 0 {
				d.strange = now.Add(busyOver)
				d.rows.held, d.redrive.held = 1, 1 // until it turns out that they do not need more
			}
		}
		own[w.TopicPartition] = busy + (w.Busy-busy)*weight
	}
	d.own = own
	d.rows.sample(load.Rows, passed*d.limit, weight)
	d.redrive.sample(load.Redrive, passed*d.limit, weight)
}

// sample takes into the averages what was sent since the last sample, in which the whole limit allowed that many attempts.
func (u *usage) sample(sent consumer.Sent, allowed, weight float64) {
	held := 0.0
	if sent.Held {
		held = 1
	}
	u.held += (held - u.held) * weight
	if allowed > 0 {
		u.used += (float64(sent.Started-u.started)/allowed - u.used) * weight
	}
	u.started = sent.Started
}

// need is the part of the limit that can be used.
func (u *usage) need() float64 {
	if u.held >= heldBack {
		return 1
	}
	return math.Round(1000*min(1, u.used*(1+spare)+leastSpare)) / 1000
}

// claim is what this instance says of its partitions.
func (d *division) claim() claim {
	c := claim{Work: make([]consumer.Work, 0, len(d.own))}
	for at, busy := range d.own {
		c.Work = append(c.Work, consumer.Work{TopicPartition: at, Busy: math.Round(busy*100) / 100})
	}
	c.Rows, c.Redrive = d.rows.need(), d.redrive.need()
	if d.sampled.Before(d.strange) { // its averages are those of another time
		c.Rows, c.Redrive = 1, 1
	}
	return c
}

// share gives this instance's parts of the limit, for its rows and for a redrive. partitions is the number of the job's, 0 if it is not
// known. The claims of the other live instances come in the order in which they were made.
func (d *division) share(now time.Time, partitions int, others []claim) (rows, redrive float64) {
	type believed struct {
		claim int
		busy  float64
	}
	all := append(others[:len(others):len(others)], d.claim()) // of our own we know best
	by := map[consumer.TopicPartition]believed{}
	for i, c := range all {
		for _, w := range c.Work {
			at := w.TopicPartition
			if at == consumer.RedriveWork {
				continue
			}
			by[at] = believed{i, w.Busy}
			d.known[at] = sighting{w.Busy, now}
		}
	}
	// The users of the limit: rows and redrive of each claim, and what nobody has.
	users := make([]user, 2*len(all)+1)
	for i, c := range all {
		users[2*i].need, users[2*i+1].need = c.Rows, c.Redrive
		for _, w := range c.Work {
			if w.TopicPartition == consumer.RedriveWork {
				users[2*i+1].busy = w.Busy
			}
		}
	}
	for _, b := range by {
		users[2*b.claim].busy += b.busy
	}
	nobody := &users[2*len(all)]
	nobody.need = 1
	for at, last := range d.known {
		if _, claimed := by[at]; !claimed && now.Sub(last.at) < orphanFor {
			nobody.busy += last.busy
		}
	}
	if unheard := partitions - len(d.known); unheard > 0 && now.Sub(d.begun) < orphanFor {
		nobody.busy += float64(unheard)
	}
	total := max(fill(users), leastBusy*float64(len(all)))
	for i := range d.due {
		d.due[i].rows += d.gained / total
	}
	d.gained = 0
	own := users[2*len(others):]
	return d.settle(due{now, max(own[0].share, leastBusy/total), max(own[1].share, leastBusy/total)})
}

// user is one of those who divide a limit.
type user struct {
	busy, need, share float64
}

// fill gives each user a share of 1, and returns how busy they are together: nobody more than it needs, as long as others need more,
// and those who need more as busy as they are.
func fill(users []user) (total float64) {
	for _, u := range users {
		total += u.busy
	}
	left, busy := 1.0, total
	for filled := -1; filled != 0; {
		filled = 0
		for i := range users {
			if u := &users[i]; u.busy > 0 && u.share == 0 && u.need <= left*u.busy/busy {
				u.share = u.need
				left -= u.need
				busy -= u.busy
				filled++
			}
		}
	}
	const rounding = 1e-9
	for i := range users {
		switch u := &users[i]; {
		case u.busy == 0:
		case busy <= rounding: // nobody needs more
			u.share += left * u.busy / total
		case u.share == 0:
			u.share = left * u.busy / busy
		}
	}
	return total
}

// settle gives the least of the shares that were due within growAfter, and a little more if that is due now.
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
		rows, redrive = min(rows, earlier.rows*(1+waver)), min(redrive, earlier.redrive*(1+waver))
	}
	return min(rows, 1), min(redrive, 1)
}

// differs says that a claim is news after another: it has other partitions, or one of them is busy in another way, or it needs more or less.
func (c claim) differs(said claim) bool {
	if len(said.Work) != len(c.Work) || math.Abs(said.Rows-c.Rows) >= 0.02 || math.Abs(said.Redrive-c.Redrive) >= 0.02 {
		return true
	}
	before := make(map[consumer.TopicPartition]float64, len(said.Work))
	for _, w := range said.Work {
		before[w.TopicPartition] = w.Busy
	}
	for _, w := range c.Work {
		busy, had := before[w.TopicPartition]
		if !had || math.Abs(busy-w.Busy) >= leastBusy || w.Busy == 0 && busy > 0 || w.Busy == 1 && busy < 1 {
			return true
		}
	}
	return false
}
