package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
	"streamer/internal/nearest"
	"streamer/mapping"
	"streamer/sink"
)

// DeadLetters are the dead letters of one job. *consumer.DeadLetters has them.
type DeadLetters interface {
	List(ctx context.Context, f consumer.LetterFilter, cursor string, limit int) (consumer.LetterPage, error)
	Show(ctx context.Context, partition int32, offset int64) (consumer.Letter, error)
	Redrive(ctx context.Context, f consumer.LetterFilter, o consumer.RedriveOptions, progress func(consumer.RedriveProgress)) (consumer.RedriveReport, error)
	GiveUp(ctx context.Context, f consumer.LetterFilter, o consumer.GiveUpOptions) (int, error)
}

// LetterQuery chooses dead letters; what is left out does not matter.
type LetterQuery struct {
	// Class and State are any of these.
	Class []string `json:"class,omitempty"`
	State []string `json:"state,omitempty"`
	// Since and Until bound when the letter was written: from Since on, before Until.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Key is the record's key.
	Key *string `json:"key,omitempty"`
	// Where is a JSONPath that finds something in the message of the row.
	Where string `json:"where,omitempty"`
}

// Bytes are a key or a value: text, or {"base64": …} where it is no UTF-8; null is none.
type Bytes []byte

// MarshalJSON implements json.Marshaler.
func (b Bytes) MarshalJSON() ([]byte, error) {
	switch {
	case b == nil:
		return []byte("null"), nil
	case utf8.Valid(b):
		return json.Marshal(string(b))
	}
	return json.Marshal(struct {
		Base64 []byte `json:"base64"`
	}{b})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Bytes) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err == nil {
		if s != nil {
			*b = Bytes(*s)
		}
		return nil
	}
	var o struct {
		Base64 []byte `json:"base64"`
	}
	err := json.Unmarshal(text, &o)
	*b = o.Base64
	return err
}

// LetterView is a dead letter; Value and Headers are those of the original record, and stand in a letter that is shown alone.
type LetterView struct {
	consumer.Letter
	Key     Bytes          `json:"key"`
	Value   Bytes          `json:"value,omitempty"`
	Headers []LetterHeader `json:"headers,omitempty"`
}

// LetterHeader is a header of the original record.
type LetterHeader struct {
	Key   string `json:"key"`
	Value Bytes  `json:"value"`
}

// LetterPage is part of a list of dead letters.
type LetterPage struct {
	consumer.LetterPage
	Letters []LetterView `json:"letters"`
}

func (a API) listLetters(c echo.Context) error {
	q := queryOf(c, "class", "state", "since", "until", "key", "where", "limit", "cursor")
	limit, cursor := q.page()
	asked := LetterQuery{Class: q.list("class"), State: q.list("state"), Since: q.moment("since"), Until: q.moment("until"), Where: q.text("where")}
	if q.has("key") {
		key := q.text("key")
		asked.Key = &key
	}
	if q.err != nil {
		return q.err
	}
	f, err := asked.filter()
	if err != nil {
		return err
	}
	letters, err := a.letters(c)
	if err != nil {
		return err
	}
	found, err := letters.List(c.Request().Context(), f, cursor, limit)
	if err != nil {
		return lettersProblem(err)
	}
	page := LetterPage{LetterPage: found, Letters: []LetterView{}}
	for _, l := range found.Letters {
		page.Letters = append(page.Letters, LetterView{Letter: l, Key: l.Key})
	}
	page.LetterPage.Letters = nil
	return c.JSON(http.StatusOK, page)
}

func (a API) showLetter(c echo.Context) error {
	if q := queryOf(c); q.err != nil {
		return q.err
	}
	partition, err1 := strconv.ParseInt(c.Param("partition"), 10, 32)
	offset, err2 := strconv.ParseInt(c.Param("offset"), 10, 64)
	if err1 != nil || err2 != nil || partition < 0 || offset < 0 {
		return refuse(http.StatusNotFound, "", fmt.Sprintf("%s/%s is no address of a dead letter", c.Param("partition"), c.Param("offset")),
			"write partition/offset as the list of dead letters has them")
	}
	letters, err := a.letters(c)
	if err != nil {
		return err
	}
	l, err := letters.Show(c.Request().Context(), int32(partition), offset)
	if err != nil {
		return lettersProblem(err)
	}
	v := LetterView{Letter: l, Key: l.Key, Value: l.Value}
	for _, h := range l.Headers {
		v.Headers = append(v.Headers, LetterHeader{Key: h.Key, Value: h.Value})
	}
	return c.JSON(http.StatusOK, v)
}

// letters are those of the job in the route's path, as it is defined now.
func (a API) letters(c echo.Context) (DeadLetters, error) {
	id, err := a.known(c)
	if err != nil {
		return nil, err
	}
	cfg, valid := a.Jobs.Config(id)
	if !valid {
		return nil, invalidJob(id, "where its dead letters are is not known")
	}
	return a.Letters(cfg), nil
}

// invalidJob refuses what a job has to be valid for.
func invalidJob(id, so string) *Problem {
	return refuse(http.StatusConflict, "job", fmt.Sprintf("job %q is not valid, so %s", id, so), fmt.Sprintf("streamer jobs show %s says what is wrong with it", id))
}

// lettersProblem says what an error of the dead letters asks of the caller.
func lettersProblem(err error) error {
	var cursor *consumer.CursorError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &cursor):
		return refuse(http.StatusBadRequest, "cursor", err.Error(), "begin without a cursor, and take the next of each page")
	case errors.Is(err, consumer.ErrLettersOff):
		return refuse(http.StatusConflict, "job", err.Error(), "rows that cannot be delivered keep their lanes waiting: streamer deliveries decides about them")
	case errors.Is(err, consumer.ErrNoRecord):
		return refuse(http.StatusNotFound, "", err.Error(), "streamer deadletters list shows what there is; its retention may have taken it")
	}
	return refuse(http.StatusBadGateway, "", "the dead letters cannot be read: "+err.Error(), "look at /readyz, and try again")
}

// letterClasses and letterStates are what a filter can name.
var (
	letterClasses = []string{string(sink.Rejected), string(sink.Payload), string(sink.Target), string(consumer.ClassParked)}
	letterStates  = []string{string(consumer.LetterOpen), string(consumer.LetterParked), string(consumer.LetterRedriven), string(consumer.LetterGivenUp),
		string(consumer.LetterFailedAgain), string(consumer.LetterVoid), string(consumer.LetterForeign)}
)

// filter checks what was asked for.
func (q LetterQuery) filter() (consumer.LetterFilter, error) {
	f := consumer.LetterFilter{Since: q.Since, Until: q.Until, Key: q.Key}
	for _, c := range q.Class {
		if err := oneOf("class", c, letterClasses); err != nil {
			return f, err
		}
		f.Class = append(f.Class, sink.Class(c))
	}
	for _, s := range q.State {
		if err := oneOf("state", s, letterStates); err != nil {
			return f, err
		}
		f.State = append(f.State, consumer.LetterState(s))
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return f, refuse(http.StatusBadRequest, "until", "is not after since", "")
	}
	if q.Where != "" {
		path, err := mapping.CompilePath(q.Where)
		if err != nil {
			return f, refuse(http.StatusBadRequest, "where", err.Error(), "write a JSONPath over the message, as in a job's filter: $.msg.village")
		}
		f.Where = path
	}
	return f, nil
}

// oneOf refuses a word that is none of known.
func oneOf(field, word string, known []string) error {
	if slices.Contains(known, word) {
		return nil
	}
	mend := "it is one of " + strings.Join(known, ", ")
	if meant := nearest.Name(word, known); meant != "" {
		mend = "did you mean " + meant + "?"
	}
	return refuse(http.StatusBadRequest, field, fmt.Sprintf("unknown word %q", word), mend)
}
