package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"streamer/control/job"
	"streamer/control/service"
)

// Effect is what a change of a field does to a job that runs.
type Effect string

// The effects, the mildest first. A change of several fields has the strongest of theirs.
const (
	// NoEffect changes nothing of what runs.
	NoEffect Effect = "none"
	// NextAttempt takes effect with the next attempt of each row, also of rows that are under way.
	NextAttempt Effect = "next attempt"
	// Remap lets requests in flight end; rows that are not final then are filtered and mapped anew, and every later attempt is by the new
	// definition. No row is skipped; one whose answer was lost is sent again.
	Remap Effect = "drain and re-map"
	// Rejoin stops the job as a stop does, on every instance, and starts it anew with other topics or another group.
	Rejoin Effect = "leave and join"
)

var effects = []Effect{NoEffect, NextAttempt, Remap, Rejoin}

// fieldEffects are those of a job's fields; Remap for all that is not here. What a change really does is decided by what comes of it when it
// is compiled (consumer.Runner.Change).
var fieldEffects = map[string]Effect{
	"owner": NoEffect, "modified": NoEffect, "hash": NoEffect, "instances": NoEffect, "start": NoEffect,
	"basic_auth": NextAttempt, "token": NextAttempt, "auth": NextAttempt, "delivery": NextAttempt, "ratelimit": NextAttempt,
	"dead_letter": NextAttempt,
	"topic":       Rejoin, "group": Rejoin,
}

// Change is one field that would change.
type Change struct {
	Field string `json:"field"`
	// Before and After are its values, secrets masked; absent: the job does not have it.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Effect Effect          `json:"effect"`
	// Consequence says what is sent again, skipped or left behind, where that is not plain from the effect.
	Consequence string `json:"consequence,omitempty"`
}

// Difference is what a document would change.
type Difference struct {
	// Revision is the one that it is compared with; empty: there is no such job yet.
	Revision string   `json:"revision,omitempty"`
	Changes  []Change `json:"changes"`
	// Effect is the strongest of the changes.
	Effect Effect `json:"effect"`
}

// Diff tells what a document would change of a job, and what that does. The document is checked as Replace checks it.
func (d *Definitions) Diff(ctx context.Context, by service.Caller, id string, document []byte) (Difference, error) {
	if err := d.wait(ctx); err != nil {
		return Difference{}, err
	}
	def, err := oneDocument(document)
	if err != nil {
		return Difference{}, err
	}
	if def.ID != id {
		return Difference{}, service.Refuse(http.StatusUnprocessableEntity, "id", fmt.Sprintf("the document is that of job %q, not of %q", def.ID, id), "")
	}
	if err := mayWrite(by, def); err != nil {
		return Difference{}, err
	}
	out := Difference{Changes: []Change{}, Effect: NoEffect}
	var before *job.Definition
	if e, exists := d.log.Get(definitionPrefix + id); exists {
		s, err := decodeDefinition(e)
		if err != nil {
			return out, leftAlone(err)
		}
		if before, err = s.parse(); err != nil {
			return out, leftAlone(err)
		}
		if err := mayEdit(by, id, s.Owner); err != nil {
			return out, err
		}
		out.Revision = revisionText(e)
	}
	sealed, config, faults := def.Admit(d.process, before)
	faults = append(faults, d.clashes(id, config.Group)...)
	if faults.Err() != nil {
		return out, invalid(faults)
	}
	out.Changes = changes(before, def, before == nil || !bytes.Equal(before.Canonical(), sealed))
	for _, c := range out.Changes {
		if slices.Index(effects, c.Effect) > slices.Index(effects, out.Effect) {
			out.Effect = c.Effect
		}
	}
	return out, nil
}

// Validate gives all that is wrong with a document, and what it warns of, as *service.Problem or nil; nothing is written. The faults tell
// which secret files an owner has and where a stored secret may go, so whoever may not write the job is denied.
func (d *Definitions) Validate(_ context.Context, by service.Caller, document []byte) ([]service.Fault, error) {
	def, err := oneDocument(document)
	if err != nil {
		return nil, err
	}
	if err := mayWrite(by, def); err != nil {
		return nil, err
	}
	var before *job.Definition
	if e, exists := d.log.Get(definitionPrefix + def.ID); exists {
		if s, err := decodeDefinition(e); err == nil {
			if err := mayEdit(by, def.ID, s.Owner); err != nil {
				return nil, err
			}
			before, _ = s.parse() // without it, masked secrets are refused
		}
	}
	_, config, faults := def.Admit(d.process, before)
	faults = append(faults, d.clashes(def.ID, config.Group)...)
	if faults.Err() != nil {
		return nil, invalid(faults)
	}
	warnings := []service.Fault{}
	for _, f := range faults {
		warnings = append(warnings, service.Fault{Field: f.Path, Detail: f.Problem, Mend: f.Mend})
	}
	return warnings, nil
}

// changes gives the fields that differ, in the order of the documents. differ says that the documents do: if no field shows it, a secret
// was changed that cannot be seen.
func changes(before, after *job.Definition, differ bool) []Change {
	was, order := fields(before)
	is, more := fields(after)
	for _, name := range more {
		if _, known := was[name]; !known {
			order = append(order, name)
		}
	}
	out := []Change{}
	for _, name := range order {
		if bytes.Equal(was[name], is[name]) {
			continue
		}
		effect, known := fieldEffects[name]
		if !known {
			effect = Remap
		}
		if before == nil {
			effect = NoEffect
		}
		out = append(out, Change{Field: name, Before: was[name], After: is[name], Effect: effect, Consequence: consequence(name, before)})
	}
	if len(out) == 0 && differ {
		out = append(out, Change{Field: "auth", Effect: NextAttempt, Consequence: "a secret is another one, or is sealed anew"})
	}
	return out
}

// consequence says what an effect does not.
func consequence(field string, before *job.Definition) string {
	if before == nil {
		return ""
	}
	switch field {
	case "owner":
		return "secret files are those of the other owner, from the next attempt on"
	case "topic":
		return "a topic that is left out is not read any more, what is not delivered of it stays there, and its committed offsets stay until Kafka forgets them; a new one begins as start says"
	case "group":
		return "the other group's committed offsets count: without any it begins as start says, which from earliest sends everything again, and from latest skips what is not delivered; the offsets of the group before stay"
	case "start":
		return "only partitions without a committed offset begin there"
	case "instances":
		return "instances that are too many leave the group, others join"
	case "order":
		return "rows that wait in a lane are put into lanes anew; the order of rows that are in flight is kept, as they are drained first"
	}
	return ""
}

// fields gives the fields of a job as they may be shown, and their order.
func fields(d *job.Definition) (values map[string]json.RawMessage, order []string) {
	values = map[string]json.RawMessage{}
	if d == nil {
		return values, nil
	}
	dec := json.NewDecoder(bytes.NewReader(d.Bare().Masked()))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return values, nil
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			break
		}
		values[name.(string)] = value
		order = append(order, name.(string))
	}
	return values, order
}
