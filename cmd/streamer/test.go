package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/control/job"
	"streamer/sink"
)

// maxRecordBytes bounds --record: the largest record that limits can be raised to.
const maxRecordBytes = 1 << 30

// shownRequest is what a row becomes, as -o json and yaml have it.
type shownRequest struct {
	Job string `json:"job"`
	Row int    `json:"row"`
	// Lane says which rows wait for each other: those with the same one.
	Lane    string `json:"lane,omitempty"`
	Verdict string `json:"verdict"`
	Problem string `json:"problem,omitempty"`
	Method  string `json:"method,omitempty"`
	URL     string `json:"url,omitempty"`
	// Headers are in the order they are sent in; a name may stand twice.
	Headers []shownHeader `json:"headers,omitempty"`
	// Body is text; one that is no UTF-8 is in BodyBase64 instead.
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

type shownHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// recordFlags say which record is tried.
type recordFlags struct {
	file, topic, key, job string
	partition             int32
	offset                int64
	timeout               time.Duration
}

func testCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "test FILE (--record FILE | --topic NAME --partition N --offset N)",
		Short: "prints the HTTP requests that a record would make, and sends nothing",
		Long: "Takes one record, from a file that holds its value or from Kafka, and prints the exact requests that the jobs of FILE would\n" +
			"make of it. Nothing is sent, secrets are shown as ********. Exit code 1 if a row could not become a request.",
		Args: cobra.ExactArgs(1),
	}
	var r recordFlags
	c.Flags().StringVar(&r.file, "record", "", "file with the record's value, - for standard input")
	c.Flags().StringVar(&r.topic, "topic", "", "topic of the record")
	c.Flags().Int32Var(&r.partition, "partition", 0, "partition of the record")
	c.Flags().Int64Var(&r.offset, "offset", 0, "offset of the record")
	c.Flags().StringVar(&r.key, "key", "", "the record's key, with --record")
	c.Flags().DurationVar(&r.timeout, "timeout", 30*time.Second, "how long to wait for the record from Kafka")
	c.Flags().StringVar(&r.job, "job", "", "id of the job, if not all of the file are meant")
	output := outputFlag(c)
	settings.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := r.check(c); err != nil {
			return err
		}
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		jobs, err := r.jobs(args[0], process(s, lookup(environ), true))
		if err != nil {
			return failure{err}
		}
		ctx, cancel := context.WithTimeout(context.Background(), r.timeout)
		defer cancel()
		var shown []shownRequest
		for _, cfg := range jobs {
			rec, err := r.record(ctx, c, s, cfg)
			if err != nil {
				return failure{err}
			}
			shown = append(shown, render(cfg, rec)...)
		}
		return printRequests(c.OutOrStdout(), *output, shown)
	}
	return c
}

// check refuses flags that do not say one record.
func (r recordFlags) check(c *cobra.Command) error {
	given := c.Flags().Changed
	switch {
	case r.file != "" && (given("partition") || given("offset")):
		return errors.New("test takes either --record or --topic, --partition and --offset")
	case r.file != "":
		return nil
	case given("key"):
		return errors.New("--key goes with --record; a record in Kafka has its own")
	case !given("topic") || !given("partition") || !given("offset"):
		return errors.New("test needs a record: --record FILE, or --topic, --partition and --offset")
	}
	return nil
}

// jobs gives the valid jobs of a file; the error has all faults.
func (r recordFlags) jobs(file string, p job.Process) ([]consumer.Config, error) {
	set, err := job.Load(file)
	if err != nil {
		return nil, err
	}
	compiled := set.Compile(p)
	if found := findings(set, compiled); anyError(found) {
		return nil, firstErrors(found)
	}
	var jobs []consumer.Config
	var ids []string
	for _, c := range compiled {
		ids = append(ids, c.ID)
		if r.job == "" || r.job == c.ID {
			jobs = append(jobs, c.Config)
		}
	}
	if len(jobs) == 0 {
		return nil, fmt.Errorf("%s has no job %q, but %s", file, r.job, strings.Join(ids, ", "))
	}
	return jobs, nil
}

// record reads the record that is tried. One from a file stands at the start of the job's first topic, unless --topic says where.
func (r recordFlags) record(ctx context.Context, c *cobra.Command, s settings.Settings, cfg consumer.Config) (consumer.Record, error) {
	if r.file == "" {
		return consumer.ReadRecord(ctx, s.Kafka, r.topic, r.partition, r.offset, newLog(c.ErrOrStderr(), s))
	}
	value, err := readRecordFile(r.file, c.InOrStdin())
	if err != nil {
		return consumer.Record{}, fmt.Errorf("record: %w", err)
	}
	rec := consumer.Record{Topic: r.topic, Value: value, Timestamp: time.Now()}
	if rec.Topic == "" {
		rec.Topic = cfg.Topics[0]
	}
	if c.Flags().Changed("key") {
		rec.Key = []byte(r.key)
	}
	return rec, nil
}

func readRecordFile(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	value, err := io.ReadAll(io.LimitReader(in, maxRecordBytes+1))
	if err == nil && len(value) > maxRecordBytes {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxRecordBytes)
	}
	return value, err
}

func render(cfg consumer.Config, rec consumer.Record) []shownRequest {
	var shown []shownRequest
	for _, row := range consumer.Render(cfg, rec) {
		s := shownRequest{Job: cfg.Job, Row: row.Row, Lane: row.Lane, Verdict: row.Verdict, Problem: row.Problem,
			Method: row.Request.Method, URL: row.Request.URL}
		if s.Method != "" {
			s.Headers = headers(row.Request.Header, cfg.Sink)
		}
		if utf8.Valid(row.Request.Body) {
			s.Body = string(row.Request.Body)
		} else {
			s.BodyBase64 = row.Request.Body
		}
		shown = append(shown, s)
	}
	return shown
}

const masked = "********"

// headers are those of the request with what the sink adds: the number of the attempt, and the login, masked.
func headers(given []sink.Header, cfg sink.Config) []shownHeader {
	auth, login := cfg.Auth, ""
	switch {
	case auth.Basic != nil:
		login = "Basic " + masked
	case auth.Token != "":
		login = "access_token " + masked
	case auth.Bearer != "":
		login = "Bearer " + masked
	}
	var shown []shownHeader
	for _, h := range given {
		name := textproto.CanonicalMIMEHeaderKey(h.Name)
		switch {
		case name == "Authorization" && login != "":
		case job.SecretHeader(name):
			shown = append(shown, shownHeader{h.Name, masked})
		default:
			shown = append(shown, shownHeader{h.Name, h.Value})
		}
	}
	if cfg.AttemptHeader {
		shown = append(shown, shownHeader{"Streamer-Attempt", "1"})
	}
	if login != "" {
		shown = append(shown, shownHeader{"Authorization", login})
	}
	return shown
}

func printRequests(w io.Writer, f format, shown []shownRequest) error {
	var err error
	if f == asText {
		err = requestsText(w, shown)
	} else {
		if shown == nil {
			shown = []shownRequest{}
		}
		err = f.write(w, shown)
	}
	if err != nil {
		return failure{err}
	}
	for _, s := range shown {
		if s.Problem != "" {
			return errShown
		}
	}
	return nil
}

// requestsText prints requests as they go over the wire, after a line that says whose they are.
func requestsText(w io.Writer, shown []shownRequest) error {
	var b strings.Builder
	for i, s := range shown {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "# job %s, row %d: %s", s.Job, s.Row, s.Verdict)
		if s.Lane != "" {
			b.WriteString(", lane: " + s.Lane)
		}
		if s.Problem != "" {
			b.WriteString(": " + s.Problem)
		}
		b.WriteString("\n")
		if s.Method == "" {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", s.Method, s.URL)
		for _, h := range s.Headers {
			fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
		}
		switch {
		case s.Body != "":
			b.WriteString("\n" + s.Body + "\n")
		case len(s.BodyBase64) > 0:
			fmt.Fprintf(&b, "\n(%d bytes that are no text)\n", len(s.BodyBase64))
		}
	}
	if len(shown) == 0 {
		b.WriteString("# the record has no rows\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
