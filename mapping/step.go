package mapping

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"streamer/schemas"
)

// jobStep is one of the requests before a row's own: a plain one, or an entity that is read and, where needed, created or updated.
type jobStep struct {
	name, at string
	// when is the slot that says whether it is made; -1: always.
	when  int
	each  *eachRule
	cache *cacheRule
	// plain is set for a step that is one request, entity for read_or_create.
	plain  *stepRequest
	entity *entityRule
	// needsJSON says that something looks into the body it is answered.
	needsJSON bool
}

// stepRequest is a request whose answer is kept.
type stepRequest struct {
	template
	accept []int
}

// eachRule is for_each: the slot that finds what a step is made for, and how a path is cut.
type eachRule struct {
	at        string
	slot      int
	separator string
	ancestors bool
}

// cacheRule is how long an answer stands for the same call, or for another one with the same key.
type cacheRule struct {
	at  string
	key []part
	ttl time.Duration
}

// entityRule is read_or_create.
type entityRule struct {
	at             string
	read           stepRequest
	create, update *stepRequest
	// selects finds the entity in the answer to read; -1: the answer is the entity. id finds what it is called; -1: its id, or Location.
	selects, id int
	// createWhen is the slot that says whether a missing one is created, updateWhen whether one that differs is changed; -1: always.
	createWhen, updateWhen int
	missing                []part
}

const (
	maxSteps = 32
	// maxItems bounds what for_each finds in a row.
	maxItems = 1000
)

var (
	requestKeys = []string{"type", "url", "headers", "query_params", "json_body", "form_body", "payload"}
	stepKeys    = append([]string{"name", "when", "for_each", "cache", "accept", "read_or_create", "connection", "auth"}, requestKeys...)
	stepName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
)

// steps compiles the list of steps. Each sees the answers to those before it.
func (k *compiler) steps(c Config) {
	v := c.Steps
	if !given(v) {
		return
	}
	if v.Kind() != schemas.Array || v.Len() > maxSteps {
		k.faults.Add("steps", fmt.Sprintf("found %s, not a list of at most %d steps", listedKind(v), maxSteps), "write [{name: owner, url: https://example.org/users/{$.msg.owner}}]")
		return
	}
	i := 0
	for e := range v.Elements() {
		k.step(element("steps", i), wording{user: c.wording().user}, e)
		i++
	}
}

func listedKind(v schemas.Value) string {
	if v.Kind() == schemas.Array {
		return "a list of " + strconv.Itoa(v.Len())
	}
	return kindOf(v)
}

func (k *compiler) step(at string, base wording, v schemas.Value) {
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not an object", "write {name: owner, url: https://example.org/users/{$.msg.owner}}")
		return
	}
	unknownKeys(&k.faults, at, v, stepKeys...)
	s := jobStep{at: at, name: k.stepName(placed(at, "name"), v.Field("name"))}
	k.scope = 0
	if len(k.prog.steps) > 0 {
		k.scope = areaSteps
	}
	s.when = k.when(placed(at, "when"), v.Field("when"))
	s.each = k.forEach(placed(at, "for_each"), v.Field("for_each"))
	if s.each != nil {
		k.scope |= areaItem
	}
	if entity := v.Field("read_or_create"); given(entity) {
		for _, name := range append([]string{"accept"}, requestKeys...) {
			if v.Field(name).Kind() != schemas.Absent {
				k.faults.Add(placed(at, name), "stands beside read_or_create", "write it into read, create or update")
			}
		}
		own := wording{user: base.user}
		if auth := v.Field("auth"); auth.Kind() != schemas.Absent {
			own.user = field{placed(at, "auth.token_storage.user"), auth.Field("token_storage").Field("user")}
		}
		s.entity = k.entity(placed(at, "read_or_create"), entity, own)
	} else {
		r := k.stepRequest(base, at, v, "GET")
		s.plain = &r
	}
	s.cache = k.cacheRule(placed(at, "cache"), v.Field("cache"))
	k.scope = 0
	k.prog.steps = append(k.prog.steps, s)
}

func (k *compiler) stepName(at string, v schemas.Value) string {
	const form = "write a letter and then letters, digits and _, as in owner: what it answers is at $.steps.owner"
	name, ok := v.Str()
	switch {
	case v.Kind() == schemas.Absent:
		k.faults.Add(at, "missing", form)
	case !ok:
		k.faults.Add(at, "found "+kindOf(v)+", not a name", form)
	case !stepName.MatchString(name):
		k.faults.Add(at, shown(name)+" is no name of a step", form)
	case slices.ContainsFunc(k.prog.steps, func(s jobStep) bool { return s.name == name }):
		k.faults.Add(at, shown(name)+" is the name of an earlier step", "give each step a name of its own")
	}
	return name
}

// stepRequest compiles the request of the object v; method is what its type is if it says none.
func (k *compiler) stepRequest(base wording, at string, v schemas.Value, method string) stepRequest {
	w := base.inherit(at, v)
	if w.method.v.Kind() == schemas.Absent {
		w.method.v = textValue(method)
	}
	return stepRequest{k.template(w), k.accept(placed(at, "accept"), v.Field("accept"))}
}

// accept reads status codes that are an answer and no failure.
func (k *compiler) accept(at string, v schemas.Value) []int {
	if !given(v) {
		return nil
	}
	if v.Kind() != schemas.Array {
		k.faults.Add(at, "found "+kindOf(v)+", not a list of status codes", "write [404]")
		return nil
	}
	var codes []int
	i := 0
	for e := range v.Elements() {
		code, ok := e.Int()
		if !ok || code < 300 || code > 499 || code == 401 || code == 407 || code == 408 || code == 425 || code == 429 {
			k.faults.Add(element(at, i), "is no status code that can be an answer", "write one from 300 to 499, but none that asks to log in or to come again")
		}
		codes = append(codes, int(code))
		i++
	}
	return codes
}

func (k *compiler) forEach(at string, v schemas.Value) *eachRule {
	const form = "write a JSONPath such as $.msg.groups[*], or {path: $.msg.group, separator: __} for a path and all above it"
	e := &eachRule{at: at}
	path := v
	switch v.Kind() {
	case schemas.Absent, schemas.Null:
		return nil
	case schemas.Object:
		unknownKeys(&k.faults, at, v, "path", "separator", "ancestors")
		e.ancestors = true
		switch a := v.Field("ancestors"); a.Kind() {
		case schemas.Absent:
		case schemas.Bool:
			e.ancestors, _ = a.Bool()
		default:
			k.faults.Add(at+".ancestors", "found "+kindOf(a)+", not true or false", "")
		}
		path = v.Field("path")
		at += ".path"
		if e.separator, _ = v.Field("separator").Str(); e.separator == "" {
			k.faults.Add(e.at+".separator", "is no text that separates the names in a path", `write {path: $.msg.group, separator: "__"}`)
		}
	}
	text, ok := path.Str()
	if !ok {
		k.faults.Add(at, "found "+kindOf(path)+", not a JSONPath", form)
		return nil
	}
	if e.slot, ok = k.inlinePath(at, text); !ok {
		return nil
	}
	return e
}

func (k *compiler) cacheRule(at string, v schemas.Value) *cacheRule {
	const form = `write {ttl: 10m}, with a key such as "{$.msg.owner}" if not every change of the request is another question`
	if !given(v) {
		return nil
	}
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not an object", form)
		return nil
	}
	unknownKeys(&k.faults, at, v, "key", "ttl")
	c := &cacheRule{at: at}
	text, _ := v.Field("ttl").Str()
	var err error
	if c.ttl, err = time.ParseDuration(text); err != nil || c.ttl <= 0 || c.ttl > 24*time.Hour {
		k.faults.Add(at+".ttl", "is no time of at most 24h", form)
	}
	if key := v.Field("key"); given(key) {
		text, ok := key.Str()
		if !ok || text == "" {
			k.faults.Add(at+".key", "found "+kindOf(key)+", not a text", form)
			return c
		}
		c.key, _ = k.lexTemplate(at+".key", text)
	}
	return c
}

func (k *compiler) entity(at string, v schemas.Value, base wording) *entityRule {
	const form = "write {read: {url: …}, create: {url: …, payload: …}, update: {url: …}}"
	if v.Kind() != schemas.Object {
		k.faults.Add(at, "found "+kindOf(v)+", not an object", form)
		return nil
	}
	unknownKeys(&k.faults, at, v, "read", "create", "update", "id", "missing")
	e := &entityRule{at: at, createWhen: -1, updateWhen: -1}
	part := func(name, method string, more ...string) (*stepRequest, schemas.Value) {
		part := v.Field(name)
		switch part.Kind() {
		case schemas.Absent:
			return nil, part
		case schemas.Object:
		default:
			k.faults.Add(placed(at, name), "found "+kindOf(part)+", not an object", form)
			return nil, part
		}
		unknownKeys(&k.faults, placed(at, name), part, append(more, requestKeys...)...)
		r := k.stepRequest(base, placed(at, name), part, method)
		return &r, part
	}
	read, doc := part("read", "GET", "accept", "select")
	if read != nil {
		e.read = *read
		k.scope |= areaAnswer
		e.selects = k.finds(placed(at, "read.select"), doc.Field("select"))
	} else if v.Field("read").Kind() == schemas.Absent {
		k.faults.Add(placed(at, "read"), "missing", form)
	}
	e.create, doc = part("create", "POST", "when")
	if e.create != nil {
		e.createWhen = k.when(placed(at, "create.when"), doc.Field("when"))
	}
	if m := v.Field("missing"); given(m) {
		text, ok := m.Str()
		if !ok {
			k.faults.Add(placed(at, "missing"), "found "+kindOf(m)+", not a text", `write "the group {$.item.value} is not there"`)
		} else {
			e.missing, _ = k.lexTemplate(placed(at, "missing"), text)
		}
	}
	k.scope |= areaFound
	e.update, doc = part("update", "PUT", "when")
	if e.update != nil {
		e.updateWhen = k.when(placed(at, "update.when"), doc.Field("when"))
	}
	if u := e.update; u != nil && u.body.form != nil {
		k.faults.Add(placed(at, "update.form_body"), "cannot be compared with what was read", "write a payload")
	}
	if u := e.update; u != nil && u.body.empty() && (e.create == nil || e.create.body.empty() || e.create.body.form != nil) {
		k.faults.Add(placed(at, "update"), "has no payload, and create has none that is JSON", "write what the entity should be")
	}
	e.id = k.finds(placed(at, "id"), v.Field("id"))
	return e
}

// finds compiles an expression whose value is wanted; -1 for none.
func (k *compiler) finds(at string, v schemas.Value) int {
	if !given(v) {
		return -1
	}
	text, ok := v.Str()
	if !ok {
		k.faults.Add(at, "found "+kindOf(v)+", not a JSONPath", "write a text such as $.found.uuid")
		return -1
	}
	slot, ok := k.inlinePath(at, text)
	if !ok {
		return -1
	}
	return slot
}

func (b *body) empty() bool { return b.object == nil && b.form == nil && b.payload == nil }

// inScope refuses an expression that reads a part of a Flow which is not there where it stands.
func (k *compiler) inScope(at, text string, reads area) bool {
	if reads == areaAll {
		return true
	}
	for _, part := range []struct {
		area area
		mend string
	}{
		{areaSteps, "there is no step before it"},
		{areaItem, "$.item is what a step with for_each is made for, within that step"},
		{areaAnswer, "$.answer is what read was answered, within read_or_create"},
		{areaFound, "$.found is the entity, in update and id of read_or_create"},
	} {
		if reads&part.area&^k.scope != 0 {
			k.faults.Add(at, shown(text)+": there is no $."+areaNames[indexOf(part.area)]+" here", part.mend)
			return false
		}
	}
	return true
}

// reachable refuses a path that reads what is not there yet, and notes which steps have to answer JSON.
func (k *compiler) reachable(at string, p *Path) {
	if k.inScope(at, p.text, p.reads) && p.root == areaSteps {
		k.earlierStep(at, p)
	}
}

func (k *compiler) earlierStep(at string, p *Path) {
	if len(p.steps) < 2 || p.steps[1].isIndex {
		return
	}
	name := p.steps[1].name
	var names []string
	for i := range k.prog.steps {
		s := &k.prog.steps[i]
		if s.name == name {
			rest := p.steps[2:]
			if len(rest) > 0 && rest[0].isIndex {
				rest = rest[1:]
			}
			s.needsJSON = s.needsJSON || len(rest) > 1 && rest[0].name == "body"
			return
		}
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	k.faults.Add(at, shown(p.text)+": no step before it is called "+shown(name), "steps before it are "+strings.Join(names, ", "))
}

// mappedSteps checks the mapped keys, which stand before the steps and are used after them.
func (k *compiler) mappedSteps() {
	for _, name := range k.names {
		if p := k.prog.slots[k.mapped[name]].path; p != nil {
			k.reachable(under("datamap", name), p)
		}
	}
}
