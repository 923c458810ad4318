package job

import (
	"fmt"
	"strings"
	"testing"
)

// He lets two targets of a job change places, so that the set of them is the same and a secret of the one goes to the other.
func TestAttackLetTargetsChangePlaces(t *testing.T) {
	t.Parallel()
	const a, b, c = "https://a.example.org", "https://b.example.org", "https://c.example.org"
	oauth := func(at string) string {
		return "auth: {oauth2: {token_url: '" + at + "/token', client_id: c, client_secret: S3CRET}}"
	}
	health := func(at string) string { return "delivery: {breaker: {health: '" + at + "/up'}}" }
	url := func(at string) string { return "url: '" + at + "/{id}'" }
	for name, test := range map[string]struct {
		before, after []string
		kept          bool
	}{
		"the API and a step":                    {[]string{url(a), "token: S3CRET", "steps: [{name: s, url: '" + b + "'}]"}, []string{url(b), "token: S3CRET", "steps: [{name: s, url: '" + a + "'}]"}, false},
		"the API and a step, a header":          {[]string{url(a), "headers: {X-Api-Key: S3CRET}", "steps: [{name: s, url: '" + b + "'}]"}, []string{url(b), "headers: {X-Api-Key: S3CRET}", "steps: [{name: s, url: '" + a + "'}]"}, false},
		"the API and its health":                {[]string{url(a), "token: S3CRET", health(b)}, []string{url(b), "token: S3CRET", health(a)}, false},
		"the API and its token endpoint":        {[]string{url(a), oauth(b)}, []string{url(b), oauth(a)}, false},
		"two routes":                            {[]string{url(c), "routes: [{name: x, url: '" + a + "', auth: {bearer: S3CRET}}, {name: y, url: '" + b + "'}]"}, []string{url(c), "routes: [{name: x, url: '" + b + "', auth: {bearer: S3CRET}}, {name: y, url: '" + a + "'}]"}, false},
		"two routes, a header":                  {[]string{url(c), "routes: [{name: x, url: '" + a + "', headers: {X-Api-Key: S3CRET}}, {name: y, url: '" + b + "'}]"}, []string{url(c), "routes: [{name: x, url: '" + b + "', headers: {X-Api-Key: S3CRET}}, {name: y, url: '" + a + "'}]"}, false},
		"a route and the API":                   {[]string{url(a), "token: S3CRET", "routes: [{name: x}, {name: y, url: '" + b + "', auth: {bearer: x}}]"}, []string{url(b), "token: S3CRET", "routes: [{name: x}, {name: y, url: '" + a + "', auth: {bearer: x}}]"}, false},
		"a route and its token endpoint":        {[]string{url(c), "routes: [{name: x, url: '" + a + "', " + oauth(b) + "}]"}, []string{url(c), "routes: [{name: x, url: '" + b + "', " + oauth(a) + "}]"}, false},
		"two steps":                             {[]string{url(c), "steps: [{name: x, url: '" + a + "', auth: {bearer: S3CRET}}, {name: y, url: '" + b + "'}]"}, []string{url(c), "steps: [{name: x, url: '" + b + "', auth: {bearer: S3CRET}}, {name: y, url: '" + a + "'}]"}, false},
		"the requests of two steps":             {[]string{url(c), "steps: [{name: x, read_or_create: {read: {url: '" + a + "', headers: {X-Key: S3CRET}}}}, {name: y, url: '" + b + "'}]"}, []string{url(c), "steps: [{name: x, read_or_create: {read: {url: '" + b + "', headers: {X-Key: S3CRET}}}}, {name: y, url: '" + a + "'}]"}, false},
		"a step and the API":                    {[]string{url(b), "steps: [{name: x, url: '" + a + "', auth: {bearer: S3CRET}}]"}, []string{url(a), "steps: [{name: x, url: '" + b + "', auth: {bearer: S3CRET}}]"}, false},
		"two endpoints of events":               {[]string{"events: {rdm_record: {'" + a + "': {publish: {http_method: POST, auth_token: S3CRET}}, '" + b + "': {publish: {http_method: POST}}}}"}, []string{"events: {rdm_record: {'" + a + "': {publish: {http_method: POST, url_factory: '" + b + "', auth_token: S3CRET}}, '" + b + "': {publish: {http_method: POST, url_factory: '" + a + "'}}}}"}, false},
		"the endpoints of the job's own":        {[]string{"token: S3CRET", "events: {rdm_record: {'" + a + "': {publish: {http_method: POST}}, '" + b + "': {publish: {http_method: POST, auth_token: x}}}}"}, []string{"token: S3CRET", "events: {rdm_record: {'" + b + "': {publish: {http_method: POST}}, '" + a + "': {publish: {http_method: POST, auth_token: x}}}}"}, false},
		"a login that a route has no more":      {[]string{url(a), "token: S3CRET", "routes: [{name: x}, {name: y, url: '" + b + "', auth: {bearer: x}}]"}, []string{url(a), "token: S3CRET", "routes: [{name: x}, {name: y, url: '" + b + "'}]"}, false},
		"a token that a method has no more":     {[]string{"token: S3CRET", "events: {rdm_record: {'" + a + "': {publish: {http_method: POST}}, '" + b + "': {publish: {http_method: POST, auth_token: x}}}}"}, []string{"token: S3CRET", "events: {rdm_record: {'" + a + "': {publish: {http_method: POST}}, '" + b + "': {publish: {http_method: POST}}}}"}, false},
		"the branches of a choice":              {[]string{"url: {when: $.msg.id, then: '" + a + "', else: '" + b + "'}", "token: S3CRET"}, []string{"url: {when: $.msg.id, then: '" + b + "', else: '" + a + "'}", "token: S3CRET"}, true},
		"a health URL where the API is":         {[]string{url(a), "token: S3CRET"}, []string{url(a), "token: S3CRET", health(a)}, true},
		"a step where the API is":               {[]string{url(a), "token: S3CRET"}, []string{url(a), "token: S3CRET", "steps: [{name: s, url: '" + a + "'}]"}, true},
		"another path, another name of a route": {[]string{url(c), "routes: [{name: x, url: '" + a + "', auth: {bearer: S3CRET}}]"}, []string{url(c), "routes: [{name: z, url: '" + a + "/other', auth: {bearer: S3CRET}}]"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := secretProcess(t)
			p.Secrets.Keyring = keyring(t, 1)
			head := func(lines []string) string {
				text := "id: a\nowner: demo\ntopic: [t]\n" + strings.Join(lines, "\n") + "\n"
				if !strings.Contains(text, "events:") {
					text += "type: PUT\ndatamap: {id: $.msg.id}\n"
				}
				return text
			}
			before := sealText(t, p.Secrets.Keyring, strings.ReplaceAll(head(test.before), "S3CRET", "hunter2-hunter2"))
			if _, faults := before.Compile(p); faults.Err() != nil {
				t.Fatal(faults)
			}
			after := parseOne(t, "job.yaml", strings.ReplaceAll(head(test.after), "S3CRET", "'********'"))
			sealed, _, faults := after.Admit(p, before)
			if (faults.Err() == nil) != test.kept {
				t.Fatalf("kept: %v, %v", !test.kept, faults)
			}
			if !test.kept && !strings.Contains(faults.Error(), "is only kept while every target of the job is the same, and ") {
				t.Error(faults)
			}
			if test.kept {
				if _, faults := parseOne(t, "log.json", string(sealed)).Compile(p); faults.Err() != nil {
					t.Errorf("what is stored: %v", faults)
				}
				return
			}
			// Written into the log itself, past all checks, it does not open either.
			text := string(before.Canonical())
			at := text[strings.Index(text, "sealed:v1:"):]
			at = at[:strings.IndexByte(at, '"')]
			_, faults = parseOne(t, "log.yaml", strings.ReplaceAll(head(test.after), "S3CRET", "'"+at+"'")).Compile(p)
			if faults.Err() == nil || !strings.Contains(faults.Error(), "not for this job, field and target") {
				t.Errorf("in the log: %v", faults)
			}
		})
	}
}

// The same of a connection: what it registers with goes to its Token Storage, and what it logs in with does not.
func TestAttackLetTargetsOfAConnectionChangePlaces(t *testing.T) {
	t.Parallel()
	p := secretProcess(t)
	p.Secrets.Keyring = keyring(t, 1)
	text := func(base, register, page, token, secret string) string {
		return "name: a\nowner: demo\nbase_url: https://" + base + "\nauth: {bearer: " + token + "}\nregister: {url: 'https://" + register + "', servicename: a, authorize_url: 'https://" + page +
			"', refresh_url: 'https://" + page + "', client_id: a, client_secret: " + secret + ", implements: [metadata]}\n"
	}
	sealed, _, faults := parseConnection(t, text("a.test", "storage.test", "page.test", "hunter2-a", "hunter2-b")).Admit(p, nil)
	checkFaults(t, faults, nil)
	before := parseConnection(t, string(sealed))
	const m = "'********'"
	for name, c := range map[string]struct {
		text string
		kept bool
	}{
		"as it is":                       {text("a.test", "storage.test", "page.test", m, m), true},
		"the API and the token storage":  {text("storage.test", "a.test", "page.test", m, m), false},
		"the login alone":                {text("storage.test", "a.test", "page.test", m, "x"), false},
		"the registration alone":         {text("storage.test", "a.test", "page.test", "x", m), false},
		"the token storage and its page": {text("a.test", "page.test", "storage.test", "x", m), false},
	} {
		_, _, faults := parseConnection(t, c.text).Admit(p, before)
		if (faults.Err() == nil) != c.kept {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

// He writes a job with many secrets and many targets. To know what each is bound to takes no longer than that many: with a look at all of the job
// for each secret and each target, some hundreds of either kept the log from everybody for minutes. More than 1000 are refused.
func TestAttackManySecretsOfManyTargets(t *testing.T) {
	t.Parallel()
	many := func(secrets int) *Definition {
		var b strings.Builder
		b.WriteString("id: a\nowner: demo\ntopic: [t]\nheaders:\n")
		for i := range secrets {
			fmt.Fprintf(&b, "  X-%d-Token: hunter2-hunter2\n", i)
		}
		b.WriteString("events:\n  rdm_record:\n")
		for i := range 2000 {
			fmt.Fprintf(&b, "    https://h%d.example.org: {publish: {http_method: POST}}\n", i)
		}
		return parseOne(t, "job.yaml", b.String())
	}
	if _, faults := many(maxSecrets).Seal(keyring(t, 1), nil); len(faults) > 0 {
		t.Error(faults)
	}
	_, faults := many(maxSecrets+1).Seal(keyring(t, 1), nil)
	if err := faults.Err(); err == nil || !strings.Contains(err.Error(), "has 1001 secrets; at most 1000 are allowed; make several jobs of it") {
		t.Error(err)
	}
}
