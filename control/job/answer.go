package job

import (
	"fmt"
	"regexp"
	"slices"

	"streamer/internal/nearest"
	"streamer/mapping"
	"streamer/sink"
)

// answerRoots are what an answer has, to expressions.
var answerRoots = []string{"status", "headers", "body"}

// firstName is the first name of an expression.
var firstName = regexp.MustCompile(`^\s*\$?\.?([A-Za-z_][A-Za-z0-9_]*)`)

// success reads when an answer of the connection is one.
func (c *compilation) success() *sink.Success {
	s, ok := c.sub("success", false)
	if !ok {
		return nil
	}
	c.needs(s, "when", "write a JSONPath over {status, headers, body}, as in $.body.success")
	success := &sink.Success{Else: sink.Rejected}
	if word, _ := s.word("else", "rejected", "target"); word == "target" {
		success.Else = sink.Target
	}
	text, ok := s.text("when")
	if !ok {
		return nil
	}
	at := member(s.path, "when")
	path, err := mapping.CompilePath(text)
	if err != nil {
		c.faults.Add(at, err.Error(), "")
		return nil
	}
	if root := firstName.FindStringSubmatch(text); root != nil && !slices.Contains(answerRoots, root[1]) {
		mend := "it sees $.status, $.headers and $.body"
		if name := nearest.Name(root[1], answerRoots); name != "" {
			mend = "did you mean " + name + "? " + mend
		}
		c.faults.Add(at, fmt.Sprintf("an answer has no %q", clip(root[1])), mend)
		return nil
	}
	success.Of = judge{path}
	return success
}

// judge looks at an answer with an expression.
type judge struct{ Path *mapping.Path }

// Success implements sink.Judge.
func (j judge) Success(r *sink.Response) bool {
	answer := mapping.Response{Status: r.Status, Body: r.Body, Header: make([]mapping.Header, len(r.Header))}
	for i, h := range r.Header {
		answer.Header[i] = mapping.Header(h)
	}
	return j.Path.Holds(answer.Value())
}

// register reads what is said to a Token Storage. What is missing of it is the sink's to say, by the same paths.
func (c *compilation) register() *sink.Registration {
	s, ok := c.sub("register", false)
	if !ok {
		return nil
	}
	r := sink.Registration{Guard: c.process.Guard}
	r.URL, _ = s.text("url")
	r.Name, _ = s.text("servicename")
	r.AuthorizeURL, _ = s.text("authorize_url")
	r.RefreshURL, _ = s.text("refresh_url")
	r.ClientID, _ = s.text("client_id")
	r.ClientSecret = c.secret(s, "client_secret")
	r.Implements, _ = s.texts("implements")
	word, _ := s.word("known", "accept", "refuse")
	r.RefuseKnown = word == "refuse"
	return &r
}
