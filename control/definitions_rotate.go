package control

import (
	"context"
	"net/http"
	"strings"

	"streamer/consumer/kafkalog"
	"streamer/control/service"
)

// Rotation is what became of the secrets of all jobs and connections.
type Rotation struct {
	// Key is the id of the key that they are sealed with now.
	Key string `json:"key"`
	// Resealed jobs and connections had secrets that another key had sealed, Current ones had none.
	Resealed int `json:"resealed"`
	Current  int `json:"current"`
	// Left are jobs, and connections (connection a), whose secrets could not be sealed anew; the key they need must stay.
	Left []service.Fault `json:"left,omitempty"`
}

// Rotate seals the secrets of every job and connection with the first key, so that the others can go. What runs is not changed by it. Twice is harmless, and
// so is an end in the middle: what is left then is sealed by the next call.
func (d *Definitions) Rotate(ctx context.Context, by service.Caller) (Rotation, error) {
	key := d.process.Secrets.Keyring.ID()
	if key == "" {
		return Rotation{}, service.Refuse(http.StatusConflict, "", "this instance has no key to seal secrets with", "set STREAMER_SECRET_KEY to the new key, a comma, and the old one")
	}
	if err := waitFor(ctx, d.log); err != nil {
		return Rotation{}, logProblem(err)
	}
	out := Rotation{Key: key}
	for _, e := range d.log.List(definitionPrefix) {
		if err := d.rotate(ctx, by, e.Key, &out); err != nil {
			return out, logProblem(err)
		}
	}
	for _, e := range d.log.List(connectionPrefix) {
		if err := d.rotate(ctx, by, e.Key, &out); err != nil {
			return out, logProblem(err)
		}
	}
	return out, nil
}

// rotate seals the secrets of one job or connection anew.
func (d *Definitions) rotate(ctx context.Context, by service.Caller, key string, out *Rotation) error {
	var changed bool
	var left *service.Fault
	_, err := d.asked.Update(ctx, key, func(e kafkalog.Entry, exists bool) (value, audit []byte, err error) {
		changed, left = false, nil
		if !exists {
			return nil, nil, nil
		}
		stay := func(job, why, mend string) ([]byte, []byte, error) {
			left = &service.Fault{Field: job, Detail: why, Mend: mend}
			return e.Value, nil, nil
		}
		if strings.HasPrefix(key, connectionPrefix) {
			return d.rotateConnection(by, e, out.Key, &changed, stay)
		}
		s, err := decodeDefinition(e)
		if err != nil {
			return stay(s.ID, err.Error(), "use an instance of that version")
		}
		def, err := s.parse()
		if err != nil {
			return stay(s.ID, err.Error(), "")
		}
		document, anew, faults := def.Reseal(d.process.Secrets.Keyring)
		if errs := faults.Errors(); len(errs) > 0 {
			return stay(s.ID, errs[0].Path+": "+errs[0].Problem, errs[0].Mend)
		}
		if changed = anew; !anew {
			return e.Value, nil, nil
		}
		s.Document, s.Hash = document, hashOf(document)
		return s.write(AuditLine{Job: s.ID, By: by.Name, Action: "secrets.rotate", Detail: map[string]any{"key": out.Key}})
	})
	switch {
	case left != nil:
		out.Left = append(out.Left, *left)
	case changed:
		out.Resealed++
	default:
		out.Current++
	}
	return err
}

// rotateConnection gives the object of a connection with its secrets sealed anew.
func (d *Definitions) rotateConnection(by service.Caller, e kafkalog.Entry, key string, changed *bool, stay func(what, why, mend string) ([]byte, []byte, error)) (value, audit []byte, err error) {
	s, err := decodeConnection(e)
	what := "connection " + s.Name
	if err != nil {
		return stay(what, err.Error(), "use an instance of that version")
	}
	conn, err := s.parse()
	if err != nil {
		return stay(what, err.Error(), "")
	}
	document, anew, faults := conn.Reseal(d.process.Secrets.Keyring)
	if errs := faults.Errors(); len(errs) > 0 {
		return stay(what, errs[0].Path+": "+errs[0].Problem, errs[0].Mend)
	}
	if *changed = anew; !anew {
		return e.Value, nil, nil
	}
	s.Document, s.Hash = document, hashOf(document)
	return written(s, AuditLine{Connection: s.Name, By: by.Name, Action: "secrets.rotate", Detail: map[string]any{"key": key}})
}
