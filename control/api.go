package control

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"time"

	"streamer/consumer"
	"streamer/control/service"
)

// API is what the routes under /api call. The zero API has none.
type API struct {
	// Jobs are those of this instance. *Supervisor has them.
	Jobs Jobs
	// Store keeps what is wanted of them, and Desires changes it.
	Store   Memories
	Desires Desires
	// Connections are the shared targets; nil: there are none, nor methods for them.
	Connections Targets
	// Fleet knows the other instances.
	Fleet Fleet
	// Audits reads who did what.
	Audits Audits
	// Definitions are what jobs are; nil: they cannot be changed here. Lines gives the last lines of the log about a job.
	Definitions DefinitionStore
	Lines       func(job string) []LogLine
	// Record reads one record of a job's topics. Errors: *consumer.NoPartitionError, consumer.ErrNoRecord, or Kafka's.
	Record func(ctx context.Context, c consumer.Config, topic string, partition int32, offset int64) (consumer.Record, error)
	// Moves counts what a change of topics or group does to records. Errors are Kafka's.
	Moves func(ctx context.Context, from, to consumer.Config, m consumer.Memory) (consumer.MovePlan, error)
	// Letters gives the dead letters of a job, Ledger what Kafka alone tells of its records.
	Letters func(consumer.Config) DeadLetters
	Ledger  func(consumer.Config) Ledger
	// Age tells how old what is read of the log may be; nil: nobody is told. Read returns when it was read once, or says why it was not;
	// nil: there is none.
	Age  func() time.Duration
	Read func(context.Context) error
	// CatchUp returns when this instance shows what was written to the log before, or after some seconds; nil: nobody waits for that.
	CatchUp func(context.Context)
	// Resets shows and sets offsets.
	Resets Resetter
	// Readiness is what /readyz tells.
	Readiness func() Readiness
	// Authenticator says who calls. Without one nobody has to log in, and the API is for programs on this machine (service.Local).
	Authenticator service.Authenticator
	// Login is told to everybody: how people log in by a provider.
	Login service.Login
	// Tokens are the API tokens; nil: there are none.
	Tokens TokensService
	// Version is that of the program.
	Version string
}

// Jobs are the jobs of one instance.
type Jobs interface {
	// Names gives the jobs that this instance knows, in the order of ids and files, without those whose ids come before from.
	Names(from string) iter.Seq[JobName]
	// Here gives the jobs whose ids are from from to to (empty: to the last one) as they are on this instance.
	Here(from, to string) []JobHere
	// Deliveries are the rows of a job, if it runs on this instance.
	Deliveries(job string) (Deliveries, bool)
	// Gaps are what holds it, if it runs on this instance.
	Gaps(job string) (Gaps, bool)
	// Config is what runs, of a job that is valid.
	Config(job string) (consumer.Config, bool)
}

// Memories are what the log in Kafka remembers of jobs. *Store has them.
type Memories interface {
	consumer.Store
	// Desired is what is wanted of a job. It waits for nothing: while the log was not read it is not known.
	Desired(job string) (desired consumer.Desired, known bool)
}

// Fleet is the instances that are alive, as they report. *Supervisor knows them.
type Fleet interface {
	// Me is this one.
	Me() Self
	// Instances are all of them.
	Instances() []Self
	// Telling are those that say something of a job: it runs there, or should.
	Telling(job string) []Self
	// OwnerOf gives the instance that reads a partition of a job.
	OwnerOf(job, topic string, partition int32) (Self, bool)
}

// LogAge says how old an answer may be that comes from what an instance has read of the log in Kafka: some seconds while all is well; it
// grows while Kafka cannot be reached.
type LogAge struct {
	LogAgeSeconds float64 `json:"log_age_seconds,omitempty"`
}

func (a API) age() LogAge {
	if a.Age == nil {
		return LogAge{}
	}
	return LogAge{a.Age().Seconds()}
}

// peers are the other instances, without this one.
func (a API) peers(all []Self) []Peer {
	var peers []Peer
	for _, i := range all {
		if i.ID != a.Fleet.Me().ID {
			peers = append(peers, peerOf(i))
		}
	}
	return peers
}

// table has every method of the API. addr says where the server listens.
func (a API) table(addr func() string, log *slog.Logger) *service.Table {
	auth := a.Authenticator
	if auth == nil {
		auth = service.Local(addr)
	}
	var optional []service.Method
	others := map[string]service.Owners{}
	if a.Definitions != nil {
		optional = definitionsMethods(definitionsService{a, make(chan struct{}, mostTries)})
	}
	if a.Connections != nil {
		optional, others["connection"] = append(optional, connectionsMethods(connectionsService{a})...), a.Connections
	}
	return service.NewTable(service.Options{Authenticator: auth, Owners: a.owners(), Others: others, Login: a.Login, Version: a.Version, Log: log}, slices.Concat(optional,
		jobsMethods(jobsService{a}), deliveriesMethods(deliveriesService{a}), deadLettersMethods(deadLettersService{a}),
		offsetsMethods(offsetsService{a}), resetsMethods(resetsService{a}), auditMethods(auditService{a}), systemMethods(systemService{a}), tokensMethods(a.Tokens))...)
}

// owners says whose the jobs of this instance are.
type owners struct{ API }

func (a API) owners() owners { return owners{a} }

// OwnerOf implements service.Owners. Of broken jobs that share an id and not their owner, only who may act for everyone decides.
func (o owners) OwnerOf(job string) (owner string, known bool) {
	if o.Definitions != nil {
		if owner, known = o.Definitions.OwnerOf(job); known {
			return owner, true
		}
	}
	for _, j := range o.Jobs.Here(job, job) {
		switch {
		case known && j.Owner != owner:
			return "", true
		default:
			owner, known = j.Owner, true
		}
	}
	return owner, known
}

// Wait implements service.Owners.
func (o owners) Wait(ctx context.Context) error {
	if o.Read == nil {
		return nil
	}
	return o.Read(ctx)
}

// IDs implements service.Owners.
func (o owners) IDs() []string {
	var ids []string
	for j := range o.Jobs.Names("") {
		ids = append(ids, j.ID)
	}
	return ids
}
