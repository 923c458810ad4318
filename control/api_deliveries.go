package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"streamer/consumer"
	"streamer/control/service"
)

// Deliveries are the rows of a job that runs. *consumer.Runner has them.
type Deliveries interface {
	// Find says where a record or a key is on its way. consumer.ErrNotAssigned says that another instance knows.
	Find(context.Context, consumer.Query) ([]consumer.Found, error)
	// Decide does what somebody decided about one row.
	Decide(ctx context.Context, at consumer.Position, d consumer.Decision, by string) error
}

// Ledger says where records of a job are that no instance has in hand. *consumer.Ledger does.
type Ledger interface {
	// Find says where a record is; why says why nobody has it in hand. The error is a *consumer.NoPartitionError, or Kafka's.
	Find(ctx context.Context, q consumer.Query, why string) ([]consumer.Found, error)
	// FindKey gives what is open among the dead letters of a key; cut says why there may be more.
	FindKey(ctx context.Context, key string, limit int) (found []consumer.Found, cut string)
}

// FoundRow is a row, or a record as a whole, with the instance that has it in hand; none: Kafka alone told.
type FoundRow struct {
	consumer.Found
	Instance string `json:"instance,omitempty"`
}

// FoundPage is what was found.
type FoundPage struct {
	Found []FoundRow `json:"found"`
	// Problem says why there may be more of a key.
	Problem string `json:"problem,omitempty"`
	// Unreached are instances that may know more and did not answer.
	Unreached []Unreached `json:"unreached,omitempty"`
}

// DeliveriesService is the service deliveries: the rows of a job that are on their way.
type DeliveriesService interface {
	// Find says where a record or the rows of a key are on their way.
	Find(context.Context, service.Caller, FindIn) (FoundPage, error)
	// Retry starts the next attempt of a row that waits for it now.
	Retry(context.Context, service.Caller, RowIn) (Decided, error)
	// GiveUp ends a row that is not delivered.
	GiveUp(context.Context, service.Caller, RowIn) (Decided, error)
}

func deliveriesMethods(s DeliveriesService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "deliveries", Name: "find", Verb: http.MethodGet, Route: "/jobs/{job}/deliveries", Permission: service.View, On: "job",
			Summary: "says where a record or a key is: in flight, waiting and for what, final, not read"}, s.Find),
		service.New(service.Method{Service: "deliveries", Name: string(consumer.Retry), Verb: http.MethodPost, Route: "/jobs/{job}/deliveries/retry", Permission: service.Operate, On: "job",
			Summary: "starts a row's next attempt now"}, s.Retry),
		service.New(service.Method{Service: "deliveries", Name: string(consumer.GiveUp), Verb: http.MethodPost, Route: "/jobs/{job}/deliveries/give-up", Permission: service.Operate, On: "job",
			Summary: "ends a row that is not delivered"}, s.GiveUp),
	}
}

// FindIn says what is looked for: a record, or one row of it, by its position; or the rows of a key.
type FindIn struct {
	JobIn
	Topic     string  `json:"topic,omitempty" doc:"topic of the record"`
	Partition *int32  `json:"partition,omitempty" minimum:"0" doc:"partition of the record"`
	Offset    *int64  `json:"offset,omitempty" minimum:"0" doc:"offset of the record"`
	Row       *int32  `json:"row,omitempty" minimum:"0" doc:"row of the record; all rows unless given"`
	Route     string  `json:"route,omitempty" doc:"route of a job with routes; all of them unless given"`
	Key       *string `json:"key,omitempty" doc:"key of the records, or value of the lane, instead of a position"`
	Limit     int     `json:"limit,omitempty" minimum:"1" maximum:"1000" default:"100" doc:"with key: the most rows"`
}

type deliveriesService struct{ API }

// Find implements DeliveriesService.
func (a deliveriesService) Find(ctx context.Context, by service.Caller, in FindIn) (FoundPage, error) {
	position := in.Topic != "" || in.Partition != nil || in.Offset != nil || in.Row != nil || in.Route != ""
	switch {
	case in.Key != nil && position:
		return FoundPage{}, service.Refuse(http.StatusBadRequest, "key", "stands beside a position", "give either key, or topic, partition and offset")
	case in.Key != nil:
		return a.findKey(ctx, by, in)
	}
	if err := in.needPosition(); err != nil {
		return FoundPage{}, err
	}
	q := consumer.Query{Topic: in.Topic, Partition: *in.Partition, Offset: *in.Offset, Row: in.Row, Route: in.Route, Limit: in.Limit}
	return atOwner(ctx, a.API, by, call{"deliveries.find", in, in.Job, in.Topic, *in.Partition}, func(d Deliveries) (FoundPage, error) {
		found, err := d.Find(ctx, q)
		if err != nil {
			return FoundPage{}, err
		}
		page := FoundPage{Found: a.here(found)}
		a.tellPassedOver(ctx, in.Job, page.Found)
		return page, nil
	}, func(why string, missing ...Unreached) (FoundPage, error) {
		return a.findInLedger(ctx, in.Job, q, why, missing)
	})
}

// findInLedger answers what Kafka alone tells of a record whose partition is in nobody's hands: the job is stopped, its instances are gone,
// or do not answer.
func (a API) findInLedger(ctx context.Context, id string, q consumer.Query, why string, missing []Unreached) (FoundPage, error) {
	cfg, valid := a.Jobs.Config(id)
	if !valid {
		return FoundPage{}, a.invalidJob(ctx, id, "where its records are is not known")
	}
	found, err := a.Ledger(cfg).Find(ctx, q, why)
	var none *consumer.NoPartitionError
	switch {
	case errors.As(err, &none):
		return FoundPage{}, service.Refuse(http.StatusNotFound, none.Field, none.Cause, fmt.Sprintf("streamer jobs show %s names its partitions", id))
	case err != nil:
		return FoundPage{}, kafkaProblem("Kafka does not tell where the record is", err)
	}
	page := FoundPage{Found: []FoundRow{}, Unreached: missing}
	for _, f := range found {
		page.Found = append(page.Found, FoundRow{Found: f})
	}
	a.tellPassedOver(ctx, id, page.Found)
	return page, nil
}

// nobody says why no instance reads a partition of a job, as far as this one knows.
func (a API) nobody(id string) string {
	why := "no instance reads the partition"
	for _, j := range a.Jobs.Here(id, id) {
		why += "; the job is " + string(j.State) + " here"
		if j.Cause != "" {
			why += ": " + j.Cause
		}
	}
	return why + fmt.Sprintf(" (streamer jobs show %s has all instances)", id)
}

// needPosition names what is missing of a position.
func (in FindIn) needPosition() error {
	var faults []service.Fault
	for _, missing := range []struct {
		name string
		is   bool
	}{{"topic", in.Topic == ""}, {"partition", in.Partition == nil}, {"offset", in.Offset == nil}} {
		if missing.is {
			faults = append(faults, service.Fault{Field: missing.name, Detail: "is missing", Mend: "a record is found by topic, partition and offset"})
		}
	}
	if len(faults) > 0 {
		return service.Wrong(faults...)
	}
	return nil
}

func (a API) here(found []consumer.Found) []FoundRow {
	rows, me := make([]FoundRow, len(found)), a.Fleet.Me().ID
	for i, f := range found {
		rows[i] = FoundRow{Found: f, Instance: me}
	}
	return rows
}

// findKey asks every instance that runs the job: a key may stand in any partition. What is open among its dead letters is added.
func (a API) findKey(ctx context.Context, by service.Caller, in FindIn) (FoundPage, error) {
	page := FoundPage{Found: []FoundRow{}}
	if d, running := a.Jobs.Deliveries(in.Job); running {
		found, err := d.Find(ctx, consumer.Query{Key: in.Key, Partition: -1, Offset: -1, Limit: in.Limit})
		if err != nil {
			return FoundPage{}, err
		}
		page.Found = a.here(found)
	}
	if !by.Hopped() {
		var pages []FoundPage
		pages, page.Unreached = askAll[FoundPage](ctx, a, by, a.peers(a.Fleet.Telling(in.Job)), "deliveries.find", in)
		for _, p := range pages {
			page.Found = append(page.Found, p.Found...)
		}
		if cfg, valid := a.Jobs.Config(in.Job); valid {
			var letters []consumer.Found
			letters, page.Problem = a.Ledger(cfg).FindKey(ctx, *in.Key, in.Limit)
			for _, l := range letters { // one of a row that is pending was not read back yet
				if !slices.ContainsFunc(page.Found, func(f FoundRow) bool { return f.Position == l.Position }) {
					page.Found = append(page.Found, FoundRow{Found: l})
				}
			}
		}
	}
	slices.SortFunc(page.Found, func(a, b FoundRow) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Route, b.Route))
	})
	if len(page.Found) >= in.Limit {
		page.Found = page.Found[:in.Limit]
		page.Problem = cmp.Or(page.Problem, fmt.Sprintf("there may be more: %d are shown", in.Limit))
	}
	return page, nil
}

// RowIn names one row of a job.
type RowIn struct {
	JobIn
	Topic     string `json:"topic" minLength:"1" doc:"topic of the record"`
	Partition int32  `json:"partition" minimum:"0" doc:"partition of the record"`
	Offset    int64  `json:"offset" minimum:"0" doc:"offset of the record"`
	Row       int32  `json:"row" minimum:"0" doc:"row of the record, from 0" mend:"rows of a record count from 0; deliveries find shows them"`
	Route     string `json:"route,omitempty" doc:"route of a job with routes, where a row has more than one that is not final"`
}

// Decided is what was decided about a row.
type Decided struct {
	consumer.Position
	Decision consumer.Decision `json:"decision"`
}

// Retry implements DeliveriesService.
func (a deliveriesService) Retry(ctx context.Context, by service.Caller, in RowIn) (Decided, error) {
	return a.decide(ctx, by, in, consumer.Retry)
}

// GiveUp implements DeliveriesService.
func (a deliveriesService) GiveUp(ctx context.Context, by service.Caller, in RowIn) (Decided, error) {
	return a.decide(ctx, by, in, consumer.GiveUp)
}

func (a deliveriesService) decide(ctx context.Context, by service.Caller, in RowIn, d consumer.Decision) (Decided, error) {
	at := consumer.Position{Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Row: in.Row, Route: in.Route}
	return atOwner(ctx, a.API, by, call{"deliveries." + string(d), in, in.Job, in.Topic, in.Partition}, func(rows Deliveries) (Decided, error) {
		err := rows.Decide(ctx, at, d, by.Name)
		switch {
		case errors.Is(err, consumer.ErrNotAssigned), errors.Is(err, context.DeadlineExceeded):
			return Decided{}, err
		case err != nil:
			return Decided{}, service.Refuse(http.StatusConflict, "", err.Error(), "")
		}
		return Decided{Position: at, Decision: d}, nil
	}, func(why string, missing ...Unreached) (Decided, error) {
		if len(missing) > 0 {
			return Decided{}, service.Refuse(http.StatusBadGateway, "", missing[0].Cause, "")
		}
		return Decided{}, service.Refuse(http.StatusConflict, "partition", fmt.Sprintf("nobody has %s in hand, so there is nothing to decide about: %s", at, why),
			"streamer deliveries find says where it is")
	})
}

// call is one of a method, by service.name, that is about a partition of a job.
type call struct {
	method     string
	in         any
	job, topic string
	partition  int32
}

// atOwner does something where a partition is read: here, or else at the instance that reports it. otherwise is called if there is none, or
// it does not answer; why says so.
func atOwner[Out any](ctx context.Context, a API, by service.Caller, c call, do func(Deliveries) (Out, error),
	otherwise func(why string, missing ...Unreached) (Out, error)) (Out, error) {
	rows, running := a.Jobs.Deliveries(c.job)
	if running && a.reads(c.job, c.topic, c.partition) {
		out, err := do(rows)
		if !errors.Is(err, consumer.ErrNotAssigned) {
			return out, err
		}
	}
	if by.Hopped() {
		return otherwise("the partition is moving between instances: try again in a moment")
	}
	owner, found := a.Fleet.OwnerOf(c.job, c.topic, c.partition)
	if !found || owner.ID == a.Fleet.Me().ID {
		return otherwise(a.nobody(c.job))
	}
	out, err := ask[Out](ctx, a, by, peerOf(owner), c.method, c.in)
	var gone *unreached
	if errors.As(err, &gone) {
		return otherwise("the instance that reads the partition does not answer", Unreached{Instance: owner.ID, Cause: gone.Error()})
	}
	return out, err
}

// reads tells whether this instance has a partition.
func (a API) reads(id, topic string, partition int32) bool {
	return slices.ContainsFunc(a.Jobs.Here(id, id), func(j JobHere) bool {
		return slices.ContainsFunc(j.Assigned, func(p PartitionView) bool { return p.Topic == topic && p.Partition == partition })
	})
}
