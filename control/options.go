package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/control/secret"
	"streamer/sink"
)

// Runner runs a job once. *consumer.Runner is one.
type Runner interface {
	// Run blocks until soft ends and the job has stopped in good order, or hard ends. A *consumer.RefusedError says that the job
	// cannot run as it is defined.
	Run(soft, hard context.Context) error
	// Status may be called at any time, from any goroutine.
	Status() consumer.Status
	// Recall tells it what is remembered of the job now. It may be called at any time, from any goroutine.
	Recall(consumer.Memory)
}

// Changer is a Runner that can be given another definition while it runs.
type Changer interface {
	// Change returns when the definition is in use. A *consumer.RefusedError says that it cannot run, and this one goes on as it was;
	// another error, that another runner has to take its place.
	Change(context.Context, consumer.Config) error
}

// Job is one job as the files have it.
type Job struct {
	ID, Owner, File string
	// Definition is what the file says. It is taken into the log, unless that has a job of the id.
	Definition *job.Definition
	// Broken says why the job of the file cannot run; empty: it can.
	Broken string

	missing string // the connection that it waits for
}

// Options are what a Supervisor needs.
type Options struct {
	// Definitions are the jobs, in the log. Store and Bulletin share what is wanted, and how things are, with the other instances.
	Definitions *Definitions
	Store       *Store
	Bulletin    Bulletin
	// Jobs are those of the job files, Targets the connections among them that can be used. They are taken into the log, unless that has
	// others of these ids and names.
	Jobs    []Job
	Targets []*job.Connection
	// Files says which job files could not be read, and what is wrong with connections in them; they are shown beside the jobs.
	Files []string
	// NewRunner makes a fresh runner for each time a job is run.
	NewRunner func(consumer.Config) Runner
	// Kafka answers what is asked beside the runners.
	Kafka Kafka
	// Limits divides rate limits with the other instances; without it each takes the whole.
	Limits Limits
	// Self is this instance, as it is shown to the others. It is asked for once, when Run begins.
	Self func() Self
	// Keys prove the addresses of instances to each other; nil: calls are passed on to instances on this machine only.
	Keys *secret.Keyring
	// Lines are those of the log, by job; nil: they are not kept.
	Lines *Lines
	// Connections is how many connections the jobs that run here may need together; 0: no limit.
	Connections int
	// Register says to a Token Storage what a connection wants it to know; nil: Registration.Post.
	Register func(context.Context, sink.Registration) (note string, err error)
	// Metrics gets streamer_job_state.
	Metrics prometheus.Registerer
	Log     *slog.Logger
	// Backoff is the first wait before an ended runner is run again; it doubles up to 64 times as much. Default 1s.
	Backoff time.Duration
	// KeepEvery is how often the offsets of jobs that run nowhere are renewed. Default 24h.
	KeepEvery time.Duration
}

// Kafka is what a Supervisor asks of the cluster. *consumer.Instance is one.
type Kafka interface {
	// Reach asks for a sign of life.
	Reach(context.Context) error
	// Extents gives the number of brokers, and of the partitions of each job.
	Extents(context.Context, []consumer.Config) (brokers int, partitions []int, err error)
	// RemoveMember takes this instance's static member out of the group of a job that does not run here any more.
	RemoveMember(context.Context, consumer.Config) error
	// KeepOffsets renews the committed offsets of a job that runs nowhere, and gives their number.
	KeepOffsets(context.Context, consumer.Config) (int, error)
	// Purge deletes the group of a job, with its offsets, and its dead-letter topic, each if it is asked to. What is not there is no
	// error; a group that has members is.
	Purge(ctx context.Context, c consumer.Config, offsets, letters bool) error
	// Forget drops what is counted of a job that was deleted.
	Forget(job string)
	Offsets
}

// Offsets are those of a job's group. m is what is remembered of the job; errors that are a *consumer.ResetError are of what was asked for.
type Offsets interface {
	// ShowOffsets gives them as they are.
	ShowOffsets(ctx context.Context, c consumer.Config, m consumer.Memory) (consumer.OffsetsView, error)
	// GroupMembers asks who is in the group.
	GroupMembers(context.Context, consumer.Config) (consumer.GroupView, error)
	// PreviewReset is PlanReset with the times of records, for a person.
	PreviewReset(ctx context.Context, c consumer.Config, spec consumer.ResetSpec, m consumer.Memory) (consumer.ResetPlan, error)
	// PlanReset makes a table of what was asked for.
	PlanReset(ctx context.Context, c consumer.Config, spec consumer.ResetSpec, m consumer.Memory) (consumer.ResetPlan, error)
	// CommitReset sets the offsets of a group without members, and reads them back. Twice is harmless.
	CommitReset(ctx context.Context, c consumer.Config, table consumer.ResetTable) error
}
