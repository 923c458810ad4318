package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/fault"
)

// Create adds a job. document is JSON or YAML. A job of that id whose document is the same is no error, and nothing is written: Created
// is false then.
func (d *Definitions) Create(ctx context.Context, by service.Caller, document []byte) (Definition, error) {
	def, err := oneDocument(document)
	if err != nil {
		return Definition{}, err
	}
	return d.put(ctx, by, def, func(_ kafkalog.Entry, before *storedDefinition, after []byte) error {
		if before != nil && !bytes.Equal(before.Document, after) {
			return service.Refuse(http.StatusConflict, "id", fmt.Sprintf("there is a job %q already", def.ID),
				"change it with its revision, or choose another id")
		}
		return nil
	})
}

// Replace changes a job, if its revision is still the given one; an empty one is any. An equal document writes nothing. What the change
// does to rows that are under way, Diff tells.
func (d *Definitions) Replace(ctx context.Context, by service.Caller, id, revision string, document []byte) (Definition, error) {
	def, err := oneDocument(document)
	if err != nil {
		return Definition{}, err
	}
	if def.ID != id {
		return Definition{}, service.Refuse(http.StatusUnprocessableEntity, "id", fmt.Sprintf("the document is that of job %q, not of %q", def.ID, id),
			"an id cannot be changed: create the other job, and delete this one")
	}
	return d.put(ctx, by, def, func(e kafkalog.Entry, before *storedDefinition, _ []byte) error {
		if before == nil {
			return d.missingNow(id)
		}
		return unchanged(id, e, revision)
	})
}

// Delete lets every instance leave the job's group, after which the job is removed from the log: by one of the live ones, also when this
// one dies. It returns when that is decided; Removed waits for the end. Without a revision, any is deleted.
func (d *Definitions) Delete(ctx context.Context, by service.Caller, id, revision string, how Deletion) (Definition, error) {
	how.By, how.At = by.Name, time.Now().UTC()
	e, err := d.asked.Update(ctx, definitionPrefix+id, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		if !exists {
			return nil, nil, d.missingNow(id)
		}
		before, err := decodeDefinition(e)
		if err != nil {
			return nil, nil, leftAlone(err)
		}
		if err := mayEdit(by, id, before.Owner); err != nil {
			return nil, nil, err
		}
		if before.Deleting != nil && before.Deleting.Offsets == how.Offsets && before.Deleting.Letters == how.Letters {
			return e.Value, nil, nil
		}
		if err := unchanged(id, e, revision); err != nil {
			return nil, nil, err
		}
		after := before
		after.Deleting = &how
		return after.write(AuditLine{Job: id, By: by.Name, Action: "delete", Detail: map[string]any{"offsets": how.Offsets, "letters": how.Letters},
			DocumentBefore: before.masked()})
	})
	if err != nil {
		return Definition{}, err
	}
	return d.shown(e, true), nil
}

// Removed returns when a job that is being deleted is gone.
func (d *Definitions) Removed(ctx context.Context, id string) error {
	for {
		changed := d.log.Changed()
		if _, exists := d.log.Get(definitionPrefix + id); !exists {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("job %s is still being deleted: %w", id, ctx.Err())
		}
	}
}

// remove takes a job that nobody runs any more out of the log, with what is remembered of it.
func (d *Definitions) remove(ctx context.Context, id string) error {
	_, err := d.log.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
		e, exists := read(definitionPrefix + id)
		if !exists {
			return nil, nil
		}
		s, err := decodeDefinition(e)
		if err != nil || s.Deleting == nil {
			return nil, err
		}
		line, err := AuditLine{Job: id, By: s.Deleting.By, Action: "deleted"}.now()
		if err != nil {
			return nil, err
		}
		return []kafkalog.Write{{Key: definitionPrefix + id, Audit: line}, {Key: statePrefix + id}}, nil
	})
	return err
}

// oneDocument reads a document that is to be one job.
func oneDocument(document []byte) (*job.Definition, error) {
	defs, broken := job.ParseFile("document", document)
	if len(broken) > 0 {
		f := broken[0]
		detail := f.Problem
		if f.Line > 0 {
			detail = fmt.Sprintf("line %d: %s", f.Line, detail)
		}
		return nil, service.Refuse(http.StatusUnprocessableEntity, "document", detail, f.Mend)
	}
	if len(defs) != 1 {
		return nil, service.Refuse(http.StatusUnprocessableEntity, "document", fmt.Sprintf("these are %d jobs, not one", len(defs)), "send them one by one")
	}
	return defs[0].Bare(), nil
}

// put writes a definition. check has the last word: of the object as it is now (nil: there is none) and the document as it would be
// stored.
func (d *Definitions) put(ctx context.Context, by service.Caller, def *job.Definition, check func(e kafkalog.Entry, before *storedDefinition, after []byte) error) (Definition, error) {
	if def.ID == "" { // a key of nothing; what is wrong with it is found as well
		_, _, faults := def.Admit(d.process, nil)
		return Definition{}, invalid(faults)
	}
	created := false
	e, err := d.asked.Update(ctx, definitionPrefix+def.ID, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		created = !exists
		return d.change(by, def, d.process, e, exists, check)
	})
	if err != nil {
		return Definition{}, err
	}
	out := d.shown(e, true)
	out.Created = created
	return out, nil
}

// change gives the object of a job as it is to be, compiled for p. All is looked at as it is in the newest log.
func (d *Definitions) change(by service.Caller, def *job.Definition, p job.Process, e kafkalog.Entry, exists bool,
	check func(kafkalog.Entry, *storedDefinition, []byte) error) (value, audit []byte, err error) {
	var before *storedDefinition
	var beforeDef *job.Definition
	if exists {
		s, err := decodeDefinition(e)
		if err != nil {
			return nil, nil, leftAlone(err)
		}
		if err := mayEdit(by, def.ID, s.Owner); err != nil {
			return nil, nil, err
		}
		if beforeDef, err = s.parse(); err != nil {
			return nil, nil, leftAlone(err)
		}
		before = &s
	}
	if err := mayWrite(by, def); err != nil {
		return nil, nil, err
	}
	document, config, faults := def.Admit(p, beforeDef)
	faults = append(faults, d.clashes(by, def.ID, config)...)
	if faults.Err() != nil {
		return nil, nil, invalid(faults)
	}
	if err := check(e, before, document); err != nil {
		return nil, nil, err
	}
	line := AuditLine{Job: def.ID, By: by.Name, Action: "create"}
	if before != nil {
		if before.Deleting != nil {
			return nil, nil, service.Refuse(http.StatusConflict, "id", fmt.Sprintf("job %q is being deleted", def.ID), "try again when it is gone")
		}
		if bytes.Equal(before.Document, document) {
			return e.Value, nil, nil
		}
		line.Action, line.DocumentBefore = "change", beforeDef.Masked()
	}
	return newStored(def, config, document, by.Name).write(line)
}

// newStored is the object of a definition.
func newStored(def *job.Definition, config consumer.Config, document []byte, by string) storedDefinition {
	return storedDefinition{Version: definitionVersion, ID: def.ID, Owner: def.Owner, Group: config.Group, Connection: def.Text("connection"), Connections: def.Connections(), Modified: time.Now().UTC(), By: by,
		Hash: hashOf(document), Document: document}
}

// hashOf is the hash that a stored document is shown with.
func hashOf(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// write gives the object with its line for the audit.
func (s storedDefinition) write(line AuditLine) (value, audit []byte, err error) {
	if s.Deleting == nil {
		line.DocumentAfter = s.masked()
	}
	return written(s, line)
}

func (d *Definitions) missingNow(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	return d.missing(id)
}

// unchanged refuses to change what is not as the caller has seen it.
func unchanged(id string, e kafkalog.Entry, revision string) error {
	return sameRevision("job", id, e, revision)
}

// sameRevision is unchanged for a job or a connection.
func sameRevision(what, id string, e kafkalog.Entry, revision string) error {
	switch now := revisionText(e); {
	case revision == "" || revision == now:
	case revision == "0": // it was to be new: If-None-Match: *
		return service.Refuse(http.StatusPreconditionFailed, "if_match", fmt.Sprintf("there is a %s %q already, of revision %s", what, id, now), "choose another name, or give that revision to change it")
	default:
		return service.Refuse(http.StatusPreconditionFailed, "if_match", fmt.Sprintf("%s %q has revision %s now, not %s: it was changed meanwhile", what, id, now, revision),
			"read it again, and repeat the change")
	}
	return nil
}

// leftAlone refuses to change what cannot be read.
func leftAlone(err error) error {
	return service.Refuse(http.StatusConflict, "job", err.Error(), "use an instance of that version")
}

// mayEdit refuses a caller who may not edit the jobs of an owner.
func mayEdit(by service.Caller, id, owner string) error {
	if by.May(service.Edit, owner) {
		return nil
	}
	return service.Denied(by, service.Edit, fmt.Sprintf("job %q", id), owner)
}

// mayWrite refuses a caller who may not edit the jobs of the owner that a document names. One without an owner has a fault, and no more.
func mayWrite(by service.Caller, def *job.Definition) error {
	if def.Owner == "" {
		return nil
	}
	return mayEdit(by, def.ID, def.Owner)
}

// invalid is all that is wrong with a document.
func invalid(faults fault.List) error {
	errs := faults.Errors()
	if len(errs) == 0 {
		return errors.New("the document was refused without a fault")
	}
	all := make([]service.Fault, len(errs))
	for i, f := range errs {
		all[i] = service.Fault{Field: f.Path, Detail: f.Problem, Mend: f.Mend}
	}
	p := service.Wrong(all...)
	p.Status = http.StatusUnprocessableEntity
	return p
}
