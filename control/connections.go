package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/fault"
	"streamer/internal/nearest"
	"streamer/sink"
)

const (
	// connectionVersion is how a connection is written. An instance leaves alone what it cannot read.
	connectionVersion = 1
	connectionPrefix  = "connection/"
)

// Connection is a shared target as the log has it.
type Connection struct {
	Name string `json:"name"`
	// Owner is whose jobs may use it; "*": everybody's.
	Owner string `json:"owner"`
	// Revision rises with every change of the log; a change of the connection can be bound to it.
	Revision string `json:"revision"`
	// Modified is when the document was changed last, By who did. Hash is of the document as it is stored.
	Modified time.Time `json:"modified"`
	By       string    `json:"by"`
	Hash     string    `json:"hash"`
	// Paused says that nothing is sent to it, by any job on any instance; absent: it is not.
	Paused *Pause `json:"paused,omitempty"`
	// Jobs are those that name it, of those that the caller may view.
	Jobs []string `json:"jobs"`
	// Document is the connection with its secrets masked; absent in lists.
	Document json.RawMessage `json:"document,omitempty"`
	// Unreadable says why the rest could not be read: another version of streamer has written it.
	Unreadable string `json:"unreadable,omitempty"`
	// Created says that this call has made it.
	Created bool `json:"-"`
}

// Pause is who has stopped the deliveries to a connection, and when.
type Pause struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Connections are the shared targets in the log. They belong to Definitions: a job is compiled with its connection, and a connection that
// jobs use is not deleted. Its methods may be called from any goroutine, and its errors are as those of Definitions.
//
// What an instance's jobs share of a connection (sink.Shared) is made here, once per name, and hears of limits and pauses here: before a
// job is compiled with it, so that no attempt starts that a pause forbids, also after a restart.
type Connections struct {
	log     Log
	asked   Log // for what somebody waits for
	process job.Process
	// Of the jobs: who names it, whether one can run in a process, and whose it is.
	users    func(name string) []string
	fits     func(id string, p job.Process) bool
	jobOwner func(id string) string

	mu     sync.Mutex
	mark   kafkalog.Mark
	known  map[string]*linked
	shared map[string]*sink.Shared
	// moved are those whose jobs are to be compiled anew, turned those whose jobs are to be decided anew.
	moved, turned map[string]bool
}

// linked is a connection as this instance knows it.
type linked struct {
	entry  kafkalog.Entry
	stored storedConnection
	target job.Target
	watch  *job.Watch
	broken string // why it cannot be used
}

// storedConnection is the object of a connection in the log.
type storedConnection struct {
	Version  int             `json:"version"`
	Name     string          `json:"name"`
	Owner    string          `json:"owner"`
	Modified time.Time       `json:"modified"`
	By       string          `json:"by"`
	Hash     string          `json:"hash"`
	Document json.RawMessage `json:"document"`
	Paused   *Pause          `json:"paused,omitempty"`
}

// newConnections reads and writes connections in the log of d.
func newConnections(d *Definitions) *Connections {
	c := &Connections{log: d.log, asked: d.asked, process: d.process, users: d.using, fits: d.fits, jobOwner: func(id string) string { owner, _ := d.OwnerOf(id); return owner }, known: map[string]*linked{}, shared: map[string]*sink.Shared{},
		moved: map[string]bool{}, turned: map[string]bool{}}
	c.process.Connection = nil
	return c
}

// decodeConnection reads the object of a connection. An error says why it is left alone.
func decodeConnection(e kafkalog.Entry) (storedConnection, error) {
	name := strings.TrimPrefix(e.Key, connectionPrefix)
	what := "connection " + name
	s, err := decodeObject[storedConnection](e, connectionVersion, what)
	if err == nil && s.Name != name {
		err = &UnreadableError{What: what, Cause: "it is that of connection " + s.Name}
	}
	if err != nil {
		return storedConnection{Name: name}, err
	}
	return s, nil
}

// parse gives the connection of a stored document.
func (s storedConnection) parse() (*job.Connection, error) {
	conn, broken := job.ParseConnection("connection "+s.Name+".json", s.Document)
	if len(broken) > 0 {
		return nil, broken[0]
	}
	return conn, nil
}

// masked is the document for whoever may read it; null if it cannot be read.
func (s storedConnection) masked() json.RawMessage {
	conn, err := s.parse()
	if err != nil {
		return json.RawMessage("null")
	}
	return conn.Masked()
}

// index brings what is known up to what the log has: pauses and limits are in effect when it returns. The caller holds mu.
func (c *Connections) index() {
	changed, whole, mark := c.log.Since(c.mark)
	c.mark = mark
	if whole {
		there := map[string]bool{}
		for _, e := range changed {
			there[strings.TrimPrefix(e.Key, connectionPrefix)] = true
		}
		for name := range c.known {
			if !there[name] {
				delete(c.known, name)
				c.moved[name] = true
			}
		}
	}
	for _, e := range changed {
		if name, ok := strings.CutPrefix(e.Key, connectionPrefix); ok {
			c.note(name, e)
		}
	}
}

func (c *Connections) note(name string, e kafkalog.Entry) {
	before := c.known[name]
	if e.Value == nil {
		delete(c.known, name)
		c.moved[name] = c.moved[name] || before != nil
		return
	}
	if before != nil && before.entry.Revision == e.Revision && before.entry.Log == e.Log {
		return
	}
	now := &linked{entry: e}
	var err error
	if now.stored, err = decodeConnection(e); err != nil {
		now.broken = err.Error()
	}
	// Of one that cannot be read nobody knows whether it is paused: what was known stays.
	if err == nil {
		c.sharedOf(name).Pause(now.stored.Paused != nil)
	}
	c.known[name] = now
	if before == nil || !reflect.DeepEqual(before.stored.Paused, now.stored.Paused) {
		c.turned[name] = true
	}
	if before != nil && before.broken == "" && err == nil && bytes.Equal(before.stored.Document, now.stored.Document) {
		now.target, now.watch = before.target, before.watch
		return
	}
	c.compile(now)
	if before == nil || before.broken != now.broken || !sameTarget(before.target, now.target) {
		c.moved[name] = true
	}
}

// sameTarget says that jobs need not be compiled anew. Limits are in effect by themselves.
func sameTarget(a, b job.Target) bool {
	a.Limits, b.Limits = sink.SharedLimits{}, sink.SharedLimits{}
	return reflect.DeepEqual(a, b)
}

// compile makes a target of a stored connection. The caller holds mu.
func (c *Connections) compile(k *linked) {
	if k.stored.Version == 0 {
		return // it cannot be read, and says so
	}
	conn, err := k.stored.parse()
	if err == nil {
		k.watch = conn.Watch(c.process.Secrets)
		var faults fault.List
		k.target, faults = conn.Compile(c.process)
		err = faults.Err()
	}
	if k.broken = ""; err != nil {
		k.broken = err.Error()
		return
	}
	k.target.Shared = c.sharedOf(k.stored.Name)
	k.target.Shared.Set(k.target.Limits)
}

// sharedOf is what the jobs of a connection share here. The caller holds mu.
func (c *Connections) sharedOf(name string) *sink.Shared {
	if c.shared[name] == nil {
		c.shared[name] = sink.NewShared()
	}
	return c.shared[name]
}

// use is job.Process.Connection. Whether there is one of another owner is nobody's to know.
func (c *Connections) use(owner, name string) (job.Target, error) { return c.with(nil)(owner, name) }

// with is use, with targets in the place of what is known of their names.
func (c *Connections) with(targets map[string]job.Target) func(owner, name string) (job.Target, error) {
	return func(owner, name string) (job.Target, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.index()
		if t, given := targets[name]; given && job.Usable(t.Owner, owner) {
			return t, nil
		} else if k := c.known[name]; !given && k != nil && (k.stored.Owner == "" || job.Usable(k.stored.Owner, owner)) {
			if k.broken != "" {
				return job.Target{}, fault.Fault{Problem: fmt.Sprintf("connection %q cannot be used: %s", name, k.broken)}
			}
			return k.target, nil
		}
		var others []string
		for other, k := range c.known {
			if job.Usable(k.stored.Owner, owner) {
				others = append(others, other)
			}
		}
		for other, t := range targets {
			if job.Usable(t.Owner, owner) {
				others = append(others, other)
			}
		}
		mend := "streamer connections list shows those that there are"
		if meant := nearest.Name(name, others); meant != "" {
			mend = "did you mean " + meant + "?"
		}
		return job.Target{}, fault.Fault{Problem: fmt.Sprintf("there is no connection %q for jobs of %s", name, owner), Mend: mend}
	}
}

// missingFor gives a connection that a job names and may not use, or that is not there; empty: none.
func (c *Connections) missingFor(def *job.Definition) string {
	for _, name := range def.Connections() {
		if _, err := c.use(def.Owner, name); err != nil {
			return name
		}
	}
	return ""
}

// paused says why nothing is sent to a connection; empty: it is not paused.
func (c *Connections) paused(name string) string {
	if name == "" {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	if k := c.known[name]; k != nil && k.stored.Paused != nil {
		return fmt.Sprintf("connection %s is paused by %s", name, k.stored.Paused.By)
	}
	return ""
}

// news gives the connections whose jobs are to be compiled anew, and those whose jobs are to be decided anew, since it was last asked.
func (c *Connections) news() (moved, turned map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	moved, turned = c.moved, c.turned
	c.moved, c.turned = map[string]bool{}, map[string]bool{}
	return moved, turned
}

// mend compiles again what cannot be used here, and what refers to secret files that have changed.
func (c *Connections) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, k := range c.known {
		if k.broken == "" && !k.watch.Changed(c.process.Secrets) {
			continue
		}
		before, broken := k.target, k.broken
		c.compile(k)
		if k.broken != broken || !sameTarget(before, k.target) {
			c.moved[name] = true
		}
	}
}

// OwnerOf implements service.Owners.
func (c *Connections) OwnerOf(name string) (owner string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	k := c.known[name]
	if k == nil {
		return "", false
	}
	return k.stored.Owner, true
}

// Wait implements service.Owners.
func (c *Connections) Wait(ctx context.Context) error { return waitFor(ctx, c.log) }

// IDs implements service.Owners.
func (c *Connections) IDs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	return slices.Sorted(maps.Keys(c.known))
}

// Get gives a connection, its secrets masked.
func (c *Connections) Get(ctx context.Context, by service.Caller, name string) (Connection, error) {
	if err := waitFor(ctx, c.log); err != nil {
		return Connection{}, err
	}
	e, exists := c.log.Get(connectionPrefix + name)
	if !exists {
		return Connection{}, c.missing(by, name)
	}
	return c.shown(by, e, true), nil
}

// List gives the connections that a caller may view, by name, at most limit of those after the cursor.
func (c *Connections) List(ctx context.Context, by service.Caller, after string, limit int) (ConnectionPage, error) {
	if err := waitFor(ctx, c.log); err != nil {
		return ConnectionPage{}, err
	}
	page := ConnectionPage{Connections: []Connection{}, LogAge: LogAge{c.log.Age().Seconds()}}
	for _, e := range c.log.List(connectionPrefix) {
		n := c.shown(by, e, false)
		if n.Name <= after || !by.May(service.View, n.Owner) {
			continue
		}
		if len(page.Connections) == limit {
			page.Next = page.Connections[limit-1].Name
			break
		}
		page.Connections = append(page.Connections, n)
	}
	return page, nil
}

func (c *Connections) missing(by service.Caller, name string) error {
	return service.Unknown(c, by, "connection", "connection", name)
}

// shown is what is told of an object.
func (c *Connections) shown(by service.Caller, e kafkalog.Entry, document bool) Connection {
	s, err := decodeConnection(e)
	out := Connection{Name: s.Name, Owner: s.Owner, Revision: revisionText(e), Modified: s.Modified, By: s.By, Hash: s.Hash, Paused: s.Paused, Jobs: []string{}}
	if err != nil {
		out.Unreadable = err.Error()
		return out
	}
	out.Jobs = append(out.Jobs, c.usersSeen(by, s.Name)...)
	if document {
		out.Document = s.masked()
	}
	return out
}
