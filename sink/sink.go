// Package sink is being built.
package sink

import (
	"context"
	"errors"
	"time"
)

type state struct{}

// Sink delivers.
type Sink struct{}

// New makes a Sink.
func New(c Config, permit func() time.Duration, o Observer) (*Sink, error) {
	return nil, errors.New("not built yet")
}

// NewScope makes a scope.
func (s *Sink) NewScope() *Scope { return nil }

// Pause pauses.
func (s *Sink) Pause() {}

// Resume resumes.
func (s *Sink) Resume() {}

// Stats tells.
func (s *Sink) Stats() Stats { return Stats{} }

// Close ends.
func (s *Sink) Close() {}

// Scope is an assignment.
type Scope struct{}

// Deliver delivers.
func (sc *Scope) Deliver(d *Delivery) {}

// Drain drains.
func (sc *Scope) Drain(ctx context.Context) {}

// Cancel cancels.
func (sc *Scope) Cancel() {}
