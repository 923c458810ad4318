package control

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
)

// mostNamed is how many jobs a refusal names.
const mostNamed = 5

// Create adds a connection. document is JSON or YAML. One of that name whose document is the same is no error, and nothing is written.
func (c *Connections) Create(ctx context.Context, by service.Caller, document []byte) (Connection, error) {
	conn, err := oneConnection(document)
	if err != nil {
		return Connection{}, err
	}
	return c.put(ctx, by, conn, func(_ kafkalog.Entry, before *storedConnection, after []byte) error {
		if before != nil && !bytes.Equal(before.Document, after) {
			return service.Refuse(http.StatusConflict, "name", fmt.Sprintf("there is a connection %q already", conn.Name), "change it with its revision, or choose another name")
		}
		return nil
	})
}

// Replace changes a connection, if its revision is still the given one; an empty one is any. Its jobs follow with their next request, and
// are looked at first: what would leave one of them without a target that it may use is refused.
func (c *Connections) Replace(ctx context.Context, by service.Caller, name, revision string, document []byte) (Connection, error) {
	conn, err := oneConnection(document)
	if err != nil {
		return Connection{}, err
	}
	if conn.Name != name {
		return Connection{}, service.Refuse(http.StatusUnprocessableEntity, "name", fmt.Sprintf("the document is that of connection %q, not of %q", conn.Name, name),
			"a name cannot be changed: create the other connection, move the jobs to it, and delete this one")
	}
	return c.put(ctx, by, conn, func(e kafkalog.Entry, before *storedConnection, _ []byte) error {
		if before == nil {
			return c.missing(by, name)
		}
		return sameRevision("connection", name, e, revision)
	})
}

// Delete removes a connection that no job names.
func (c *Connections) Delete(ctx context.Context, by service.Caller, name, revision string) error {
	_, err := c.update(ctx, by, service.Edit, name, "delete", func(e kafkalog.Entry, _ *storedConnection) (bool, error) {
		if err := sameRevision("connection", name, e, revision); err != nil {
			return false, err
		}
		if users := c.users(name); len(users) > 0 {
			return false, service.Refuse(http.StatusConflict, "connection", fmt.Sprintf("connection %q is used by %s", name, c.named(by, users)), "change or delete these jobs first")
		}
		return true, nil
	})
	return err
}

// Pause stops every delivery to a connection, on all instances, until Resume: no attempt starts, those in flight may end.
func (c *Connections) Pause(ctx context.Context, by service.Caller, name string) (Connection, error) {
	e, err := c.update(ctx, by, service.Operate, name, "pause", func(_ kafkalog.Entry, s *storedConnection) (bool, error) {
		if s.Paused == nil {
			s.Paused = &Pause{By: by.Name, At: time.Now().UTC()}
		}
		return false, nil
	})
	return c.told(by, e, err)
}

// Resume ends a pause. Jobs that are paused themselves stay so.
func (c *Connections) Resume(ctx context.Context, by service.Caller, name string) (Connection, error) {
	e, err := c.update(ctx, by, service.Operate, name, "resume", func(_ kafkalog.Entry, s *storedConnection) (bool, error) {
		s.Paused = nil
		return false, nil
	})
	return c.told(by, e, err)
}

func (c *Connections) told(by service.Caller, e kafkalog.Entry, err error) (Connection, error) {
	if err != nil {
		return Connection{}, err
	}
	return c.shown(by, e, true), nil
}

// update changes what is stored of a connection, but not its document, or deletes it. What changes nothing is not written.
func (c *Connections) update(ctx context.Context, by service.Caller, p service.Permission, name, action string,
	change func(kafkalog.Entry, *storedConnection) (remove bool, err error)) (kafkalog.Entry, error) {
	return c.asked.Update(ctx, connectionPrefix+name, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		if !exists {
			return nil, nil, c.missing(by, name)
		}
		before, err := decodeConnection(e)
		if err != nil {
			return nil, nil, unreadableConnection(err)
		}
		if !by.May(p, before.Owner) {
			return nil, nil, service.Denied(by, p, fmt.Sprintf("connection %q", name), before.Owner)
		}
		after := before
		remove, err := change(e, &after)
		switch {
		case err != nil:
			return nil, nil, err
		case remove:
			audit, err = AuditLine{Connection: name, By: by.Name, Action: action, DocumentBefore: before.masked()}.now()
			return nil, audit, err
		case reflect.DeepEqual(before, after):
			return e.Value, nil, nil
		}
		return written(after, AuditLine{Connection: name, By: by.Name, Action: action})
	})
}

// oneConnection reads a document that is to be one connection.
func oneConnection(document []byte) (*job.Connection, error) {
	conn, broken := job.ParseConnection("document", document)
	if len(broken) == 0 {
		return conn, nil
	}
	f := broken[0]
	detail := f.Problem
	if f.Line > 0 {
		detail = fmt.Sprintf("line %d: %s", f.Line, detail)
	}
	return nil, service.Refuse(http.StatusUnprocessableEntity, "document", detail, f.Mend)
}

// put writes a connection. check has the last word: of the object as it is now (nil: there is none) and the document as it would be stored.
func (c *Connections) put(ctx context.Context, by service.Caller, conn *job.Connection, check func(kafkalog.Entry, *storedConnection, []byte) error) (Connection, error) {
	if conn.Name == "" { // a key of nothing; what is wrong with it is found as well
		_, _, faults := conn.Admit(c.process, nil)
		return Connection{}, invalid(faults)
	}
	created := false
	e, err := c.asked.Update(ctx, connectionPrefix+conn.Name, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		created = !exists
		value, audit, _, err = c.change(by, conn, e, exists, check)
		return value, audit, err
	})
	if err != nil {
		return Connection{}, err
	}
	out := c.shown(by, e, true)
	out.Created = created
	return out, nil
}

// change gives the object of a connection as it is to be, and what its jobs will take from it. All is looked at as it is in the newest log.
func (c *Connections) change(by service.Caller, conn *job.Connection, e kafkalog.Entry, exists bool,
	check func(kafkalog.Entry, *storedConnection, []byte) error) (value, audit []byte, t job.Target, err error) {
	var before *storedConnection
	var beforeConn *job.Connection
	if exists {
		s, err := decodeConnection(e)
		if err != nil {
			return nil, nil, t, unreadableConnection(err)
		}
		if !by.May(service.Edit, s.Owner) {
			return nil, nil, t, service.Denied(by, service.Edit, fmt.Sprintf("connection %q", conn.Name), s.Owner)
		}
		if beforeConn, err = s.parse(); err != nil {
			return nil, nil, t, unreadableConnection(err)
		}
		before = &s
	}
	if conn.Owner != "" && !by.May(service.Edit, conn.Owner) {
		return nil, nil, t, service.Denied(by, service.Edit, fmt.Sprintf("connection %q", conn.Name), conn.Owner)
	}
	document, target, faults := conn.Admit(c.process, beforeConn)
	if faults.Err() != nil {
		return nil, nil, t, invalid(faults)
	}
	if err := check(e, before, document); err != nil {
		return nil, nil, t, err
	}
	after := storedConnection{Version: connectionVersion, Name: conn.Name, Owner: conn.Owner, Modified: time.Now().UTC(), By: by.Name,
		Hash: hashOf(document), Document: document}
	line := AuditLine{Connection: conn.Name, By: by.Name, Action: "create", DocumentAfter: after.masked()}
	if before != nil {
		if bytes.Equal(before.Document, document) {
			return e.Value, nil, target, nil
		}
		if err := c.bears(by, conn.Name, target); err != nil {
			return nil, nil, t, err
		}
		after.Paused = before.Paused
		line.Action, line.DocumentBefore = "change", before.masked()
	}
	value, audit, err = written(after, line)
	return value, audit, target, err
}

// bears refuses a change that a job which can run would not survive: it would go on as it was, with the target and the secrets of before.
func (c *Connections) bears(by service.Caller, name string, target job.Target) error {
	now, then := c.process, c.process
	now.Connection = c.use
	then.Connection = c.with(map[string]job.Target{name: target})
	var broken []string
	for _, id := range c.users(name) {
		if c.fits(id, now) && !c.fits(id, then) {
			broken = append(broken, id)
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return service.Refuse(http.StatusConflict, "connection", fmt.Sprintf("with this, %s could not run any more", c.named(by, broken)),
		"let their url be a path, and their owner one who may use the connection, first")
}

// usersSeen are the jobs that name a connection, of those that a caller may view.
func (c *Connections) usersSeen(by service.Caller, name string) []string {
	return slices.DeleteFunc(c.users(name), func(id string) bool {
		return !by.May(service.View, c.jobOwner(id))
	})
}

// named are jobs in a sentence. Those that a caller may not view are only counted.
func (c *Connections) named(by service.Caller, ids []string) string {
	var names []string
	for _, id := range ids {
		if len(names) < mostNamed && by.May(service.View, c.jobOwner(id)) {
			names = append(names, id)
		}
	}
	hidden := len(ids) - len(names)
	switch {
	case len(names) == 0:
		return fmt.Sprintf("%d jobs of other owners", hidden)
	case hidden > 0:
		return fmt.Sprintf("%s and %d other jobs", strings.Join(names, ", "), hidden)
	}
	return strings.Join(names, ", ")
}

func unreadableConnection(err error) error {
	return service.Refuse(http.StatusConflict, "connection", err.Error(), "use an instance of that version")
}
