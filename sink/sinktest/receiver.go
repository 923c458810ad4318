package sinktest

// Receiver is an HTTP API that records attempts.
type Receiver struct{}

// Attempts gives the recorded attempts by Seq.
func (r *Receiver) Attempts() []Attempt { return nil }
