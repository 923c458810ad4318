package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/control/service"
)

// Try gives a job to look at, not to run: what is stored of it, or what a document would make of it, which is checked as Replace checks it.
// None of its secrets is in the Config.
func (d *Definitions) Try(ctx context.Context, by service.Caller, id string, document []byte) (consumer.Config, error) {
	if err := waitFor(ctx, d.log); err != nil {
		return consumer.Config{}, err
	}
	e, err := d.lookup(id)
	if err != nil {
		return consumer.Config{}, err
	}
	s, err := decodeDefinition(e)
	if err != nil {
		return consumer.Config{}, leftAlone(err)
	}
	before, err := s.parse()
	if err != nil {
		return consumer.Config{}, leftAlone(err)
	}
	sealed := []byte(s.Document)
	if document != nil {
		if sealed, err = d.tried(by, id, s.Owner, document, before); err != nil {
			return consumer.Config{}, err
		}
	}
	defs, broken := job.ParseFile("job "+id+".json", sealed)
	if len(broken) > 0 || len(defs) != 1 {
		return consumer.Config{}, errors.New("the job cannot be read as it would be stored")
	}
	process := d.process
	process.Secrets.Masked = true
	cfg, faults := defs[0].Compile(process)
	if faults.Err() != nil {
		return consumer.Config{}, invalid(faults)
	}
	return cfg, nil
}

// tried gives a changed job as it would be stored.
func (d *Definitions) tried(by service.Caller, id, owner string, document []byte, before *job.Definition) ([]byte, error) {
	def, err := oneDocument(document)
	if err != nil {
		return nil, err
	}
	if def.ID != id {
		return nil, service.Refuse(http.StatusUnprocessableEntity, "id", fmt.Sprintf("the document is that of job %q, not of %q", def.ID, id), "")
	}
	if err := mayWrite(by, def); err != nil {
		return nil, err
	}
	if err := mayEdit(by, id, owner); err != nil {
		return nil, err
	}
	sealed, config, faults := def.Admit(d.process, before)
	faults = append(faults, d.clashes(by, id, config)...)
	if faults.Err() != nil {
		return nil, invalid(faults)
	}
	return sealed, nil
}
