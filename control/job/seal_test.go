package job

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"streamer/control/secret"
	"streamer/mapping"
	"streamer/sink"
)

// keyring is one of a key that counts up from each of first.
func keyring(t *testing.T, first ...byte) *secret.Keyring {
	t.Helper()
	var keys []string
	for _, n := range first {
		raw := make([]byte, secret.KeyBytes)
		for i := range raw {
			raw[i] = n + byte(i)
		}
		keys = append(keys, base64.StdEncoding.EncodeToString(raw))
	}
	k, err := secret.NewKeyring(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sealText seals a job that is new, and gives it as it is stored.
func sealText(t *testing.T, k *secret.Keyring, text string) *Definition {
	t.Helper()
	sealed, faults := parseOne(t, "job.yaml", text).Seal(k, nil)
	checkFaults(t, faults, nil)
	return parseOne(t, "log.json", string(sealed))
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	yaml := "id: a\nurl: 'https://a/{x}'\ndatamap: {z: 1, a: 12345678901234567890, f: 0.10, e: 1e3}\ntoken: ********\nt: <&>\n"
	json := ` { "id":"a","url" : "https://a/{x}", "datamap":{"z":1,"a":12345678901234567890,"f":0.10,"e":1e3}, "token":"\u002a*******","t":"<&>"}`
	want := `{"id":"a","url":"https://a/{x}","datamap":{"z":1,"a":12345678901234567890,"f":0.10,"e":1e3},"token":"********","t":"<&>"}`
	for name, text := range map[string]string{"a.yaml": strings.ReplaceAll(yaml, "********", "'********'"), "a.json": json} {
		d := parseOne(t, name, text)
		if got := string(d.Canonical()); got != want {
			t.Errorf("%s: %s", name, got)
		}
		if again := parseOne(t, "b.json", want); string(again.Canonical()) != want {
			t.Error("what is canonical does not stay so")
		}
	}
}

// Which fields of a job are secret: {path: text}, where the text is masked and sealed, or neither.
func TestSecretFields(t *testing.T) {
	t.Parallel()
	const clear, open = true, false
	cases := []struct {
		name, line string
		secret     bool
	}{
		{"Aether's token", "token: hunter2", clear},
		{"Aether's password", "basic_auth: {user: demo, password: hunter2}", clear},
		{"a user", "basic_auth: {user: hunter2, password: ''}", open},
		{"a password", "auth: {basic: {user: demo, password: hunter2}}", clear},
		{"a bearer token", "auth: {bearer: hunter2}", clear},
		{"a token", "auth: {token: hunter2}", clear},
		{"a field of a login that nobody knows", "auth: {oauth2: {client: {secret: [hunter2]}}}", clear},
		{"a client's secret", "auth: {oauth2: {token_url: 'https://a.example.org', client_id: a, client_secret: hunter2}}", clear},
		{"a refresh token", "auth: {oauth2: {refresh_token: hunter2}}", clear},
		{"a login that is a text", "auth: {oauth2: hunter2}", clear},
		{"a list of logins", "auth: {token_storage: [hunter2]}", clear},
		{"the key of a certificate", "auth: {mtls: {cert: a, key: hunter2}}", clear},
		{"a key of a token storage", "auth: {token_storage: {key: hunter2}}", clear},
		{"a client", "auth: {oauth2: {client_id: hunter2}}", open},
		{"a token endpoint", "auth: {oauth2: {token_url: 'https://hunter2.example.org/'}}", open},
		{"scopes", "auth: {oauth2: {scopes: [a, hunter2], audience: hunter2}}", open},
		{"a certificate", "auth: {mtls: {cert: hunter2}}", open},
		{"a user of a token storage", "auth: {token_storage: {url: 'https://hunter2.example.org', service: hunter2, user: hunter2}}", open},
		{"a field nobody knows", "credentials: {a: [hunter2]}", clear},
		{"a header of a route", "routes: [{headers: {authorization: hunter2}}]", clear},
		{"a token of an event", "events: {a: {'https://a.example.org': {b: {auth_token: hunter2}}}}", clear},

		{"Authorization", "headers: {authorization: Bearer hunter2}", clear},
		{"Proxy-Authorization", "headers: {Proxy-Authorization: hunter2}", clear},
		{"Cookie", "headers: {Cookie: session=hunter2}", clear},
		{"X-Api-Key", "headers: {X-API-KEY: hunter2}", clear},
		{"a key by another name", "headers: {Ocp-Apim-Subscription-Key: hunter2}", clear},
		{"a token by another name", "headers: {PRIVATE_TOKEN: hunter2}", clear},
		{"a secret beside a reference", "headers: {Authorization: 'Basic hunter2${env:STREAMER_VALUE_A}'}", clear},
		{"a secret beside what a row holds", "headers: {Authorization: 'hunter2 {id}'}", clear},
		{"a plain header", "headers: {X-Source: hunter2}", open},
		{"a key that is none", "headers: {idempotency-key: hunter2}", open},

		{"a payload", "payload: {token: hunter2, password: hunter2}", open},
		{"a constant", "constant: {token: hunter2}", open},
		{"a mapped key", "datamap: {token: hunter2}", open},
	}
	k := keyring(t, 1)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := parseOne(t, "job.yaml", jobText(c.line))
			masked := string(d.Masked())
			sealed, faults := d.Seal(k, nil)
			checkFaults(t, faults, nil)
			if strings.Contains(masked, "hunter2") == c.secret || strings.Contains(string(sealed), "hunter2") == c.secret {
				t.Errorf("secret: %v, but\nmasked %s\nsealed %s", c.secret, masked, sealed)
			}
			if !c.secret {
				return
			}
			if !strings.Contains(masked, "********") || !strings.Contains(string(sealed), "sealed:v1:"+k.ID()+":") {
				t.Errorf("masked %s\nsealed %s", masked, sealed)
			}
			stored := parseOne(t, "log.json", string(sealed))
			if got := string(stored.Masked()); got != masked {
				t.Errorf("stored, it is masked as\n%s, not\n%s", got, masked)
			}
			if _, faults := d.Seal(nil, nil); len(faults) != 1 || !strings.Contains(faults.Error(), "no key to seal it with") || strings.Contains(faults.Error(), "hunter2") {
				t.Errorf("without a key: %v", faults)
			}
		})
	}
}

// What only says where a secret is stands there for everybody to read, and needs no key.
func TestReferencesAreNoSecrets(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"token: '${env:STREAMER_VALUE_A}'", "token: '${env:STREAMER_VALUE_A}${file:b}'", "token: ''", "token: null",
		"basic_auth: {user: demo, password: '${file:pw}'}", "basic_auth: {}",
		"headers: {Authorization: 'Bearer ${file:token}'}", "headers: {Authorization: 'Token {id}'}", "headers: {X-Api-Key: '${file:key}'}",
		"headers: {Cookie: 'a=${file:a}; b={id}'}", "headers: {Authorization: null}",
	} {
		d := parseOne(t, "job.yaml", jobText(line))
		sealed, faults := d.Seal(nil, nil)
		checkFaults(t, faults, nil)
		if string(sealed) != string(d.Canonical()) || string(d.Masked()) != string(d.Canonical()) {
			t.Errorf("%s\nsealed %s\nmasked %s", line, sealed, d.Masked())
		}
	}
}

// What is sealed reaches the request, in every place a secret may stand.
func TestSealedSecretsAreOpened(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	for line, want := range map[string]string{
		"token: hunter2": "access_token hunter2", "auth: {bearer: hunter2}": "Bearer hunter2", "auth: {token: hunter2}": "access_token hunter2",
		"token: 'a-${env:STREAMER_VALUE_TOKEN}'":         "access_token a-from-env",
		"basic_auth: {user: demo, password: hunter2}":    "Basic demo:hunter2",
		"auth: {basic: {user: demo, password: hunter2}}": "Basic demo:hunter2",
	} {
		stored := sealText(t, p.Secrets.Keyring, jobText(line))
		cfg, faults := stored.Compile(p)
		checkFaults(t, faults, nil)
		got := ""
		switch a := cfg.Sink.Auth; {
		case a.Basic != nil:
			got = "Basic " + a.Basic.User + ":" + a.Basic.Password.Reveal()
		case a.Bearer != "":
			got = "Bearer " + a.Bearer.Reveal()
		default:
			got = "access_token " + a.Token.Reveal()
		}
		if got != want {
			t.Errorf("%s: %q", line, got)
		}
		show := p
		show.Secrets.Masked, show.Secrets.Keyring = true, nil
		cfg, faults = stored.Compile(show)
		checkFaults(t, faults, nil)
		if a := cfg.Sink.Auth; a.Token+a.Bearer != "********" && (a.Basic == nil || a.Basic.Password != "********") {
			t.Errorf("%s: shown as %q", line, a.Token.Reveal()+a.Bearer.Reveal())
		}
	}
	stored := sealText(t, p.Secrets.Keyring, jobText("headers: {X-Api-Key: 'hunter2-{id}-${file:token}', x-plain: a}"))
	if got := sent(t, p, stored).Get("X-Api-Key"); got != "hunter2-7-from-file" {
		t.Errorf("sent as %q", got)
	}
	if got := sent(t, p, stored).Get("X-Plain"); got != "a" {
		t.Errorf("sent as %q", got)
	}
	steps := sealText(t, p.Secrets.Keyring, jobText("steps: [{name: a, url: 'https://a.example.org/', headers: {X-Api-Key: hunter2}}, {name: b, read_or_create: {read: {url: 'https://api.example.org/', headers: {Cookie: hunter3}}}}]"))
	cfg, faults := steps.Compile(p)
	checkFaults(t, faults, nil)
	parts, _, err := cfg.Program.NewMapper().Map(&mapping.Message{Msg: parseOne(t, "row.json", `{"id": 7}`).value}, nil)
	if err != nil || len(parts) != 1 || parts[0].Flow == nil || parts[0].Call.Header[0].Value != "hunter2" {
		t.Fatalf("%+v, %v", parts, err)
	}
	if call, _, err := parts[0].Flow.Next(&mapping.Response{Status: 200}); err != nil || call.Header[0].Value != "hunter3" {
		t.Errorf("%+v, %v", call, err)
	}
	// Where the job itself does not go, it does not log in.
	if want := []sink.Place{{Origin: "https://a.example.org:443"}}; !reflect.DeepEqual(cfg.Sink.Places, want) {
		t.Errorf("places %+v", cfg.Sink.Places)
	}
	p.Secrets.Masked = true
	if got := sent(t, p, stored).Get("X-Api-Key"); got != "********" {
		t.Errorf("shown as %q", got)
	}
}

// Without the right key a job says which one is missing and what to do, at the field.
func TestSealedWithAnotherKey(t *testing.T) {
	t.Parallel()
	k := keyring(t, 1)
	stored := sealText(t, k, jobText("token: hunter2", "headers: {X-Api-Key: hunter2}"))
	for _, other := range []*secret.Keyring{nil, keyring(t, 101)} {
		_, faults := stored.Compile(Process{Namespace: "streamer", Secrets: Secrets{Keyring: other}})
		checkFaults(t, faults, []string{
			"token: is sealed with key " + k.ID() + ", which is not here; add it to STREAMER_SECRET_KEY, or enter the secret again",
			"headers.X-Api-Key: is sealed with key " + k.ID(),
		})
	}
}

// ******** sent back means unchanged, also without the key, and only of what is there.
func TestUnchangedSecrets(t *testing.T) {
	t.Parallel()
	k := keyring(t, 1)
	secretLines := []string{"basic_auth: {user: demo, password: hunter2}", "headers: {X-Api-Key: hunter2, Authorization: 'Bearer ${file:a}'}"}
	before := sealText(t, k, jobText(secretLines...))

	read := parseOne(t, "edit.json", string(before.Masked()))
	again, faults := read.Seal(nil, before)
	checkFaults(t, faults, nil)
	if string(again) != string(before.Canonical()) {
		t.Errorf("read and sent back it is\n%s, was\n%s", again, before.Canonical())
	}
	edited := parseOne(t, "edit.yaml", jobText("basic_auth: {user: other, password: '********'}", "headers: {x-api-key: '********'}",
		"url: https://API.example.org:443/towns/{id}", "type: PUT"))
	again, faults = edited.Seal(nil, before)
	checkFaults(t, faults, nil)
	p := secretProcess(t)
	p.Secrets.Keyring = k
	cfg, faults := parseOne(t, "log.json", string(again)).Compile(p)
	checkFaults(t, faults, nil)
	if cfg.Sink.Auth.Basic.Password != "hunter2" || cfg.Sink.Auth.Basic.User != "other" {
		t.Error("the password is another one")
	}
	if got := sent(t, p, parseOne(t, "log.json", string(again))).Get("X-Api-Key"); got != "hunter2" {
		t.Errorf("sent as %q", got)
	}

	// A file's job is in clear until it is stored.
	clear := parseOne(t, "job.yaml", jobText(secretLines...))
	again, faults = read.Seal(k, clear)
	checkFaults(t, faults, nil)
	if strings.Contains(string(again), "hunter2") {
		t.Error("in clear")
	}

	for name, c := range map[string]struct {
		before *Definition
		line   string
	}{
		"a new job":                    {nil, "token: '********'"},
		"a field that was not there":   {before, "token: '********'"},
		"a field that was empty":       {sealText(t, k, jobText("token: ''")), "token: '********'"},
		"a field that was a reference": {sealText(t, k, jobText("token: '${file:a}'")), "token: '********'"},
		"a header that was not there":  {before, "headers: {X-Token: '********'}"},
	} {
		_, faults := parseOne(t, "edit.yaml", jobText(c.line)).Seal(k, c.before)
		if len(faults) != 1 || !strings.Contains(faults.Error(), "none is stored here; write the secret") {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	sealed, cfg, faults := parseOne(t, "job.yaml", jobText("token: hunter2", "owner: the owner")).Admit(p, nil)
	checkFaults(t, faults, []string{"warning: owner:"})
	if cfg.Sink.Auth.Token != "hunter2" || cfg.Job != "villages" || strings.Contains(string(sealed), "hunter2") {
		t.Errorf("%+v\n%s", cfg, sealed)
	}
	// All faults at once, each once, those of the text too.
	d := parseOne(t, "job.yaml", jobText("token: '********'", "auth: {bearer: 12}", "order: keys", "headers: {a: b, a: c, X-Token: '${env:HOME}'}", "topic: [__a]"))
	_, _, faults = d.Admit(p, nil)
	checkFaults(t, faults, []string{"token: ******** stands for a secret that is stored", "auth.bearer: is a number", `order: unknown value "keys"`,
		"headers.a: stands twice", "headers.X-Token: ${env:HOME} names a variable", `topic[0]: topic "__a"`})
}

func TestReseal(t *testing.T) {
	t.Parallel()
	old, both := keyring(t, 1), keyring(t, 101, 1)
	text := jobText("token: hunter2", "headers: {X-Api-Key: hunter2, X-Token: '${file:a}'}")
	stored := sealText(t, old, text)
	sealed, changed, faults := stored.Reseal(both)
	checkFaults(t, faults, nil)
	if !changed || strings.Contains(string(sealed), old.ID()) || strings.Count(string(sealed), both.ID()) != 2 {
		t.Errorf("changed %v: %s", changed, sealed)
	}
	again := parseOne(t, "log.json", string(sealed))
	cfg, faults := again.Compile(Process{Namespace: "streamer", Secrets: Secrets{Keyring: keyring(t, 101)}})
	if cfg.Sink.Auth.Token != "hunter2" {
		t.Errorf("%v", faults)
	}
	if same, changed, faults := again.Reseal(both); changed || faults != nil || string(same) != string(sealed) {
		t.Errorf("once more: changed %v, %v", changed, faults)
	}
	if _, changed, faults := parseOne(t, "job.yaml", text).Reseal(both); !changed || faults != nil {
		t.Errorf("in clear: changed %v, %v", changed, faults)
	}
	for _, k := range []*secret.Keyring{nil, keyring(t, 101)} {
		sealed, changed, faults := stored.Reseal(k)
		if sealed != nil || changed || len(faults) != 2 || !strings.Contains(faults.Error(), "token: is sealed with key "+old.ID()) {
			t.Errorf("without the key: %s, %v, %v", sealed, changed, faults)
		}
	}
}

// What a job is shown as holds no password of an URL either, though such a job is refused.
func TestMaskedURL(t *testing.T) {
	t.Parallel()
	d := parseOne(t, "job.yaml", jobText("url: 'https://demo:hunter2@api.example.org/{id}'", "delivery: {breaker: {health: 'https://u:hunter2@b.example.org/up'}}"))
	if got := string(d.Masked()); strings.Contains(got, "hunter2") || !strings.Contains(got, "https://********@api.example.org/{id}") {
		t.Error(got)
	}
	_, faults := d.Compile(Process{Namespace: "streamer"})
	checkFaults(t, faults, []string{"url: a user or password in the URL", "delivery.breaker.health: a user or password in the URL"})
}

// A job that is written again as it is, secret and all, is the job that is stored: whoever keeps jobs in files applies them again and again.
func TestTheSameSecretIsSealedOnce(t *testing.T) {
	t.Parallel()
	const text = "id: a\nurl: https://a.test/x\ntoken: hunter2\n"
	k := keyring(t, 1)
	before := sealText(t, k, text)
	for name, c := range map[string]struct {
		keys *secret.Keyring
		text string
		same bool
	}{
		"as it is":                {k, text, true},
		"with another secret":     {k, strings.Replace(text, "hunter2", "hunter3", 1), false},
		"with another target":     {k, strings.Replace(text, "a.test", "b.test", 1), false},
		"as another job":          {k, strings.Replace(text, "id: a", "id: b", 1), false},
		"when keys were changed":  {keyring(t, 9, 1), text, false},
		"when the key is unknown": {keyring(t, 9), text, false},
	} {
		sealed, faults := parseOne(t, "job.yaml", c.text).Seal(c.keys, before)
		checkFaults(t, faults, nil)
		token := parseOne(t, "log.json", string(sealed)).Text("token")
		if same := token == before.Text("token"); same != c.same || !secret.Sealed(token) {
			t.Errorf("%s: the same is %v, want %v", name, same, c.same)
		}
	}
}
