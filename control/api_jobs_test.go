package control

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"streamer/consumer"
)

// A job runs on three instances: one is held, one has nothing to do, and one has just died. Whoever is asked shows all of it: what
// holds the job, every partition with the instance that reads it, sums, and who did not answer.
func TestJobOverAllInstances(t *testing.T) {
	t.Parallel()
	hold := consumer.Hold{Cause: consumer.HoldCredentials, Reason: "answered 401", Next: "a probe every 30s", Since: morning}
	two := startAPI(t, "127.0.0.1:0", API{Store: &fakeStore{}, Fleet: lonely{"two"}, Jobs: fakeJobs{
		{JobStatus: JobStatus{ID: "visits", File: "there/visits.yaml", State: Running, Cause: "credentials", Since: morning, Lag: number(5), InFlight: 1,
			OldestPendingSeconds: 90, BreakersOpen: []Breaker{{Target: "https://b:443"}}}, Holds: []consumer.Hold{hold}, Unproven: 2,
			Assigned: []PartitionView{{Topic: "visit", Partition: 1, Lag: number(5)}}},
		{JobStatus: JobStatus{ID: "only-there", State: Running, Since: morning}},
	}})
	base := startAPI(t, "127.0.0.1:0", API{Store: &fakeStore{jobs: map[string]consumer.Memory{"visits": {Desired: consumer.WantPaused}}},
		Fleet: fleet{me: "one", peers: []Peer{{ID: "two", Advertise: two}, {ID: "three", Advertise: "http://127.0.0.1:1"}}}, Jobs: fakeJobs{
			{JobStatus: JobStatus{ID: "visits", File: "visits.yaml", State: Starting, Since: morning.Add(time.Hour), Lag: number(7), InFlight: 2, OldestPendingSeconds: 3,
				BreakersOpen: []Breaker{{Target: "https://a:443"}}}, Holds: []consumer.Hold{hold}, Unproven: 1,
				Assigned: []PartitionView{{Topic: "visit", Partition: 2, Lag: number(4)}, {Topic: "visit", Partition: 0, Lag: number(3)}}},
		}})
	var v JobView
	status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/visits", "")
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 200 {
		t.Fatalf("got %d %s", status, text)
	}
	if v.State != Running || v.Cause != "credentials" || !v.Since.Equal(morning) || v.Desired != "paused" {
		t.Errorf("state %s (wanted %s) since %v: %s", v.State, v.Desired, v.Since, v.Cause)
	}
	if len(v.Holds) != 1 || len(v.BreakersOpen) != 2 || *v.Lag != 12 || v.InFlight != 3 || v.Unproven != 3 || v.OldestPendingSeconds != 90 {
		t.Errorf("sums: %s", text)
	}
	var places []string
	for i, p := range v.Partitions {
		if p.Partition != int32(i) {
			t.Errorf("partition %d at place %d", p.Partition, i)
		}
		places = append(places, p.Instance)
	}
	if strings.Join(places, " ") != "one two one" || v.PartitionCount != 3 || v.InstanceCount != 2 || len(v.Instances) != 2 || v.Instances[1].Instance != "two" {
		t.Errorf("places: %s", text)
	}
	if len(v.Unreached) != 1 || v.Unreached[0].Instance != "three" || !strings.Contains(v.Unreached[0].Cause, "connection refused") {
		t.Errorf("unreached: %+v", v.Unreached)
	}
	var page JobPage
	_, text, _ = request(t, http.MethodGet, base+"/api/v1/jobs", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Jobs) != 2 || page.Jobs[0].ID != "only-there" || *page.Jobs[1].Lag != 12 || len(page.Unreached) != 2 {
		t.Errorf("list: %s", text)
	}
}

// watchedJobs are jobs that note which of them were looked at, and how many were named.
type watchedJobs struct {
	fakeJobs
	mu     sync.Mutex
	looked []string
	named  int
}

func (s *watchedJobs) Names(from string) iter.Seq[JobName] {
	return func(yield func(JobName) bool) {
		for n := range s.fakeJobs.Names(from) {
			s.mu.Lock()
			s.named++
			s.mu.Unlock()
			if !yield(n) {
				return
			}
		}
	}
}

func (s *watchedJobs) Here(from, to string) []JobHere {
	jobs := s.fakeJobs.Here(from, to)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, j := range jobs {
		s.looked = append(s.looked, j.ID)
	}
	return jobs
}

// take gives what was looked at since the last time.
func (s *watchedJobs) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	looked := s.looked
	s.looked, s.named = nil, 0
	return looked
}

// names says how many jobs were named since the last take.
func (s *watchedJobs) names() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named
}

// Of a thousand jobs, no instance looks at more than the page that is asked for; of one job, only the instances that have something to
// say of it are asked. A file that is broken on one instance only has its place in the list all the same, and the pages have each job once.
func TestNobodyLooksAtMoreThanIsShown(t *testing.T) {
	t.Parallel()
	var here, there, idle watchedJobs
	for i := range 1000 {
		j := JobHere{JobStatus: JobStatus{ID: fmt.Sprintf("job-%03d", i), State: Running, Since: morning}}
		there.fakeJobs = append(there.fakeJobs, j)
		j.State, j.Cause = Stopped, "runs on two"
		here.fakeJobs, idle.fakeJobs = append(here.fakeJobs, j), append(idle.fakeJobs, j)
	}
	for _, broken := range []string{"job-004.5", "zzz"} {
		there.fakeJobs = append(there.fakeJobs, JobHere{JobStatus: JobStatus{ID: broken, File: broken + ".yaml", State: Failed, Since: morning}})
	}
	slices.SortFunc(there.fakeJobs, func(a, b JobHere) int { return strings.Compare(a.ID, b.ID) })
	two := startAPI(t, "127.0.0.1:0", API{Store: &fakeStore{}, Fleet: lonely{"two"}, Jobs: &there})
	three := startAPI(t, "127.0.0.1:0", API{Store: &fakeStore{}, Fleet: lonely{"three"}, Jobs: &idle})
	base := startAPI(t, "127.0.0.1:0", API{Store: &fakeStore{}, Jobs: &here, Fleet: tellingTwo{fleet{me: "one", peers: []Peer{{ID: "two", Advertise: two},
		{ID: "three", Advertise: three}}}}})

	var v JobView
	_, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs/job-500", "")
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.State != Running || v.InstanceCount != 1 || len(v.Instances) != 1 || v.Instances[0].Instance != "two" {
		t.Errorf("got %s", text)
	}
	if got := fmt.Sprint(there.take(), idle.take()); got != "[job-500] []" {
		t.Errorf("for one job, two and three looked at %s", got)
	}
	here.take()

	seen := map[string]int{}
	for cursor, pages := "", 0; ; pages++ {
		var page JobPage
		_, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs?limit=10&cursor="+strings.ReplaceAll(cursor, " ", "%20"), "")
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Jobs) > 10 || pages > 110 {
			t.Fatalf("got %s", text)
		}
		for _, s := range []*watchedJobs{&here, &there, &idle} {
			if named := s.names(); named > 13 { // one tells that there are any, one is on the page before, and one begins the next
				t.Fatalf("for a page of 10 from %q on, %d jobs were named", cursor, named)
			}
			if looked := s.take(); len(looked) > 12 {
				t.Fatalf("for a page of 10 from %q on, %d jobs were looked at", cursor, len(looked))
			}
		}
		for _, j := range page.Jobs {
			seen[j.ID]++
			if j.State != Running && j.State != Failed {
				t.Errorf("%s is %s", j.ID, j.State)
			}
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 1002 || seen["job-004.5"] != 1 || seen["zzz"] != 1 {
		t.Errorf("%d jobs in all pages", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}

// tellingTwo are instances of which two alone has something to say of every job; the idle one is gone.
type tellingTwo struct{ fleet }

func (f tellingTwo) Instances() []Self { all := f.fleet.Instances(); return all[:len(all)-1] }

func (f tellingTwo) Telling(string) []Self { return f.Instances()[1:2] }
