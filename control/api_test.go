package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
	"streamer/control/service"
	"streamer/sink"
)

type fakeJobs []JobHere

func (f fakeJobs) Names(from string) iter.Seq[JobName] { return namesOf(f.Here(from, "")) }

func (f fakeJobs) Here(from, to string) (out []JobHere) {
	for _, j := range f {
		if j.ID >= from && (to == "" || j.ID <= to) {
			out = append(out, j)
		}
	}
	slices.SortStableFunc(out, func(a, b JobHere) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.File, b.File)) })
	return out
}

func namesOf(jobs []JobHere) iter.Seq[JobName] {
	var names []JobName
	for _, j := range jobs {
		names = append(names, JobName{j.ID, j.Owner, j.File})
	}
	return slices.Values(names)
}

func (f fakeJobs) Deliveries(string) (Deliveries, bool) { return nil, false }

func (f fakeJobs) Gaps(string) (Gaps, bool) { return nil, false }

func (f fakeJobs) Config(job string) (consumer.Config, bool) {
	return consumer.Config{Job: job, DeadLetterTopic: "letters", Sink: sink.Config{Auth: sink.Auth{Bearer: "s3cret"}}}, job != "people"
}

var morning = time.Date(2026, 1, 31, 6, 0, 0, 0, time.UTC)

func number(n int64) *int64 { return &n }

// someJobs are a job that is held, one that runs, and two broken ones that share an id.
var someJobs = fakeJobs{
	{JobStatus: JobStatus{ID: "visits", Owner: "health", File: "visits.yaml", State: Running, Since: morning, Lag: number(7), InFlight: 2,
		OldestPendingSeconds: 2.5, BreakersOpen: []Breaker{{Target: "https://api:443", Cause: "answered 503 Service Unavailable"}}},
		Assigned: []PartitionView{{Topic: "visit", Partition: 0, Committed: number(3), HighWatermark: number(10), Lag: number(7), Pending: 2},
			{Topic: "visit", Partition: 1, Cause: "log cut", Since: &morning,
				Hold: &consumer.Hold{Cause: consumer.HoldLogCut, Reason: "cut at 7", Next: "accept", Since: morning}}}},
	{JobStatus: JobStatus{ID: "people", File: "a.yaml", State: Failed, Cause: "two jobs have the id", Since: morning}},
	{JobStatus: JobStatus{ID: "people", File: "b.yaml", State: Failed, Cause: "two jobs have the id", Since: morning}},
	{JobStatus: JobStatus{ID: "births", File: "births.yaml", State: Running, Since: morning},
		Holds: []consumer.Hold{{Cause: consumer.HoldGuard, Reason: "51 of 100 rows would be given up", Next: "resume", Since: morning}}},
}

// startAPI serves an API at listen and gives the address to call it by.
func startAPI(t testing.TB, listen string, a API) string {
	t.Helper()
	s := NewServer(ServerOptions{Listen: listen, Readiness: func() Readiness { return Readiness{} }, Metrics: prometheus.NewRegistry(), API: a,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Stop(context.Background())
	})
	_, port, _ := strings.Cut(strings.TrimPrefix(s.Addr(), "[::]"), ":")
	return "http://127.0.0.1:" + port
}

// request makes one request and reads the problem it is answered with, if it is one.
func request(t *testing.T, method, url, body string, header ...string) (status int, text string, p service.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") == service.ProblemType {
		if err := json.Unmarshal(all, &p); err != nil || p.Status != resp.StatusCode || p.Title == "" {
			t.Errorf("no problem document: %s", all)
		}
	}
	return resp.StatusCode, string(all), p
}

// Nobody has to log in yet, so only programs on this machine may steer jobs. An API that listens elsewhere answers nobody, also not
// those who come over loopback; a page in a browser, and a foreign name that was made to resolve to loopback, are refused.
func TestAPIIsForThisMachineOnly(t *testing.T) {
	t.Parallel()
	here, everywhere := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}}), startAPI(t, ":0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}})
	cases := []struct {
		name, base, path string
		header           []string
		status           int
		says             string
	}{
		{"a program", here, "/api/v1/jobs", nil, 200, ""},
		{"by name", here, "/api/v1/jobs", []string{"Host", "localhost:9013"}, 200, ""},
		{"by another address of loopback", here, "/api/v1/jobs", []string{"Host", "127.0.0.2"}, 200, ""},
		{"by loopback of IPv6", here, "/api/v1/jobs", []string{"Host", "[::1]:9013"}, 200, ""},
		{"by a foreign name", here, "/api/v1/jobs", []string{"Host", "evil.example.org:9013"}, 403, "not a name of this machine's loopback"},
		{"by a name that only looks like it", here, "/api/v1/jobs", []string{"Host", "127.0.0.1.example.org"}, 403, "Host header"},
		{"by a public address", here, "/api/v1/jobs", []string{"Host", "192.0.2.1"}, 403, "Host header"},
		{"a page", here, "/api/v1/jobs", []string{"Origin", "http://localhost"}, 403, "browser"},
		{"a link", here, "/api/v1/jobs", []string{"Referer", "http://localhost/"}, 403, "browser"},
		{"a browser", here, "/api/v1/jobs", []string{"Sec-Fetch-Site", "none"}, 403, "browser"},
		{"a browser at a path that is none", here, "/api/x", []string{"Sec-Fetch-Mode", "cors"}, 403, "browser"},
		{"listening elsewhere", everywhere, "/api/v1/jobs", nil, 403, "loopback only"},
		{"listening elsewhere, at a path that is none", everywhere, "/api/x", nil, 403, "loopback only"},
		{"listening elsewhere, with another spelling", everywhere, "/%61pi/v1/jobs", nil, 403, "loopback only"},
		{"health is for everyone", everywhere, "/healthz", []string{"Host", "evil.example.org", "Origin", "http://x"}, 200, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			status, text, p := request(t, http.MethodGet, c.base+c.path, "", c.header...)
			if status != c.status || !strings.Contains(p.Detail, c.says) || status == 403 && p.Mend == "" {
				t.Errorf("got %d %s", status, text)
			}
		})
	}
}

func TestListJobs(t *testing.T) {
	t.Parallel()
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}})
	var got []string
	for cursor, pages := "", 0; ; pages++ {
		status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs?limit=1&cursor="+url.QueryEscape(cursor), "")
		var page JobPage
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 || len(page.Jobs) != 1 || pages > 3 {
			t.Fatalf("page %d: %d %s", pages, status, text)
		}
		got = append(got, page.Jobs[0].ID)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if s := strings.Join(got, " "); s != "births people people visits" {
		t.Errorf("jobs %s", s)
	}
	refusals := []struct{ query, field, says string }{
		{"limit=0", "limit", `"0" is no number from 1 to 1000`},
		{"limit=1001", "limit", "is no number"},
		{"limit=many", "limit", "is no number"},
		{"limt=1", "limt", "did you mean limit?"},
		{"x=1", "x", "known are limit, cursor"},
		{"limit=1&limit=2", "limit", "stands twice"},
	}
	for _, r := range refusals {
		if status, text, p := request(t, http.MethodGet, base+"/api/v1/jobs?"+r.query, ""); status != 400 || p.Field != r.field || !strings.Contains(p.Error(), r.says) {
			t.Errorf("%s: got %d %s", r.query, status, text)
		}
	}
}

// An id that a broken file has may be any text. Each page goes on where the one before ended, by id and then by file.
func TestPagesOfOddIDs(t *testing.T) {
	t.Parallel()
	var jobs fakeJobs
	want := []string{"a", "a b", "a b", "a!", "a%20b"} // as texts: before a file's name a space would sort "a b" among those of "a"
	for i, id := range want {
		jobs = append(jobs, JobHere{JobStatus: JobStatus{ID: id, File: fmt.Sprintf("%d of my jobs.yaml", i), State: Failed, Since: morning}})
	}
	base := startAPI(t, "127.0.0.1:0", API{Jobs: jobs, Store: &fakeStore{}, Fleet: lonely{}})
	var got []string
	for page := (JobPage{Next: "first"}); page.Next != ""; {
		cursor := strings.TrimPrefix(page.Next, "first")
		page = JobPage{}
		status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs?limit=1&cursor="+url.QueryEscape(cursor), "")
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != 200 || len(page.Jobs) != 1 || len(got) == len(want) {
			t.Fatalf("after %q: %d %s", got, status, text)
		}
		got = append(got, page.Jobs[0].ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("jobs %q", got)
	}
}

func TestShowJob(t *testing.T) {
	t.Parallel()
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}})
	status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/visits", "")
	var v JobView
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 200 {
		t.Fatalf("got %d %s", status, text)
	}
	if v.Owner != "health" || v.File != "visits.yaml" || *v.Lag != 7 || len(v.Partitions) != 2 || *v.Partitions[0].HighWatermark != 10 ||
		v.Partitions[1].Hold.Reason != "cut at 7" || v.Partitions[1].Committed != nil || v.BreakersOpen[0].Target != "https://api:443" {
		t.Errorf("got %s", text)
	}
	if status, _, p := request(t, http.MethodGet, base+"/api/v1/jobs/visit", ""); status != 404 || p.Error() != `job: there is no job "visit"; did you mean visits?` {
		t.Errorf("got %d %v", status, p.Error())
	}
	if status, _, p := request(t, http.MethodGet, base+"/api/v1/jobs/..%2fx", ""); status != 404 || p.Error() != `job: there is no job "../x"; streamer jobs list shows all` {
		t.Errorf("got %d %v", status, p.Error())
	}
}

// A body is read before a route is asked, up to its limit.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	base := startAPI(t, "127.0.0.1:0", API{Jobs: someJobs, Store: &fakeStore{}, Fleet: lonely{}})
	if status, _, p := request(t, http.MethodGet, base+"/api/v1/jobs", strings.Repeat("x", service.MaxBodyBytes+1)); status != 413 || p.Detail != "the body is larger than 1 MiB" {
		t.Errorf("got %d %v", status, p.Error())
	}
}
