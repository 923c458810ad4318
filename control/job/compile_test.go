package job

import (
	"reflect"
	"testing"
	"time"

	"streamer/consumer"
	"streamer/schemas"
	"streamer/sink"
)

// The rules of a job document: what is written, and what is found wrong with it.
func TestCompileFaults(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		add  []string
		want []string
	}{
		{"a job without faults", nil, nil},
		{"id missing", []string{"-id"}, []string{"id: is missing"}},
		{"id is a number", []string{"id: 12"}, []string{"id: is a number, not text"}},
		{"id with a blank", []string{"id: my job"}, []string{`id: "my job" cannot be used as a name`}},
		{"id is dots", []string{"id: .."}, []string{`id: ".." cannot be used`}},
		{"id is a word of the API", []string{"id: list"}, []string{`id: "list" is a word of the HTTP API's paths`}},
		{"owner missing", []string{"-owner"}, []string{"owner: is missing"}},
		{"owner with a blank, Aether's keys only", []string{"owner: the owner"}, []string{`warning: owner: "the owner" cannot be used as a name`}},
		{"owner with a blank, a key of ours", []string{"owner: the owner", "order: key"}, []string{`owner: "the owner" cannot be used as a name`}},
		{"owner leaves the secrets directory", []string{"owner: ../x", "order: key"}, []string{"owner:"}},
		{"type, datamap and url missing", []string{"-type", "-datamap", "-url"}, []string{"type:", "datamap:", "url:"}},

		{"unknown key, Aether's keys only", []string{"foo: 1"}, []string{"warning: foo: unknown key, it has no effect"}},
		{"unknown key beside one of ours", []string{"foo: 1", "order: key"}, []string{"foo: unknown key"}},
		{"misspelt key", []string{"delivry: {}", "order: key"}, []string{"delivry: unknown key; did you mean delivery?"}},
		{"unknown key of delivery", []string{"delivery: {time_out: 3s}"}, []string{"delivery.time_out: unknown key; did you mean timeout?"}},
		{"unknown key of basic_auth, Aether's keys only", []string{"basic_auth: {user: a, password: b, realm: c}"}, []string{"warning: basic_auth.realm: unknown key"}},
		{"a callback to the topic that is read", []string{"topic: [streamer.out.a]", "callback: {topic: streamer.out.a}"}, []string{`callback.topic: the job reads topic "streamer.out.a" itself`}},
		{"a callback to its own default", []string{"topic: [streamer.out.villages]", "callback: {}"}, []string{`callback.topic: the job reads topic "streamer.out.villages" itself`}},
		{"a callback to a topic of others", []string{"callback: {topic: payments}", "response: {topic: __consumer_offsets}"}, []string{`callback.topic: topic "payments" may not be written by a job`, "response.topic: topic"}},
		{"a callback among the dead letters", []string{"dead_letter: {topic: streamer.out.b}", "callback: {topic: streamer.out.b}"}, []string{"callback.topic: topic \"streamer.out.b\" has the job's dead letters"}},
		{"a callback with words that nobody knows", []string{"callback: {topics: a}", "response: {on: never}"}, []string{"callback.topics: unknown key; did you mean topic?", "response.on: unknown value"}},
		{"answers are told", []string{"callback: {}", "response: {on: failures, topic: streamer.out.c}"}, nil},
		{"routes is text", []string{"routes: crm"}, []string{"routes: found a string, not a list of 1 to 256 routes"}},
		{"a key of a route is misspelt", []string{"routes: [{name: a, wen: $.msg.b}]"}, []string{"routes[0].wen: unknown key; did you mean when?"}},
		{"faults of routes", []string{"-url", "routes: [{name: a, type: POTS}, {name: b, url: 'https://b.example.org/{x}'}]"},
			[]string{"routes[0].type: unknown HTTP method", "routes[0].url: missing", "routes[1].url: unknown key {x}"}},
		{"two logins at one host", []string{"auth: {bearer: x}", "routes: [{name: a}, {name: b, auth: {bearer: y}}]"},
			[]string{"routes[1]: logs in at https://api.example.org:443 otherwise than routes[0], which goes there too and logs in as the job does"}},
		{"a route with a fault in its login", []string{"routes: [{name: a, url: 'https://b.example.org/', auth: {bassic: {}}}]"}, []string{"routes[0].auth.bassic: unknown key; did you mean basic?"}},
		{"routes to hosts of their own", []string{"routes: [{name: a}, {name: b, url: 'https://b.example.org/', auth: {bearer: y}}]"}, nil},
		{"events beside url", []string{"events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST}}}}"}, []string{"type: stands beside events", "url: stands beside events"}},
		{"events", []string{"-url", "-type", "-datamap", "order: $.record.parent.id", "events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST, auth_token: a}, edit: {http_method: PUT, auth_token: a}}}}"}, nil},
		{"a method of events is misspelt", []string{"-url", "-type", "events: {rdm_record: {'https://a.example.org/': {pubish: {http_method: POST}}}}"},
			[]string{`events.rdm_record["https://a.example.org/"].pubish: "pubish" is no method of rdm_record; did you mean publish?`}},
		{"a key of a method is misspelt", []string{"-url", "-type", "events: {rdm_record: {'https://a.example.org/': {publish: {http_metod: POST}}}}"},
			[]string{`.publish.http_metod: unknown key; did you mean http_method?`, `.publish.http_method: missing`}},
		{"tokens of events differ at one host", []string{"-url", "-type", "events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST, auth_token: a}, edit: {http_method: PUT, auth_token: b}}}}"},
			[]string{`.edit: logs in at https://a.example.org:443 otherwise than events.rdm_record["https://a.example.org/"].publish, which goes there too`}},
		{"steps are no list", []string{"steps: {}"}, []string{"steps: found an object, not a list"}},
		{"faults of all steps", []string{"steps: [{name: a, url: '/x'}, {nam: b, url: 'https://a.example.org/{$.steps.c.body}'}]"},
			[]string{"steps[0].url: does not begin with http", "steps[1].nam: unknown key", "steps[1].name: missing", `steps[1].url: "$.steps.c.body": no step before it is called "c"`}},
		{"a reference that is missing in a step's header", []string{"steps: [{name: a, url: 'https://a.example.org/', headers: {X-Key: '${env:STREAMER_VALUE_NO}'}}]"}, []string{"steps[0].headers.X-Key: environment variable STREAMER_VALUE_NO is not set"}},
		{"written by streamer", []string{"modified: '2020-01-01'", "hash: abc"}, nil},

		{"topic is text", []string{"topic: village"}, []string{"topic: is text, not a list"}},
		{"topic is empty", []string{"topic: []"}, []string{"topic: is empty"}},
		{"topic is missing", []string{"-topic"}, []string{"topic: is missing"}},
		{"a topic is a number", []string{"topic: [a, 1]"}, []string{"topic[1]: is a number, not text"}},
		{"a topic twice", []string{"topic: [a, a]"}, []string{`warning: topic[1]: "a" stands twice`}},
		{"no legal name of a topic", []string{"topic: ['a b']"}, []string{`topic[0]: "a b" is no name of a Kafka topic`}},
		{"topic of streamer's own", []string{"topic: [streamer.jobs]"}, []string{`topic[0]: topic "streamer.jobs" may not be read`}},
		{"out topic", []string{"topic: [streamer.out.visits]"}, nil},
		{"topic of Kafka's own", []string{"topic: [__consumer_offsets]"}, []string{`topic "__consumer_offsets" may not be read`}},
		{"a pattern", []string{"topic: ['^form-.*$']"}, nil},
		{"a pattern without its end", []string{"topic: ['^form-.*']"}, []string{"topic[0]: the pattern \"^form-.*\" has no end; write it as ^…$"}},
		{"a pattern that does not compile", []string{"topic: ['^(form$']"}, []string{"topic[0]: the pattern does not compile"}},
		{"a pattern for streamer's own topics", []string{"topic: ['^streamer\\..*$']"}, []string{"topic[0]: the pattern matches topics like \"streamer.jobs\""}},
		{"a pattern for another job's dead letters", []string{"topic: ['^streamer\\.dead-.*x$']"}, []string{"topic[0]: the pattern matches topics like \"streamer.dead-…\""}},
		{"a pattern for out topics", []string{"topic: ['^streamer\\.out\\..*$']"}, nil},
		{"a pattern for everything", []string{"topic: ['^.*$']"}, []string{"topic[0]: the pattern matches topics like \"__consumer_offsets\""}},

		{"group of another kind", []string{"group: billing"}, []string{`group: group "billing" may not be used by a job; leave it out for streamer.villages`}},
		{"group of the Aether consumer", []string{"group: 'RESTWorker:9a1'"}, nil},
		{"group in the namespace", []string{"group: streamer.v2"}, nil},
		{"group is the namespace alone", []string{"group: streamer."}, []string{"group:"}},
		{"start is no place", []string{"start: yesterday"}, []string{`start: "yesterday" says no place to begin`}},
		{"start is a day", []string{"start: 2026-01-31"}, []string{`start: "2026-01-31" says no place`}},
		{"order is misspelt", []string{"order: keys"}, []string{`order: unknown value "keys"; did you mean key?`}},
		{"order does not compile", []string{"order: '$.msg['"}, []string{"order:"}},
		{"instances: none", []string{"instances: 0"}, []string{"instances:"}},
		{"instances: a word", []string{"instances: two"}, []string{"instances:"}},
		{"instances", []string{"instances: 2"}, nil},
		{"format that is none", []string{"format: avroo"}, []string{`format: unknown value "avroo"; did you mean avro?`}},
		{"schemas that are no list", []string{"schemas: {}"}, []string{"schemas: is an object, not a list of Avro schemas"}},
		{"a schema that is none", []string{"schemas: ['\"int\"', {type: record, name: A}]"}, []string{"schemas[1]: the schema is no valid Avro schema"}},
		{"format is misspelt", []string{"format: jsno"}, []string{`format: unknown value "jsno"; did you mean json?`}},
		{"tombstone is misspelt", []string{"tombstone: drop"}, []string{`tombstone: unknown value "drop"; write one of skip, deliver, reject`}},
		{"logical is misspelt", []string{"logical: texts"}, []string{"logical: unknown value"}},
		{"a limit is not positive", []string{"limits: {rows: 0}"}, []string{"limits.rows: 0 is out of range"}},
		{"a limit is above the most", []string{"limits: {record_bytes: 9999999999}"}, []string{"limits.record_bytes: 9999999999 is out of range"}},

		{"a duration without its unit", []string{"delivery: {timeout: 30}"}, []string{`delivery.timeout: is a number, not a duration; write it with its unit, as in "30s"`}},
		{"a duration that is none", []string{"delivery: {timeout: soon}"}, []string{`delivery.timeout: "soon" is no duration`}},
		{"a timeout that is too long", []string{"delivery: {timeout: 6m}"}, []string{"delivery.timeout: 6m is out of range; write a duration from 1ms to 5m"}},
		{"a drain that is too long", []string{"delivery: {drain: 1h}"}, []string{"delivery.drain: 1h is out of range"}},
		{"negative concurrency", []string{"delivery: {concurrency: -1}"}, []string{"delivery.concurrency: -1 is out of range"}},
		{"concurrency is no whole number", []string{"delivery: {concurrency: 1.5}"}, []string{"delivery.concurrency: is a number, not a whole number"}},
		{"rate_limit without rate", []string{"delivery: {rate_limit: {per: 1m}}"}, []string{"delivery.rate_limit.rate: is missing"}},
		{"rate_limit is a number", []string{"delivery: {rate_limit: 5}"}, []string{"delivery.rate_limit: is a number, not an object"}},
		{"rate_limit beside ratelimit", []string{"ratelimit: 2", "delivery: {rate_limit: {rate: 1}}"}, []string{"ratelimit: stands beside delivery.rate_limit"}},
		{"ratelimit is negative", []string{"ratelimit: -1"}, []string{"ratelimit: -1 is out of range"}},
		{"a first wait above the longest", []string{"delivery: {retry: {initial: 2m, max: 1m}}"}, []string{"delivery.retry.initial:"}},
		{"a class that is none", []string{"delivery: {statuses: {lost: [404]}}"}, []string{`delivery.statuses: has no class "lost"`}},
		{"a status that is none", []string{"delivery: {statuses: {delivered: [40, a]}}"}, []string{"delivery.statuses.delivered[0]", "delivery.statuses.delivered[1]: is text, not a status code"}},
		{"statuses is a list", []string{"delivery: {statuses: [404]}"}, []string{"delivery.statuses: is a list, not an object of lists"}},
		{"a health check that is no URL", []string{"delivery: {breaker: {health: /up}}"}, []string{"delivery.breaker.health:"}},
		{"a header of the connection", []string{"delivery: {idempotency_header: expect}"}, []string{"delivery.idempotency_header: header expect is set by the connection itself"}},
		{"a header that is none", []string{"delivery: {idempotency_header: 'a b'}"}, []string{`delivery.idempotency_header: "a b" is no name of a header`}},

		{"dead letters to a foreign topic", []string{"dead_letter: {topic: lost}"}, []string{`dead_letter.topic: topic "lost" may not be written by a job`}},
		{"dead letters to the topic that is read", []string{"topic: [streamer.out.a]", "dead_letter: {topic: streamer.out.a}"}, []string{"dead_letter.topic: the job reads topic"}},
		{"dead_letter on", []string{"dead_letter: on"}, []string{`dead_letter: unknown value "on"`}},
		{"nothing to park", []string{"order: none", "dead_letter: {key: park}"}, []string{"warning: dead_letter.key: nothing waits"}},
		{"hold_share above one", []string{"dead_letter: {hold_share: 3}"}, []string{"dead_letter.hold_share: 3 is out of range"}},

		{"a header that the connection answers itself", []string{"headers: {expect: 100-continue}"}, []string{"headers.expect: is set from the request itself"}},
		{"a header that the connection sets", []string{"headers: {Content-Length: '3'}"}, []string{"headers.Content-Length: "}},
		{"a header twice", []string{"headers: {x-a: b, X-A: c}"}, []string{"headers.X-A: stands twice"}},
		{"a reference where none is replaced", []string{"constant: {a: ['${env:STREAMER_VALUE_A}']}"}, []string{"warning: constant.a[0]: references are replaced"}},
		{"an URL at loopback", []string{"url: 'http://localhost:8080/{id}'"}, []string{"warning: url: localhost is 127.0.0.1, a private address; STREAMER_ALLOW_HOSTS"}},
		{"an URL at a private address", []string{"url: 'http://[fd00::1]/{id}'"}, []string{"warning: url: fd00::1 is a private address"}},
		{"an URL at a metadata service", []string{"url: 'http://169.254.169.254/{id}'"}, []string{"warning: url: 169.254.169.254 is an address that is never dialled"}},
		{"basic_auth without a password", []string{"basic_auth: {user: a}"}, []string{"basic_auth.password: is missing"}},
		{"an empty basic_auth is none", []string{"basic_auth: {}"}, nil},
		{"a token that is not sent", []string{"basic_auth: {user: a, password: b}", "token: c"}, []string{"warning: token: is not sent"}},
		{"auth beside token", []string{"auth: {bearer: a}", "token: c"}, []string{"auth: stands beside basic_auth or token"}},
		{"two ways to log in", []string{"auth: {bearer: a, token: b}"}, []string{"auth: says more than one way"}},
		{"nothing of OAuth 2", []string{"auth: {oauth2: {}}"}, []string{"auth.oauth2.token_url: is missing", "auth.oauth2.client_id: is missing", "auth.oauth2.client_secret: is missing"}},
		{"OAuth 2, wrong", []string{"auth: {oauth2: {token_url: 'http://idp.example.org/token', client_id: 7, client_secret: a, scopes: read, grant: password, clientid: a}}"}, []string{
			"auth.oauth2.token_url: is without TLS", "auth.oauth2.client_id: is a number, not text", "auth.oauth2.scopes: is text, not a list", `auth.oauth2.grant: unknown value "password"`, "auth.oauth2.clientid: unknown key; did you mean client_id?"}},
		{"two grants", []string{"auth: {oauth2: {token_url: 'https://idp.example.org/', client_id: a, client_secret: b, refresh_token: c, grant: client_credentials}}"}, []string{"auth.oauth2.refresh_token: stands beside grant: client_credentials"}},
		{"a grant without its token", []string{"auth: {oauth2: {token_url: 'https://idp.example.org/', client_id: a, client_secret: b, grant: refresh_token}}"}, []string{"auth.oauth2.refresh_token: is missing"}},
		{"nothing of a token storage", []string{"auth: {token_storage: {}}"}, []string{"auth.token_storage.url: is missing", "auth.token_storage.service: is missing", "auth.token_storage.user: is missing"}},
		{"a user that is not mapped", []string{"auth: {token_storage: {url: 'https://storage.example.org', service: a, user: '{nobody}'}}"}, []string{"auth.token_storage.user: "}},
		{"half a certificate", []string{"auth: {mtls: {cert: a}}"}, []string{"auth.mtls.key: is missing"}},
		{"no certificate", []string{"auth: {mtls: {cert: a, key: b}}"}, []string{"auth.mtls.cert: is with auth.mtls.key no certificate"}},
		{"three ways to log in", []string{"auth: {mtls: {cert: a, key: b}, bearer: c, oauth2: {token_url: 'https://idp.example.org/', client_id: a, client_secret: b}}"}, []string{"auth: says more than one way", "auth.mtls.cert: is with"}},
		{"a masked secret", []string{"token: '********'"}, []string{"token: ******** is what streamer shows in place of a secret"}},

		{"faults of five fields at once", []string{"id: a b", "topic: []", "order: keys", "format: avroo", "delivery: {timeout: 3}"},
			[]string{"id:", "topic:", "order:", "format:", "delivery.timeout:"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, faults := compileText(t, Process{}, jobText(c.add...))
			checkFaults(t, faults, c.want)
		})
	}
}

// What a job comes to: defaults, and every field of ours in its place.
func TestCompileConfig(t *testing.T) {
	t.Parallel()
	cfg, faults := compileText(t, Process{Namespace: "ns", Instance: "i-0"}, jobText())
	checkFaults(t, faults, nil)
	if cfg.Program == nil {
		t.Error("no program")
	}
	cfg.Program = nil
	want := consumer.Config{
		Job: "villages", Namespace: "ns", Group: "ns.villages", Instance: "i-0", Topics: []string{"village"},
		DeadLetterTopic:   "ns.dead-letters.villages",
		IdempotencyHeader: "Idempotency-Key", PositionHeaders: true, Sink: sink.Config{AttemptHeader: true},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("defaults\n got %+v\nwant %+v", cfg, want)
	}

	cfg, faults = compileText(t, Process{}, jobText(
		"format: json", "logical: text", "limits: {rows: 7, nesting: 9}", "start: 2026-01-31T12:00:00+01:00", "order: partition",
		"tombstone: reject", "group: 'RESTWorker:v'", "topic: [a.b, '^c-.*$']",
		`delivery: {timeout: 2s, concurrency: 0, rate_limit: {rate: 3, per: 1m, burst: 2}, retry: {initial: 1s, max: 2m, max_after: 3h},
  breaker: {failures: 2, open: 4s, health: "https://api.example.org/up"}, statuses: {delivered: [404]}, drain: 9s, commit: 1s,
  idempotency_header: off, position_headers: false, response_bytes: 10}`,
		"dead_letter: {topic: streamer.out.lost, retention: 2d}", "auth: {basic: {user: u, password: p}}"))
	checkFaults(t, faults, nil)
	cfg.Program = nil
	want = consumer.Config{
		Job: "villages", Namespace: "streamer", Group: "RESTWorker:v", Topics: []string{`^a\.b$`, "^c-.*$"}, Pattern: true,
		Start: consumer.Start{Time: time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)}, Order: consumer.Order{By: consumer.OrderPartition},
		Schemas:   schemas.Config{Format: schemas.FormatJSON, LogicalText: true, Limits: schemas.Limits{Rows: 7, Nesting: 9}},
		Tombstone: consumer.TombstoneReject, DeadLetterTopic: "streamer.out.lost", DeadLetterRetention: 48 * time.Hour,
		Drain: 9 * time.Second, Commit: time.Second,
		Sink: sink.Config{
			Timeout: 2 * time.Second, Concurrency: maxConcurrency, Rate: sink.Rate{Count: 3, Per: time.Minute, Burst: 2},
			Retry:    sink.Retry{Initial: time.Second, Max: 2 * time.Minute, MaxAfter: 3 * time.Hour},
			Breaker:  sink.Breaker{Failures: 2, Open: 4 * time.Second, Health: "https://api.example.org/up"},
			Statuses: map[sink.Class][]int{sink.Delivered: {404}}, ResponseBytes: 10,
			Auth: sink.Auth{Basic: &sink.Basic{User: "u", Password: "p"}},
		},
	}
	if !cfg.Start.Time.Equal(want.Start.Time) {
		t.Errorf("start %v", cfg.Start.Time)
	}
	cfg.Start, want.Start = consumer.Start{}, consumer.Start{}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("every field\n got %+v\nwant %+v", cfg, want)
	}
}

func TestCompileSingleFields(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		add  []string
		ok   func(consumer.Config) bool
	}{
		{"dead letters off", []string{"dead_letter: off"}, func(c consumer.Config) bool { return c.DeadLetterTopic == "" }},
		{"ratelimit is seconds between requests", []string{"ratelimit: 0.5"}, func(c consumer.Config) bool {
			return c.Sink.Rate == sink.Rate{Count: 1, Per: 500 * time.Millisecond, Burst: 1}
		}},
		{"ratelimit 0 is no limit", []string{"ratelimit: 0"}, func(c consumer.Config) bool { return c.Sink.Rate == sink.Rate{} }},
		{"rate 0 is no limit", []string{"delivery: {rate_limit: {rate: 0}}"}, func(c consumer.Config) bool { return c.Sink.Rate == sink.Rate{} }},
		{"start latest", []string{"start: latest"}, func(c consumer.Config) bool { return c.Start.Latest }},
		{"start is a YAML time", []string{"start: 2026-01-31T12:00:00Z"}, func(c consumer.Config) bool { return c.Start.Time.Year() == 2026 }},
		{"order by a path", []string{"order: $.msg.village"}, func(c consumer.Config) bool {
			return c.Order.By == consumer.OrderPath && c.Order.Path != nil
		}},
		{"order by a relative path", []string{"order: msg.village"}, func(c consumer.Config) bool { return c.Order.By == consumer.OrderPath }},
		{"order by key", []string{"order: key"}, func(c consumer.Config) bool { return c.Order.By == consumer.OrderKey }},
		{"order none", []string{"order: none"}, func(c consumer.Config) bool { return c.Order.By == consumer.OrderNone }},
		{"the drain is the timeout", []string{"delivery: {timeout: 3m}"}, func(c consumer.Config) bool { return c.Defaults().Drain == 3*time.Minute }},
		{"Aether's token", []string{"token: abc"}, func(c consumer.Config) bool { return c.Sink.Auth.Token == "abc" }},
		{"an empty token is none", []string{"token: ''"}, func(c consumer.Config) bool { return c.Sink.Auth == sink.Auth{} }},
		{"bearer", []string{"auth: {bearer: abc}"}, func(c consumer.Config) bool { return c.Sink.Auth.Bearer == "abc" }},
		{"null is not given", []string{"delivery: null", "order: null", "basic_auth: null"}, func(c consumer.Config) bool {
			return c.Order.By == consumer.OrderAuto && c.Sink.Auth.Basic == nil
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, faults := compileText(t, Process{}, jobText(c.add...))
			checkFaults(t, faults, nil)
			if !c.ok(cfg) {
				t.Errorf("got %+v", cfg)
			}
		})
	}
}
