package mapping

// userTemplate gives Request.User.
type userTemplate struct {
	at    string
	parts []part
}

// user compiles whose token goes along, which is written as a header's value is.
func (k *compiler) user(f field) *userTemplate {
	at, v := f.at, f.v
	if !given(v) {
		return nil
	}
	text, ok := v.Str()
	if !ok || text == "" {
		k.faults.Add(at, "is no text", "write whose token it is, as in \"{$.msg.user}\"")
		return nil
	}
	if nextReference(text) < len(text) {
		k.faults.Add(at, "has a reference", "a user is no secret: write the name, or {$.path} for one of the row")
		return nil
	}
	parts, ok := k.headerParts(at, text)
	if !ok {
		return nil
	}
	return &userTemplate{at, parts}
}

// user renders it. Who has no name has no token: nothing, null and an empty text are errors.
func (m *Mapper) user(t *userTemplate) (string, error) {
	if t == nil {
		return "", nil
	}
	name, ok, err := m.headerValue(&headerTemplate{at: t.at, parts: t.parts})
	if err == nil && (!ok || name == "") {
		err = &Error{t.at, "", "found no user, whose token would go along"}
	}
	return name, err
}
