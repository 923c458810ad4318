package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/control/job"
	"streamer/control/secret"
	"streamer/control/secret/secrettest"
)

// logins are the ways in which a job can log in, each with a secret of its own in it; %s stands for the secret, API for the URL of the API.
var logins = map[string]string{
	"basic":              "basic_auth: {user: demo, password: '%s'}",
	"auth-basic":         "auth: {basic: {user: demo, password: '%s'}}",
	"token":              "token: '%s'",
	"auth-token":         "auth: {token: '%s'}",
	"auth-bearer":        "auth: {bearer: '%s'}",
	"header":             "headers: {X-Api-Key: '%s'}",
	"own-login":          "headers: {Authorization: 'ApiKey %s'}",
	"by-env":             "auth: {bearer: '${env:STREAMER_VALUE_TOKEN}'}",
	"by-file":            "auth: {basic: {user: demo, password: '${file:password}'}}",
	"plain-header":       "headers: {X-Source: 'a ${env:STREAMER_VALUE_TOKEN}'}",
	"oauth2":             "auth: {oauth2: {token_url: 'API/token', client_id: streamer, client_secret: '%s'}}",
	"oauth2-refresh":     "auth: {oauth2: {token_url: 'API/token', client_id: streamer, refresh_token: '%s'}}",
	"oauth2-refused":     "auth: {oauth2: {token_url: 'API/token?refused', client_id: streamer, client_secret: '%s'}}",
	"token-storage":      "auth: {token_storage: {url: 'API/storage', service: crm, user: ann}}",
	"token-storage-lost": "auth: {token_storage: {url: 'API/storage', service: crm, user: eve}}",
}

const (
	secretInEnv  = "5ecret-of-the-environment+/="
	secretInFile = "5ecret-of-a-file<&>"
	// accessToken is what the token endpoint and the token storage give.
	accessToken = "5ecret-access.token~+/="
)

// seen is everything that came out of the program, by where.
type seen struct {
	mu   sync.Mutex
	text map[string]*strings.Builder
}

func (s *seen) add(where, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == nil {
		s.text = map[string]*strings.Builder{}
	}
	if s.text[where] == nil {
		s.text[where] = &strings.Builder{}
	}
	s.text[where].WriteString(text + "\n")
}

func (s *seen) of(where string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text[where] == nil {
		return ""
	}
	return s.text[where].String()
}

// Whatever way a job logs in, and whatever becomes of its rows: its secret reaches the API, and is in no log, metric, answer, cause, audit
// line, report, dead letter or output of a command. The target is as bad as can be: it sends back what it got, and sends us elsewhere.
func TestNothingSecretIsShown(t *testing.T) {
	t.Parallel()
	var out seen
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { out.add("elsewhere", fmt.Sprint(r.URL, r.Header)) }))
	defer elsewhere.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out.add("the API", fmt.Sprint(r.Header))
		if logsIn(w, r, &out) {
			return
		}
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.Header().Set("WWW-Authenticate", "Basic realm="+r.Header.Get("X-Api-Key"))
		status := http.StatusOK
		switch {
		case strings.HasSuffix(r.URL.Path, "/moved"):
			w.Header().Set("Location", elsewhere.URL+"/?q="+r.Header.Get("Authorization"))
			status = http.StatusTemporaryRedirect
		case strings.HasSuffix(r.URL.Path, "/refused"):
			status = http.StatusUnprocessableEntity
		case strings.HasSuffix(r.URL.Path, "/denied"):
			status = http.StatusForbidden
		case strings.HasSuffix(r.URL.Path, "/hangup"):
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, r.Header)
	}))
	defer api.Close()

	cluster := consumertest.Fake(t)
	admin := cluster.Admin(t)
	for _, topic := range []string{"Person", "Broken"} {
		if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	for _, value := range []string{`{"id": "fine"}`, `{"id": "moved"}`, `{"id": "refused"}`, `{"id": "denied"}`, `{"id": [`, `{"id": {"a": 1}}`, `{"id": "hangup"}`, `{"id": "last"}`} {
		consumertest.Produce(t, cluster.Producer(t), &kgo.Record{Topic: "Person", Key: []byte(value), Value: []byte(value)})
	}

	dir, secretsDir := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(secretsDir, "demo", "password"), secretInFile+"\n")
	secrets := secrettest.Secrets{secretInEnv, secretInFile, accessToken}
	var jobs, broken []string
	for name, login := range logins {
		value := "5ecret/of+" + name + `?=&"<>`
		if strings.Contains(login, "%s") {
			secrets = append(secrets, value)
			login = strings.ReplaceAll(login, "%s", value)
		}
		login = strings.ReplaceAll(login, "API", api.URL)
		text := func(id, url, more string) string {
			return "id: " + id + "\nowner: demo\ntype: PUT\ntopic: [Person]\nformat: json\ndatamap: {id: $.msg.id}\nurl: " + url + "/" + name +
				"/{id}\ndelivery: {retry: {initial: 10ms, max: 20ms, attempts: 2}, on_unproven: dead_letter}\ndead_letter: {hold_share: 1}\n" + login + "\n" + more
		}
		jobs = append(jobs, text(name, api.URL, ""))
		// The same with a fault, which is told of in the log and by every answer.
		broken = append(broken, text("broken-"+name, api.URL, "order: keys\ntokn: '"+value+"'\n"))
	}
	file := strings.Join(append(jobs, broken...), "---\n")
	write(filepath.Join(dir, "jobs.yaml"), file)
	key := base64.StdEncoding.EncodeToString([]byte("a-key-of-32-bytes,0123456789ABCD"))
	secrets = append(secrets, key, "a-key-of-32-bytes,0123456789ABCD")
	keys, err := secret.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	s := settings.Settings{Kafka: consumer.Client{Brokers: cluster.Brokers}, Namespace: "streamer", Listen: "127.0.0.1:0", Jobs: dir, SecretsDir: secretsDir,
		SecretKeys: keys, AllowHosts: []string{"127.0.0.1"}, MemoryBytes: 256 << 20}
	p := startWith(t, s, func(name string) (string, bool) { return secretInEnv, name == "STREAMER_VALUE_TOKEN" })

	waitAnswer(t, p, "/readyz", `"ready": true`, &out)
	// All rows of all jobs are final, in one way or another, but one: what is denied may hold its job, if nothing is delivered after it.
	for name := range logins {
		switch name {
		case "oauth2-refused":
			waitAnswer(t, p, "/api/v1/jobs/"+name, "the token endpoint "+api.URL+" answered 401 Unauthorized: invalid_client", &out)
			continue
		case "token-storage-lost":
			waitAnswer(t, p, "/api/v1/jobs/"+name+"/deliveries?topic=Person&partition=0&offset=7", `"dead-lettered"`, &out)
			continue
		}
		for _, offset := range []string{"1", "2", "4", "5", "6"} {
			waitAnswer(t, p, "/api/v1/jobs/"+name+"/deliveries?topic=Person&partition=0&offset="+offset, `"dead-lettered"`, &out)
		}
		waitAnswer(t, p, "/api/v1/jobs/"+name+"/deliveries?topic=Person&partition=0&offset=7", `1 delivered`, &out)
	}
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/api/v1/jobs", "/api/v1/audit"} {
		answerOf(t, p, http.MethodGet, path, "", &out)
	}
	for name := range logins {
		for _, id := range []string{name, "broken-" + name} {
			answerOf(t, p, http.MethodGet, "/api/v1/jobs/"+id, "", &out)
		}
		answerOf(t, p, http.MethodGet, "/api/v1/jobs/"+name+"/dead-letters", "", &out)
		answerOf(t, p, http.MethodGet, "/api/v1/jobs/"+name+"/dead-letters/0/0", "", &out)
		answerOf(t, p, http.MethodPost, "/api/v1/jobs/"+name+"/dead-letters/redrive", `{"dry_run": true}`, &out)
		answerOf(t, p, http.MethodPost, "/api/v1/jobs/"+name+"/pause", "", &out)
	}
	answerOf(t, p, http.MethodGet, "/api/v1/audit", "", &out)

	// The commands that read job files.
	for _, args := range [][]string{{"validate", dir}, {"validate", dir, "-o", "json"}, {"test", filepath.Join(dir, "jobs.yaml"), "-o", "yaml", "--record", "-"}, {"run", "--jobs", dir, "--listen", "nowhere"}} {
		var printed bytes.Buffer
		root := newRoot([]string{"STREAMER_SECRETS_DIR=" + secretsDir, "STREAMER_VALUE_TOKEN=" + secretInEnv, "STREAMER_SECRET_KEY=" + key})
		root.SetArgs(args)
		root.SetIn(strings.NewReader(`{"id": "fine"}`))
		root.SetOut(&printed)
		root.SetErr(&printed)
		if err := root.ExecuteContext(t.Context()); err != nil {
			printed.WriteString(err.Error())
		}
		out.add("streamer "+args[0], printed.String())
	}
	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	out.add("the log", strings.Join(p.log.lines, ""))
	for topic, text := range everything(t, cluster) {
		out.add("topic "+topic, text)
	}
	// As they are to be stored, and as they are shown.
	defs, _ := job.ParseFile("jobs.yaml", []byte(file))
	for _, d := range defs {
		sealed, _, faults := d.Admit(job.Process{Namespace: "streamer", Secrets: job.Secrets{Keyring: keys, Dir: secretsDir}}, nil)
		if !strings.HasPrefix(d.ID, "broken-") { // what has faults is not stored
			out.add("stored jobs", string(sealed))
		}
		out.add("faults", faults.Error())
		if !strings.HasPrefix(d.ID, "broken-") {
			out.add("shown jobs", string(d.Masked()))
		}
	}

	arrive := append(secrettest.Secrets{}, secrets...)
	arrive = arrive[:len(arrive)-2] // the key is for nobody
	arrive.Present(t, "the API", out.of("the API"))
	if text := out.of("elsewhere"); text != "" {
		t.Errorf("a redirect was followed: %s", text)
	}
	for where, text := range out.text {
		if where != "the API" && where != "elsewhere" && where != "topic Person" && where != "topic Broken" {
			secrets.Absent(t, where, text.String())
		}
	}
	for _, where := range []string{"the log", "GET /metrics", "GET /readyz", "GET /api/v1/jobs", "GET /api/v1/audit", "topic streamer.audit", "topic streamer.jobs", "topic streamer.status",
		"topic streamer.dead-letters.basic", "stored jobs", "shown jobs", "faults", "streamer validate", "streamer test", "streamer run"} {
		secrets.Absent(t, where, out.of(where)) // also if it was not looked at
	}
}

// logsIn answers where access tokens are asked for, as badly as can be: it tells all that it knows.
func logsIn(w http.ResponseWriter, r *http.Request, out *seen) bool {
	switch {
	case r.URL.Path == "/token":
		w.Header().Set("Content-Type", "application/json")
		_, password, _ := r.BasicAuth()
		password, _ = url.QueryUnescape(password)
		sent := password + r.PostFormValue("client_secret") + r.PostFormValue("refresh_token")
		out.add("the API", sent)
		answer := map[string]string{"access_token": accessToken, "refresh_token": r.PostFormValue("refresh_token")}
		if r.URL.RawQuery == "refused" {
			w.WriteHeader(http.StatusUnauthorized)
			answer = map[string]string{"error": "invalid_client", "error_description": sent, "error_uri": sent}
		}
		_ = json.NewEncoder(w).Encode(answer)
	case r.URL.Path == "/storage/user/ann/token/crm":
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "OAuth2Token", "data": map[string]string{"access_token": accessToken}})
	case strings.HasPrefix(r.URL.Path, "/storage/"):
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, accessToken)
	default:
		return false
	}
	return true
}

// everything is what the topics hold, by their names.
func everything(t *testing.T, cluster *consumertest.Cluster) map[string]string {
	t.Helper()
	admin := cluster.Admin(t)
	ends, err := admin.ListEndOffsets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int64{}
	var topics []string
	for topic, partitions := range ends {
		for _, o := range partitions {
			left[topic] = o.Offset
		}
		if left[topic] > 0 {
			topics = append(topics, topic)
		} else {
			delete(left, topic)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.Brokers...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	texts := map[string]string{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%v, with %v unread", err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			texts[r.Topic] += string(r.Key) + " " + string(r.Value) + fmt.Sprintf(" %s\n", r.Headers)
			if r.Offset+1 >= left[r.Topic] {
				delete(left, r.Topic)
			}
		})
	}
	return texts
}

// answerOf asks the program, and keeps the whole answer.
func answerOf(t *testing.T, p *program, method, path, body string, out *seen) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 500 && path != "/readyz" || resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusBadRequest {
		t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	out.add(method+" "+path, fmt.Sprint(resp.Header)+string(text))
	return string(text)
}

// waitAnswer asks until the answer has a part.
func waitAnswer(t *testing.T, p *program, path, part string, out *seen) {
	t.Helper()
	consumertest.WaitFor(t, 30*time.Second, part+" at "+path, func() (any, bool) {
		answer := answerOf(t, p, http.MethodGet, path, "", out)
		return answer, strings.Contains(answer, part)
	})
}
