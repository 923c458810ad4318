package service

// Problem is an error as RFC 9457 writes it, with what it is about and what to do. It is what every route answers that could not do
// what it was asked for.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong, in one sentence.
	Detail string `json:"detail,omitempty"`
	// Field is the argument it is about, as the route names it; empty: none, or the whole.
	Field string `json:"field,omitempty"`
	// Mend says what to do.
	Mend string `json:"mend,omitempty"`
}

// Error gives the problem as one line: field: detail; mend.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Mend != "" {
		text += "; " + p.Mend
	}
	return text
}

// Refuse makes a problem. field and mend may be empty.
func Refuse(status int, field, detail, mend string) *Problem {
	return &Problem{Status: status, Detail: detail, Field: field, Mend: mend}
}
