package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
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

func (a API) findDelivery(c echo.Context) error {
	q := queryOf(c, "topic", "partition", "offset", "row", "key", "limit")
	limit, _ := q.page()
	asked := consumer.Query{Topic: q.text("topic"), Partition: int32(q.number("partition", 0, math.MaxInt32, -1)),
		Offset: q.number("offset", 0, math.MaxInt64, -1), Limit: limit}
	row := int32(q.number("row", 0, math.MaxInt32, wholeRecord))
	if q.has("key") {
		key := q.text("key")
		asked.Key = &key
	}
	if q.err != nil {
		return q.err
	}
	id, err := a.known(c)
	if err != nil {
		return err
	}
	position := q.has("topic") || q.has("partition") || q.has("offset") || q.has("row")
	switch {
	case asked.Key != nil && position:
		return refuse(http.StatusBadRequest, "key", "stands beside a position", "give either key, or topic, partition and offset")
	case asked.Key != nil:
		return a.findKey(c, id, asked)
	}
	if err := needPosition(asked.Topic, asked.Partition, asked.Offset); err != nil {
		return err
	}
	if q.has("row") {
		asked.Row = &row
	}
	return a.atOwner(c, id, asked.Topic, asked.Partition, func(ctx context.Context, d Deliveries) error {
		found, err := d.Find(ctx, asked)
		if err != nil {
			return err
		}
		page := FoundPage{Found: a.here(found)}
		a.tellPassedOver(ctx, id, page.Found)
		return c.JSON(http.StatusOK, page)
	}, func(why string, missing ...Unreached) error { return a.findInLedger(c, id, asked, why, missing) })
}

// findInLedger answers what Kafka alone tells of a record whose partition is in nobody's hands: the job is stopped, its instances are gone,
// or do not answer.
func (a API) findInLedger(c echo.Context, id string, q consumer.Query, why string, missing []Unreached) error {
	cfg, valid := a.Jobs.Config(id)
	if !valid {
		return invalidJob(id, "where its records are is not known")
	}
	found, err := a.Ledger(cfg).Find(c.Request().Context(), q, why)
	var none *consumer.NoPartitionError
	switch {
	case errors.As(err, &none):
		return refuse(http.StatusNotFound, none.Field, none.Cause, fmt.Sprintf("streamer jobs show %s names its partitions", id))
	case errors.Is(err, context.DeadlineExceeded):
		return err
	case err != nil:
		return refuse(http.StatusBadGateway, "", "Kafka does not tell where the record is: "+err.Error(), "look at /readyz, and try again")
	}
	page := FoundPage{Unreached: missing}
	for _, f := range found {
		page.Found = append(page.Found, FoundRow{Found: f})
	}
	a.tellPassedOver(c.Request().Context(), id, page.Found)
	return c.JSON(http.StatusOK, page)
}

// nobody says why no instance reads a partition of a job, as far as this one knows.
func (a API) nobody(id string) string {
	why := "no instance reads the partition"
	for _, j := range a.Jobs.Here() {
		if j.ID == id {
			why += "; the job is " + string(j.State) + " here"
			if j.Cause != "" {
				why += ": " + j.Cause
			}
		}
	}
	return why + fmt.Sprintf(" (streamer jobs show %s has all instances)", id)
}

// wholeRecord is the row of what is known of a record as a whole.
const wholeRecord = -1

func needPosition(topic string, partition int32, offset int64) error {
	for _, missing := range []struct {
		name string
		is   bool
	}{{"topic", topic == ""}, {"partition", partition < 0}, {"offset", offset < 0}} {
		if missing.is {
			return refuse(http.StatusBadRequest, missing.name, "is missing", "a record is found by topic, partition and offset")
		}
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
func (a API) findKey(c echo.Context, id string, q consumer.Query) error {
	page := FoundPage{Found: []FoundRow{}}
	if d, running := a.Jobs.Deliveries(id); running {
		found, err := d.Find(c.Request().Context(), q)
		if err != nil {
			return err
		}
		page.Found = a.here(found)
	}
	if !hopped(c) {
		var pages []FoundPage
		pages, page.Unreached = askAll[FoundPage](c.Request().Context(), a.peers(id), http.MethodGet, c.Request().URL.RequestURI(), "")
		for _, p := range pages {
			page.Found = append(page.Found, p.Found...)
		}
		if cfg, valid := a.Jobs.Config(id); valid {
			var letters []consumer.Found
			letters, page.Problem = a.Ledger(cfg).FindKey(c.Request().Context(), *q.Key, q.Limit)
			for _, l := range letters { // one of a row that is pending was not read back yet
				if !slices.ContainsFunc(page.Found, func(f FoundRow) bool { return f.Position == l.Position }) {
					page.Found = append(page.Found, FoundRow{Found: l})
				}
			}
		}
	}
	slices.SortFunc(page.Found, func(a, b FoundRow) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Row, b.Row))
	})
	if len(page.Found) >= q.Limit {
		page.Found = page.Found[:q.Limit]
		page.Problem = cmp.Or(page.Problem, fmt.Sprintf("there may be more: %d are shown", q.Limit))
	}
	return c.JSON(http.StatusOK, page)
}

// Decided is what was decided about a row.
type Decided struct {
	consumer.Position
	Decision consumer.Decision `json:"decision"`
}

func (a API) decide(d consumer.Decision) echo.HandlerFunc {
	return func(c echo.Context) error {
		at := consumer.Position{Partition: -1, Offset: -1, Row: -1}
		if err := bodyOf(c, &at); err != nil {
			return err
		}
		if err := needPosition(at.Topic, at.Partition, at.Offset); err != nil {
			return err
		}
		if at.Row < 0 {
			return refuse(http.StatusBadRequest, "row", "is missing", "rows of a record count from 0; deliveries find shows them")
		}
		id, err := a.known(c)
		if err != nil {
			return err
		}
		return a.atOwner(c, id, at.Topic, at.Partition, func(ctx context.Context, rows Deliveries) error {
			err := rows.Decide(ctx, at, d, operator)
			switch {
			case errors.Is(err, consumer.ErrNotAssigned), errors.Is(err, context.DeadlineExceeded):
				return err
			case err != nil:
				return refuse(http.StatusConflict, "", err.Error(), "")
			}
			return c.JSON(http.StatusOK, Decided{Position: at, Decision: d})
		}, func(why string, missing ...Unreached) error {
			if len(missing) > 0 {
				return refuse(http.StatusBadGateway, "", missing[0].Cause, "")
			}
			return refuse(http.StatusServiceUnavailable, "partition", fmt.Sprintf("nobody has %s in hand, so there is nothing to decide about: %s", at, why),
				"streamer deliveries find says where it is")
		})
	}
}

// atOwner does something where a partition is read: here, or else at the instance that reports it. otherwise is called if there is none, or
// it does not answer; why says so.
func (a API) atOwner(c echo.Context, id, topic string, partition int32, do func(context.Context, Deliveries) error,
	otherwise func(why string, missing ...Unreached) error) error {
	rows, running := a.Jobs.Deliveries(id)
	if running && a.reads(id, topic, partition) {
		err := do(c.Request().Context(), rows)
		if !errors.Is(err, consumer.ErrNotAssigned) {
			return err
		}
	}
	if hopped(c) {
		return otherwise("the partition is moving between instances: try again in a moment")
	}
	owner, found := a.Fleet.OwnerOf(id, topic, partition)
	if !found || owner.ID == a.Fleet.Me().ID {
		return otherwise(a.nobody(id))
	}
	err := Peer{owner.ID, owner.Advertise}.forward(c)
	var p *Problem
	if errors.As(err, &p) && p.Status == http.StatusBadGateway {
		return otherwise("the instance that reads the partition does not answer", Unreached{Instance: owner.ID, Cause: p.Error()})
	}
	return err
}

// reads tells whether this instance has a partition.
func (a API) reads(id, topic string, partition int32) bool {
	return slices.ContainsFunc(a.Jobs.Here(), func(j JobHere) bool {
		return j.ID == id && slices.ContainsFunc(j.Assigned, func(p PartitionView) bool { return p.Topic == topic && p.Partition == partition })
	})
}
