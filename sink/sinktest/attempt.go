// Package sinktest is a receiving HTTP API for tests, the demo and the benchmark: it answers as a function says and remembers every
// attempt that reached it.
package sinktest

import "time"

// Attempt is one request as the Receiver saw it.
type Attempt struct {
	// Seq counts requests from 1 in the order in which they had been read whole.
	Seq int64
	// Start is when the request had been read, End when its answer was about to be written, or was broken off. End is zero while it
	// runs.
	Start, End time.Time
	// Method and Path; Path is the request target as sent, query included.
	Method, Path string
	// Key is the idempotency key: the Idempotency-Key header.
	Key string
	// Topic, Partition, Offset and Row are the row's position as the Streamer-… headers give it; Partition, Offset and Row are -1
	// where there is no such header.
	Topic     string
	Partition int32
	Offset    int64
	Row       int
	// Route and Step are the Streamer-Route and Streamer-Step headers: empty where a job has none, and Step for the row's own request.
	Route, Step string
	// Attempt is the Streamer-Attempt header, 0 if there is none.
	Attempt int
	// Status is what was answered; 0 if no answer was given (a fault broke the connection before the status line).
	Status int
	// Answered says that the whole answer was handed to the connection. It does not prove that the other side read it.
	Answered bool
	// Doubtful says that whoever looked at the network between does not know whether an answered attempt's answer arrived. The
	// Receiver does not set it.
	Doubtful bool
	// Peer is the other end of the connection that brought it.
	Peer string
	// Lane is the X-Lane header, or what Receiver.Lane made of the request.
	Lane string
	// Header holds the request's headers in order, kept only if Receiver.KeepHeaders is set.
	Header []Header
	// Body is kept unless Receiver.DropBodies is set.
	Body []byte
}

// Header is one header line of a request.
type Header struct{ Name, Value string }
