package demo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control"
)

// service is streamer, wired as `run` wires it: supervisor, instance, HTTP server.
type service struct {
	instance   *consumer.Instance
	shared     *kafkalog.Log
	supervisor *control.Supervisor
	server     *control.Server
	metrics    *prometheus.Registry

	mu      sync.Mutex
	runners map[string]*consumer.Runner // by job, the latest
}

func newService(jobs []control.Job, brokers []string, log *slog.Logger) (*service, error) {
	s := &service{metrics: prometheus.NewRegistry(), runners: map[string]*consumer.Runner{}}
	var err error
	if s.instance, err = consumer.NewInstance(consumer.Client{Brokers: brokers}, 0, s.metrics, log); err != nil {
		return nil, err
	}
	if s.shared, err = s.instance.OpenLog(namespace); err != nil {
		s.instance.Close()
		return nil, err
	}
	lines := control.NewLines()
	log = slog.New(lines.Handler(log.Handler()))
	store := control.NewStore(s.shared)
	s.instance.Keep(store)
	definitions := control.NewDefinitions(s.shared, process)
	s.supervisor = control.NewSupervisor(control.Options{
		Definitions: definitions, Jobs: jobs, NewRunner: s.newRunner, Kafka: s.instance, Metrics: s.metrics, Log: log, Store: store, Bulletin: s.shared, Limits: s.instance, Lines: lines,
		Self: func() control.Self {
			return control.Self{ID: "demo", Advertise: "http://" + s.server.Addr(), Started: time.Now().UTC()}
		},
	})
	s.server = control.NewServer(control.ServerOptions{
		Listen: "127.0.0.1:0", Readiness: s.supervisor.Readiness, Metrics: s.metrics, Log: log,
		API: control.API{Jobs: s.supervisor, Definitions: definitions, Lines: lines.Of, Connections: definitions.Connections(), Store: store, Age: s.shared.Age, Read: definitions.Wait, Desires: s.supervisor, Fleet: s.supervisor, Audits: store, Resets: s.supervisor.Resets(), Record: s.instance.ReadRecord, Moves: s.instance.PlanMove,
			Ledger:  func(c consumer.Config) control.Ledger { return s.instance.Ledger(c) },
			Letters: func(c consumer.Config) control.DeadLetters { return s.instance.DeadLetters(c) }},
	})
	if err := s.server.Start(); err != nil {
		s.shared.Close()
		s.instance.Close()
		return nil, err
	}
	return s, nil
}

// run runs the jobs until soft ends, and the log as long as they need it.
func (s *service) run(soft, hard context.Context) error {
	log, endLog := context.WithCancel(context.WithoutCancel(soft))
	var following sync.WaitGroup
	following.Go(func() { s.shared.Run(log) })
	defer following.Wait()
	defer endLog()
	return s.supervisor.Run(soft, hard)
}

// newRunner keeps an eye on the runner that the supervisor gets.
func (s *service) newRunner(cfg consumer.Config) control.Runner {
	r := s.instance.NewRunner(cfg)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runners[cfg.Job] = r
	return r
}

// status is what the runner of a job says of itself; false before there is one.
func (s *service) status(job string) (consumer.Status, bool) {
	s.mu.Lock()
	r := s.runners[job]
	s.mu.Unlock()
	if r == nil {
		return consumer.Status{}, false
	}
	return r.Status(), true
}

// close frees what newService has opened; the supervisor must have ended.
func (s *service) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.server.Stop(ctx)
	s.shared.Close()
	s.instance.Close()
}

// numbers are streamer's own metrics of one job: final rows by outcome.
type numbers struct{ rows map[string]int }

// numbersOf reads the metrics of all jobs, as /metrics gives them.
func (s *service) numbersOf() (map[string]numbers, error) {
	families, err := s.metrics.Gather()
	if err != nil {
		return nil, err
	}
	out := map[string]numbers{}
	for _, r := range roles {
		out[r.job] = numbers{rows: map[string]int{}}
	}
	for _, f := range families {
		if f.GetName() != "streamer_rows_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if of, ok := out[labels["job"]]; ok {
				of.rows[labels["outcome"]] += int(m.GetCounter().GetValue())
			}
		}
	}
	return out, nil
}
