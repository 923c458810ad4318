package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

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

// FoundRow is a row, or a record as a whole, with the instance that knows of it.
type FoundRow struct {
	consumer.Found
	Instance string `json:"instance,omitempty"`
}

// FoundPage is what was found.
type FoundPage struct {
	Found []FoundRow `json:"found"`
	// Letters are the dead letters of a record that is final.
	Letters []LetterView `json:"letters,omitempty"`
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
	return a.atOwner(c, id, asked.Topic, asked.Partition, func(ctx context.Context, d Deliveries) error {
		found, err := d.Find(ctx, asked)
		if err != nil {
			return err
		}
		if row != wholeRecord {
			found = slices.DeleteFunc(found, func(f consumer.Found) bool { return f.Row != row && f.Row != wholeRecord })
		}
		page := FoundPage{Found: a.here(found)}
		if len(found) == 1 && (found[0].State == consumer.FoundCommitted || found[0].State == consumer.FoundFinished) {
			at := found[0].Position
			at.Row = row
			page.Letters, err = a.lettersOf(ctx, id, at)
			page.Found[0].Reason += lettersText(len(page.Letters), err)
		}
		return c.JSON(http.StatusOK, page)
	})
}

// lettersWithin bounds the look into the dead letters of a record that is final.
const lettersWithin = 10 * time.Second

var errManyLetters = errors.New("there are too many to look through at once; streamer deadletters list goes on page by page")

// lettersOf gives the dead letters of a record, or of one row of it.
func (a API) lettersOf(ctx context.Context, id string, at consumer.Position) (found []LetterView, err error) {
	cfg, valid := a.Jobs.Config(id)
	if !valid || cfg.DeadLetterTopic == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lettersWithin)
	defer cancel()
	page, err := a.Letters(cfg).List(ctx, consumer.LetterFilter{Source: &at}, "", consumer.MaxPage)
	if err == nil && !page.Complete {
		err = errManyLetters
	}
	for _, l := range page.Letters {
		found = append(found, LetterView{Letter: l, Key: l.Key})
	}
	return found, err
}

// lettersText ends the sentence on a final record with what its dead letters tell.
func lettersText(n int, err error) string {
	switch {
	case err != nil:
		return fmt.Sprintf("; its dead letters were not all looked at: %v", err)
	case n == 0:
		return "; there is no dead letter of it"
	}
	return fmt.Sprintf("; %d dead letters of it are there", n)
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

// findKey asks every instance that runs the job: a key may stand in any partition.
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
	}
	slices.SortFunc(page.Found, func(a, b FoundRow) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Row, b.Row))
	})
	if len(page.Found) > q.Limit {
		page.Found = page.Found[:q.Limit]
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
		})
	}
}

// atOwner does something where a partition is read: here, or else at the instance that reports it.
func (a API) atOwner(c echo.Context, id, topic string, partition int32, do func(context.Context, Deliveries) error) error {
	rows, running := a.Jobs.Deliveries(id)
	if running && a.reads(id, topic, partition) {
		err := do(c.Request().Context(), rows)
		if !errors.Is(err, consumer.ErrNotAssigned) {
			return err
		}
	}
	name := fmt.Sprintf("%s/%d", topic, partition)
	if hopped(c) {
		return refuse(http.StatusServiceUnavailable, "partition", name+" is moving between instances", "try again in a moment")
	}
	owner, found := a.Fleet.OwnerOf(id, topic, partition)
	if !found || owner.ID == a.Fleet.Me().ID {
		return refuse(http.StatusServiceUnavailable, "partition", fmt.Sprintf("no instance reads %s for job %q now", name, id),
			fmt.Sprintf("streamer jobs show %s says which partitions it has, and what it waits for; after a start or a crash try again in some seconds", id))
	}
	return Peer{owner.ID, owner.Advertise}.forward(c)
}

// reads tells whether this instance has a partition.
func (a API) reads(id, topic string, partition int32) bool {
	return slices.ContainsFunc(a.Jobs.Here(), func(j JobHere) bool {
		return j.ID == id && slices.ContainsFunc(j.Assigned, func(p PartitionView) bool { return p.Topic == topic && p.Partition == partition })
	})
}
