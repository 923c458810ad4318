package consumer

import (
	"crypto/x509"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

func TestEffect(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	path := func(text string) *mapping.Path {
		p, err := mapping.CompilePath(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	base := f.job("t")
	base.Topics, base.Order = []string{"t", "u"}, Order{OrderPath, path("$.msg.id")}
	base.Sink.RootCAs = x509.NewCertPool()
	for name, c := range map[string]struct {
		want   Effect
		change func(*Config)
	}{
		"nothing":            {EffectNone, func(*Config) {}},
		"the defaults, said": {EffectNone, func(c *Config) { c.DeadLetterShare, c.Sink.Breaker.Failures = 0.5, 1000 }},
		"the same program, compiled": {EffectNone, func(c *Config) {
			c.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, "")
		}},
		"the same path, compiled":    {EffectNone, func(c *Config) { c.Order.Path = path("$.msg.id") }},
		"the same authorities, read": {EffectNone, func(c *Config) { c.Sink.RootCAs = x509.NewCertPool() }},
		"the order of topics":        {EffectNone, func(c *Config) { c.Topics = []string{"u", "t"} }},
		"the commit interval":        {EffectNone, func(c *Config) { c.Commit = time.Minute }},
		"the drain":                  {EffectNone, func(c *Config) { c.Drain = time.Minute }},
		"the guard":                  {EffectNone, func(c *Config) { c.DeadLetterShare = 1 }},
		"retention of dead letters":  {EffectNone, func(c *Config) { c.DeadLetterRetention = time.Hour }},
		"start":                      {EffectNone, func(c *Config) { c.Start.Latest = true }},
		"instances":                  {EffectNone, func(c *Config) { c.Instances = 1 }},
		"concurrency":                {EffectNextAttempt, func(c *Config) { c.Sink.Concurrency = 1 }},
		"a secret":                   {EffectNextAttempt, func(c *Config) { c.Sink.Auth.Bearer = "b" }},
		"a login elsewhere": {EffectNextAttempt, func(c *Config) {
			c.Sink.Places = []sink.Place{{Origin: "https://a.test:443", Auth: sink.Auth{Bearer: "b"}}}
		}},
		"OAuth 2": {EffectNextAttempt, func(c *Config) {
			c.Sink.Auth.OAuth2 = &sink.OAuth2{TokenURL: "https://a.test", ClientID: "a", ClientSecret: "b"}
		}},
		"success":                   {EffectNextAttempt, func(c *Config) { c.Sink.Success = &sink.Success{Else: sink.Rejected} }},
		"statuses":                  {EffectNextAttempt, func(c *Config) { c.Sink.Statuses = map[sink.Class][]int{sink.Delivered: {404}} }},
		"no more authorities":       {EffectNextAttempt, func(c *Config) { c.Sink.RootCAs = nil }},
		"another dead-letter topic": {EffectNextAttempt, func(c *Config) { c.DeadLetterTopic = "d" }},
		"dead letters off":          {EffectNextAttempt, func(c *Config) { c.DeadLetterTopic = "" }},
		"parked keys":               {EffectNextAttempt, func(c *Config) { c.DeadLetterPark = true }},
		"another URL": {EffectRemap, func(c *Config) {
			c.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/v2/{id}", `["n"]`, "")
		}},
		"a filter": {EffectRemap, func(c *Config) {
			c.Program = f.program(`{"id": "$.msg.id", "n": "$.msg.n"}`, f.api.URL()+"/rows/{id}", `["n"]`, `"$.msg.n"`)
		}},
		"an order by another path": {EffectRemap, func(c *Config) { c.Order.Path = path(`"$.msg.n"`) }},
		"an order":                 {EffectRemap, func(c *Config) { c.Order = Order{By: OrderNone} }},
		"a format":                 {EffectRemap, func(c *Config) { c.Schemas.Format = schemas.FormatBytes }},
		"a limit":                  {EffectRemap, func(c *Config) { c.Schemas.Limits.Rows = 7 }},
		"tombstones":               {EffectRemap, func(c *Config) { c.Tombstone = TombstoneDeliver }},
		"no idempotency key":       {EffectRemap, func(c *Config) { c.IdempotencyHeader = "" }},
		"no position":              {EffectRemap, func(c *Config) { c.PositionHeaders = false }},
		"a topic more":             {EffectRejoin, func(c *Config) { c.Topics = []string{"t", "u", "v"} }},
		"a pattern":                {EffectRejoin, func(c *Config) { c.Pattern = true }},
		"another group":            {EffectRejoin, func(c *Config) { c.Group = "g" }},
		"a static instance":        {EffectRejoin, func(c *Config) { c.Instance = "i" }},
		"another namespace":        {EffectRejoin, func(c *Config) { c.Namespace = "n" }},
		"another job":              {EffectRejoin, func(c *Config) { c.Job = "j" }},
	} {
		next := base
		c.change(&next)
		if got := base.Effect(next); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if got := next.Effect(base); got != c.want {
			t.Errorf("%s, undone: %v, want %v", name, got, c.want)
		}
	}
}
