package job

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"streamer/consumer"
	"streamer/internal/fault"
	"streamer/schemas"
)

// Flow is what a job reads, and what it writes that jobs may read: where two of them meet, records go from one job to the other.
type Flow struct {
	Job string

	topics   []string
	patterns []*regexp.Regexp
	writes   []output // the dead letters first
	own      string   // where its dead letters go without a setting
}

// output is a topic that a job writes, and the field that says so.
type output struct{ field, topic string }

const deadLetterTopic = "dead_letter.topic"

// Flow gives what the job reads and writes, whatever else is wrong with it.
func (d *Definition) Flow(p Process) *Flow {
	c := compilation{def: d, process: p, grant: p.Grants.of(d.Owner)}
	if d.value.Kind() != schemas.Object {
		return &Flow{Job: d.ID}
	}
	c.reader = reader{object: d.value, faults: &c.faults, keys: keys}
	cfg := consumer.Config{Job: d.ID, Namespace: p.Namespace}
	c.topics(&cfg)
	c.deadLetter(&cfg)
	c.told(&cfg)
	return FlowOf(&cfg)
}

// FlowOf is the Flow of a compiled job.
func FlowOf(cfg *consumer.Config) *Flow {
	f := &Flow{Job: cfg.Job, own: ownLetters(cfg.Namespace, cfg.Job)}
	for _, t := range cfg.Topics {
		if !cfg.Pattern {
			f.topics = append(f.topics, t)
		} else if pattern, err := regexp.Compile(t); err == nil { // what does not compile has its fault
			f.patterns = append(f.patterns, pattern)
		}
	}
	for _, w := range []output{{deadLetterTopic, cfg.DeadLetterTopic}, {"callback.topic", cfg.Callback.Topic}, {"response.topic", cfg.Response.Topic}} {
		if w.topic != "" && !closed(cfg.Namespace, w.topic) {
			f.writes = append(f.writes, w)
		}
	}
	return f
}

// ownLetters is where the dead letters of a job go without a setting.
func ownLetters(namespace, id string) string { return namespace + ".dead-letters." + id }

// Goes says that the job writes what jobs may read. Only those can be on a circle.
func (f *Flow) Goes() bool { return len(f.writes) > 0 }

// meets says that the job reads one of the topics.
func (f *Flow) meets(topics map[string]bool) bool {
	if len(f.patterns) == 0 {
		return slices.ContainsFunc(f.topics, func(t string) bool { return topics[t] })
	}
	for t := range topics {
		if f.reads(t) {
			return true
		}
	}
	return false
}

// reads says that the job reads a topic that is not closed to jobs, by its name or a pattern.
func (f *Flow) reads(topic string) bool {
	return slices.Contains(f.topics, topic) || slices.ContainsFunc(f.patterns, func(p *regexp.Regexp) bool { return p.MatchString(topic) })
}

// Circles says whether what the job writes comes back to it by way of others. Of dead letters only, that is a fault: a row that each of
// the jobs gives up would go round without end, and every round would leave a letter in every topic. By way of what tells of answers it is
// warned of: that may be meant, and ends after some hops. named is how a job is called in the text, empty for one that may not be named;
// what two of those share is not named either.
func (f *Flow) Circles(others []*Flow, named func(job string) string) (faults fault.List) {
	if way := f.circle(others, func(w output) bool { return w.field == deadLetterTopic }); way != nil {
		faults.Add(deadLetterTopic, "its dead letters come back to it: "+f.spell(way, named)+"; a row that is given up each time would go round without end",
			"leave dead_letter.topic out, for "+f.own+", which no job reads: streamer deadletters redrive sends them again; or let one of these jobs read other topics")
		return faults
	}
	if way := f.circle(others, func(output) bool { return true }); way != nil {
		faults.Warn(way[0].by.field, "what it writes comes back to it: "+f.spell(way, named),
			fmt.Sprintf("if that is not meant, let one of these jobs read or write other topics; a record goes through %d hops at most (streamer-hops)", consumer.MaxHops))
	}
	return faults
}

// hop is a way from one job to the next: what the one writes and the other reads.
type hop struct {
	by output
	to *Flow
}

// circle gives the shortest way from the job by way of others, who may be all jobs, back to it; nil: there is none.
func (f *Flow) circle(others []*Flow, along func(output) bool) []hop {
	type station struct {
		at  *Flow
		way []hop
	}
	seen := map[*Flow]bool{f: true}
	for next := []station{{at: f}}; len(next) > 0; next = next[1:] {
		from := next[0]
		for _, w := range from.at.writes {
			switch {
			case !along(w):
				continue
			case from.at != f && f.reads(w.topic): // a job that reads what it writes itself has that fault
				return append(from.way, hop{w, f})
			}
			for _, to := range others {
				if !seen[to] && to.reads(w.topic) {
					seen[to] = true
					next = append(next, station{to, append(slices.Clone(from.way), hop{w, to})})
				}
			}
		}
	}
	return nil
}

// spell writes a circle out: job -> topic -> job, and so on, until it closes.
func (f *Flow) spell(way []hop, named func(string) string) string {
	parts, before := []string{named(f.Job)}, named(f.Job)
	for _, h := range way {
		name := named(h.to.Job)
		if before != "" || name != "" {
			parts = append(parts, h.by.topic)
		}
		parts, before = append(parts, name), name
	}
	for i, p := range parts {
		if p == "" {
			parts[i] = "a job of another owner"
		}
	}
	return strings.Join(parts, " -> ")
}
