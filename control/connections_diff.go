package control

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"streamer/consumer"
	"streamer/control/job"
	"streamer/control/service"
)

// Diff tells what a document would change of a connection, and what that does to the jobs that use it. It is checked as Replace checks it.
func (c *Connections) Diff(ctx context.Context, by service.Caller, name string, document []byte) (Difference, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	if err := c.log.Wait(ctx); err != nil {
		return Difference{}, err
	}
	conn, err := oneConnection(document)
	if err != nil {
		return Difference{}, err
	}
	if conn.Name != name {
		return Difference{}, service.Refuse(http.StatusUnprocessableEntity, "name", fmt.Sprintf("the document is that of connection %q, not of %q", conn.Name, name), "")
	}
	e, exists := c.log.Get(connectionPrefix + name)
	if !exists {
		return Difference{}, c.missing(by, name)
	}
	s, err := decodeConnection(e)
	if err != nil {
		return Difference{}, unreadableConnection(err)
	}
	before, err := s.parse()
	if err != nil {
		return Difference{}, unreadableConnection(err)
	}
	for _, owner := range []string{s.Owner, conn.Owner} {
		if owner != "" && !by.May(service.Edit, owner) {
			return Difference{}, service.Denied(by, service.Edit, fmt.Sprintf("connection %q", name), owner)
		}
	}
	sealed, target, faults := conn.Admit(c.process, before)
	if faults.Err() != nil {
		return Difference{}, invalid(faults)
	}
	if err := c.bears(by, name, target); err != nil {
		return Difference{}, err
	}
	out := Difference{Revision: revisionText(e), Changes: changes(before.Definition, conn.Definition)}
	for i := range out.Changes {
		out.Changes[i].Consequence = ""
	}
	if len(out.Changes) == 0 && !bytes.Equal(s.Document, sealed) {
		out.Changes = append(out.Changes, Change{Field: "auth", Consequence: "a secret is another one, or is sealed anew"})
	}
	was := c.user(s.Document)
	out.Effect = was.Effect(c.user(sealed))
	for i := range out.Changes {
		out.Changes[i].Effect = min(out.Effect, was.Effect(c.user(withField(s.Document, sealed, out.Changes[i].Field))))
	}
	return out, nil
}

// user is what runs of a job that uses a connection as it is stored: how it changes with the connection is how every job does. Of one that
// cannot be used it has no target.
func (c *Connections) user(document []byte) consumer.Config {
	const example = `{"id": "example", "owner": "example", "type": "POST", "topic": ["example"], "url": "/", "datamap": {}, "connection": "example"}`
	process := c.process
	process.Grants = nil
	process.Connection = func(string, string) (job.Target, error) {
		conn, broken := job.ParseConnection("connection.json", document)
		if len(broken) > 0 {
			return job.Target{}, broken[0]
		}
		target, faults := conn.Compile(c.process)
		return target, faults.Err()
	}
	defs, broken := job.ParseFile("example.json", []byte(example))
	if len(broken) > 0 || len(defs) != 1 {
		return consumer.Config{}
	}
	config, faults := defs[0].Compile(process)
	if faults.Err() != nil {
		return consumer.Config{}
	}
	return config
}
