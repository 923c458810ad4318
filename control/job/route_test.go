package job

import (
	"fmt"
	"strings"
	"testing"

	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

// Secrets of routes and record events are sealed where they stand, bound to all targets, and opened for the place they are for.
func TestSecretsOfRoutes(t *testing.T) {
	t.Parallel()
	k := keyring(t, 1)
	routes := jobText("-url", "routes: [{name: a, url: 'https://a.example.org/', headers: {Authorization: Bearer hunter2}}, {name: b, url: 'https://b.example.org/', auth: {bearer: hunter3}}]")
	events := jobText("-url", "-type", "-datamap",
		"events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST, payload: $.record.id, headers: {X-Api-Key: hunter2}}}, 'https://b.example.org/': {edit: {http_method: POST, url_factory: 'https://c.example.org/{$.record.id}', auth_token: hunter3}}}}")
	for name, text := range map[string]string{"routes": routes, "events": events} {
		stored := sealText(t, k, text)
		if strings.Contains(string(stored.Canonical()), "hunter") || strings.Contains(string(stored.Masked()), "hunter") {
			t.Errorf("%s: in clear: %s", name, stored.Canonical())
		}
		moved := strings.Replace(string(stored.Masked()), "https://b.example.org", "https://d.example.org", 1)
		if _, faults := parseOne(t, "job.json", moved).Seal(k, stored); faults.Err() == nil {
			t.Errorf("%s: a secret went along to another host", name)
		}
		cfg, faults := stored.Compile(Process{Namespace: "streamer", Secrets: Secrets{Keyring: k}})
		checkFaults(t, faults, nil)
		row, err := schemas.ParseJSON([]byte(`{"service_type":"rdm_record","service_method":"publish","record":{"id":"r1"}}`), schemas.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		parts, _, err := cfg.Program.NewMapper().Map(&mapping.Message{Msg: row}, nil)
		if err != nil || len(parts) == 0 || !strings.Contains(fmt.Sprint(parts[0].Call.Header), "hunter2") {
			t.Errorf("%s: %v, %v", name, parts, err)
		}
		if p := cfg.Sink.Places; len(p) != 1 || p[0].Auth.Bearer.Reveal() != "hunter3" || p[0].Origin != map[string]string{"routes": "https://b.example.org:443", "events": "https://c.example.org:443"}[name] {
			t.Errorf("%s: places %v", name, p)
		}
	}
}

// Whose token goes along with a route is said where its login is: not by the job, if the route has its own.
func TestUsersOfRoutes(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Namespace = "streamer"
	p.Connection = func(_, name string) (Target, error) {
		target := Target{Name: name, Base: "https://" + name + ".example.org", Origin: "https://" + name + ".example.org:443"}
		if name == "stored" {
			target.Auth.TokenStorage, target.User = &sink.TokenStorage{URL: "https://storage.example.org", Service: "b"}, "{$.msg.other}"
		}
		return target, nil
	}
	cfg, faults := compileText(t, p, jobText("auth: {token_storage: {url: 'https://storage.example.org', service: a, user: '{$.msg.user}'}}", `routes:
  - {name: own}
  - {name: bearer, url: 'https://a.example.org/', auth: {bearer: b}}
  - {name: plain, url: /x, connection: plain}
  - {name: stored, url: /x, connection: stored}
  - {name: written, url: 'https://b.example.org/', auth: {token_storage: {url: 'https://storage.example.org', service: c, user: 'x-{$.msg.user}'}}}`))
	checkFaults(t, faults, nil)
	row, err := schemas.ParseJSON([]byte(`{"id": 1, "user": "ann", "other": "bob"}`), schemas.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	parts, _, err := cfg.Program.NewMapper().Map(&mapping.Message{Msg: row}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var users []string
	for _, part := range parts {
		users = append(users, part.Call.User)
	}
	if got := strings.Join(users, ","); got != "ann,,,bob,x-ann" {
		t.Errorf("users %s", got)
	}
}

// A method that has a callback makes the job tell of answers, at the job's own topic.
func TestCallbackOfAMethod(t *testing.T) {
	t.Parallel()
	with := func(more string) []string {
		return []string{"-url", "-type", "-datamap", "events: {rdm_record: {'https://a.example.org/': {publish: {http_method: POST" + more + "}}}}"}
	}
	for _, c := range []struct {
		lines []string
		topic string
	}{
		{with(", callback: true"), "streamer.out.villages"},
		{with(", callback: false"), ""},
		{with(""), ""},
		{append(with(", callback: true"), "callback: {topic: streamer.out.x}"), "streamer.out.x"},
		{[]string{"routes: [{name: a, callback: true}]"}, "streamer.out.villages"},
		{[]string{"constant: {callback: true}", "payload: {callback: true}"}, ""},
	} {
		cfg, faults := compileText(t, Process{}, jobText(c.lines...))
		checkFaults(t, faults, nil)
		if cfg.Callback.Topic != c.topic {
			t.Errorf("%v: %q, want %q", c.lines, cfg.Callback.Topic, c.topic)
		}
	}
}
