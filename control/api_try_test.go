package control

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"streamer/consumer"
	"streamer/control/job"
)

// A record is tried on a job as it is, or as it might become: by who may see values, without its secrets, and nothing is written or sent.
func TestAJobIsTried(t *testing.T) {
	t.Parallel()
	log, process := newMemoryLog(), testProcess(t)
	process.Secrets.Env = func(name string) (string, bool) { return "s3cret", name == "STREAMER_VALUE_KEY" }
	process.Grants = job.Grants{"health": {Topics: []string{"t", "u"}}}
	d := NewDefinitions(log, process)
	const secrets = `, "token": "s3cret", "headers": {"X-Api-Key": "${env:STREAMER_VALUE_KEY}", "X-Mark": "a ${env:STREAMER_VALUE_KEY}"}`
	for id, owner := range map[string]string{"visits": "health", "taxes": "money"} {
		must[Definition](t)(d.Create(t.Context(), admin, document(id, owner, secrets)))
	}
	var asked []string
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: &callers{}, Definitions: d, Jobs: fakeJobs{}, Fleet: lonely{"one"},
		Record: func(_ context.Context, c consumer.Config, topic string, partition int32, offset int64) (consumer.Record, error) {
			asked = append(asked, fmt.Sprintf("%v %s/%d/%d", c.Topics, topic, partition, offset))
			switch {
			case topic != "t":
				return consumer.Record{}, &consumer.NoPartitionError{Field: "topic", Cause: "it does not read that"}
			case offset > 4:
				return consumer.Record{}, fmt.Errorf("read: %w", consumer.ErrNoRecord)
			}
			return consumer.Record{Topic: topic, Partition: partition, Offset: offset, Key: []byte("k"), Value: []byte(`{"id": "in Kafka"}`)}, nil
		}})
	const withSteps = `, "token": "s3cret", "steps": [{"name": "owner", "url": "https://api.test/owners/{$.msg.id}", "headers": {"X-Key": "${env:STREAMER_VALUE_KEY}"}},
		{"name": "list", "for_each": {"path": "$.steps.owner.body.groups", "separator": "__"}, "url": "https://api.test/list/{$.item.name}?by={$.steps.owner.body.name}"}],
		"payload": {"tag": "$.steps.owner.headers.etag", "n": "$.steps.list[-1].status"}`
	changed := func(more string) string { return string(document("visits", "health", more)) }
	for name, c := range map[string]struct {
		who, job, body string
		status         int
		says           []string
	}{
		"one in Kafka": {"ada", "visits", `{"topic": "t", "partition": 1, "offset": 3}`, 200, []string{
			`"topic":"t","partition":1,"offset":3`, `"verdict":"send"`, `"lane":"k"`, `"url":"https://api.test/in%20Kafka?a=1\u0026b=2"`, `{"name":"X-Api-Key","value":"********"}`,
			`{"name":"X-Mark","value":"a ********"}`, `{"name":"Authorization","value":"access_token ********"}`, `idempotency`}},
		"one that is given": {"ada", "visits", `{"record": {"value": "{\"id\": \"given\"}", "key": {"base64": "/w=="}}}`, 200, []string{`"topic":"t"`, `https://api.test/given`}},
		"a tombstone":       {"ada", "visits", `{"record": {"value": null}}`, 200, []string{`"rows":[]`}},
		"what is no row":    {"ada", "visits", `{"record": {"value": "village-nine"}}`, 200, []string{`"verdict":"payload error","problem":"`}},
		"a change":          {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "document": ` + changed(`, "filter": "$.msg[?(@.id == 8)]"`) + `}`, 200, []string{`"verdict":"filtered"`}},
		"a change with the secret that is stored": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "document": ` + changed(`, "token": "********"`) + `}`, 200, []string{
			`"access_token ********"`}},
		"another topic": {"eda", "visits", `{"topic": "t", "partition": 0, "offset": 1, "document": ` + strings.Replace(changed(""), `["t"]`, `["u"]`, 1) + `}`, 200, []string{`in%20Kafka`}},
		"steps, as far as there are answers": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "document": ` + changed(withSteps) + `}`, 200, []string{
			`"step":"owner","open":true`, `"url":"https://api.test/owners/7"`, `{"name":"X-Key","value":"********"}`, `"access_token ********"`}},
		"steps with answers": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "answers": {"owner": {"headers": {"ETag": "3"}, "body": {"name": "ada", "groups": "a__b"}}, "list/0": {"body": "n/a"}}, "document": ` + changed(withSteps) + `}`, 200, []string{
			`"step":"owner","format"`, `"step":"list/0"`, `"step":"list/1","open":true`}},
		"answers to all steps": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "answers": {"owner": {"headers": {"ETag": "3"}, "body": {"name": "ada", "groups": "a__b"}}, "list": {"status": 201}}, "document": ` + changed(withSteps) + `}`, 200, []string{
			`"url":"https://api.test/list/b?by=ada","headers":`, `"body":"{\"tag\":\"3\",\"n\":201}"`}},
		"an answer that fails":      {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "answers": {"owner": {"status": 503}}, "document": ` + changed(withSteps) + `}`, 200, []string{`"problem":"answered 503`}},
		"an answer nobody asks for": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "answers": {"list/7": {}}, "document": ` + changed(withSteps) + `}`, 200, []string{`"step":"owner","open":true`}},
		"answers of no step": {"eda", "visits", `{"record": {"value": "{\"id\": 7}"}, "answers": {"ownr": {}, "lst/3": {}}, "document": ` + changed(withSteps) + `}`, 400, []string{
			`"field":"answers.ownr"`, "did you mean owner?", `"field":"answers.lst/3"`, "did you mean list/3?"}},
		"answers to a job without steps": {"ada", "visits", `{"record": {"value": "1"}, "answers": {"owner": {}}}`, 400, []string{`"field":"answers.owner"`, "there are no steps"}},
		"a status that is none":          {"ada", "visits", `{"record": {"value": "1"}, "answers": {"owner": {"status": 1000}}}`, 400, []string{`"field":"answers.owner.status"`}},
		"answers that are none":          {"ada", "visits", `{"record": {"value": "1"}, "answers": ["owner"]}`, 400, []string{`"field":"answers"`}},
		"an unknown part of one":         {"ada", "visits", `{"record": {"value": "1"}, "answers": {"owner": {"state": 200}}}`, 400, []string{`"field":"answers.owner.state"`}},

		"who may only view":             {"vera", "visits", `{"record": {"value": "1"}}`, 403, []string{"has not the permission operate"}},
		"of another owner":              {"ada", "taxes", `{"record": {"value": "1"}}`, 403, []string{"operate"}},
		"nobody":                        {"eve", "visits", `{"record": {"value": "1"}}`, 401, nil},
		"a change by who may not edit":  {"ada", "visits", `{"record": {"value": "1"}, "document": ` + changed("") + `}`, 403, []string{"edit"}},
		"a change of another's":         {"eda", "visits", `{"record": {"value": "1"}, "document": ` + strings.Replace(changed(""), `"health"`, `"money"`, 1) + `}`, 403, []string{"edit"}},
		"a change of another job":       {"eda", "visits", `{"record": {"value": "1"}, "document": ` + string(document("other", "health", "")) + `}`, 422, []string{`"field":"id"`}},
		"a topic that is not granted":   {"eda", "visits", `{"topic": "v", "partition": 0, "offset": 0, "document": ` + strings.Replace(changed(""), `["t"]`, `["v"]`, 1) + `}`, 422, []string{`owners.health.topics`}},
		"the audit":                     {"eda", "visits", `{"topic": "ns.audit", "partition": 0, "offset": 0}`, 404, []string{`"field":"topic"`}},
		"no such record":                {"ada", "visits", `{"topic": "t", "partition": 0, "offset": 5}`, 404, []string{`"field":"offset"`, "no record"}},
		"faults":                        {"eda", "visits", `{"record": {"value": "1"}, "document": ` + changed(`, "order": 7, "ordr": "key"`) + `}`, 422, []string{`"field":"order"`, `"field":"ordr"`, `"mend":`}},
		"no record is said":             {"ada", "visits", `{"topic": "t"}`, 400, []string{`"field":"partition"`, `"field":"offset"`}},
		"two are":                       {"ada", "visits", `{"record": {"value": "1"}, "offset": 3}`, 400, []string{`"field":"record"`}},
		"a job that is not there":       {"root", "other", `{"record": {"value": "1"}}`, 404, []string{`"field":"job"`}},
		"more rows than the answer has": {"ada", "visits", `{"record": {"value": "1"}, "limit": 1001}`, 400, []string{`"field":"limit"`}},
	} {
		status, text, _ := request(t, http.MethodPost, base+"/api/v1/jobs/"+c.job+"/test", c.body, "Authorization", "Bearer "+c.who)
		for _, says := range c.says {
			if !strings.Contains(strings.ToLower(text), strings.ToLower(says)) {
				t.Errorf("%s: it does not say %s: %s", name, says, text)
			}
		}
		if status != c.status || strings.Contains(text, "s3cret") || strings.Contains(text, "sealed") || strings.Contains(text, "village-nine") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	for _, a := range asked {
		if !strings.HasPrefix(a, "[t] ") && a != "[u] t/0/1" {
			t.Errorf("read %s", a)
		}
	}
	if log.writes != 2 {
		t.Errorf("%d writes", log.writes)
	}
}
