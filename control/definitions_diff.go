package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/control/service"
)

// Change is one field that would change.
type Change struct {
	Field string `json:"field"`
	// Before and After are its values, secrets masked; absent: the job does not have it.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	// Effect is what it does to a job that runs, by what comes of it when it is compiled.
	Effect consumer.Effect `json:"effect"`
	// Consequence says what is sent again, skipped or left behind, where that is not plain from the effect.
	Consequence string `json:"consequence,omitempty"`
}

// Difference is what a document would change.
type Difference struct {
	// Revision is the one that it is compared with; empty: there is no such job yet.
	Revision string   `json:"revision,omitempty"`
	Changes  []Change `json:"changes"`
	// Effect is that of all changes together.
	Effect consumer.Effect `json:"effect"`
	// Offsets is what happens to records when topics or group change; absent if they do not, or if Uncounted says why that cannot be counted.
	Offsets   *consumer.MovePlan `json:"offsets,omitempty"`
	Uncounted string             `json:"uncounted,omitempty"`

	from, to *consumer.Config // set when topics or group change
}

// Diff tells what a document would change of a job, and what that does. The document is checked as Replace checks it.
func (d *Definitions) Diff(ctx context.Context, by service.Caller, id string, document []byte) (Difference, error) {
	if err := waitFor(ctx, d.log); err != nil {
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
	out := Difference{Changes: []Change{}}
	var before *job.Definition
	var stored []byte
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
		out.Revision, stored = revisionText(e), s.Document
	}
	sealed, config, faults := def.Admit(d.process, before)
	faults = append(faults, d.clashes(by, id, config)...)
	if faults.Err() != nil {
		return out, invalid(faults)
	}
	out.Changes = changes(before, def)
	if before != nil {
		d.effects(&out, stored, sealed, config)
	}
	return out, nil
}

// effects says what changes do to a job that runs: each by itself, and all together. What decides is what comes of the documents when they
// are compiled (consumer.Config.Effect), as it does when they are applied.
func (d *Definitions) effects(out *Difference, before, after []byte, config consumer.Config) {
	was, valid := d.compiled(before)
	if out.Effect = consumer.EffectRejoin; valid {
		out.Effect = was.Effect(config)
	}
	if len(out.Changes) == 0 && !bytes.Equal(before, after) {
		out.Changes = append(out.Changes, Change{Field: "auth", Consequence: "a secret is another one, or is sealed anew"})
	}
	for i := range out.Changes {
		c := &out.Changes[i]
		c.Effect = out.Effect
		if !valid {
			c.Consequence = "the job cannot run as it is, and starts"
			continue
		}
		if only, fine := d.compiled(withField(before, after, c.Field)); fine { // else it goes with another one, or with none
			c.Effect = was.Effect(only)
		}
	}
	if valid && out.Effect == consumer.EffectRejoin {
		out.from, out.to = &was, &config
	}
}

// compiled is what runs of a stored document; false: it cannot.
func (d *Definitions) compiled(document []byte) (consumer.Config, bool) {
	defs, broken := job.ParseFile("document.json", document)
	if len(broken) > 0 || len(defs) != 1 {
		return consumer.Config{}, false
	}
	config, faults := defs[0].Compile(d.process)
	return config, faults.Err() == nil
}

// withField is a document with one field as another has it.
func withField(document, other []byte, field string) []byte {
	values, order := members(document)
	theirs, _ := members(other)
	if _, known := values[field]; !known {
		order = append(order, field)
	}
	values[field] = theirs[field]
	out := []byte{'{'}
	for _, name := range order {
		if values[name] == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil
		}
		out = append(append(append(out, key...), ':'), values[name]...)
	}
	return append(out, '}')
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
	faults = append(faults, d.clashes(by, def.ID, config)...)
	if faults.Err() != nil {
		return nil, invalid(faults)
	}
	warnings := []service.Fault{}
	for _, f := range faults {
		warnings = append(warnings, service.Fault{Field: f.Path, Detail: f.Problem, Mend: f.Mend})
	}
	return warnings, nil
}

// changes gives the fields that differ as they may be shown, in the order of the documents.
func changes(before, after *job.Definition) []Change {
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
		out = append(out, Change{Field: name, Before: was[name], After: is[name], Consequence: consequence(name, before)})
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
		return "a topic that is left out is not read any more, what is not delivered of it stays there, and its committed offsets stay until Kafka forgets them; a new one begins where its log does, or, if none of before is left, as start says"
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
	if d == nil {
		return map[string]json.RawMessage{}, nil
	}
	return members(d.Bare().Masked())
}

// members gives those of a JSON object, and their order.
func members(object []byte) (values map[string]json.RawMessage, order []string) {
	values = map[string]json.RawMessage{}
	dec := json.NewDecoder(bytes.NewReader(object))
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
