package control

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
)

// BenchmarkList lists 10,000 jobs that run on three instances, a third on each, as a page of so many and as all pages of so many, over HTTP.
func BenchmarkList(b *testing.B) {
	const jobs, instances = 10_000, 3
	serve := func(at int, f Fleet) string {
		o := Options{Store: NewStore(newMemoryLog()), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Kafka: &fakeKafka{}}
		for i := range jobs {
			id := fmt.Sprintf("job-%05d", i)
			o.Jobs = append(o.Jobs, Job{ID: id, Owner: "health"})
		}
		s := NewSupervisor(o)
		for i, j := range s.all() {
			if j.state, j.cause = Stopped, "runs on another"; i%instances == at {
				j.state = Starting
				j.set(&fakeRunner{status: consumer.Status{State: consumer.Running, Since: time.Now(),
					Partitions: []consumer.PartitionStatus{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}}}})
			}
		}
		return startAPI(b, "127.0.0.1:0", API{Jobs: s, Store: o.Store, Fleet: f})
	}
	var peers []Peer
	for at := range instances - 1 {
		id := fmt.Sprint("peer-", at)
		peers = append(peers, Peer{ID: id, Advertise: serve(at+1, lonely{id})})
	}
	base := serve(0, tellingTwo{fleet{me: "one", peers: peers}})
	page := func(limit int, cursor string) (p JobPage) {
		resp, err := http.Get(fmt.Sprintf("%s/api/v1/jobs?limit=%d&cursor=%s", base, limit, url.QueryEscape(cursor)))
		if err != nil {
			b.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil || len(p.Jobs) == 0 || p.Unreached != nil {
			b.Fatal(err, string(text))
		}
		return p
	}
	for _, limit := range []int{100, 1000} {
		b.Run(fmt.Sprint("page/", limit), func(b *testing.B) {
			for b.Loop() {
				page(limit, "")
			}
		})
		b.Run(fmt.Sprint("all/", limit), func(b *testing.B) {
			for b.Loop() {
				n := 0
				for p := page(limit, ""); ; p = page(limit, p.Next) {
					if n += len(p.Jobs); p.Next == "" {
						break
					}
				}
				if n != jobs {
					b.Fatal(n)
				}
			}
		})
	}
}
