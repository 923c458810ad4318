package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// A connector of RDS, whole: its service is registered before the instance is ready, and the preset's job creates, describes and publishes
// projects in order, each with the access token of its user, also when that is withdrawn on the way.
func TestConnectorOfRDS(t *testing.T) {
	t.Parallel()
	st := sinktest.NewTokenStorage()
	storage, err := sinktest.Listen(st.Answer)
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	st.Grant("ann", "port-crm", time.Hour)
	st.Grant("bob", "port-crm", 0)
	port, err := sinktest.Listen(func(a *sinktest.Attempt) sinktest.Answer {
		for _, h := range a.Header {
			if h.Name == "Authorization" && st.Good(h.Value) {
				return sinktest.Answer{Body: []byte(`{"success": true}`)}
			}
		}
		return sinktest.Answer{Status: 401}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	port.KeepHeaders = true

	cluster := consumertest.Fake(t)
	if _, err := cluster.Admin(t).CreateTopic(t.Context(), 1, 1, nil, "rds.projects"); err != nil {
		t.Fatal(err)
	}
	job, err := presetFiles.ReadFile("presets/metadata.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := settings.Settings{Kafka: consumer.Client{Brokers: cluster.Brokers}, Namespace: "streamer", Listen: "127.0.0.1:0", Jobs: t.TempDir(), AllowHosts: []string{"127.0.0.1"}, MemoryBytes: 256 << 20}
	secret := func(string) (string, bool) { return "geheim-client", true }
	var out seen
	first := startWith(t, s, secret)
	waitAnswer(t, first, "/readyz", `"ready": true`, &out)
	answerOf(t, first, http.MethodPost, "/api/v1/connections", fmt.Sprintf(`{"document": {"name": "port-crm", "owner": "demo", "base_url": %q,
		"auth": {"token_storage": {"url": %q, "service": "port-crm", "user": "{$.msg.user}"}}, "success": {"when": "$.body.success", "else": "target"},
		"register": {"url": %[2]q, "servicename": "port-crm", "authorize_url": "https://a.test/authorize", "refresh_url": "https://a.test/token", "client_id": "streamer",
			"client_secret": "${env:STREAMER_VALUE_CLIENT}", "implements": ["metadata"]}}}`, port.URL(), storage.URL()), &out)
	consumertest.WaitFor(t, 2*time.Minute, "the service in the token storage", func() (any, bool) {
		text := string(st.Service("port-crm"))
		return text, strings.Contains(text, `"client_secret":"geheim-client"`) && strings.Contains(text, `"implements":["metadata"]`)
	})
	document, err := json.Marshal(string(job))
	if err != nil {
		t.Fatal(err)
	}
	answerOf(t, first, http.MethodPost, "/api/v1/jobs", `{"document": `+string(document)+`}`, &out)
	waitAnswer(t, first, "/readyz", `"state": "running"`, &out)
	for _, record := range []string{`{"action": "create", "user": "ann", "metadata": {"title": "a"}}`, `{"action": "describe", "user": "ann", "project": "1", "metadata": {}}`,
		`{"action": "describe", "user": "bob", "project": "2", "metadata": {}}`, `{"action": "publish", "user": "ann", "project": "1"}`, `{"action": "publish", "user": "bob", "project": "2"}`} {
		consumertest.Produce(t, cluster.Producer(t), &kgo.Record{Topic: "rds.projects", Value: []byte(record)})
		st.Withdraw("bob", "port-crm")
	}
	for offset := range 5 {
		waitAnswer(t, first, fmt.Sprintf("/api/v1/jobs/rds-metadata/deliveries?topic=rds.projects&partition=0&offset=%d", offset), "delivered", &out)
	}
	made := map[string]string{}
	for _, a := range port.Attempts() {
		if project := strings.TrimPrefix(a.Path, "/metadata/project"); a.Status == http.StatusOK {
			made[project] += a.Method + " "
		}
	}
	if got := fmt.Sprint(made); got != "map[:POST  /1:PATCH PUT  /2:PATCH PUT ]" {
		t.Errorf("requests %s", got)
	}
	first.soft()
	if err := <-first.ended; err != nil {
		t.Error(err)
	}

	// A start while the token storage is in trouble is not ready, and says what for.
	st.Refuse("Redis is down")
	second := startWith(t, s, secret)
	waitAnswer(t, second, "/readyz", `connection port-crm registers service port-crm: the token storage `+storage.URL()+` did not take service \"port-crm\": Redis is down`, &out)
	if text := answerOf(t, second, http.MethodGet, "/readyz", "", &out); !strings.Contains(text, `"ready": false`) {
		t.Error(text)
	}
	st.Refuse("")
	waitAnswer(t, second, "/readyz", `"ready": true`, &out)
	second.soft()
	if err := <-second.ended; err != nil {
		t.Error(err)
	}
	for _, p := range []*program{first, second} {
		out.add("the log", strings.Join(p.log.lines, ""))
	}
	for where, text := range out.text {
		if strings.Contains(text.String(), "geheim") {
			t.Errorf("%s shows a secret: %s", where, text.String())
		}
	}
}
