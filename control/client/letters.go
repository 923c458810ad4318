package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"streamer/consumer"
	"streamer/control"
)

// DeadLetters gives one page of a job's dead letters, limit of them at most (0: the server's default), from cursor on.
func (c *Client) DeadLetters(ctx context.Context, job string, q control.LetterQuery, cursor string, limit int) (control.LetterPage, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("class", strings.Join(q.Class, ","))
	set("state", strings.Join(q.State, ","))
	set("where", q.Where)
	set("cursor", cursor)
	if !q.Since.IsZero() {
		query.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		query.Set("until", q.Until.Format(time.RFC3339Nano))
	}
	if q.Key != nil {
		query.Set("key", *q.Key)
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	var page control.LetterPage
	err := c.call(ctx, http.MethodGet, []string{"jobs", job, "dead-letters"}, query, nil, &page)
	return page, err
}

// DeadLetter gives one dead letter with its value and headers, by its own address.
func (c *Client) DeadLetter(ctx context.Context, job string, partition int32, offset int64) (control.LetterView, error) {
	var v control.LetterView
	err := c.call(ctx, http.MethodGet, []string{"jobs", job, "dead-letters", strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10)}, nil, nil, &v)
	return v, err
}

// GiveUpLetters makes open and parked dead letters final without sending them, and gives their number. A dry run only counts.
func (c *Client) GiveUpLetters(ctx context.Context, job string, r control.GiveUpRequest) (control.LettersGivenUp, error) {
	var out control.LettersGivenUp
	err := c.call(ctx, http.MethodPost, []string{"jobs", job, "dead-letters", "give-up"}, nil, r, &out)
	return out, err
}

// Redrive sends dead letters again, and tells progress while it runs. Ending ctx stops it: what is left stays open, and the error is
// ctx's. A dry run only counts.
func (c *Client) Redrive(ctx context.Context, job string, r control.RedriveRequest, progress func(consumer.RedriveProgress)) (control.RedriveReport, error) {
	var last control.RedriveReport
	resp, err := c.send(ctx, http.MethodPost, []string{"jobs", job, "dead-letters", "redrive"}, nil, r)
	if err != nil {
		return last, err
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := json.NewDecoder(resp.Body); ; {
		var line control.RedriveLine
		err := lines.Decode(&line)
		switch {
		case ctx.Err() != nil:
			return last, ctx.Err()
		case err != nil:
			return last, &UnreachableError{c.base, fmt.Errorf("the redrive was cut off: %w", err)}
		case line.Problem != nil:
			return last, line.Problem
		case line.Report != nil:
			return *line.Report, nil
		case line.Progress != nil:
			last.RedriveProgress = *line.Progress
			progress(*line.Progress)
		}
	}
}
