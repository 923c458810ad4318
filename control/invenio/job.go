package invenio

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"streamer/control/job"
	"streamer/mapping"
)

// Options say what the jobs have that the setting does not.
type Options struct {
	// Owner decides who may see and operate the jobs.
	Owner string
	// Topic is where the record events are.
	Topic string
	// Namespace is the installation's prefix for topics; callbacks are written below it.
	Namespace string
	// Restricted also sends what is not public. Without it the jobs send what the hooks of InvenioRDM send.
	Restricted bool
}

// Job is what one endpoint becomes.
type Job struct {
	ID string
	// Endpoint as it stands in the setting.
	Endpoint string
	// Places is how many have to be filled in before the job can be used.
	Places int

	root *yaml.Node
}

// Remark says what was not carried as it stands in the file, or is another thing now.
type Remark struct {
	// Line of the file, from 1.
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Result is what came of a file.
type Result struct {
	// Jobs in the order in which their endpoints stand in the file.
	Jobs []Job
	// Remarks in the order of their lines.
	Remarks []Remark
}

// Import makes jobs of a text that has the setting: a Python file, a dict alone, or JSON. The error says with its line why there is none.
func Import(src []byte, o Options) (Result, error) {
	m := maker{options: o, byEndpoint: map[string]*made{}}
	v, err := read(src, m.tell)
	if err != nil {
		return Result{}, err
	}
	m.services(v)
	if len(m.jobs) == 0 {
		return Result{}, fmt.Errorf("line %d: %s has no endpoint", v.line, Setting)
	}
	return m.result(), nil
}

// maker makes jobs of the setting's value.
type maker struct {
	options    Options
	jobs       []*made
	byEndpoint map[string]*made
	remarks    []Remark
	job        *made // the one at work
}

// made is a job that is being made.
type made struct {
	Job
	line   int
	events *yaml.Node
}

func (m *maker) tell(line int, format string, args ...any) {
	m.remarks = append(m.remarks, Remark{line, fmt.Sprintf(format, args...)})
}

// members gives the pairs of a dict that have a text, or code, as key, of each key the last.
func (m *maker) members(what string, v value) []pair {
	if v.kind != kindDict {
		m.tell(v.line, "%s is %s, not a dict; it is not carried", what, v.found())
		return nil
	}
	var all []pair
	for _, p := range v.pairs {
		switch {
		case p.spread:
			m.tell(p.key.line, "**%s adds to %s what only Python knows; it is not carried", clip(p.key.text), what)
			continue
		case p.key.kind != kindText && p.key.kind != kindCode:
			m.tell(p.key.line, "a key of %s is %s, not a text; it is not carried", what, p.key.found())
			continue
		}
		same := func(q pair) bool { return q.key.kind == p.key.kind && q.key.text == p.key.text }
		if i := slices.IndexFunc(all, same); i >= 0 {
			m.tell(p.key.line, "%s stands in line %d too; this one counts, as in Python", shown(p.key), all[i].key.line)
			all = slices.Delete(all, i, i+1)
		}
		all = append(all, p)
	}
	return all
}

func (m *maker) services(v value) {
	for _, service := range m.members(Setting, v) {
		if service.key.kind == kindText && strings.Contains(service.key.text, "://") {
			// Older versions had no services, but those of records.
			m.tell(service.key.line, "%s stands where the name of a service does; it is taken for an endpoint of rdm_record", shown(service.key))
			m.endpoint(value{kind: kindText, text: "rdm_record"}, service)
			continue
		}
		for _, endpoint := range m.members(shown(service.key), service.value) {
			m.endpoint(service.key, endpoint)
		}
	}
}

// endpoint adds the methods of a service to the job of an endpoint.
func (m *maker) endpoint(service value, p pair) {
	methods := m.members(shown(p.key), p.value)
	if len(methods) == 0 {
		m.tell(p.key.line, "%s has no methods; there is no job of it", shown(p.key))
		return
	}
	url := p.key.text
	if m.job = m.byEndpoint[url]; m.job == nil {
		m.job = &made{Job: Job{ID: m.id(p.key), Endpoint: url}, line: p.key.line, events: object()}
		m.byEndpoint[url], m.jobs = m.job, append(m.jobs, m.job)
	}
	name := m.job.keyOf(service)
	services := find(m.job.events, name)
	if services == nil {
		services = object()
		put(m.job.events, name, services)
	}
	node := object()
	put(services, m.job.keyOf(p.key), node)
	for _, method := range methods {
		put(node, m.job.keyOf(method.key), m.method(service.text, method))
	}
	m.unlike(p.key.line, methods)
}

// unlike tells of methods without auth_token beside some that have one: a job logs in at one place in one way.
func (m *maker) unlike(line int, methods []pair) {
	var with, without []string
	for _, p := range methods {
		if p.value.kind != kindDict {
			continue
		}
		if slices.ContainsFunc(p.value.pairs, func(q pair) bool { return q.key.text == "auth_token" && !q.value.empty() }) {
			with = append(with, shown(p.key))
		} else {
			without = append(without, shown(p.key))
		}
	}
	if len(with) > 0 && len(without) > 0 {
		m.tell(line, "auth_token stands in %s, and not in %s; requests of a job to one host log in alike: give all the same, or take those without into a job of their own",
			strings.Join(with, ", "), strings.Join(without, ", "))
	}
}

// id makes the id of an endpoint's job out of its URL.
func (m *maker) id(url value) string {
	text := url.text
	if _, rest, ok := strings.Cut(text, "://"); ok && url.kind == kindText {
		text = rest
	} else if url.kind != kindText {
		text = "endpoint"
	}
	var b strings.Builder
	for _, r := range "invenio-" + strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	id := strings.Trim(b.String()[:min(b.Len(), 100)], "-")
	taken := func(id string) bool {
		return slices.ContainsFunc(m.jobs, func(j *made) bool { return j.ID == id })
	}
	first := id
	for n := 2; taken(id); n++ {
		id = first + "-" + strconv.Itoa(n)
	}
	return id
}

// known are the keys of a method that the hooks know, in the order in which jobs have them.
var known = []string{"name", "http_method", "when", "url_factory", "headers", "auth_token", "with_record_owner", "payload", "suppress"}

// method makes what is sent for a service's method.
func (m *maker) method(service string, p pair) *yaml.Node {
	if p.value.kind != kindDict {
		return m.job.node(shown(p.key), p.value, false)
	}
	node := object()
	had, callback := map[string]value{}, false
	for _, q := range m.members(shown(p.key), p.value) {
		name := q.key.text
		switch {
		case name == "method": // its name in older versions
			name = "http_method"
		case name == "timing_field":
			m.timing(had, q)
			continue
		case name == "callback":
			callback = m.callback(q)
			continue
		case name == "payload_format" && (q.value.empty() || q.value.text == "json"):
			continue
		case q.key.kind == kindCode || !slices.Contains(known, name):
			m.tell(q.key.line, "%s of %s is nothing that is known; it is not carried", shown(q.key), shown(p.key))
			continue
		}
		had[name] = q.value
	}
	m.asTheHooks(service, p, had)
	for _, name := range known {
		v, ok := had[name]
		if !ok || v.kind == kindNull && name != "payload" {
			continue
		}
		secret := name == "auth_token" || name == "headers"
		put(node, plain(name), m.job.node(name, v, secret))
		if v.kind == kindCode && !secret {
			node.Content[len(node.Content)-2].HeadComment = source(v)
		}
	}
	if callback {
		put(node, plain("callback"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
	}
	return node
}

// asTheHooks adds what the hooks of InvenioRDM do without being told to.
func (m *maker) asTheHooks(service string, p pair, had map[string]value) {
	text := func(s string) value { return value{kind: kindText, text: s} }
	if v, ok := had["http_method"]; ok && v.kind == kindText {
		v.text = strings.ToUpper(v.text)
		had["http_method"] = v
	}
	if payload := had["payload"]; payload.empty() {
		had["payload"] = value{} // nothing is sent, not even {}
	} else {
		had["payload"] = m.literal(payload)
	}
	if token := had["auth_token"]; token.kind == kindText {
		m.tell(token.line, "auth_token stands in the job as it stood here, in clear; ${env:STREAMER_VALUE_…} or ${file:…} keeps it out of the file")
	}
	if _, ok := had["when"]; ok || m.options.Restricted {
		return
	}
	field := "$.record.access.record"
	switch mapping.ServiceName(service) {
	case "rdm_record":
	case "community":
		field = "$.record.access.visibility"
	default:
		return
	}
	had["when"] = value{kind: kindDict, pairs: []pair{
		{key: text("field"), value: text(field)},
		{key: text("values"), value: value{kind: kindList, items: []value{text("public")}}},
	}}
}

// timing makes suppress of the field in which a callback notes when it wrote to the record.
func (m *maker) timing(had map[string]value, p pair) {
	if p.value.empty() {
		return
	}
	field := p.value
	if field.kind == kindText {
		field.text = "$.record.custom_fields['" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(field.text) + "']"
	}
	had["suppress"] = value{kind: kindDict, line: p.value.line, pairs: []pair{
		{key: value{kind: kindText, text: "field"}, value: field},
		{key: value{kind: kindText, text: "within"}, value: value{kind: kindText, text: "5s"}},
	}}
}

// callback notes that somebody wants to hear of the answer: from the topic where it is, since streamer runs no Python.
func (m *maker) callback(p pair) bool {
	if p.value.empty() {
		return false
	}
	m.tell(p.value.line, "callback %s: streamer runs no Python; answers are written to %s, where a consumer of the site's can call it", clip(p.value.text), m.out())
	return true
}

func (m *maker) out() string {
	return cmp.Or(m.options.Namespace, "streamer") + ".out." + m.job.ID
}

// literal doubles the $ of texts of a payload that are no JSONPath but begin with one. What somebody has written as a path is left as it is.
func (m *maker) literal(v value) value {
	switch v.kind {
	case kindText:
		if strings.HasPrefix(v.text, "$") && !strings.HasPrefix(v.text, "$.") && !strings.HasPrefix(v.text, "$[") && !strings.HasPrefix(v.text, "$$") {
			v.text = "$" + v.text
		}
	case kindList:
		v.items = slices.Clone(v.items)
		for i, item := range v.items {
			v.items[i] = m.literal(item)
		}
	case kindDict:
		v.pairs = slices.Clone(v.pairs)
		for i, p := range v.pairs {
			if p.key.text != "$jq" {
				v.pairs[i].value = m.literal(p.value)
			}
		}
	}
	return v
}

// result finishes the jobs.
func (m *maker) result() Result {
	r := Result{Remarks: m.remarks}
	slices.SortStableFunc(r.Remarks, func(a, b Remark) int { return a.Line - b.Line })
	for _, j := range m.jobs {
		j.root = object()
		j.root.HeadComment = fmt.Sprintf("Made of %s, line %d.", Setting, j.line)
		if j.Places > 0 {
			j.root.HeadComment += fmt.Sprintf("\nPlaces to fill in: %d; they begin with %s.", j.Places, job.FillIn)
		}
		m.job = j
		put(j.root, plain("id"), plain(j.ID))
		put(j.root, plain("owner"), plain(m.options.Owner))
		topics := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{plain(m.options.Topic)}}
		put(j.root, plain("topic"), topics)
		put(j.root, plain("order"), plain("key")) // that of the record's parent, in whichever format events are
		put(j.root, plain("events"), j.events)
		r.Jobs = append(r.Jobs, j.Job)
	}
	return r
}

// YAML gives the job as a file holds it.
func (j Job) YAML() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(j.root); err != nil {
		return nil, fmt.Errorf("job %s: %w", j.ID, err)
	}
	return b.Bytes(), enc.Close()
}
