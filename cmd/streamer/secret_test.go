package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/consumer/registry"
	"streamer/control/people"
	"streamer/control/people/peopletest"
	"streamer/control/secret"
	"streamer/control/secret/secrettest"
)

// What is secret besides what stands in jobs and connections.
const (
	secretInEnv  = "5ecret-of-the-environment+/="
	secretInFile = "5ecret-of-a-file<&>"
	// accessToken is what the token endpoint and the token storage give, refreshed what replaces a refresh token.
	accessToken      = "5ecret-access.token~+/="
	refreshed        = "5ecret-refreshed.token~+/="
	kafkaPassword    = "5ecret-of-Kafka+/="
	registryPassword = "5ecret-of-the-registry+/="
	adminPassword    = "5ecret-of-the-admin+/="
	wrongPassword    = "5ecret-that-is-wrong+/="
	personsToken     = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjVlY3JldCJ9.eyJzdWIiOiI1ZWNyZXQifQ.NWVjcmV0LXNpZ25hdHVyZQ"
	unknownToken     = "str_5ecretsecretsecretsecretsecretsecret"
	rawKey           = "a-key-of-32-bytes,0123456789ABCD"
)

// seen is everything that came out of the program, by where.
type seen struct {
	mu    sync.Mutex
	text  map[string]*strings.Builder
	known map[string]bool
}

// once adds what was not there before.
func (s *seen) once(where, text string) {
	s.mu.Lock()
	known := s.known[where+text]
	if s.known == nil {
		s.known = map[string]bool{}
	}
	s.known[where+text] = true
	s.mu.Unlock()
	if !known {
		s.add(where, text)
	}
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

// arrived is what came to APIs, token endpoints, token storages and the registry.
const arrived = "the API"

// Whatever way a job or a connection logs in, and whatever becomes of its rows: its secret reaches the API, and is in no log, metric, answer,
// cause, audit line, report, dead letter, record of an answer or output of a command; nor is what Kafka, the registry and people log in
// with. The targets are as bad as can be: they send back what they got, and send us elsewhere. control/secret/secrettest has what is planted.
func TestNothingSecretIsShown(t *testing.T) {
	t.Parallel()
	var out seen
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { out.add("elsewhere", fmt.Sprint(r.URL, r.Header)) }))
	defer elsewhere.Close()
	target := badTarget{&out, elsewhere.URL}
	var apis []string
	for range 9 {
		s := httptest.NewServer(target)
		defer s.Close()
		apis = append(apis, s.URL)
	}
	secure := httptest.NewUnstartedServer(target)
	secure.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	defer secure.Close()
	authority := secrettest.InYAML(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))

	cluster := consumertest.FakeWithLogin(t, "streamer", kafkaPassword)
	if _, err := cluster.Admin(t).CreateTopics(t.Context(), 1, 1, nil, "Person", "Events", "Framed"); err != nil {
		t.Fatal(err)
	}
	producer := cluster.Producer(t)
	for _, value := range []string{`{"id": "fine"}`, `{"id": "moved"}`, `{"id": "refused"}`, `{"id": "denied"}`, `{"id": [`, `{"id": {"a": 1}}`, `{"id": "hangup"}`, `{"id": "last"}`} {
		consumertest.Produce(t, producer, &kgo.Record{Topic: "Person", Key: []byte(value), Value: []byte(value)})
	}
	for _, value := range []string{"fine", "refused"} {
		consumertest.Produce(t, producer, &kgo.Record{Topic: "Events", Value: []byte(`{"service_type": "rdm_record", "service_method": "publish", "record": {"id": "` + value + `"}}`)})
	}
	consumertest.Produce(t, producer, &kgo.Record{Topic: "Framed", Value: []byte("\x00\x00\x00\x00\x07\x02")})

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
	arrive := secrettest.Secrets{secretInEnv, secretInFile, accessToken, registryPassword}
	key := base64.StdEncoding.EncodeToString([]byte(rawKey))
	secrets := secrettest.Secrets{key, rawKey, refreshed, kafkaPassword, adminPassword, wrongPassword, personsToken, unknownToken, "5ecret/of+", "5ecret-of-", "5ecret-access", "5ecret-that"}
	const delivery = "delivery: {timeout: 5s, retry: {initial: 10ms, max: 1s, attempts: 2}, on_unproven: dead_letter}\ndead_letter: {hold_share: 1}\ncallback: {}\nresponse: {}\n"
	var files, broken []string
	planted := map[string]string{} // texts by ids
	plant := func(p secrettest.Plant, head string) {
		text, own := p.Fill(t, apis...)
		text = strings.ReplaceAll(text, "AUTHORITY", authority)
		for i, field := range p.Fields() {
			if secrets = append(secrets, own[i]); !strings.HasSuffix(field, "tls.key") {
				arrive = append(arrive, own[i])
			}
		}
		text = head + text + "\n"
		files = append(files, text)
		id := p.Name
		planted[id] = text
		if strings.HasPrefix(head, "id:") { // the same with a fault, which is told of in the log and by every answer
			text = strings.Replace(text, "id: "+id, "id: broken-"+id, 1) + "order: keys\n"
			if len(own) > 0 {
				text += "tokn: '" + own[0] + "'\n"
			}
			broken = append(broken, text)
		}
	}
	for _, p := range secrettest.Jobs {
		head := "id: " + p.Name + "\nowner: demo\ntopic: [" + p.Topic + "]\nformat: json\n" + delivery
		if p.Topic == "" {
			head = "id: " + p.Name + "\nowner: demo\ntopic: [Person]\nformat: json\n" + delivery + "type: PUT\ndatamap: {id: $.msg.id}\nurl: " + apis[0] + "/" + p.Name + "/{id}\n"
		}
		plant(p, head)
	}
	for _, p := range secrettest.Connections {
		base := apis[0]
		if strings.Contains(p.Text, "AUTHORITY") {
			base = secure.URL
		}
		plant(p, "name: "+p.Name+"\nowner: demo\nbase_url: "+base+"\n")
		files = append(files, "id: of-"+p.Name+"\nowner: demo\ntopic: [Person]\nformat: json\n"+delivery+"type: PUT\ndatamap: {id: $.msg.id}\nconnection: "+p.Name+"\nurl: /"+p.Name+"/{id}\n")
	}
	files = append(files, "id: framed\nowner: demo\ntopic: [Framed]\nformat: avro\ntype: PUT\ndatamap: {}\nurl: "+apis[0]+"/framed\n")
	secrets = append(secrets, arrive...)
	file := strings.Join(append(files, broken...), "---\n")
	write(filepath.Join(dir, "jobs.yaml"), file)
	keys, err := secret.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	provider := peopletest.New(t, peopletest.Answer{Page: "<html>" + personsToken})
	s := settings.Settings{Kafka: consumer.Client{Brokers: cluster.Brokers, SASL: consumer.SASL{Mechanism: "SCRAM-SHA-256", User: "streamer", Password: kafkaPassword}}, Namespace: "streamer",
		Listen: "127.0.0.1:0", Jobs: dir, SecretsDir: secretsDir, SecretKeys: keys, AllowHosts: []string{"127.0.0.1"}, MemoryBytes: 256 << 20,
		Registry: registry.Options{URL: apis[0] + "/registry", User: "streamer", Password: registryPassword},
		People:   people.Options{Require: true, Admin: people.Admin{User: "admin", Password: adminPassword}, OIDC: people.OIDC{Issuer: provider.URL, Audience: "streamer", GroupsClaim: "groups"}}}
	p := startAt(t, slog.LevelDebug, s, func(name string) (string, bool) { return secretInEnv, name == "STREAMER_VALUE_TOKEN" })
	asker := &asker{t: t, p: p, out: &out}

	asker.wait("/readyz", `"ready": true`)
	for _, p := range secrettest.Jobs {
		asker.final(p.Name, p.Topic)
	}
	for _, p := range secrettest.Connections {
		asker.final("of-"+p.Name, "")
	}
	asker.wait("/api/v1/jobs/framed", "the schema registry at "+strings.TrimPrefix(apis[0], "http://")+" answers 500")
	consumertest.WaitFor(t, 2*time.Minute, "every secret to arrive", func() (any, bool) {
		missing := arrive.Missing(out.of(arrived))
		return missing, len(missing) == 0
	})
	asker.everything(planted, dir, []string{"STREAMER_SECRETS_DIR=" + secretsDir, "STREAMER_VALUE_TOKEN=" + secretInEnv, "STREAMER_SECRET_KEY=" + key, "STREAMER_USER=admin",
		"STREAMER_PASSWORD=" + adminPassword, "STREAMER_KAFKA_BROKERS=" + cluster.Brokers[0], "STREAMER_KAFKA_SASL_MECHANISM=SCRAM-SHA-256", "STREAMER_KAFKA_SASL_USER=streamer",
		"STREAMER_KAFKA_SASL_PASSWORD=" + kafkaPassword, "STREAMER_ADMIN_USER=admin", "STREAMER_ADMIN_PASSWORD=" + adminPassword, "HOME=" + t.TempDir(), "STREAMER_ALLOW_HOSTS=127.0.0.1"})
	secrets = append(secrets, asker.tokens...)

	p.soft()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	out.add("the log", strings.Join(p.log.lines, ""))
	for topic, text := range everything(t, cluster) {
		out.add("topic "+topic, text)
	}
	if text := out.of("elsewhere"); text != "" {
		t.Errorf("a redirect was followed: %s", text)
	}
	own := []string{arrived, "elsewhere", "topic Person", "topic Events", "topic Framed"}
	for _, where := range slices.Sorted(maps.Keys(out.text)) {
		if !slices.Contains(own, where) {
			secrets.Absent(t, where, out.of(where))
		}
	}
	for _, where := range []string{"the log", "GET /metrics", "GET /readyz", "GET /api/v1/jobs", "GET /api/v1/audit", "topic streamer.audit", "topic streamer.jobs", "topic streamer.status",
		"topic streamer.dead-letters.basic", "topic streamer.dead-letters.told-by-a-step", "topic streamer.out.routes", "topic streamer.out.routes.responses", "topic streamer.out.of-c-mtls"} {
		secrets.Absent(t, where, out.of(where)) // also if it was not looked at
	}
	if !strings.Contains(out.of(arrived), "a certificate") {
		t.Error("nobody showed a certificate")
	}
}

// badTarget is an API that repeats what it is sent, with token endpoint, token storage and schema registry.
type badTarget struct {
	out       *seen
	elsewhere string
}

func (b badTarget) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		b.out.once(arrived, "a certificate")
	}
	if b.logsIn(w, r) {
		return
	}
	echo := r.Header.Get("Authorization")
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-") || name == "Cookie" {
			echo += " " + values[0]
		}
	}
	b.out.once(arrived, echo)
	w.Header().Set("X-Echo", echo)
	w.Header().Set("Set-Cookie", "a="+url.QueryEscape(echo))
	w.Header().Set("WWW-Authenticate", "Basic realm="+r.Header.Get("X-Api-Key"))
	status := http.StatusOK
	switch last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):]; {
	case strings.HasPrefix(r.URL.Path, "/nothing/"):
		status = http.StatusNotFound
	case last == "/moved":
		w.Header().Set("Location", b.elsewhere+"/?q="+echo)
		status = http.StatusTemporaryRedirect
	case last == "/refused":
		status = http.StatusUnprocessableEntity
	case last == "/denied":
		status = http.StatusForbidden
	case last == "/hangup":
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"id": 7, "accepted": true, "echo": echo, "headers": r.Header})
}

// logsIn answers where access tokens, schemas and registrations are asked for, as badly as can be: it tells all that it knows.
func (b badTarget) logsIn(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.URL.Path == "/token":
		w.Header().Set("Content-Type", "application/json")
		_, password, _ := r.BasicAuth()
		password, _ = url.QueryUnescape(password)
		sent := password + r.PostFormValue("client_secret") + r.PostFormValue("refresh_token")
		b.out.once(arrived, sent)
		var answer any = map[string]string{"access_token": accessToken, "refresh_token": refreshed}
		switch r.URL.RawQuery {
		case "refused":
			w.WriteHeader(http.StatusUnauthorized)
			answer = map[string]string{"error": "invalid_client", "error_description": sent, "error_uri": sent}
		case "page":
			answer = "<html>" + sent
		}
		_ = json.NewEncoder(w).Encode(answer)
	case r.URL.Path == "/storage/user/ann/token/crm":
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "OAuth2Token", "data": map[string]string{"access_token": accessToken}})
	case strings.HasPrefix(r.URL.Path, "/storage/"):
		w.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprint(w, accessToken)
	case r.URL.Path == "/register/service":
		var sent map[string]any
		text, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(text, &sent)
		b.out.add(arrived, fmt.Sprint(sent["client_secret"]))
		_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "message": "it is there already: " + string(text) + fmt.Sprint(sent["client_secret"])})
	case strings.HasPrefix(r.URL.Path, "/registry/"):
		_, password, _ := r.BasicAuth()
		b.out.once(arrived, password)
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]any{"error_code": 500, "message": password + r.Header.Get("Authorization")})
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
	client, err := kgo.NewClient(append(cluster.Options(), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
