package control

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/nearest"
)

const (
	// definitionVersion is how a definition is written. An instance leaves alone what it cannot read.
	definitionVersion = 1
	definitionPrefix  = "job/"
)

// Definition is the definition of a job as the log has it.
type Definition struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	// Revision rises with every change of the log; a change of the definition can be bound to it.
	Revision string `json:"revision"`
	// Modified is when it was changed last, By who did. Hash is of the document as it is stored.
	Modified time.Time `json:"modified"`
	By       string    `json:"by"`
	Hash     string    `json:"hash"`
	// Document is the job with its secrets masked; absent in lists that were not asked for it.
	Document json.RawMessage `json:"document,omitempty"`
	// Deleting is set while the job's instances leave its group, after which it is removed.
	Deleting *Deletion `json:"deleting,omitempty"`
	// Unreadable says why the rest could not be read: another version of streamer has written it.
	Unreadable string `json:"unreadable,omitempty"`
	// Created says that this call has made the job.
	Created bool `json:"-"`
}

// Deletion is how a job is to be deleted, and who wants it.
type Deletion struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
	// Offsets deletes the consumer group with its committed offsets, Letters the dead-letter topic. Else they stay, and a job with the
	// same group goes on where this one ended.
	Offsets bool `json:"offsets,omitempty"`
	Letters bool `json:"letters,omitempty"`
}

// DefinitionPage is one page of definitions, by id.
type DefinitionPage struct {
	Definitions []Definition `json:"definitions"`
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
	LogAge
}

// Definitions are the jobs in the log: what is to run, on every instance. Reads are from memory. Its methods may be called from any
// goroutine. Their errors are *service.Problem where the caller can do something about them: 404, 409 (exists, or is being deleted),
// 412 (the revision is another one), 422 (all faults at once), 403; else those of the log.
type Definitions struct {
	log         Log
	asked       Log // for what somebody waits for
	process     job.Process
	connections *Connections

	mu     sync.Mutex
	mark   kafkalog.Mark
	known  map[string]*indexed
	ids    []string            // sorted; nil: to be sorted again
	plain  map[string]string   // by job.PlainID: the id
	groups map[string][]string // by group: ids
	linked map[string][]string // by connection: ids
}

// indexed is what is looked up of a definition without reading the whole.
type indexed struct {
	entry       kafkalog.Entry
	owner       string
	group       string
	connections []string
	deleting    bool
	flow        *job.Flow // nil: not looked at, or it writes nothing that jobs may read; see flows
	looked      bool
}

// NewDefinitions reads and writes definitions in a log that somebody runs. process is what they are compiled with.
func NewDefinitions(log Log, process job.Process) *Definitions {
	d := &Definitions{log: log, asked: Prompt(log), process: process, known: map[string]*indexed{}, plain: map[string]string{}, groups: map[string][]string{}, linked: map[string][]string{}}
	d.connections = newConnections(d)
	d.process.Connection = d.connections.use
	return d
}

// Connections are the shared targets that the jobs may name.
func (d *Definitions) Connections() *Connections { return d.connections }

// using gives the ids of the jobs that name a connection, sorted.
func (d *Definitions) using(connection string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	return slices.Sorted(slices.Values(d.linked[connection]))
}

// fits says that a job can run in a process.
func (d *Definitions) fits(id string, p job.Process) bool {
	e, exists := d.log.Get(definitionPrefix + id)
	if !exists {
		return false
	}
	s, err := decodeDefinition(e)
	if err != nil {
		return false
	}
	def, err := s.parse()
	if err != nil {
		return false
	}
	_, faults := def.Compile(p)
	return faults.Err() == nil
}

// storedDefinition is the object of a definition in the log.
type storedDefinition struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	// Group is that of the document, or the one it has without.
	Group string `json:"group"`
	// Connection is the one that the document names for the job, Connections are all that it names, in its routes and steps too.
	Connection  string          `json:"connection,omitempty"`
	Connections []string        `json:"connections,omitempty"`
	Modified    time.Time       `json:"modified"`
	By          string          `json:"by"`
	Hash        string          `json:"hash"`
	Document    json.RawMessage `json:"document"`
	Deleting    *Deletion       `json:"deleting,omitempty"`
}

// decodeDefinition reads the object of a definition. An error says why it is left alone.
func decodeDefinition(e kafkalog.Entry) (storedDefinition, error) {
	id := strings.TrimPrefix(e.Key, definitionPrefix)
	what := "the definition of job " + id
	s, err := decodeObject[storedDefinition](e, definitionVersion, what)
	if err == nil && s.ID != id {
		err = &UnreadableError{What: what, Cause: "it is that of job " + s.ID}
	}
	if err != nil {
		return storedDefinition{ID: id}, err
	}
	return s, nil
}

// revisionText is how a revision is shown.
func revisionText(e kafkalog.Entry) string { return strconv.FormatInt(e.Revision+1, 10) }

// index brings what is looked up up to what the log has. The caller holds mu.
func (d *Definitions) index() {
	changed, whole, mark := d.log.Since(d.mark)
	d.mark = mark
	if whole {
		d.known, d.plain, d.ids = map[string]*indexed{}, map[string]string{}, nil
		d.groups, d.linked = map[string][]string{}, map[string][]string{}
	}
	for _, e := range changed {
		if id, ok := strings.CutPrefix(e.Key, definitionPrefix); ok {
			d.note(id, e)
		}
	}
}

func (d *Definitions) note(id string, e kafkalog.Entry) {
	if before := d.known[id]; before != nil {
		delete(d.known, id)
		delete(d.plain, job.PlainID(id))
		dropFrom(d.groups, before.group, id)
		for _, name := range before.connections {
			dropFrom(d.linked, name, id)
		}
		if e.Value == nil {
			d.ids = nil
		}
	} else if e.Value != nil {
		d.ids = nil
	}
	if e.Value == nil {
		return
	}
	now := &indexed{entry: e}
	if s, err := decodeDefinition(e); err == nil {
		now.owner, now.group, now.connections, now.deleting = s.Owner, s.Group, s.Connections, s.Deleting != nil
		d.groups[s.Group] = append(d.groups[s.Group], id)
		for _, name := range s.Connections {
			d.linked[name] = append(d.linked[name], id)
		}
	}
	d.known[id] = now
	d.plain[job.PlainID(id)] = id
}

// dropFrom takes an id out of a list.
func dropFrom(lists map[string][]string, name, id string) {
	if rest := slices.DeleteFunc(lists[name], func(other string) bool { return other == id }); len(rest) > 0 {
		lists[name] = rest
	} else {
		delete(lists, name)
	}
}

// sortedIDs gives all ids. The caller holds mu.
func (d *Definitions) sortedIDs() []string {
	if d.ids == nil {
		d.ids = slices.Sorted(maps.Keys(d.known))
	}
	return d.ids
}

// lookup gives the object of a job as this instance knows it.
func (d *Definitions) lookup(id string) (kafkalog.Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	if k := d.known[id]; k != nil {
		return k.entry, nil
	}
	return kafkalog.Entry{}, d.missing(id)
}

// missing says that there is no such job. The caller holds mu.
func (d *Definitions) missing(id string) error {
	mend := "streamer jobs list shows all"
	if meant := nearest.Name(id, d.sortedIDs()); meant != "" {
		mend = "did you mean " + meant + "?"
	}
	return service.Refuse(http.StatusNotFound, "job", fmt.Sprintf("there is no job %q", id), mend)
}

// Get gives the definition of a job, its secrets masked.
func (d *Definitions) Get(ctx context.Context, id string) (Definition, error) {
	if err := waitFor(ctx, d.log); err != nil {
		return Definition{}, err
	}
	e, err := d.lookup(id)
	if err != nil {
		return Definition{}, err
	}
	return d.shown(e, true), nil
}

// OwnerOf gives the owner of a job; false: there is none, or it cannot be read.
func (d *Definitions) OwnerOf(id string) (owner string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	k := d.known[id]
	if k == nil {
		return "", false
	}
	return k.owner, k.owner != ""
}

// List gives the definitions that a caller may view, by id, at most limit of those after the cursor. documents says whether
// they come with their documents.
func (d *Definitions) List(ctx context.Context, by service.Caller, after string, limit int, documents bool) (DefinitionPage, error) {
	if err := waitFor(ctx, d.log); err != nil {
		return DefinitionPage{}, err
	}
	page := DefinitionPage{Definitions: []Definition{}, LogAge: LogAge{d.log.Age().Seconds()}}
	d.mu.Lock()
	d.index()
	ids := d.sortedIDs()
	from, found := slices.BinarySearch(ids, after)
	if found {
		from++
	}
	var entries []kafkalog.Entry
	for _, id := range ids[from:] {
		k := d.known[id]
		if !by.May(service.View, k.owner) {
			continue
		}
		if len(entries) == limit {
			page.Next = strings.TrimPrefix(entries[limit-1].Key, definitionPrefix)
			break
		}
		entries = append(entries, k.entry)
	}
	d.mu.Unlock()
	for _, e := range entries {
		page.Definitions = append(page.Definitions, d.shown(e, documents))
	}
	return page, nil
}

// Wait returns when the log was read once; the error says why it was not after a while.
func (d *Definitions) Wait(ctx context.Context) error { return waitFor(ctx, d.log) }

// shown is what is told of an object.
func (d *Definitions) shown(e kafkalog.Entry, document bool) Definition {
	s, err := decodeDefinition(e)
	out := Definition{ID: s.ID, Owner: s.Owner, Revision: revisionText(e), Modified: s.Modified, By: s.By, Hash: s.Hash, Deleting: s.Deleting}
	if err != nil {
		out.Unreadable = err.Error()
		return out
	}
	if document {
		out.Document = s.masked()
	}
	return out
}

// parse gives the definition of a stored document.
func (s storedDefinition) parse() (*job.Definition, error) {
	defs, broken := job.ParseFile("job "+s.ID+".json", s.Document)
	if len(broken) > 0 {
		return nil, broken[0]
	}
	if len(defs) != 1 {
		return nil, fmt.Errorf("it is %d jobs", len(defs))
	}
	return defs[0], nil
}

// masked is the document for whoever may read it; null if it cannot be read.
func (s storedDefinition) masked() json.RawMessage {
	def, err := s.parse()
	if err != nil {
		return json.RawMessage("null")
	}
	return def.Masked()
}

// compile gives what runs.
func (d *Definitions) compile(s storedDefinition) (*plan, error) {
	def, err := s.parse()
	if err != nil {
		return nil, err
	}
	watch := def.Watch(d.process.Secrets)
	config, faults := def.Compile(d.process)
	if err := faults.Err(); err != nil {
		errs := faults.Errors()
		text := errs[0].Error()
		if more := len(errs) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		return nil, fmt.Errorf("%s", text)
	}
	p := newPlan(config)
	p.watch = watch
	return p, nil
}

// leftovers gives the group and the dead-letter topic of a job whose definition does not compile here.
func (d *Definitions) leftovers(id string) (group, letters string, err error) {
	e, exists := d.log.Get(definitionPrefix + id)
	if !exists {
		return "", "", d.missingNow(id)
	}
	s, err := decodeDefinition(e)
	if err != nil {
		return "", "", err
	}
	own := d.process.Namespace + ".dead-letters." + id
	var written struct {
		DeadLetter struct {
			Topic string `json:"topic"`
		} `json:"dead_letter"`
	}
	if json.Unmarshal(s.Document, &written) == nil && written.DeadLetter.Topic != "" {
		return s.Group, "", nil // it may be somebody else's too
	}
	return s.Group, own, nil
}
