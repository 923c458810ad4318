package control

import (
	"encoding/json"
	"net/http"
	"strings"
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
	if len(v.Unreached) != 2 || v.Unreached[0].Instance != "three" || !strings.Contains(v.Unreached[0].Cause, "connection refused") {
		t.Errorf("unreached: %+v", v.Unreached)
	}
	var page JobPage
	_, text, _ = request(t, http.MethodGet, base+"/api/v1/jobs", "")
	if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Jobs) != 2 || page.Jobs[0].ID != "only-there" || *page.Jobs[1].Lag != 12 || len(page.Unreached) != 2 {
		t.Errorf("list: %s", text)
	}
}
