package job

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/sink"
)

// Somebody may edit jobs of the owner demo, and nothing else. Each test is one thing that he tries.

// admitted admits a job over another one, in a process with everything that there is to be got.
func admitted(t *testing.T, before *Definition, lines ...string) (consumer.Config, []string, error) {
	t.Helper()
	cfg, faults := admit(t, attacked(t), before, lines...)
	var texts []string
	for _, f := range faults {
		texts = append(texts, f.Error())
	}
	return cfg, texts, faults.Err()
}

func admit(t *testing.T, p Process, before *Definition, lines ...string) (consumer.Config, fault.List) {
	t.Helper()
	_, cfg, faults := parseOne(t, "job.yaml", jobText(lines...)).Admit(p, before)
	return cfg, faults
}

// He reads the environment of the process: its own settings, or what other programs put there.
func TestAttackReadTheEnvironment(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Env = func(string) (string, bool) { return "from-env", true }
	for _, name := range []string{"HOME", "STREAMER_SECRET_KEY", "STREAMER_KAFKA_SASL_PASSWORD", "STREAMER_VALUE", "STREAMER_VALUE_", "streamer_value_a",
		"STREAMER_VALUE_A=", "STREAMER_VALUE_A ", " STREAMER_VALUE_A", "STREAMER_VALUE_A\nB", "STREAMER_VALUE_../HOME", "STREAMER_VALUE_A}${env:HOME",
		"${env:STREAMER_VALUE_A}", "STREAMER_VALUE_\u00c4"} {
		for _, field := range []string{"token: %q", "auth: {bearer: %q}", "basic_auth: {user: %q, password: x}", "headers: {X-Source: %q}", "headers: {Authorization: %q}",
			"auth: {api_key: {header: X-Key, value: %q}}", "auth: {oauth2: {token_url: 'https://a.example.org', client_id: a, client_secret: %q}}", "auth: {oauth2: {token_url: 'https://a.example.org', client_id: a, refresh_token: %q}}",
			"auth: {mtls: {cert: %[1]q, key: %[1]q}}", "routes: [{name: r, url: 'https://b.example.org', auth: {bearer: %q}}]", "routes: [{name: r, headers: {X-Source: %q}}]",
			"steps: [{name: s, url: 'https://b.example.org', auth: {bearer: %q}}]", "steps: [{name: s, url: 'https://b.example.org', headers: {X-Source: %q}}]",
			"steps: [{name: s, read_or_create: {read: {url: 'https://b.example.org', headers: {X-Source: %q}}}}]"} {
			line := fmt.Sprintf(field, "${env:"+name+"}")
			_, cfg, faults := parseOne(t, "job.yaml", jobText(line)).Admit(p, nil)
			if faults.Err() == nil {
				t.Errorf("%s: taken as %q %v", line, cfg.Sink.Auth.Token.Reveal(), cfg.Sink.Auth)
			}
			if strings.Contains(faults.Error(), "from-env") {
				t.Errorf("%s: %v", line, faults)
			}
		}
		for _, field := range []string{"auth: {bearer: %q}", "auth: {mtls: {cert: %[1]q, key: %[1]q}}", "tls: {ca: %q}", "tls: {cert: %[1]q, key: %[1]q}",
			"register: {url: 'https://b.example.org', servicename: a, authorize_url: 'https://a', refresh_url: 'https://a', client_id: a, client_secret: %q, implements: [metadata]}"} {
			line := fmt.Sprintf(field, "${env:"+name+"}")
			_, _, faults := parseConnection(t, "name: a\nowner: demo\nbase_url: https://a.example.org\n"+line+"\n").Admit(p, nil)
			if faults.Err() == nil || strings.Contains(faults.Error(), "from-env") {
				t.Errorf("connection, %s: %v", line, faults)
			}
		}
		line := fmt.Sprintf("events: {rdm_record: {'https://a.example.org': {publish: {http_method: POST, auth_token: %[1]q}, create: {http_method: POST, headers: {X-Source: %[1]q}}}}}", "${env:"+name+"}")
		_, _, faults := parseOne(t, "job.yaml", "id: a\nowner: demo\ntopic: [a]\n"+line+"\n").Admit(p, nil)
		if len(faults.Errors()) < 2 || strings.Contains(faults.Error(), "from-env") {
			t.Errorf("%s: %v", line, faults)
		}
	}
}

// He writes a reference where what it comes to would be seen: in the URL, in the body, in names.
func TestAttackReferenceInAnotherPlace(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	for _, ref := range []string{"${env:STREAMER_VALUE_TOKEN}", "${file:token}"} {
		for _, field := range []string{
			"url: 'https://api.example.org/%s'", "url: 'https://api.example.org/?q=%s'", "url: 'https://api.example.org/#%s'", "url: 'https://%s.example.org/'",
			"url: 'https://u:%s@api.example.org/'", "url: {when: $.msg.id, then: 'https://api.example.org/%s', else: 'https://api.example.org/'}",
			"payload: {a: '%s'}", "payload: '%s'", "payload: {'%s': a}", "payload: {a: {$jq: '\"%s\"'}}", "constant: {a: '%s'}", "datamap: {id: '%s'}", "datamap: {'%s': $.msg.id}",
			"topic: ['%s']", "topic: ['^%s$']", "group: '%s'", "group: 'streamer.%s'", "group: 'RESTWorker:%s'", "order: '%s'", "filter: '%s'", "emit: {field: '%s', values: [true]}",
			"mask: {levels: ['%s'], emit: '%s', annotation: '%s'}", "dead_letter: {topic: 'streamer.out.%s'}", "dead_letter: '%s'", "type: '%s'", "format: '%s'", "start: '%s'",
			"id: '%s'", "owner: '%s'",
			"auth: {oauth2: {token_url: 'https://%s.example.org/', client_id: a, client_secret: b}}", "auth: {oauth2: {token_url: 'https://a.example.org/?%s', client_id: '%s', client_secret: b, scopes: ['%s'], audience: '%s'}}",
			"auth: {token_storage: {url: 'https://%s.example.org', service: a, user: b}}", "auth: {token_storage: {url: 'https://a.example.org', service: '%s', user: '%s'}}", "headers: {'%s': a}", "headers: {X-A: '{%s}'}", "delivery: {idempotency_header: '%s'}",
			"delivery: {breaker: {health: 'https://api.example.org/%s'}}", "delivery: {breaker: {health: 'https://%s.example.org/'}}", "json_body: ['%s']", "query_params: ['%s']", "tombstone: '%s'",
			"callback: {topic: 'streamer.out.%s'}", "response: {topic: 'streamer.out.%s'}", "connection: '%s'", "routes: [{name: r, url: 'https://b.example.org/%s'}]", "routes: [{name: r, payload: {a: '%s'}}]",
			"routes: [{name: '%s'}]", "routes: [{name: r, when: {field: $.msg.id, values: ['%s']}}]", "routes: [{name: r, auth: {token_storage: {url: 'https://a.example.org', service: '%s', user: '%s'}}}]",
			"steps: [{name: s, url: 'https://b.example.org/%s'}]", "steps: [{name: s, url: 'https://b.example.org/', type: POST, payload: {a: '%s'}}]", "steps: [{name: s, url: 'https://b.example.org/', cache: {ttl: 1m, key: '%s'}}]",
			"steps: [{name: s, read_or_create: {read: {url: 'https://b.example.org/%s'}, missing: '%s'}}]", "steps: [{name: s, url: 'https://b.example.org/', for_each: '%s'}]",
			"schemas: ['%s']", "instances: '%s'",
		} {
			line := strings.ReplaceAll(field, "%s", ref)
			_, cfg, faults := parseOne(t, "job.yaml", jobText(line)).Admit(p, nil)
			shown := faults.Error() + fmt.Sprintf("%+v", cfg.Topics) + cfg.Group + cfg.DeadLetterTopic + cfg.Job + cfg.IdempotencyHeader + cfg.Sink.Breaker.Health
			if o := cfg.Sink.Auth.OAuth2; o != nil {
				shown += o.TokenURL + o.ClientID + o.Audience + strings.Join(o.Scopes, " ")
			}
			if s := cfg.Sink.Auth.TokenStorage; s != nil {
				shown += s.URL + s.Service
			}
			if faults.Err() == nil && cfg.Program != nil && len(cfg.Topics) > 0 {
				shown += fmt.Sprintf("%+v", consumer.Render(cfg, consumer.Record{Topic: "village", Value: []byte(`{"id": 7}`)}))
			}
			if strings.Contains(shown, "from-env") || strings.Contains(shown, "from-file") {
				t.Errorf("%s: it is replaced: %s", line, shown)
			}
		}
	}
}

// He sends a record with a reference in it, to a job whose headers are made of rows.
func TestAttackReferenceInARow(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	stored := sealText(t, p.Secrets.Keyring, jobText("headers: {X-A: '{id}', X-Api-Key: 'hunter2 {id} {$.msg.id}', X-B: '${env:STREAMER_VALUE_TOKEN} {id}'}", "json_body: [id]"))
	cfg, faults := stored.Compile(p)
	checkFaults(t, faults, nil)
	for _, ref := range []string{"${env:STREAMER_VALUE_TOKEN}", "${file:token}", "{$.constant}", "sealed:v1:x:y"} {
		row := consumer.Render(cfg, consumer.Record{Topic: "village", Value: []byte(`{"id": "` + ref + `"}`)})[0]
		want := map[string]string{"X-A": ref, "X-Api-Key": "hunter2 " + ref + " " + ref, "X-B": "from-env " + ref}
		for _, h := range row.Request.Header {
			if w, ok := want[h.Name]; ok && h.Value != w {
				t.Errorf("%s is %q, want %q", h.Name, h.Value, w)
			}
		}
		if text := row.Request.URL + string(row.Request.Body); strings.Contains(text, "from-") {
			t.Errorf("%s: %s", ref, text)
		}
	}
}

// He climbs out of his owner's directory of secrets: by the name, by the owner, by a link, by a device, by a file without end.
func TestAttackClimbOutOfTheSecretsDirectory(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	home := filepath.Join(p.Secrets.Dir, "demo")
	for link, to := range map[string]string{"dev": "/dev/zero", "null": "/dev/null", "proc": "/proc/self/environ", "passwd": "/etc/passwd", "up": "..", "upup": "../other", "chain": "upup/token"} {
		if err := os.Symlink(to, filepath.Join(home, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(home, "huge"), 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("demo/..data", filepath.Join(p.Secrets.Dir, "..data")); err != nil { // as Kubernetes mounts have it
		t.Fatal(err)
	}
	try := func(line string) {
		t.Helper()
		cfg, faults := compileText(t, p, jobText(line, "order: key"))
		if faults.Err() == nil {
			t.Errorf("%s: taken as %q", line, cfg.Sink.Auth.Token.Reveal())
		}
		if text := faults.Error(); strings.Contains(text, "not yours") || strings.Contains(text, "root:") || len(text) > 1000 {
			t.Errorf("%s: %.1000s", line, text)
		}
	}
	for _, name := range []string{"..", ".", "../other/token", "../top", "/etc/passwd", "..data/real", "./token", "demo/../../top", "a/b", `..\top`, "%2e%2e/top", "top\x00",
		"token ", "", "upup/token", "dev", "null", "proc", "passwd", "up", "upup", "chain", "out", "far", "huge", strings.Repeat("a", 201)} {
		try(fmt.Sprintf("token: %q", "${file:"+name+"}"))
	}
	for _, owner := range []string{"..", ".", "../other", "other/../demo", "/", "demo/", `demo\..`, "..data", "%2e%2e", "demo\x00"} {
		try(fmt.Sprintf("owner: %q\ntoken: ${file:token}", owner))
		try(fmt.Sprintf("owner: %q\ntoken: ${file:real}", owner))
	}
	for _, id := range []string{"..", ".", "../x", "a/b", "/a", "a%2fb", `a\b`, "a b", "a\x00", "", "list", strings.Repeat("a", 201)} {
		try(fmt.Sprintf("id: %q", id))
	}
}

// attacked is a process whose owner demo has been granted little.
func attacked(t *testing.T) Process {
	t.Helper()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	p.Guard = sink.Guard{Hosts: []string{"api.internal", "db.internal"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	p.Grants = Grants{"demo": {
		Topics: []string{"village", "health.*", "streamer.*", "__*"}, Groups: []string{"RESTWorker:demo*"}, Produce: []string{"streamer.*", "health.out", "__*"},
		Hosts: []string{"api.internal", "elsewhere.internal"},
	}, Everyone: {Topics: []string{}}}
	return p
}

// He has his dead letters written where somebody takes them for something else: a job for the store, a line for the audit.
func TestAttackPlantADeadLetter(t *testing.T) {
	t.Parallel()
	plain := attacked(t)
	plain.Grants = nil
	for name, p := range map[string]Process{"with the defaults": plain, "with too wide a grant": attacked(t)} {
		for _, topic := range []string{"streamer.jobs", "streamer.status", "streamer.audit", "streamer.dead-letters.other", "streamer.dead-letters.villages.x", "streamer.out", "streamer.",
			"__consumer_offsets", "__transaction_state", "orders", "village", ".", "..", "streamer.out./../jobs", "streamer.out.\njobs", " streamer.jobs", "*", "^.*$"} {
			_, faults := admit(t, p, nil, fmt.Sprintf("dead_letter: {topic: %q}", topic))
			if faults.Err() == nil || !strings.Contains(faults.Error(), "dead_letter.topic: ") {
				t.Errorf("%s, %q: %v", name, topic, faults)
			}
		}
		for _, topic := range []string{"streamer.dead-letters.villages", "streamer.out.mine"} {
			if cfg, faults := admit(t, p, nil, "dead_letter: {topic: "+topic+"}"); faults.Err() != nil || cfg.DeadLetterTopic != topic {
				t.Errorf("%s, %s: %v", name, topic, faults)
			}
		}
	}
	if _, faults := admit(t, attacked(t), nil, "dead_letter: {topic: health.out}"); faults.Err() != nil {
		t.Errorf("what is granted: %v", faults)
	}
	narrow := attacked(t)
	narrow.Grants["demo"] = Grant{Produce: []string{"streamer.out.demo.*"}}
	_, faults := admit(t, narrow, nil, "dead_letter: {topic: streamer.out.other}") // which another owner's job reads
	if text := faults.Error(); !strings.Contains(text, `topic "streamer.out.other" is not granted to demo; leave it out for streamer.dead-letters.villages; whoever runs streamer can grant it: owners.demo.produce in the settings`) {
		t.Error(text)
	}
	_, faults = admit(t, narrow, nil, "callback: {}") // whose default is not granted either
	if text := faults.Error(); !strings.Contains(text, `topic "streamer.out.villages" is not granted to demo; name one of streamer.out.demo.*; whoever runs streamer`) {
		t.Error(text)
	}
	// His own dead letters come back without end: by name, and by a pattern.
	for _, topics := range []string{"[streamer.out.a]", `['^streamer\.out\..*$']`, `[x, '^streamer\.out\.a$']`} {
		if _, faults := admit(t, plain, nil, "topic: "+topics, "dead_letter: {topic: streamer.out.a}"); faults.Err() == nil || !strings.Contains(faults.Error(), "the job reads topic") {
			t.Errorf("%s: %v", topics, faults)
		}
	}
	// Answers go where dead letters may.
	for _, line := range []string{"callback: {topic: 'streamer.out.a b'}", "events: {}", "routes: []"} {
		if _, _, err := admitted(t, nil, line); err == nil {
			t.Errorf("%s is taken", line)
		}
	}
	for _, field := range []string{"callback", "response"} {
		for name, p := range map[string]Process{"with the defaults": plain, "with too wide a grant": attacked(t), "with little": narrow} {
			for _, topic := range []string{"streamer.jobs", "streamer.status", "streamer.audit", "streamer.dead-letters.villages", "streamer.dead-letters.other", "streamer.out", "__consumer_offsets", "payments", "village", "..", "streamer.out.\njobs", "^.*$"} {
				_, faults := admit(t, p, nil, fmt.Sprintf("%s: {topic: %q}", field, topic))
				if faults.Err() == nil || !strings.Contains(faults.Error(), field+".topic: ") {
					t.Errorf("%s, %s to %q: %v", name, field, topic, faults)
				}
			}
			own := map[string]string{"with the defaults": "streamer.out.mine", "with too wide a grant": "health.out", "with little": "streamer.out.demo.mine"}[name]
			if _, faults := admit(t, p, nil, field+": {topic: "+own+"}"); faults.Err() != nil {
				t.Errorf("%s, %s to %s: %v", name, field, own, faults)
			}
		}
		// By default it is a topic of the job's own name, which a grant that lacks it does not allow.
		if _, faults := admit(t, narrow, nil, field+": {}"); faults.Err() == nil || !strings.Contains(faults.Error(), "owners.demo.produce in the settings") {
			t.Errorf("%s without a topic: %v", field, faults)
		}
		// A route or a method that has a callback asks for the same topic.
		if _, faults := admit(t, narrow, nil, "routes: [{name: r, callback: true}]"); faults.Err() == nil || !strings.Contains(faults.Error(), "callback.topic: ") {
			t.Errorf("a route's callback: %v", faults)
		}
	}
}

// He takes another application's group, so that it loses its partitions, or another job's.
func TestAttackTakeAGroup(t *testing.T) {
	t.Parallel()
	plain := attacked(t)
	plain.Grants = nil
	for _, group := range []string{"billing", "streamer", "streamer.", "streamer2.a", "RESTWorker", "RESTWorker:", "restworker:a", "", "streamer.\na", "streamer.a/b", "Streamer.a"} {
		if cfg, faults := admit(t, plain, nil, fmt.Sprintf("group: %q", group)); faults.Err() == nil {
			t.Errorf("%q is taken as %q", group, cfg.Group)
		}
	}
	for group, want := range map[string]bool{"streamer.villages": true, "RESTWorker:demo-1": true, "RESTWorker:other": false, "streamer.v2": false, "billing": false, "RESTWorker:demo\n": false} {
		_, texts, err := admitted(t, nil, fmt.Sprintf("group: %q", group))
		if (err == nil) != want {
			t.Errorf("%q: %v", group, texts)
		}
		if err != nil && !strings.Contains(err.Error(), "owners.demo.groups in the settings") {
			t.Errorf("%q: it does not say who can grant it: %v", group, err)
		}
	}
	defs, _ := ParseFile("jobs.yaml", []byte(jobText()+"---\n"+jobText("id: other", "group: streamer.villages")+"---\n"+jobText("id: villages.x", "group: streamer.other2")))
	compiled := Set{Jobs: defs}.Compile(plain)
	if compiled[0].Faults.Err() == nil || compiled[1].Faults.Err() == nil || compiled[2].Faults.Err() != nil {
		t.Errorf("two jobs of one group: %v, %v, %v", compiled[0].Faults, compiled[1].Faults, compiled[2].Faults)
	}
}

// He reads the audit, the status, other jobs' definitions with their sealed secrets, or what he was not granted, by name or by a pattern.
// What no look at a pattern can find is left out when it is subscribed to, whatever it matches (TestPattern in consumer).
func TestAttackReadATopic(t *testing.T) {
	t.Parallel()
	internal := []string{"streamer.jobs", "streamer.status", "streamer.audit", "streamer.dead-letters.villages", "__consumer_offsets", "__transaction_state"}
	plain := attacked(t)
	plain.Grants = nil
	patterns := []string{`^.*$`, `^.+$`, `^streamer\.(jobs|out\.a)$`, `^[s]treamer\.jobs$`, `^(?i)STREAMER\.JOBS$`, `^streamer.jobs$`, `^\x73treamer\.audit$`, `^.{8}\.status$`,
		`^a|streamer\.jobs$`, `^a$|^streamer\.audit$`, `^a|.*|b$`, `^*streamer\.jobs$`, `^(a|)streamer\.jobs$`, `^__.*$`, `^_+consumer_offsets$`, `^[^a]*$`, `^.*villages$`}
	for name, p := range map[string]Process{"with the defaults": plain, "with too wide a grant": attacked(t)} {
		for _, topic := range append(internal, "streamer.", "streamer.outer", "streamer.out") {
			if _, faults := admit(t, p, nil, fmt.Sprintf("topic: [village, %q]", topic)); faults.Err() == nil {
				t.Errorf("%s: %s may be read", name, topic)
			}
		}
		for _, pattern := range patterns {
			cfg, faults := admit(t, p, nil, fmt.Sprintf("topic: ['%s']", pattern))
			if faults.Err() != nil {
				continue
			}
			for _, topic := range internal {
				if regexp.MustCompile(cfg.Topics[0]).MatchString(topic) {
					t.Errorf("%s: pattern %s takes %s", name, pattern, topic)
				}
			}
		}
	}

	for topic, want := range map[string]bool{"village": true, "health.visits": true, "health": false, "villages": false, "orders": false, "streamer.out.a": true,
		`^health\..*$`: true, `^health\.(a|b)$`: true, `^village$`: true, `^health.*$`: false, `^village.*$`: false, `^.*health\.a$`: false, `^.ealth\.a$`: false, `^health\.a|orders$`: false,
		`^health\.|health\.a$`: true, `^(?i)health\.a$`: false, `^[h]ealth\.a$`: true, `^orders$`: false} {
		cfg, texts, err := admitted(t, nil, fmt.Sprintf("topic: ['%s']", topic))
		if (err == nil) != want {
			t.Errorf("%s: granted is %v: %v", topic, want, texts)
		}
		if err != nil && !strings.Contains(err.Error(), "whoever runs streamer can grant it: owners.demo.topics in the settings") {
			t.Errorf("%s: it does not say who can grant it: %v", topic, err)
		}
		if err != nil || !cfg.Pattern {
			continue
		}
		for _, foreign := range []string{"orders", "xhealth.a", "x.health.a", "health", "villages", "xvillage", "healthXa"} {
			if regexp.MustCompile(cfg.Topics[0]).MatchString(foreign) {
				t.Errorf("%s takes %s", topic, foreign)
			}
		}
	}
	// Another owner has what is granted to everyone: nothing.
	if _, texts, err := admitted(t, nil, "owner: other"); err == nil || !strings.Contains(err.Error(), "owners.other.topics") {
		t.Errorf("an owner without an entry: %v", texts)
	}
}

// He calls what is private to somebody else: a host or a range that the process allows, and his owner may not use.
func TestAttackCallAPrivateAddress(t *testing.T) {
	t.Parallel()
	p := attacked(t)
	private := netip.MustParseAddr("10.1.2.3")
	cfg, faults := admit(t, p, nil, "url: 'https://10.1.2.3/{id}'")
	if text := faults.Error(); !strings.Contains(text, "10.1.2.3 is a private address that demo is not granted; owners.demo.cidrs in the settings can grant its range") {
		t.Error(text)
	}
	for host, want := range map[string]bool{"api.internal": true, "db.internal": false, "elsewhere.internal": true, "10.1.2.3": false} {
		if err := cfg.Sink.Guard.Allow(host, private); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := cfg.Sink.Guard.Allow("elsewhere.internal", netip.MustParseAddr("192.168.0.1")); err == nil || !strings.Contains(err.Error(), "STREAMER_ALLOW_") {
		t.Errorf("an owner has what the process does not allow: %v", err)
	}
	for _, never := range []string{"169.254.169.254", "0.0.0.0"} {
		if cfg.Sink.Guard.Allow("api.internal", netip.MustParseAddr(never)) == nil {
			t.Errorf("%s is dialled", never)
		}
	}
	if err := cfg.Sink.Guard.Allow("db.internal", netip.MustParseAddr("93.184.215.14")); err != nil {
		t.Errorf("a public address: %v", err)
	}
	p.Grants = Grants{"demo": {CIDRs: []netip.Prefix{}}}
	if cfg, _ := admit(t, p, nil); cfg.Sink.Guard.Allow("api.internal", private) == nil {
		t.Error("an empty list grants a host")
	}
}

// He sends a secret that he cannot read to a host where he can.
func TestAttackMoveAMaskedSecret(t *testing.T) {
	t.Parallel()
	p := attacked(t)
	p.Grants = nil
	secrets := []string{"basic_auth: {user: demo, password: hunter2}", "headers: {X-Api-Key: hunter2}", "token: hunter2"}
	masked := []string{"basic_auth: {user: demo, password: '********'}", "headers: {X-Api-Key: '********'}", "token: '********'"}
	health := func(url string) string { return "delivery: {breaker: {health: '" + url + "'}}" }
	branch := func(url string) string {
		return "url: {when: $.msg.id, then: 'https://api.example.org/', else: '" + url + "'}"
	}
	for _, moved := range []string{
		"url: 'https://evil.example.org/{id}'", "url: 'http://api.example.org/{id}'", "url: 'http://api.example.org:443/{id}'", "url: 'https://api.example.org:8443/{id}'",
		"url: 'https://api.example.org.evil.org/{id}'", "url: 'https://api.example.org./{id}'", "url: 'https://api.example.org@evil.org/{id}'", "url: 'https://api.example.org:443@evil.org/'",
		"url: 'https://x@api.example.org@evil.org/'", `url: 'https://evil.org\@api.example.org/'`, `url: 'https://evil.org\.api.example.org/'`, "url: 'https://evil.org#@api.example.org/'", "url: 'https://evil.org?@api.example.org/'",
		"url: 'https://evil.org/@api.example.org/'", "url: 'https://{id}.example.org/'", "url: 'https://api.example.org{id}/'", "url: 'https:/api.example.org/'", "url: '//evil.org/'", "url: 'https:evil.org'",
		"url: ' https://evil.org/'", "url: 'HTTPS://EVIL.example.org/'", "url: 'https://127.0.0.1/'", "url: 'https://[::1]/'", "url: 'https://аpi.example.org/'", // a Cyrillic а
		branch("https://evil.example.org/"), "url: {when: $.msg.id, then: 'https://evil.example.org/', else: 'https://api.example.org/'}",
		"url: {when: $.msg.id, then: {when: $.msg.a, then: 'https://evil.example.org/', else: 'https://api.example.org/'}, else: 'https://api.example.org/'}",
		health("https://evil.example.org/up"), health("http://api.example.org/up"), health("https://api.example.org:1/up"), health("https://api.example.org@evil.org/"), health(`https://evil.org\@api.example.org/`),
		"routes: [{url: 'https://evil.example.org/'}]", "steps: [{name: a, url: 'https://evil.example.org/'}]", "events: {records: {'https://evil.example.org': {create: {http_method: POST}}}}",
		"connection: evil", "id: villages2",
	} {
		for i := range secrets {
			before := sealText(t, p.Secrets.Keyring, jobText(secrets[i]))
			// Whatever else is wrong with the job: it is not up to that.
			sealed, faults := parseOne(t, "job.yaml", jobText(masked[i], moved)).Seal(p.Secrets.Keyring, before)
			if faults.Err() == nil {
				t.Errorf("%s is kept with %s: %s", secrets[i], moved, sealed)
			}
			_, faults = admit(t, p, before, masked[i], moved)
			if faults.Err() == nil {
				t.Errorf("%s is taken with %s", secrets[i], moved)
			}
			if strings.Contains(faults.Error(), "hunter2") {
				t.Errorf("%s: %v", moved, faults)
			}
		}
	}
	for _, same := range []string{"url: 'HTTPS://API.Example.ORG:443/other/{id}?a={id}'", branch("https://api.example.org:443/x"), health("https://api.example.org/up"), "type: GET", "owner: other", "topic: [other]",
		"constant: {a: 'https://evil.example.org'}", "payload: {a: 'https://evil.example.org'}"} {
		for i := range secrets {
			before := sealText(t, p.Secrets.Keyring, jobText(secrets[i]))
			if _, faults := admit(t, p, before, masked[i], same); faults.Err() != nil {
				t.Errorf("%s is not kept with %s: %v", secrets[i], same, faults)
			}
		}
	}
	// Told what to do, at the field.
	before := sealText(t, p.Secrets.Keyring, jobText(secrets[0]))
	_, faults := admit(t, p, before, masked[0], "url: https://evil.example.org/{id}")
	if text := faults.Error(); text != "basic_auth.password: is only kept while every target of the job is the same, and https://evil.example.org:443 is new; enter the secret again, or write a reference to it" {
		t.Error(text)
	}
}

// He has read sealed texts in the topic of jobs, and writes them into a job of his own, into another field, or into the log itself.
func TestAttackCopyASealedSecret(t *testing.T) {
	t.Parallel()
	p := attacked(t)
	p.Grants = nil
	before := sealText(t, p.Secrets.Keyring, jobText("token: hunter2", "headers: {X-Api-Key: hunter2}"))
	token, _ := before.value.Field("token").Str()
	header, _ := before.value.Field("headers").Field("X-Api-Key").Str()
	for name, lines := range map[string][]string{
		"into another job":         {"id: mine", "token: '" + token + "'"},
		"into another field":       {"auth: {bearer: '" + token + "'}"},
		"from a header":            {"token: '" + header + "'"},
		"into another header":      {"headers: {X-Token: '" + header + "'}"},
		"into a header that shows": {"headers: {X-Source: '" + header + "'}"},
		"to another host":          {"token: '" + token + "'", "url: https://evil.example.org/"},
		"to one host more":         {"token: '" + token + "'", "delivery: {breaker: {health: 'https://evil.example.org/'}}"},
		"around another text":      {"headers: {X-Api-Key: 'a " + header + "'}", "url: https://evil.example.org/"},
	} {
		cfg, faults := admit(t, p, before, lines...)
		if faults.Err() == nil && name != "around another text" {
			t.Errorf("%s: taken as %q", name, cfg.Sink.Auth.Token.Reveal())
		}
		// Written into the log itself, past all checks, it does not open either.
		cfg, faults = parseOne(t, "log.yaml", jobText(lines...)).Compile(p)
		if name == "around another text" {
			checkFaults(t, faults, nil) // it is a text like another
		} else if faults.Err() == nil || !strings.Contains(faults.Error(), "not for this job, field and target") {
			t.Errorf("%s, in the log: %v", name, faults)
		}
		if text := fmt.Sprint(faults.Error(), cfg.Sink.Auth.Token.Reveal(), cfg.Sink.Auth.Bearer.Reveal()); strings.Contains(text, "hunter2") {
			t.Errorf("%s: opened", name)
		}
	}
	// A new job cannot begin with a sealed text either, though it is the right one: it was another job of this name.
	if _, faults := admit(t, p, nil, "token: '"+token+"'"); faults.Err() == nil {
		t.Error("a new job begins with a sealed text")
	}
	if cfg, faults := admit(t, p, before, "token: '"+token+"'"); faults.Err() != nil || cfg.Sink.Auth.Token != "hunter2" {
		t.Errorf("the job's own sealed text: %v", faults)
	}
}

// He leaves the API where it is, and has its access tokens asked for at his own place, so that the client's secret comes to him.
func TestAttackMoveTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	p := attacked(t)
	p.Grants = nil
	job := func(url, secret string) string {
		return "auth: {oauth2: {token_url: '" + url + "', client_id: a, client_secret: '" + secret + "', scopes: ['https://scopes.example.org/read']}}"
	}
	before := sealText(t, p.Secrets.Keyring, jobText(job("https://idp.example.org/token", "hunter2")))
	for url, kept := range map[string]bool{
		"https://idp.example.org/token": true, "https://IDP.example.org:443/other?a=b": true, "https://evil.example.org/token": false, "http://idp.example.org/token": false,
		"https://idp.example.org:8443/token": false, "https://idp.example.org@evil.example.org/": false, `https://evil.org\\@idp.example.org/`: false, "https://idp.example.org.evil.org/": false, "": false,
	} {
		cfg, faults := admit(t, p, before, job(url, masked))
		if (faults.Err() == nil) != kept || kept && cfg.Sink.Auth.OAuth2.ClientSecret != "hunter2" || strings.Contains(faults.Error(), "hunter2") {
			t.Errorf("%q: %v", url, faults)
		}
	}
	sealed, _ := before.value.Field("auth").Field("oauth2").Field("client_secret").Str()
	for name, line := range map[string]string{
		"as another token": "auth: {oauth2: {token_url: 'https://idp.example.org/token', client_id: a, client_secret: b, refresh_token: '" + sealed + "'}}",
		"where it shows":   "auth: {oauth2: {token_url: 'https://idp.example.org/token', client_id: '" + sealed + "', client_secret: b}}",
		"as his password":  "basic_auth: {user: a, password: '" + sealed + "'}",
	} {
		_, faults := admit(t, p, before, line)
		if faults.Err() == nil || strings.Contains(faults.Error(), "hunter2") {
			t.Errorf("%s: %v", name, faults)
		}
	}
	// Nor can whoever may edit a connection move what it logs in with, or registers.
	connection := func(token, register, secret string) string {
		return "name: a\nowner: demo\nbase_url: https://a.example.org\nauth: {oauth2: {token_url: '" + token + "', client_id: a, client_secret: '" + secret + "'}}\n" +
			"register: {url: '" + register + "', servicename: a, authorize_url: 'https://a.example.org/a', refresh_url: 'https://a.example.org/b', client_id: a, client_secret: '" + secret + "', implements: [metadata]}"
	}
	const idp, storage = "https://idp.example.org/token", "https://storage.example.org"
	conn := parseConnection(t, connection(idp, storage, "hunter2"))
	text, _ := conn.Seal(p.Secrets.Keyring, nil)
	if strings.Contains(string(text), "hunter2") || strings.Count(string(conn.Masked()), masked) != 2 {
		t.Errorf("%s", text)
	}
	conn, _ = ParseConnection("a.json", text)
	for _, c := range []struct {
		token, register string
		kept            bool
	}{{idp, storage, true}, {idp, "https://evil.example.org", false}, {"https://evil.example.org", storage, false}} {
		_, target, faults := parseConnection(t, connection(c.token, c.register, masked)).Admit(p, conn)
		if (faults.Err() == nil) != c.kept || c.kept && (target.Register.ClientSecret != "hunter2" || target.Auth.OAuth2.ClientSecret != "hunter2") {
			t.Errorf("%v: %v", c, faults)
		}
	}
}
