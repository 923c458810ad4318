package mapping

import (
	"fmt"
	"strings"

	"streamer/schemas"
)

// maskRule removes what may not leave: fields whose annotation in the writer's schema names a level above emit.
type maskRule struct {
	levels     []schemas.Value
	emit       int // index in levels, -1: nothing that is annotated may leave
	annotation string
}

const maskForm = `write {"levels": ["public", "private"], "emit": "public"}`

func (k *compiler) mask(v schemas.Value) {
	if !given(v) {
		return
	}
	if v.Kind() != schemas.Object {
		k.faults.Add("mask", "found "+kindOf(v)+", not an object", maskForm)
		return
	}
	unknownKeys(&k.faults, "mask", v, "levels", "emit", "annotation")
	rule := &maskRule{annotation: "aetherMaskingLevel", emit: -1}
	if levels := v.Field("levels"); levels.Kind() != schemas.Array || levels.Len() == 0 {
		k.faults.Add("mask.levels", "found "+kindOf(levels)+", not a list of levels, lowest first", maskForm)
	} else {
		for l := range levels.Elements() {
			if rule.level(l) >= 0 {
				k.faults.Add("mask.levels", "a level stands twice", "lowest first, each once")
			}
			rule.levels = append(rule.levels, l.Clone())
		}
		switch emit := v.Field("emit"); {
		case emit.Kind() == schemas.Absent:
			k.faults.Add("mask.emit", "missing", "write the highest level that may leave, or null for none")
		case emit.Kind() != schemas.Null:
			if rule.emit = rule.level(emit); rule.emit < 0 {
				k.faults.Add("mask.emit", "is none of mask.levels", "write one of them, or null for none")
			}
		}
	}
	if a := v.Field("annotation"); given(a) {
		name, ok := a.Str()
		if !ok || name == "" {
			k.faults.Add("mask.annotation", "found "+kindOf(a)+", not a name", "write the attribute's name, such as aetherMaskingLevel")
		}
		rule.annotation = name
	}
	k.prog.mask = rule
}

func (r *maskRule) level(v schemas.Value) int {
	for i, l := range r.levels {
		if l.Equal(v) {
			return i
		}
	}
	return -1
}

// maskPlan is what a rule makes of one schema: the fields to hide of each record type.
type maskPlan map[*schemas.RecordType][]string

// maxPlans bounds the plans a Mapper keeps; schemas beyond it are planned again.
const maxPlans = 64

// masker applies a rule and keeps its plans. It belongs to one goroutine.
type masker struct {
	rule  *maskRule
	plans map[*schemas.Schema]maskPlan
	// warned are the warnings already given, so that each is given once.
	warned   map[string]bool
	warnings []string
}

// apply hides what may not leave. A row without a schema has no levels: nothing is hidden, and the warnings say so.
func (m *masker) apply(row schemas.Value, schema *schemas.Schema) {
	if schema == nil {
		m.warn("mask: rows without an Avro schema have no masking levels; nothing was removed from them")
		return
	}
	plan, ok := m.plans[schema]
	if !ok {
		plan = m.plan(schema)
		if len(m.plans) >= maxPlans || m.plans == nil {
			m.plans = make(map[*schemas.Schema]maskPlan, maxPlans)
		}
		m.plans[schema] = plan
	}
	if len(plan) > 0 {
		plan.hide(row)
	}
}

func (m *masker) plan(schema *schemas.Schema) maskPlan {
	plan := maskPlan{}
	for _, t := range schema.RecordTypes() {
		for i := range t.Fields {
			f := &t.Fields[i]
			a := f.Attributes.Field(m.rule.annotation)
			if a.Kind() == schemas.Absent {
				continue
			}
			level := m.rule.level(a)
			if level < 0 {
				level = len(m.rule.levels) - 1
				m.warn(fmt.Sprintf("mask: the %s of field %s of %s is none of mask.levels; it counts as the highest level",
					m.rule.annotation, shown(f.Name), shown(t.Name)))
			}
			if level > m.rule.emit {
				plan[t] = append(plan[t], f.Name)
			}
		}
	}
	return plan
}

// maxWarnings bounds what a Mapper remembers to have warned of.
const maxWarnings = 100

func (m *masker) warn(text string) {
	if m.warned[text] || len(m.warned) >= maxWarnings {
		return
	}
	if m.warned == nil {
		m.warned = map[string]bool{}
	}
	text = strings.Clone(text)
	m.warned[text] = true
	m.warnings = append(m.warnings, text)
}

// hide walks v, as deep as it goes: records inside of lists, maps and unions too.
func (p maskPlan) hide(v schemas.Value) {
	switch v.Kind() {
	case schemas.Object:
		if t := v.RecordType(); t != nil {
			for _, name := range p[t] {
				v.Field(name).Hide()
			}
		}
		for _, member := range v.Members() {
			p.hide(member)
		}
	case schemas.Array:
		for e := range v.Elements() {
			p.hide(e)
		}
	}
}
