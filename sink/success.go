package sink

// Success judges answers whose status says that all is well, for APIs that say in the body whether it is.
type Success struct {
	// Of says whether an answer is a success. It is called from many goroutines and must not keep what it is given.
	Of Judge
	// Else is the class of an answer that is none: Rejected or Target.
	Else Class
}

// Judge says whether an answer is a success. The Response has what Config.ResponseBytes let be read of the body.
type Judge interface{ Success(*Response) bool }

// apply gives a result that is Delivered by its status another class if the body says so.
func (s *Success) apply(r *result, answer *Response) {
	if s.Of.Success(answer) {
		return
	}
	r.class = s.Else
	r.reason = "answered " + statusText(r.status) + ", which success of the connection does not take for one"
	if answer.Truncated {
		r.reason += "; only the beginning of the body was read (delivery.response_bytes)"
	}
}
