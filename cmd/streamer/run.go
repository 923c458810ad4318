package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/consumer/registry"
	"streamer/control"
	"streamer/control/job"
	"streamer/control/people"
	"streamer/control/service"
)

func runCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "runs the jobs until it is told to stop",
		Long: "Takes the job files into the log in Kafka, and runs the jobs that are there until SIGTERM or SIGINT: then requests in flight may\n" +
			"end, finished rows are committed, and the groups are left. A second signal ends at once. Settings: see streamer help settings.",
		Args: cobra.NoArgs,
	}
	settings.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		soft, hard, end := signals()
		defer end()
		err = Run(soft, hard, Options{Settings: s, Env: lookup(environ), Log: newLog(c.ErrOrStderr(), s)})
		if err != nil {
			return failure{err}
		}
		return nil
	}
	return c
}

// signals gives a context that ends with the first SIGTERM or SIGINT and one that ends with the second. end frees them.
func signals() (soft, hard context.Context, end func()) {
	soft, softly := context.WithCancel(context.Background())
	hard, hardly := context.WithCancel(context.Background())
	heard := make(chan os.Signal, 2)
	signal.Notify(heard, syscall.SIGTERM, syscall.SIGINT)
	go func() { // ends with end, or with the second signal
		for _, cancel := range []func(){softly, hardly} {
			select {
			case <-heard:
				cancel()
			case <-hard.Done():
				return
			}
		}
	}()
	return soft, hard, func() {
		signal.Stop(heard)
		softly()
		hardly()
	}
}

func newLog(w io.Writer, s settings.Settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// Options are what Run needs.
type Options struct {
	Settings settings.Settings
	// Env looks up variables for the references of jobs.
	Env func(string) (string, bool)
	Log *slog.Logger
}

// stopMargin is what stopping may take beyond the longest drain: a last commit and leaving the group, each with an own bound.
const stopMargin = 15 * time.Second

// Run runs the jobs until soft ends, and then until all have stopped: at the latest some seconds after the longest drain of a job,
// or at once when hard ends. The error says why it could not start; jobs that cannot run are no error, they are shown as failed.
func Run(soft, hard context.Context, o Options) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	return a.Run(soft, hard)
}

// App is the whole program: made by New, which opens what may fail, and run once by Run.
type App struct {
	log        *slog.Logger
	instance   *consumer.Instance
	shared     *kafkalog.Log
	server     *control.Server
	supervisor *control.Supervisor
	registry   *registry.Registry // nil: none
	settings   settings.Settings
}

// New reads the job files and listens, from sink to source; nothing is read from Kafka before Run. An App that is not run has to
// be closed.
func New(o Options) (*App, error) {
	set, err := job.Load(o.Settings.Jobs)
	if err != nil {
		return nil, fmt.Errorf("%w; say where they are by STREAMER_JOBS_DIR or --jobs", err)
	}
	proc := process(o.Settings, o.Env, false)
	if proc.Secrets.Keyring, err = o.Settings.Keyring(); err != nil {
		return nil, err
	}
	logins, err := o.Settings.Logins()
	if err != nil {
		return nil, err
	}
	asked, err := openRegistry(o.Settings)
	if err != nil {
		return nil, err
	}
	if asked != nil {
		proc.Registry = asked.Schema
	}
	jobs, targets, files := seedsOf(set, proc, o.Log)
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	lines := control.NewLines()
	o.Log = slog.New(lines.Handler(o.Log.Handler()))
	a := &App{log: o.Log, settings: o.Settings, registry: asked}
	a.instance, err = consumer.NewInstance(o.Settings.Kafka, o.Settings.MemoryBytes, reg, o.Log)
	if err != nil {
		return nil, err
	}
	a.shared, err = a.instance.OpenLog(o.Settings.Namespace)
	if err != nil {
		a.instance.Close()
		return nil, err
	}
	store := control.NewStore(a.shared)
	a.instance.Keep(store)
	definitions := control.NewDefinitions(a.shared, proc)
	a.supervisor = control.NewSupervisor(control.Options{
		Definitions: definitions,
		Jobs:        jobs,
		Targets:     targets,
		Files:       files,
		NewRunner:   func(cfg consumer.Config) control.Runner { return a.instance.NewRunner(cfg) },
		Kafka:       a.instance,
		Store:       store,
		Bulletin:    a.shared,
		Limits:      a.instance,
		Self:        a.self,
		Lines:       lines,
		Keys:        proc.Secrets.Keyring,

		Connections: connections(o.Settings),
		Metrics:     reg,
		Log:         o.Log,
	})
	logins.Tokens, logins.Log = people.NewTokens(control.Prompt(a.shared), control.AuditOf), o.Log
	api := control.API{Version: version, Jobs: a.supervisor, Definitions: definitions, Lines: lines.Of, Store: store, Age: a.shared.Age, Read: definitions.Wait, CatchUp: a.supervisor.CatchUp, Desires: a.supervisor, Fleet: a.supervisor,
		Audits: store, Connections: definitions.Connections(), Resets: a.supervisor.Resets(), Tokens: logins.Tokens,
		Record: a.instance.ReadRecord, Moves: a.instance.PlanMove,
		Letters: func(c consumer.Config) control.DeadLetters { return a.instance.DeadLetters(c) },
		Ledger:  func(c consumer.Config) control.Ledger { return a.instance.Ledger(c) }}
	switch callers, err := people.New(logins, o.Settings.Listen); {
	case err != nil:
		a.shared.Close()
		a.instance.Close()
		return nil, err
	case callers != nil:
		api.Authenticator = callers
	}
	if o := logins.OIDC; api.Authenticator != nil && o.Issuer != "" && o.ClientID != "" {
		api.Login = service.Login{Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes}
	}
	a.server = control.NewServer(control.ServerOptions{
		Listen: o.Settings.Listen, Readiness: a.supervisor.Readiness, Metrics: reg, Log: o.Log,
		API: api})
	if err := a.server.Start(); err != nil {
		a.shared.Close()
		a.instance.Close()
		return nil, err
	}
	if me := a.self(); api.Authenticator != nil && proc.Secrets.Keyring.ID() == "" && !onLoopback(me.Advertise) {
		o.Log.Warn("there is no STREAMER_SECRET_KEY: instances cannot prove where they are, and pass no calls on to other machines", "advertise", me.Advertise)
	}
	o.Log.Info("streamer started", "version", version, "listen", a.server.Addr(), "namespace", o.Settings.Namespace,
		"brokers", o.Settings.Kafka.Brokers, "jobs", len(jobs), "connections", len(targets), "secret_keys", proc.Secrets.Keyring.IDs())
	return a, nil
}

// connections is what the jobs may need together: what the setting says, or three quarters of the files that may be open. The rest is
// for what is shared, and for requests that come in.
func connections(s settings.Settings) int {
	if s.Connections > 0 {
		return s.Connections
	}
	return int(min(openFiles(), 1<<24) * 3 / 4)
}

// self is this instance as the others see it. Without an id of its own it is named after its machine and address: in a container, or
// behind the same port, it comes back under the same name.
func (a *App) self() control.Self {
	self := control.Self{ID: a.settings.Instance, Advertise: a.settings.Advertise, Version: version, Started: time.Now().UTC(), Static: a.settings.Instance != ""}
	if self.Advertise == "" {
		self.Advertise = a.Addr()
	}
	if !strings.Contains(self.Advertise, "://") {
		self.Advertise = "http://" + self.Advertise
	}
	if self.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			host = rand.Text()
		}
		self.ID = host + "@" + a.Addr()
	}
	return self
}

// onLoopback says that a URL is of this machine.
func onLoopback(advertise string) bool {
	u, err := url.Parse(advertise)
	return err == nil && service.Loopback(u.Host)
}

// Addr is where the HTTP server listens.
func (a *App) Addr() string { return a.server.Addr() }

// closeMargin is what all that stops may take when its time is over: each part has bounds of its own, and this is for one that is wrong.
const closeMargin = 30 * time.Second

// Run runs the jobs and closes the App. It returns at the latest closeMargin after hard has ended; the error says what has not ended
// then, and is left behind.
func (a *App) Run(soft, hard context.Context) error {
	hard, now := context.WithCancel(hard)
	defer now()
	defer context.AfterFunc(soft, func() {
		most := a.supervisor.Drain() + stopMargin
		a.log.Info("stopping: requests in flight may end, finished rows are committed", "at_most", most.String())
		deadline := time.AfterFunc(most, now)
		context.AfterFunc(hard, func() { deadline.Stop() })
	})()
	var doing atomic.Value
	return bounded(hard, func() error { return a.run(soft, hard, func(what string) { doing.Store(what) }) }, func() error {
		stacks := make([]byte, 256<<10)
		stacks = stacks[:runtime.Stack(stacks, true)]
		a.log.Error("a part did not end in time: this is a fault of streamer; please report it with this line", "doing", doing.Load(), "goroutines", string(stacks))
		return fmt.Errorf("%s did not end in time, and is not waited for; rows in flight may be delivered again", doing.Load())
	})
}

// bounded runs what should end soon after hard has. If it has not closeMargin after that, it is left behind, and late's error is given.
func bounded(hard context.Context, run, late func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- run() }() // ends with run, or with the process
	select {
	case err := <-ended:
		return err
	case <-hard.Done():
	}
	over := time.NewTimer(closeMargin)
	defer over.Stop()
	select {
	case err := <-ended:
		return err
	case <-over.C:
		return late()
	}
}

// run is Run without its bound; doing is told what is done from then on.
func (a *App) run(soft, hard context.Context, doing func(string)) error {
	log, endLog := context.WithCancel(context.WithoutCancel(soft))
	var following sync.WaitGroup
	following.Go(func() { a.shared.Run(log) }) // ends with endLog, after the jobs
	doing("running the jobs")
	err := a.supervisor.Run(soft, hard)
	doing("following the log in Kafka")
	endLog()
	following.Wait()
	doing("closing connections")
	a.Close()
	if err != nil {
		return err
	}
	if left := a.supervisor.Unfinished(); left > 0 {
		a.log.Warn("stopped; rows left unfinished may be delivered again", "rows", left)
	} else {
		a.log.Info("stopped; no row left unfinished", "rows", 0)
	}
	return nil
}

// Close frees what New has opened, from source to sink. Run does it too; twice is harmless.
func (a *App) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	a.server.Stop(ctx)
	a.shared.Close()
	a.instance.Close()
	if a.registry != nil {
		a.registry.Close()
	}
}

// seedsOf checks the jobs and connections of the files, and logs what is wrong with them. broken says which files could not be read, and
// which connections cannot be used. That a job's connection is there is looked at when the job is taken into the log.
func seedsOf(set job.Set, p job.Process, log *slog.Logger) (jobs []control.Job, connections []*job.Connection, broken []string) {
	p.Connection = func(string, string) (job.Target, error) { return job.Target{}, job.ErrLater }
	targets, compiled := set.CompileConnections(p), set.Compile(p)
	for _, f := range findings(set, targets, compiled) {
		level := slog.LevelError
		if f.Warning {
			level = slog.LevelWarn
		}
		about := slog.String("job", f.Job)
		if f.Connection != "" {
			about = slog.String("connection", f.Connection)
		}
		log.LogAttrs(context.Background(), level, "job file: "+f.Fault.Error(), slog.String("file", f.File), slog.Int("line", f.Line), about)
	}
	for _, f := range set.Broken {
		broken = append(broken, f.Error())
	}
	for _, c := range targets {
		if errs := c.Faults.Errors(); len(errs) > 0 {
			broken = append(broken, summary(c.Findings(errs)))
		} else {
			connections = append(connections, c.Connection)
		}
	}
	for _, c := range compiled {
		jobs = append(jobs, control.Job{ID: c.ID, Owner: c.Owner, File: c.File, Definition: c.Definition, Broken: summary(c.Findings(c.Faults.Errors()))})
	}
	return jobs, connections, broken
}
