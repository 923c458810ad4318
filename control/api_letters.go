package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"streamer/consumer"
	"streamer/control/service"
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
	Class []string `json:"class,omitempty" enum:"rejected,payload,target,parked" doc:"any of these classes"`
	State []string `json:"state,omitempty" enum:"open,parked,redriven,given up,failed again,void,foreign" doc:"any of these states"`
	// Since and Until bound when the letter was written: from Since on, before Until.
	Since time.Time `json:"since,omitzero" doc:"written at this time or later"`
	Until time.Time `json:"until,omitzero" doc:"written before this time"`
	// Key is the record's key.
	Key *string `json:"key,omitempty" doc:"the record's key"`
	// Where is a JSONPath that finds something in the message of the row.
	Where string `json:"where,omitempty" doc:"a JSONPath that finds something in the message of the row"`
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

// Schema implements huma.SchemaProvider.
func (b Bytes) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{{Type: huma.TypeString, Nullable: true}, {Type: huma.TypeObject, Required: []string{"base64"},
		Properties: map[string]*huma.Schema{"base64": {Type: huma.TypeString, ContentEncoding: "base64"}}}}}
}

// LetterView is a dead letter; Value and Headers are those of the original record, and stand in a letter that is shown alone.
type LetterView struct {
	consumer.Letter
	Key Bytes `json:"key"`
	// KeyHidden says that there is a key, which only who may operate the job sees.
	KeyHidden bool           `json:"key_hidden,omitempty"`
	Value     Bytes          `json:"value,omitempty"`
	Headers   []LetterHeader `json:"headers,omitempty"`
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

// DeadLettersService is the service deadletters: rows that were given up.
type DeadLettersService interface {
	// List gives one page of a job's dead letters, without values. Keys, and what is asked of values, are for who may operate the job.
	List(context.Context, service.Caller, LettersIn) (LetterPage, error)
	// Show gives one dead letter with its value and headers.
	Show(context.Context, service.Caller, LetterIn) (LetterView, error)
	// Redrive sends dead letters again, and tells of it as it goes. It ends when the caller goes away: then letters in flight may end, and
	// the rest stays open.
	Redrive(ctx context.Context, by service.Caller, in RedriveIn, emit func(RedriveLine) error) error
	// GiveUp makes final what is chosen as for a redrive, and sends nothing.
	GiveUp(context.Context, service.Caller, GiveUpIn) (LettersGivenUp, error)
}

func deadLettersMethods(s DeadLettersService) []service.Method {
	return []service.Method{
		service.New(service.Method{Service: "deadletters", Name: "list", Verb: http.MethodGet, Route: "/jobs/{job}/dead-letters", Permission: service.View, On: "job",
			Summary: "lists dead letters, and counts them"}, s.List),
		service.New(service.Method{Service: "deadletters", Name: "show", Verb: http.MethodGet, Route: "/jobs/{job}/dead-letters/{partition}/{offset}", Permission: service.Operate,
			On: "job", Summary: "shows a dead letter with its value"}, s.Show),
		service.NewStream(service.Method{Service: "deadletters", Name: "redrive", Verb: http.MethodPost, Route: "/jobs/{job}/dead-letters/redrive", Permission: service.Operate,
			On: "job", Summary: "sends dead letters again, through the job as it is defined now"}, s.Redrive),
		service.New(service.Method{Service: "deadletters", Name: "give-up", Verb: http.MethodPost, Route: "/jobs/{job}/dead-letters/give-up", Permission: service.Operate,
			On: "job", Summary: "makes dead letters final without sending them"}, s.GiveUp),
	}
}

// LettersIn chooses dead letters of a job.
type LettersIn struct {
	JobIn
	LetterQuery
	service.Page
}

// LetterIn names a dead letter by its own address.
type LetterIn struct {
	JobIn
	Partition int32 `json:"partition" minimum:"0" doc:"its partition in the dead-letter topic" mend:"write partition/offset as the list of dead letters has them"`
	Offset    int64 `json:"offset" minimum:"0" doc:"its offset there" mend:"write partition/offset as the list of dead letters has them"`
}

type deadLettersService struct{ API }

// List implements DeadLettersService.
func (a deadLettersService) List(ctx context.Context, by service.Caller, in LettersIn) (LetterPage, error) {
	owner, _ := a.owners().OwnerOf(in.Job)
	contents := by.May(service.Operate, owner)
	if !contents && (in.Where != "" || in.Key != nil) {
		return LetterPage{}, service.Denied(by, service.Operate, fmt.Sprintf("job %q, which where and key need, since they ask for contents of records,", in.Job), owner)
	}
	letters, f, err := a.chosen(ctx, in.Job, in.LetterQuery)
	if err != nil {
		return LetterPage{}, err
	}
	found, err := letters.List(ctx, f, in.Cursor, in.Limit)
	if err != nil {
		return LetterPage{}, lettersProblem(err)
	}
	page := LetterPage{LetterPage: found, Letters: []LetterView{}}
	for _, l := range found.Letters {
		v := LetterView{Letter: l, Key: l.Key}
		if !contents && l.Key != nil {
			v.Key, v.KeyHidden = nil, true
		}
		page.Letters = append(page.Letters, v)
	}
	page.LetterPage.Letters = nil
	return page, nil
}

// Show implements DeadLettersService.
func (a deadLettersService) Show(ctx context.Context, _ service.Caller, in LetterIn) (LetterView, error) {
	letters, err := a.letters(ctx, in.Job)
	if err != nil {
		return LetterView{}, err
	}
	l, err := letters.Show(ctx, in.Partition, in.Offset)
	if err != nil {
		return LetterView{}, lettersProblem(err)
	}
	v := LetterView{Letter: l, Key: l.Key, Value: l.Value}
	for _, h := range l.Headers {
		v.Headers = append(v.Headers, LetterHeader{Key: h.Key, Value: h.Value})
	}
	return v, nil
}

// letters are those of a job, as it is defined now.
func (a API) letters(ctx context.Context, id string) (DeadLetters, error) {
	cfg, valid := a.Jobs.Config(id)
	if !valid {
		return nil, a.invalidJob(ctx, id, "where its dead letters are is not known")
	}
	return a.Letters(cfg), nil
}

// invalidJob refuses what a job has to be valid for. Before the log was read, that is not known of any.
func (a API) invalidJob(ctx context.Context, id, so string) *service.Problem {
	if err := a.owners().Wait(ctx); err != nil {
		return service.Unavailable(err.Error())
	}
	return service.Refuse(http.StatusConflict, "job", fmt.Sprintf("job %q is not valid, so %s", id, so), fmt.Sprintf("streamer jobs show %s says what is wrong with it", id))
}

// lettersProblem says what an error of the dead letters asks of the caller.
func lettersProblem(err error) error {
	var cursor *consumer.CursorError
	switch {
	case errors.As(err, &cursor):
		return service.Refuse(http.StatusBadRequest, "cursor", err.Error(), "begin without a cursor, and take the next of each page")
	case errors.Is(err, consumer.ErrLettersOff):
		return service.Refuse(http.StatusConflict, "job", err.Error(), "rows that cannot be delivered keep their lanes waiting: streamer deliveries decides about them")
	case errors.Is(err, consumer.ErrNoRecord):
		return service.Refuse(http.StatusNotFound, "", err.Error(), "streamer deadletters list shows what there is; its retention may have taken it")
	}
	return kafkaProblem("the dead letters cannot be read", err)
}

// filter checks what was asked for.
func (q LetterQuery) filter() (consumer.LetterFilter, error) {
	f := consumer.LetterFilter{Since: q.Since, Until: q.Until, Key: q.Key}
	for _, c := range q.Class {
		f.Class = append(f.Class, sink.Class(c))
	}
	for _, s := range q.State {
		f.State = append(f.State, consumer.LetterState(s))
	}
	var faults []service.Fault
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		faults = append(faults, service.Fault{Field: "until", Detail: "is not after since"})
	}
	if q.Where != "" {
		path, err := mapping.CompilePath(q.Where)
		if err != nil {
			faults = append(faults, service.Fault{Field: "where", Detail: err.Error(), Mend: "write a JSONPath over the message, as in a job's filter: $.msg.village"})
		}
		f.Where = path
	}
	if len(faults) > 0 {
		return f, service.Wrong(faults...)
	}
	return f, nil
}
