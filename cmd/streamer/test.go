package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"streamer/cmd/streamer/settings"
	"streamer/consumer"
	"streamer/control"
	"streamer/control/job"
)

// maxRecordBytes bounds --record: the largest record that limits can be raised to.
const maxRecordBytes = 1 << 30

// shownRequest is what a row becomes, as -o json and yaml have it.
type shownRequest struct {
	Job string `json:"job"`
	control.RenderedRow
}

// recordFlags say which record is tried.
type recordFlags struct {
	file, topic, key, job string
	changed               string // file with the job as it might become
	answers               string // file with what steps are answered
	partition             int32
	offset                int64
	timeout               time.Duration
}

func testCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Example: "  streamer test people.yaml --record person.avro\n" +
			"  streamer test people --topic Person --partition 3 --offset 1500 --file people.yaml",
		Use:   "test FILE|JOB (--record FILE | --topic NAME --partition N --offset N)",
		Short: "prints the HTTP requests that a record would make, and sends nothing",
		Long: "Takes one record, from a file that holds its value or from Kafka, and prints the exact requests that the jobs of FILE, or JOB on an\n" +
			"instance, would make of it. Nothing is sent, secrets are shown as ********. Exit code 1 if a row could not become a\n" +
			"request, or waits for its schema.\n\n" +
			"What ends in .yaml, .yml or .json or has a slash is a FILE, and is looked at here: --kafka-brokers says where its record is. Anything\n" +
			"else is a JOB, which the instance looks at; for that one needs to operate it, and --file tries a change of it before it is applied.",
		Args: cobra.ExactArgs(1),
	}
	var r recordFlags
	c.Flags().StringVar(&r.file, "record", "", "file with the record's value, - for standard input")
	c.Flags().StringVar(&r.topic, "topic", "", "topic of the record")
	c.Flags().Int32Var(&r.partition, "partition", 0, "partition of the record")
	c.Flags().Int64Var(&r.offset, "offset", 0, "offset of the record")
	c.Flags().StringVar(&r.key, "key", "", "the record's key, with --record")
	c.Flags().DurationVar(&r.timeout, "timeout", 30*time.Second, "how long to wait for the record from Kafka")
	c.Flags().StringVar(&r.job, "job", "", "with FILE: id of the job, if not all of the file are meant")
	c.Flags().StringVarP(&r.changed, "file", "f", "", "with JOB: file with the job as it might become, - for standard input")
	c.Flags().StringVar(&r.answers, "answers", "", `file with what steps are answered, as in {"owner": {"status": 200, "body": {"id": 7}}}`)
	output := outputFlag(c)
	settings.AllFlags(c.Flags())
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ids, _ := completeJobs(environ)(c, args, begun)
		return ids, cobra.ShellCompDirectiveDefault // files, too
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := r.check(c, args[0]); err != nil {
			return err
		}
		s, err := load(c, environ)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		if !jobFile(args[0]) {
			return r.onInstance(ctx, c, s, environ, args[0], *output)
		}
		proc := process(s, lookup(environ), true)
		schemas, err := openRegistry(s)
		if err != nil {
			return failure{err}
		}
		if schemas != nil {
			defer schemas.Close()
			proc.Registry = schemas.Schema
		}
		jobs, err := r.jobs(c.ErrOrStderr(), args[0], proc)
		if err != nil {
			return failure{err}
		}
		answers, err := readAnswers(r.answers)
		if err != nil {
			return failure{err}
		}
		if err := r.answered(answers, jobs); err != nil {
			return failure{err}
		}
		var shown []shownRequest
		for _, cfg := range jobs {
			rec, err := r.record(ctx, c, s, cfg)
			if err != nil {
				return failure{err}
			}
			rec.Answers = answers
			shown = append(shown, shownRequests(cfg.Job, control.Rendered(cfg, rec))...)
		}
		return printRequests(c.OutOrStdout(), *output, shown)
	}
	return c
}

// jobFile tells a file of jobs from the id of one.
func jobFile(arg string) bool {
	return strings.ContainsAny(arg, `/\`) || slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(arg)))
}

// onInstance tries a record on a job of an instance.
func (r recordFlags) onInstance(ctx context.Context, c *cobra.Command, s settings.Settings, environ []string, id string, output format) error {
	answers, err := readAnswers(r.answers)
	if err != nil {
		return failure{err}
	}
	in := control.TestIn{JobIn: control.JobIn{Job: id}, Topic: r.topic, Answers: answers}
	if r.file == "" {
		in.Partition, in.Offset = &r.partition, &r.offset
	} else {
		value, err := readRecordFile(r.file, c.InOrStdin())
		if err != nil {
			return failure{fmt.Errorf("record: %w", err)}
		}
		in.Record = &control.TestRecord{Value: value}
		if c.Flags().Changed("key") {
			in.Record.Key = control.Bytes(r.key)
		}
	}
	if r.changed != "" {
		set, err := readFiles(c, []string{r.changed})
		if err != nil {
			return told(c, err)
		}
		for _, d := range set.Jobs {
			if d.ID == id {
				in.Document = d.Canonical()
			}
		}
		switch {
		case len(set.Broken) > 0:
			return failure{firstErrors(set.Broken)}
		case in.Document == nil:
			return failure{fmt.Errorf("%s has no job %q", r.changed, id)}
		}
	}
	api, err := connect(ctx, s, environ)
	if err != nil {
		return err
	}
	defer api.Close()
	tested, err := api.TestJob(ctx, in)
	if _, missing := os.Stat(id); statusOf(err) == http.StatusNotFound && missing == nil {
		return errors.Join(told(c, err), fmt.Errorf("%s is a file here: streamer test ./%s tries that", id, id))
	}
	if err != nil {
		return told(c, err)
	}
	if tested.More > 0 {
		_, _ = fmt.Fprintf(c.ErrOrStderr(), "%d more rows of the record are not shown\n", tested.More)
	}
	return printRequests(c.OutOrStdout(), output, shownRequests(id, tested.Rows))
}

// check refuses flags that do not say one record.
func (r recordFlags) check(c *cobra.Command, arg string) error {
	given := c.Flags().Changed
	switch {
	case jobFile(arg) && given("file"):
		return errors.New("--file goes with a JOB of an instance, which it is a change of")
	case !jobFile(arg) && given("job"):
		return fmt.Errorf("--job goes with a FILE; %s is taken for a job of an instance (a file has .yaml or a slash in its name)", arg)
	case r.file == "-" && r.changed == "-":
		return errors.New("--record and --file cannot both be standard input")
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

// jobs gives the valid jobs of a file; the error has all faults. w is told of connections that are not known, so that nobody wonders about
// the URLs.
func (r recordFlags) jobs(w io.Writer, file string, p job.Process) ([]consumer.Config, error) {
	set, err := job.Load(file)
	if err != nil {
		return nil, err
	}
	compiled := set.Compile(p)
	found := findings(set, set.CompileConnections(p), compiled)
	if anyError(found) {
		return nil, firstErrors(found)
	}
	for _, f := range found {
		if f.Path == "connection" || strings.HasSuffix(f.Path, ".connection") {
			findingsText(w, []shownFinding{show(f)})
		}
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

func shownRequests(job string, rows []control.RenderedRow) []shownRequest {
	shown := make([]shownRequest, len(rows))
	for i, row := range rows {
		shown[i] = shownRequest{job, row}
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

func requestText(b *strings.Builder, r control.RenderedRow) {
	fmt.Fprintf(b, "%s %s\n", r.Method, r.URL)
	for _, h := range r.Headers {
		fmt.Fprintf(b, "%s: %s\n", h.Name, h.Value)
	}
	switch {
	case r.Body != "":
		b.WriteString("\n" + r.Body + "\n")
	case len(r.BodyBase64) > 0:
		fmt.Fprintf(b, "\n(%d bytes that are no text)\n", len(r.BodyBase64))
	}
}

// requestsText prints requests as they go over the wire, after a line that says whose they are.
func requestsText(w io.Writer, shown []shownRequest) error {
	var b strings.Builder
	for i, s := range shown {
		if i > 0 {
			b.WriteString("\n")
		}
		if fmt.Fprintf(&b, "# job %s, ", s.Job); s.Row < 0 {
			b.WriteString("the record")
		} else {
			fmt.Fprintf(&b, "row %d", s.Row)
		}
		if s.Route != "" {
			b.WriteString(", route " + s.Route)
		}
		if s.Step != "" {
			b.WriteString(", step " + s.Step)
		}
		b.WriteString(": " + s.Verdict)
		if s.Lane != "" {
			b.WriteString(", lane: " + s.Lane)
		}
		if s.Format != "" {
			b.WriteString(", format: " + s.Format)
		}
		if s.Problem != "" {
			b.WriteString(": " + s.Problem)
		}
		b.WriteString("\n")
		if s.Method != "" {
			requestText(&b, s.RenderedRow)
		}
		if s.Open {
			b.WriteString("# what comes after it depends on the answer; --answers FILE gives one\n")
		}
		for j, m := range s.Misses {
			if j == 0 && s.Method != "" {
				b.WriteString("\n")
			}
			if m.Route != "" {
				b.WriteString("# route " + m.Route + ": ")
			} else {
				b.WriteString("# ")
			}
			b.WriteString(m.Why + "\n")
		}
	}
	if len(shown) == 0 {
		b.WriteString("# the record has no rows\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
