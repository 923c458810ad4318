// Package job reads job files and compiles jobs: what an operator wrote becomes what the data path runs, or a list of everything
// that is wrong with it, each with file, line and path.
//
// A job is data (docs/jobs.md has every field). This package knows the document's shape and the rules about names; what an
// expression, a URL or a delivery setting may say is checked by the room that acts on it.
package job

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/mapping"
	"streamer/schemas"
	"streamer/sink"
)

// Definition is one job as it stands in a file. It may be broken: Compile says so.
type Definition struct {
	// File is the name the file was read under.
	File string
	// Line is where the job begins in it, from 1.
	Line int
	// ID and Owner are empty where the job gives none that is text.
	ID, Owner string

	kind string // what its secrets are bound to as: a job, or (Connection) a connection
	document
}

// Process is what compiling a job takes from the process that will run it.
type Process struct {
	// Namespace is the installation's prefix for topics and groups.
	Namespace string
	// Instance makes memberships static; empty: they are not.
	Instance string
	// Secrets resolves references.
	Secrets Secrets
	// Guard says which addresses may be dialled.
	Guard sink.Guard
	// Registry gives the schemas of ids; nil: there is none.
	Registry schemas.Registry
	// Grants say what the jobs of each owner may touch; nil: all have the defaults.
	Grants Grants
	// Connection gives a shared target that the jobs of an owner may use; the error is a fault.Fault without a path, or ErrLater. nil:
	// connections are not known here, and a job that names one is only warned.
	Connection func(owner, name string) (Target, error)
}

func newDefinition(file string, d document) *Definition {
	def := &Definition{File: file, Line: d.line, kind: "job", document: d}
	if id, ok := d.value.Field("id").Str(); ok {
		def.ID = strings.Clone(id)
	}
	if owner, ok := d.value.Field("owner").Str(); ok {
		def.Owner = strings.Clone(owner)
	}
	return def
}

// Text gives a field of the job itself as it was written; empty where it is no text.
func (d *Definition) Text(field string) string {
	s, _ := d.value.Field(field).Str()
	return strings.Clone(s)
}

// Findings puts faults of this job into its file.
func (d *Definition) Findings(faults fault.List) []Finding {
	found := make([]Finding, len(faults))
	for i, f := range faults {
		found[i] = Finding{File: d.File, Place: d.places.find(f.Path), Job: d.ID, Fault: f}
		if d.kind == connectionKind {
			found[i].Job, found[i].Connection = "", d.ID
		}
	}
	sortFindings(found)
	return found
}

// Compile checks the whole job and gives all its faults at once, warnings included. The Config is only to be used when the list
// has no error. It holds the job's secrets in clear inside Sink, unless p.Secrets masks them.
func (d *Definition) Compile(p Process) (consumer.Config, fault.List) {
	c := compilation{def: d, process: p, grant: p.Grants.of(d.Owner), lenient: forAether(d.value), faults: slices.Clone(d.faults)}
	c.process.Guard = c.grant.guard(p.Guard, d.Owner)
	cfg := c.config()
	c.refusePlaces()
	return cfg, c.faults
}

// compilation is one pass over one job.
type compilation struct {
	def     *Definition
	process Process
	grant   Grant
	// lenient: the job is of Aether's keys only, so what nobody knows just warns.
	lenient bool
	faults  fault.List
	// opened is what sealed texts come to, by field; nil before the first is looked at.
	opened map[string]opened
	// hidden are the secrets of its headers.
	hidden []sink.Secret
	sites
	reader
}

func (c *compilation) config() consumer.Config {
	value := c.def.value
	if value.Kind() != schemas.Object {
		c.faults.Add("", "a job is an object of fields, this is "+kindName(value), "")
		return consumer.Config{}
	}
	c.reader = reader{object: value, faults: &c.faults, keys: keys}
	checkKeys(&c.faults, value, "", keys[""], c.lenient)
	cfg := consumer.Config{
		Job:       c.id(),
		Namespace: c.process.Namespace,
		Instance:  c.process.Instance,
	}
	c.owner()
	c.topics(&cfg)
	cfg.Group = c.group()
	cfg.Start = c.start()
	cfg.Instances = c.positive("instances")
	cfg.Order = c.order()
	cfg.Tombstone = c.tombstone()
	cfg.Schemas, cfg.Registry = c.schemas(), c.process.Registry
	c.delivery(&cfg)
	c.deadLetter(&cfg)
	c.told(&cfg)
	cfg.Sink.Guard = c.process.Guard
	own := c.auth()
	url := c.connect(&cfg, &own)
	cfg.Sink.Auth, c.user = own.auth, own.user
	if own.cert != "" || own.key != "" {
		cfg.Sink.TLS.Cert, cfg.Sink.TLS.Key = own.cert, own.key
	}
	cfg.Program = c.program(url, &cfg)
	c.settle(&cfg)
	slices.Sort(c.hidden)
	cfg.Sink.Hidden = slices.Compact(c.hidden)
	whole := cfg.Sink
	whole.Places = nil // each was looked at where it stands
	c.add(certificateFaults("auth", whole.Validate()))
	return cfg
}

// add takes over another room's faults, but not where this package has found something at the same path: one mistake, one fault.
func (c *compilation) add(more fault.List) {
	known := map[string]bool{}
	for _, f := range c.faults.Errors() {
		known[f.Path] = true
	}
	for _, f := range more {
		if !known[f.Path] {
			c.faults = append(c.faults, f)
		}
	}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// routeWords stand where an id or an owner stands in the paths of the HTTP API, the Aether consumer's routes included.
var routeWords = []string{"add", "update", "delete", "get", "list", "validate", "schema", "pause", "resume", "status", "logs", "start",
	"stop", "test", "offsets", "deliveries", "dead-letters", "set_offset"}

// checkName gives what is wrong with an id or owner, or two empty texts.
func checkName(name string) (problem, mend string) {
	switch {
	case !namePattern.MatchString(name) || name == "." || name == "..":
		return fmt.Sprintf("%q cannot be used as a name", clip(name)), "use 1 to 200 letters, digits, dots, dashes and underscores"
	case slices.Contains(routeWords, name):
		return fmt.Sprintf("%q is a word of the HTTP API's paths", name), "choose another name"
	}
	return "", ""
}

func (c *compilation) id() string {
	id, ok := c.text("id")
	if !ok {
		c.missing("id", "give the job a name")
		return ""
	}
	if problem, mend := checkName(id); problem != "" {
		c.faults.Add("id", problem, mend)
		return ""
	}
	return id
}

// owner only checks: nothing in this version acts on it but secret files. The Aether consumer took any text, so its jobs may go on.
func (c *compilation) owner() {
	owner, ok := c.text("owner")
	if !ok {
		c.missing("owner", "say who may see and operate the job")
		return
	}
	problem, mend := checkName(owner)
	switch {
	case problem == "":
	case c.lenient && owner != "" && len(owner) <= 200:
		c.faults.Warn("owner", problem, mend+"; permissions and secret files will need that")
	default:
		c.faults.Add("owner", problem, mend)
	}
}

// missing adds a fault for a required field that was not given; one of the wrong kind has its fault already.
func (c *compilation) missing(name, mend string) {
	if _, _, given := c.given(name); !given {
		c.faults.Add(name, "is missing", mend)
	}
}

func (c *compilation) order() consumer.Order {
	text, ok := c.text("order")
	if !ok {
		return consumer.Order{}
	}
	switch text {
	case "key":
		return consumer.Order{By: consumer.OrderKey}
	case "partition":
		return consumer.Order{By: consumer.OrderPartition}
	case "none":
		return consumer.Order{By: consumer.OrderNone}
	}
	if !strings.ContainsAny(text, "$.[") {
		c.word("order", "key", "partition", "none", "$.a.path")
		return consumer.Order{}
	}
	compile := mapping.CompilePath
	if _, _, events := c.given("events"); events {
		compile = mapping.CompileEventPath
	}
	path, err := compile(text)
	if err != nil {
		c.faults.Add("order", err.Error(), "")
		return consumer.Order{}
	}
	return consumer.Order{By: consumer.OrderPath, Path: path}
}

func (c *compilation) tombstone() consumer.Tombstone {
	switch word, _ := c.word("tombstone", "skip", "deliver", "reject"); word {
	case "deliver":
		return consumer.TombstoneDeliver
	case "reject":
		return consumer.TombstoneReject
	}
	return consumer.TombstoneSkip
}

func (c *compilation) schemas() schemas.Config {
	var cfg schemas.Config
	if format, ok := c.word("format", "auto", "aether", "avro", "json", "cloudevent", "bytes"); ok {
		cfg.Format = schemas.Format(format)
	}
	switch list, path, given := c.given("schemas"); {
	case !given:
	case list.Kind() != schemas.Array:
		c.faults.Add(path, "is "+kindName(list)+", not a list of Avro schemas", "")
	default:
		for schema := range list.Elements() {
			if text, ok := schema.Str(); ok {
				cfg.Schemas = append(cfg.Schemas, text)
			} else {
				cfg.Schemas = append(cfg.Schemas, string(appendJSON(schema)))
			}
		}
	}
	logical, _ := c.word("logical", "raw", "text")
	cfg.LogicalText = logical == "text"
	if l, ok := c.sub("limits", false); ok {
		// The most of each is the decoder's to say.
		cfg.Limits.RecordBytes = int64(l.positive("record_bytes"))
		cfg.Limits.InflatedBytes = int64(l.positive("inflated_bytes"))
		cfg.Limits.Rows = l.positive("rows")
		cfg.Limits.Nesting = l.positive("nesting")
		cfg.Limits.Values = l.positive("values")
	}
	c.add(cfg.Validate())
	return cfg
}

// program compiles what makes a row a request, which goes to url.
func (c *compilation) program(url schemas.Value, cfg *consumer.Config) *mapping.Program {
	get := c.object.Field
	headers := c.headers()
	for _, name := range []string{"constant", "payload"} {
		c.misplaced(name, get(name), 0)
	}
	program, faults := mapping.Compile(mapping.Config{
		Type: get("type"), URL: url, DataMap: get("datamap"), Constant: get("constant"),
		QueryParams: get("query_params"), JSONBody: get("json_body"), FormBody: get("form_body"),
		User: textValue(c.user), Headers: headers, Payload: get("payload"), Filter: get("filter"), Emit: get("emit"), Mask: get("mask"),
		Routes: c.routes(), Events: c.events(), Steps: c.steps(),
		Told: cfg.Callback.Topic != "" || cfg.Response.Topic != "", Quiet: c.object.Field("callback").Kind() != schemas.Object, Reference: c.reference,
	})
	c.add(c.unquoted(faults))
	c.address("url", url)
	return program
}

// address warns of an URL whose host is written as an address, or is localhost, that the process's guard will not dial. Names are
// looked up only when they are dialled, so a name says nothing here.
func (c *compilation) address(path string, url schemas.Value) {
	text, _ := url.Str()
	host := literalHost(text)
	ip, err := netip.ParseAddr(host)
	if host == "localhost" {
		ip, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	if err != nil {
		return
	}
	if err := c.process.Guard.Allow(host, ip); err != nil {
		c.faults.Warn(path, err.Error(), "until then the job's rows wait")
	}
}

// literalHost cuts the host out of an URL template; empty if there is none that is written out.
func literalHost(template string) string {
	_, rest, _ := strings.Cut(template, "://")
	if i := strings.IndexAny(rest, "/?#{"); i >= 0 {
		rest = rest[:i]
	}
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	host := rest
	if h, _, err := net.SplitHostPort(rest); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
