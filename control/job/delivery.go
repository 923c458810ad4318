package job

import (
	"fmt"
	"math"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/schemas"
	"streamer/sink"
)

// What a job may ask for. The defaults of what it leaves out are the sink's and the consumer's.
const (
	maxTimeout      = 5 * time.Minute
	maxConcurrency  = 1 << 16
	idempotencyName = "Idempotency-Key"
	year            = 365 * 24 * time.Hour
)

func (c *compilation) delivery(cfg *consumer.Config) {
	cfg.Sink.AttemptHeader = true
	cfg.PositionHeaders = true
	cfg.IdempotencyHeader = idempotencyName
	if d, ok := c.sub("delivery", false); ok {
		cfg.Sink.Timeout, _ = d.duration("timeout", time.Millisecond, maxTimeout)
		cfg.Sink.Concurrency = d.atMost("concurrency", maxConcurrency)
		cfg.Drain, _ = d.duration("drain", time.Millisecond, maxTimeout)
		cfg.Commit, _ = d.duration("commit", 10*time.Millisecond, time.Minute)
		cfg.Sink.Rate = d.rate()
		cfg.Sink.Retry = d.retry()
		cfg.Sink.Breaker = d.breaker()
		cfg.Sink.Statuses = d.statuses()
		cfg.Sink.ResponseBytes = int64(d.positive("response_bytes"))
		word, _ := d.word("on_unproven", "hold", "dead_letter")
		cfg.Sink.Retry.GiveUpUnproven = word == "dead_letter"
		if on, ok := d.flag("position_headers"); ok {
			cfg.PositionHeaders, cfg.Sink.AttemptHeader = on, on
		}
		if name, ok := d.text("idempotency_header"); ok {
			cfg.IdempotencyHeader = c.idempotencyHeader(name)
		}
	}
	c.rateLimit(cfg)
}

// rateLimit reads Aether's planned field: n seconds from one request to the next.
func (c *compilation) rateLimit(cfg *consumer.Config) {
	seconds, ok := c.number("ratelimit", 0, 86400)
	if !ok || seconds == 0 {
		return
	}
	if cfg.Sink.Rate.Count > 0 {
		c.faults.Add("ratelimit", "stands beside delivery.rate_limit", "keep one of them")
		return
	}
	cfg.Sink.Rate = sink.Rate{Count: 1, Per: time.Duration(seconds * float64(time.Second)), Burst: 1}
	if cfg.Sink.Rate.Per == 0 {
		cfg.Sink.Rate = sink.Rate{}
	}
}

// atMost reads a limit, of which 0 means none: the highest number there is for it.
func (r reader) atMost(name string, highest int) int {
	n, ok := r.whole(name, 0, int64(highest))
	if ok && n == 0 {
		return highest
	}
	return n
}

func (r reader) rate() sink.Rate {
	s, ok := r.sub("rate_limit", false)
	if !ok {
		return sink.Rate{}
	}
	var rate sink.Rate
	if rate.Count, ok = s.number("rate", 0, 1e6); !ok {
		if _, _, given := s.given("rate"); !given {
			r.faults.Add(s.path+".rate", "is missing", "say how many requests may start per second, or set per")
		}
	}
	rate.Per = time.Second
	if per, ok := s.duration("per", time.Millisecond, 24*time.Hour); ok {
		rate.Per = per
	}
	rate.Burst, _ = s.whole("burst", 0, 1e6)
	if rate.Count == 0 {
		return sink.Rate{}
	}
	return rate
}

func (r reader) retry() sink.Retry {
	s, ok := r.sub("retry", false)
	if !ok {
		return sink.Retry{}
	}
	var retry sink.Retry
	retry.Initial, _ = s.duration("initial", time.Millisecond, time.Hour)
	retry.Max, _ = s.duration("max", time.Millisecond, 24*time.Hour)
	retry.MaxAfter, _ = s.duration("max_after", time.Millisecond, 7*24*time.Hour)
	retry.Attempts = s.atMost("attempts", math.MaxInt32)
	return retry
}

func (r reader) breaker() sink.Breaker {
	s, ok := r.sub("breaker", false)
	if !ok {
		return sink.Breaker{}
	}
	var b sink.Breaker
	b.Failures = s.atMost("failures", math.MaxInt32)
	b.Open, _ = s.duration("open", time.Millisecond, 24*time.Hour)
	b.Health, _ = s.text("health")
	if userInfo.MatchString(b.Health) {
		r.faults.Add(member(s.path, "health"), "a user or password in the URL", "the job's login goes along to its own target")
		b.Health = ""
	}
	return b
}

func (r reader) statuses() map[sink.Class][]int {
	v, path, ok := r.given("statuses")
	if !ok {
		return nil
	}
	if v.Kind() != schemas.Object {
		r.faults.Add(path, "is "+kindName(v)+", not an object of lists", "write it as in {delivered: [404]}")
		return nil
	}
	statuses := map[sink.Class][]int{}
	for class, codes := range v.Members() {
		at := member(path, class)
		if codes.Kind() != schemas.Array {
			r.faults.Add(at, "is "+kindName(codes)+", not a list", "write it as in {delivered: [404]}")
			continue
		}
		list, i := make([]int, 0, codes.Len()), 0
		for e := range codes.Elements() {
			if code, ok := e.Int(); ok {
				list = append(list, int(max(-1, min(code, 1000))))
			} else {
				r.faults.Add(element(at, i), "is "+kindName(e)+", not a status code", "write a number from 200 to 599")
			}
			i++
		}
		statuses[sink.Class(strings.Clone(class))] = list
	}
	return statuses
}

func (c *compilation) idempotencyHeader(name string) string {
	if name == "off" {
		return ""
	}
	if problem := headerProblem(name); problem != "" {
		c.faults.Add("delivery.idempotency_header", problem, "write a header's name, or off")
		return ""
	}
	return name
}

func (c *compilation) deadLetter(cfg *consumer.Config) {
	own := ownLetters(c.process.Namespace, c.def.ID)
	cfg.DeadLetterTopic = own
	v, _, ok := c.given("dead_letter")
	if !ok {
		return
	}
	if word, isText := v.Str(); isText {
		if word != "off" {
			c.faults.Add("dead_letter", fmt.Sprintf("unknown value %q", clip(word)), "write off or an object, as in {retention: 14d}")
		}
		cfg.DeadLetterTopic = ""
		return
	}
	s, ok := c.sub("dead_letter", false)
	if !ok {
		return
	}
	if topic, ok := s.text("topic"); ok {
		if topic != own || c.def.ID == "" {
			c.checkProduced(deadLetterTopic, topic, own, cfg)
		}
		cfg.DeadLetterTopic = topic
	}
	if d, ok := s.duration("retention", time.Minute, 10*year); ok {
		cfg.DeadLetterRetention = d
	}
	if share, ok := s.number("hold_share", 0, 1); ok {
		cfg.DeadLetterShare = max(share, math.SmallestNonzeroFloat64) // 0 means the default to the consumer
	}
	if word, ok := s.word("key", "continue", "park"); ok {
		if cfg.DeadLetterPark = word == "park"; cfg.DeadLetterPark && cfg.Order.By == consumer.OrderNone {
			c.faults.Warn("dead_letter.key", "nothing waits for a row with order: none, so nothing is parked", "give the job an order, or leave key out")
		}
	}
}

// setByTransport are headers that the HTTP connection sets and a job cannot.
var setByTransport = []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "Te", "Trailer",
	"Proxy-Connection", "Expect"}

// headerProblem says what is wrong with a header's name; empty: nothing.
func headerProblem(name string) string {
	token := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	switch {
	case name == "" || len(name) > 200 || strings.ContainsFunc(name, func(r rune) bool { return !token(r) }):
		return fmt.Sprintf("%q is no name of a header", clip(name))
	case slices.Contains(setByTransport, textproto.CanonicalMIMEHeaderKey(name)):
		return fmt.Sprintf("header %s is set by the connection itself", name)
	}
	return ""
}
