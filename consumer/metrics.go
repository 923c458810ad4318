package consumer

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/mapping"
	"streamer/sink"
)

// Outcomes of rows, as counted in streamer_rows_total.
const (
	outcomeDelivered    = "delivered"
	outcomeDeadLettered = "dead_lettered"
	outcomeParked       = "parked"
	outcomeGivenUp      = "given_up" // by an operator, without a dead letter
	outcomeLooped       = "looped"   // given up without a dead letter, which would only go round
	outcomeFiltered     = "filtered"
	outcomeNotEmitted   = "not_emitted"
	outcomeUnmatched    = "unmatched"  // by any route
	outcomeSuppressed   = "suppressed" // the echo of an own write
	outcomeTombstone    = "tombstone"
)

var outcomes = []string{outcomeDelivered, outcomeDeadLettered, outcomeParked, outcomeGivenUp, outcomeLooped, outcomeFiltered, outcomeNotEmitted, outcomeUnmatched, outcomeSuppressed, outcomeTombstone}

func verdictOutcome(v mapping.Verdict) string {
	switch v {
	case mapping.NotEmitted:
		return outcomeNotEmitted
	case mapping.Unmatched:
		return outcomeUnmatched
	case mapping.Suppressed:
		return outcomeSuppressed
	default:
		return outcomeFiltered
	}
}

// metrics are those of the data path. Their names and labels are a contract: they never depend on a setting.
type metrics struct {
	polled          prometheus.Counter
	rows            *prometheus.CounterVec
	attempts        *prometheus.CounterVec
	attemptSeconds  prometheus.Histogram
	deliverySeconds prometheus.Histogram
	commitSeconds   prometheus.Histogram
	deadLetters     *prometheus.CounterVec
	redelivered     *prometheus.CounterVec
	metadataDropped *prometheus.CounterVec
	expired         *prometheus.CounterVec
}

var secondsBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

func newMetrics(reg prometheus.Registerer, i *Instance) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: secondsBuckets})
	}
	m := &metrics{
		polled:          prometheus.NewCounter(prometheus.CounterOpts{Name: "streamer_records_polled_total", Help: "Records handed over by Kafka, control records included."}),
		rows:            counter("streamer_rows_total", "Rows that became final, by outcome.", "job", "outcome"),
		attempts:        counter("streamer_attempts_total", "HTTP attempts by class and status; status 0: no response.", "job", "class", "status"),
		attemptSeconds:  seconds("streamer_attempt_seconds", "Duration of one HTTP attempt, from dial to the last byte."),
		deliverySeconds: seconds("streamer_delivery_seconds", "Time from poll until a row is final."),
		commitSeconds:   seconds("streamer_commit_seconds", "Time until a commit is answered."),
		deadLetters:     counter("streamer_dead_letters_total", "Dead letters acknowledged by the broker, by class.", "job", "class"),
		redelivered:     counter("streamer_redelivered_total", "Rows sent again that this process had finished in an earlier assignment of their partition.", "job"),
		metadataDropped: counter("streamer_commit_metadata_dropped_rows_total", "Finished records, and final rows of unfinished ones, that did not fit into commit metadata: a crash now would send them again.", "job"),
		expired:         counter("streamer_expired_records_total", "Records that expired before they were delivered, counted when an operator lets their partition go on.", "job"),
	}
	reg.MustRegister(m.polled, m.rows, m.attempts, m.attemptSeconds, m.deliverySeconds, m.commitSeconds, m.deadLetters, m.redelivered, m.metadataDropped, m.expired, gauges{i})
	return m
}

// rowCounter counts rows in a metric, and for the status of one runner.
type rowCounter struct {
	prometheus.Counter
	here atomic.Int64
}

// RowCount is how many rows of a job, or what its routes made of them, became final in one way, in the words of streamer_rows_total.
type RowCount struct {
	Outcome string `json:"outcome"`
	Rows    int64  `json:"rows"`
}

func (m *metrics) rowsOf(job string) map[string]*rowCounter {
	out := make(map[string]*rowCounter, len(outcomes))
	for _, o := range outcomes {
		out[o] = &rowCounter{Counter: m.rows.WithLabelValues(job, o)}
	}
	return out
}

// forget drops the series of a job.
func (m *metrics) forget(job string) {
	for _, v := range []*prometheus.CounterVec{m.rows, m.attempts, m.deadLetters, m.redelivered, m.metadataDropped, m.expired} {
		v.DeletePartialMatch(prometheus.Labels{"job": job})
	}
}

func (r *Runner) counted(outcome string) {
	c := r.rows[outcome]
	c.Inc()
	c.here.Add(1)
}

// rowCounts gives the outcomes that there were, in a fixed order.
func (r *Runner) rowCounts() (out []RowCount) {
	for _, o := range outcomes {
		if n := r.rows[o].here.Load(); n > 0 {
			out = append(out, RowCount{o, n})
		}
	}
	return out
}

// gauges reads the state of all runners when metrics are asked for.
type gauges struct{ instance *Instance }

var (
	lagDesc      = prometheus.NewDesc("streamer_lag_records", "Records between the committed offset and the high watermark.", []string{"job", "topic", "partition"}, nil)
	oldestDesc   = prometheus.NewDesc("streamer_oldest_pending_seconds", "How long ago the oldest record that is not finished was polled.", []string{"job"}, nil)
	headroomDesc = prometheus.NewDesc("streamer_retention_headroom_seconds", "How long the oldest record that is not finished will be kept by its topic; none without one, or without retention.ms.", []string{"job"}, nil)
	inFlightDesc = prometheus.NewDesc("streamer_in_flight", "Rows with an attempt running or waiting for the next one.", []string{"job"}, nil)
	recordsDesc  = prometheus.NewDesc("streamer_partition_records", "Records of the present assignment: polled = final + pending.", []string{"job", "topic", "partition", "state"}, nil)
	stalledDesc  = prometheus.NewDesc("streamer_stalled_partitions", "Partitions that have lag and made no progress for 30 s, by cause.", []string{"job", "cause"}, nil)
	unprovenDesc = prometheus.NewDesc("streamer_unproven_rows", "Rows that failed as often as a row may, without evidence that they are to blame.", []string{"job"}, nil)
	onHoldDesc   = prometheus.NewDesc("streamer_held_targets", "Targets on hold, for their credentials or their address.", []string{"job"}, nil)
	shareDesc    = prometheus.NewDesc("streamer_rate_limit_share", "Part of the job's rate limit that this instance may take; of jobs with a limit.", []string{"job"}, nil)
	breakerDesc  = prometheus.NewDesc("streamer_breaker_open", "Targets whose breaker is open.", []string{"job"}, nil)
)

func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagDesc, oldestDesc, headroomDesc, inFlightDesc, breakerDesc, recordsDesc, stalledDesc, unprovenDesc, onHoldDesc, shareDesc} {
		ch <- d
	}
}

func (g gauges) Collect(ch chan<- prometheus.Metric) {
	g.instance.mu.Lock()
	runners := append([]*Runner(nil), g.instance.runners...)
	g.instance.mu.Unlock()
	for _, r := range runners {
		s, job := r.Status(), r.cfg.Job
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{job}, labels...)...)
		}
		for _, p := range s.Partitions {
			if lag := p.Lag(); lag >= 0 {
				gauge(lagDesc, float64(lag), p.Topic, p.number())
			}
			gauge(recordsDesc, float64(p.Polled), p.Topic, p.number(), "polled")
			gauge(recordsDesc, float64(p.Final), p.Topic, p.number(), "final")
			gauge(recordsDesc, float64(p.Pending), p.Topic, p.number(), "pending")
		}
		stalled := map[StallCause]int{}
		for _, st := range s.Stalls {
			stalled[st.Cause]++
		}
		for _, c := range StallCauses {
			gauge(stalledDesc, float64(stalled[c]), string(c))
		}
		gauge(oldestDesc, s.OldestPending.Seconds())
		if left, known := r.headroom(time.Now()); known {
			gauge(headroomDesc, left.Seconds())
		}
		gauge(inFlightDesc, float64(s.Delivery.InFlight+s.Delivery.Waiting))
		open := 0
		for _, t := range s.Delivery.Targets {
			if t.Open {
				open++
			}
		}
		gauge(breakerDesc, float64(open))
		gauge(unprovenDesc, float64(s.Delivery.Unproven))
		gauge(onHoldDesc, float64(len(s.Delivery.Holds)))
		if r.now().Sink.Rate.Count > 0 {
			gauge(shareDesc, g.instance.rates.share(job))
		}
	}
}

// observer hands what the sink sees to metrics, status and log.
type observer struct{ r *Runner }

var _ sink.Observer = observer{}

func (o observer) Attempt(class sink.Class, status int, took time.Duration) {
	m := o.r.instance.metrics
	o.r.attempts.of(class, status, m.attempts, o.r.cfg.Job).Inc()
	m.attemptSeconds.Observe(took.Seconds())
}

func (o observer) Waiting(d *sink.Delivery, out sink.Outcome, until time.Time) {
	row := d.Row.(*row)
	cause := "rows wait: " + string(out.Class) + ": " + out.Reason
	if out.Unproven {
		cause += "; unproven: nothing shows whether the target or the row is to blame"
	}
	o.r.status.note(&o.r.status.delivery, cause)
	if o.r.said.first(cause, time.Now()) {
		o.r.log.Warn("a row waits for its next attempt", "topic", row.partition.topic, "partition", row.partition.id, "offset", row.record.Offset,
			"row", row.row, "route", row.route, "step", row.step, "class", string(out.Class), "status", out.Status, "attempts", out.Attempts, "counted", out.Counted, "reason", out.Reason, "until", until.Format(time.RFC3339))
	}
}

func (o observer) BreakerOpen(target string, open bool) {
	if open {
		o.r.log.Warn("breaker open: no attempts but probes until the target answers", "target", target)
		return
	}
	o.r.status.note(&o.r.status.delivery, "")
	o.r.log.Info("breaker closed: the target answers again", "target", target)
}

func (o observer) Held(target string, h sink.Hold, on bool) {
	if !on {
		o.r.status.note(&o.r.status.delivery, "")
		o.r.log.Info("target no longer on hold", "target", target, "class", string(h.Class))
		return
	}
	if cause := "on hold: " + target + ": " + h.Cause; o.r.said.first(cause, time.Now()) {
		o.r.log.Warn("target on hold: no attempts but probes, nothing is given up", "target", target, "class", string(h.Class), "reason", h.Cause)
	}
}

// attemptCounters keeps the counters of a job by class and status: a look-up by labels would cost more than the count.
type attemptCounters struct {
	mu sync.RWMutex
	by map[attemptLabels]prometheus.Counter
}

type attemptLabels struct {
	class  sink.Class
	status int
}

func (c *attemptCounters) of(class sink.Class, status int, vec *prometheus.CounterVec, job string) prometheus.Counter {
	labels := attemptLabels{class, status}
	c.mu.RLock()
	counter := c.by[labels]
	c.mu.RUnlock()
	if counter != nil {
		return counter
	}
	counter = vec.WithLabelValues(job, string(class), strconv.Itoa(status))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[attemptLabels]prometheus.Counter{}
	}
	c.by[labels] = counter
	return counter
}
