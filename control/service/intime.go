package service

import (
	"fmt"
	"runtime/debug"
	"time"
)

// inTime gives what call gives, or refuses when that takes longer than a call may: a Kafka client that waits for a broker which hangs looks
// at no context, and whoever calls would have no answer at all. call is left behind then: it ends with the client's own patience.
func inTime(most time.Duration, writes bool, call func() (any, error)) (any, error) {
	type outcome struct {
		out   any
		err   error
		broke string
	}
	ended := make(chan outcome, 1)
	go func() { // ends with call
		var o outcome
		defer func() {
			if cause := recover(); cause != nil {
				o.broke = fmt.Sprintf("%v\n%s", cause, debug.Stack())
			}
			ended <- o
		}()
		o.out, o.err = call()
	}()
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case o := <-ended:
		if o.broke != "" {
			panic(o.broke) // where it is caught
		}
		return o.out, o.err
	case <-late.C:
		detail := "Kafka did not answer in time"
		if writes {
			detail += "; whether it was done is not known"
		}
		return nil, Unavailable(detail)
	}
}
