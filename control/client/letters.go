package client

import (
	"context"
	"encoding/json"
	"errors"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/service"
)

// DeadLetters gives one page of a job's dead letters, limit of them at most (0: the server's default), from cursor on.
func (c *Client) DeadLetters(ctx context.Context, job string, q control.LetterQuery, cursor string, limit int) (control.LetterPage, error) {
	in := control.LettersIn{JobIn: control.JobIn{Job: job}, LetterQuery: q, Page: service.Page{Limit: limit, Cursor: cursor}}
	var page control.LetterPage
	err := c.Call(ctx, "deadletters.list", in, &page)
	return page, err
}

// DeadLetter gives one dead letter with its value and headers, by its own address.
func (c *Client) DeadLetter(ctx context.Context, job string, partition int32, offset int64) (control.LetterView, error) {
	var v control.LetterView
	err := c.Call(ctx, "deadletters.show", control.LetterIn{JobIn: control.JobIn{Job: job}, Partition: partition, Offset: offset}, &v)
	return v, err
}

// GiveUpLetters makes open and parked dead letters final without sending them, and gives their number. A dry run only counts.
func (c *Client) GiveUpLetters(ctx context.Context, job string, r control.GiveUpRequest) (control.LettersGivenUp, error) {
	var out control.LettersGivenUp
	err := c.Call(ctx, "deadletters.give-up", control.GiveUpIn{JobIn: control.JobIn{Job: job}, GiveUpRequest: r}, &out)
	return out, err
}

// Redrive sends dead letters again, and tells progress while it runs. Ending ctx stops it: what is left stays open, and the error is
// ctx's. A dry run only counts.
func (c *Client) Redrive(ctx context.Context, job string, r control.RedriveRequest, progress func(consumer.RedriveProgress)) (last control.RedriveReport, err error) {
	reported := false
	err = c.Stream(ctx, "deadletters.redrive", control.RedriveIn{JobIn: control.JobIn{Job: job}, RedriveRequest: r}, func(text json.RawMessage) error {
		var line control.RedriveLine
		if err := json.Unmarshal(text, &line); err != nil {
			return err
		}
		switch {
		case line.Report != nil:
			last, reported = *line.Report, true
		case line.Progress != nil:
			last.RedriveProgress = *line.Progress
			progress(*line.Progress)
		}
		return nil
	})
	if err == nil && !reported {
		err = &UnreachableError{c.base, errors.New("the redrive was cut off: it has no report")}
	}
	return last, err
}
