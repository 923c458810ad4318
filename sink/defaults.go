package sink

import (
	"math"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"time"

	"streamer/internal/fault"
	"streamer/sink/wire"
)

// Bounds of what a job may ask for.
const (
	maxTimeout       = 5 * time.Minute
	maxConcurrency   = 1 << 16
	maxResponseBytes = 64 << 20
)

// Defaults gives c with its zero fields filled in.
func (c Config) Defaults() Config {
	orTime(&c.Timeout, 30*time.Second)
	orTime(&c.Retry.Initial, 500*time.Millisecond)
	orTime(&c.Retry.Max, time.Minute)
	orTime(&c.Retry.MaxAfter, time.Hour)
	orTime(&c.Breaker.Open, 30*time.Second)
	orTime(&c.Rate.Per, time.Second)
	if c.Concurrency == 0 {
		c.Concurrency = 64
	}
	if c.Rate.Burst == 0 {
		c.Rate.Burst = 1
	}
	if c.Retry.Attempts == 0 {
		c.Retry.Attempts = 10
	}
	if c.Breaker.Failures == 0 {
		c.Breaker.Failures = 5
	}
	if c.ResponseBytes == 0 {
		c.ResponseBytes = 64 << 10
	}
	return c
}

func orTime(field *time.Duration, fallback time.Duration) {
	if *field == 0 {
		*field = fallback
	}
}

// Validate reports every fault of c, with paths as a job writes them. Zero fields are defaults and no faults.
func (c Config) Validate() fault.List {
	var l fault.List
	d := c.Defaults()
	durations := []struct {
		path  string
		value time.Duration
	}{
		{"delivery.timeout", d.Timeout},
		{"delivery.retry.initial", d.Retry.Initial},
		{"delivery.retry.max", d.Retry.Max},
		{"delivery.retry.max_after", d.Retry.MaxAfter},
		{"delivery.breaker.open", d.Breaker.Open},
	}
	for _, f := range durations {
		if f.value < 0 {
			l.Add(f.path, "is negative: "+f.value.String(), "write a time such as 30s, or leave it out for the default")
		}
	}
	if d.Timeout > maxTimeout {
		l.Add("delivery.timeout", d.Timeout.String()+" is too long", "at most "+maxTimeout.String()+": a partition leaves no later than its longest attempt")
	}
	if d.Retry.Initial > d.Retry.Max && d.Retry.Max >= 0 {
		l.Add("delivery.retry.initial", d.Retry.Initial.String()+" is above retry.max "+d.Retry.Max.String(), "raise retry.max or lower retry.initial")
	}
	if d.Retry.Attempts < 0 || d.Retry.Attempts > math.MaxInt32 {
		l.Add("delivery.retry.attempts", "is "+strconv.Itoa(d.Retry.Attempts), "write a number from 1 up")
	}
	if d.Concurrency < 0 || d.Concurrency > maxConcurrency {
		l.Add("delivery.concurrency", "is "+strconv.Itoa(d.Concurrency), "write a number from 1 to "+strconv.Itoa(maxConcurrency))
	}
	if d.ResponseBytes < 0 || d.ResponseBytes > maxResponseBytes {
		l.Add("delivery.response_bytes", "is "+strconv.FormatInt(d.ResponseBytes, 10), "write a number of bytes up to "+strconv.Itoa(maxResponseBytes))
	}
	if d.Breaker.Failures < 0 || d.Breaker.Failures > math.MaxInt32 {
		l.Add("delivery.breaker.failures", "is "+strconv.Itoa(d.Breaker.Failures), "write a number from 1 up")
	}
	if d.Breaker.Health != "" {
		if o, _, err := wire.ParseOrigin(d.Breaker.Health); err != nil {
			l.Add("delivery.breaker.health", "is no URL that can be asked: "+err.Error(), "write an absolute http or https URL")
		} else if c.Origin != "" && o.String() != c.Origin {
			l.Add("delivery.breaker.health", "is not at "+c.Origin+", which is all that the connection is for", "write a path below the connection's base_url")
		}
	}
	c.validateRate(&l, d)
	c.validateStatuses(&l)
	c.validateAuth(&l)
	_, faults := c.TLS.config(nil)
	l = append(l, faults...)
	c.validatePlaces(&l)
	return l
}

// validatePlaces checks that each place is one of its own, and has a login and TLS that can be used.
func (c Config) validatePlaces(l *fault.List) {
	seen := map[string]bool{c.Origin: c.Origin != ""}
	for i, p := range c.Places {
		path := "places[" + strconv.Itoa(i) + "]"
		if o, _, err := wire.ParseOrigin(p.Origin); err != nil || o.String() != p.Origin {
			l.Add(path+".origin", "is not written as scheme://host:port", "")
		}
		if seen[p.Origin] {
			l.Add(path+".origin", "is there already: "+p.Origin, "requests to one origin log in one way")
		}
		seen[p.Origin] = true
		for _, f := range (Config{Auth: p.Auth, TLS: p.TLS, Guard: c.Guard}).Validate() {
			f.Path = path + "." + f.Path
			*l = append(*l, f)
		}
	}
}

func (c Config) validateRate(l *fault.List, d Config) {
	const path = "delivery.rate_limit"
	if r := c.Rate.Count; r < 0 || math.IsNaN(r) || math.IsInf(r, 0) {
		l.Add(path+".rate", "is "+strconv.FormatFloat(r, 'g', -1, 64), "write a number above 0, or leave rate_limit out for no limit")
	}
	if d.Rate.Per < 0 {
		l.Add(path+".per", "is negative: "+d.Rate.Per.String(), "write a time such as 1s")
	}
	if d.Rate.Burst < 0 {
		l.Add(path+".burst", "is negative: "+strconv.Itoa(d.Rate.Burst), "write a number from 1 up")
	}
}

// validateStatuses checks that each code is moved at most once, to a class that a response can have.
func (c Config) validateStatuses(l *fault.List) {
	classes := make([]string, 0, len(c.Statuses))
	for class := range c.Statuses {
		classes = append(classes, string(class))
	}
	sort.Strings(classes)
	seen := map[int]string{}
	for _, class := range classes {
		path := "delivery.statuses." + class
		switch Class(class) {
		case Delivered, Rejected, Credentials, Target:
		default:
			l.Add("delivery.statuses", "has no class "+strconv.Quote(class), "the classes a status can have are delivered, rejected, credentials and target")
			continue
		}
		for i, code := range c.Statuses[Class(class)] {
			at := path + "[" + strconv.Itoa(i) + "]"
			if code < 200 || code > 599 {
				l.Add(at, "is no status of a response: "+strconv.Itoa(code), "write a code from 200 to 599")
			} else if before, ok := seen[code]; ok {
				l.Add(at, strconv.Itoa(code)+" stands in "+before+" already", "keep it in one class")
			} else {
				seen[code] = class
			}
		}
	}
}

// validateAuth refuses what could never stand in a header. It says what is wrong and never the value.
func (c Config) validateAuth(l *fault.List) {
	check := func(path, value string) {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			l.Add(path, "has a line break or another control character", "take it out; a file's last line break is a common cause")
		}
	}
	check("token", c.Auth.Token.Reveal())
	check("auth.bearer", c.Auth.Bearer.Reveal())
	if k := c.Auth.APIKey; k != nil {
		check("auth.api_key.value", k.Value.Reveal())
	}
	if o := c.Auth.OAuth2; o != nil {
		c.validateTokenURL(l, "auth.oauth2.token_url", o.TokenURL)
		if o.ClientID == "" {
			l.Add("auth.oauth2.client_id", "is missing", "write the name under which the token endpoint knows this client")
		}
		if o.ClientSecret == "" && o.RefreshToken == "" {
			l.Add("auth.oauth2.client_secret", "is missing", "client credentials need one; only a refresh token can go without")
		}
	}
	if t := c.Auth.TokenStorage; t != nil {
		c.validateTokenURL(l, "auth.token_storage.url", t.URL)
		if t.Service == "" {
			l.Add("auth.token_storage.service", "is missing", "write the name under which the service is registered there")
		}
	}
	if b := c.Auth.Basic; b != nil && strings.Contains(b.User, ":") {
		l.Add("basic_auth.user", "has a colon", "basic authentication (RFC 7617) ends the name at the first colon; use a user without one")
	}
}

// validateTokenURL checks an URL to which credentials go, and from which they come. Names are looked at again when they are dialled.
func (c Config) validateTokenURL(l *fault.List, path, url string) {
	const mend = "write an absolute URL, as in https://login.example.org/token"
	if url == "" {
		l.Add(path, "is missing", mend)
		return
	}
	o, rest, err := wire.ParseOrigin(url)
	switch ip, no := netip.ParseAddr(o.Host); {
	case err != nil:
		l.Add(path, "is no URL that can be asked: "+err.Error(), mend)
	case o.User != "":
		l.Add(path, "has a user or password", "leave them out")
	case strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(rest, "#{}"):
		l.Add(path, "has a character that cannot stand in it", "percent-encode it; there are no placeholders in it")
	case o.TLS:
	case no == nil && !private(ip), len(c.Guard.Hosts) == 0 && len(c.Guard.CIDRs) == 0:
		l.Add(path, "is without TLS", "write https; http is for addresses that are private, and that STREAMER_ALLOW_CIDRS or STREAMER_ALLOW_HOSTS lists")
	}
}
