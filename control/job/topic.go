package job

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"streamer/consumer"
)

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

// topics reads what the job subscribes to. A job with a pattern among its topics has all of them as patterns, as a group can only
// subscribe in one way.
func (c *compilation) topics(cfg *consumer.Config) {
	names, ok := c.texts("topic")
	if !ok {
		c.missing("topic", "list the topics to read")
		return
	}
	if len(names) == 0 {
		c.faults.Add("topic", "is empty", "list the topics to read")
		return
	}
	seen := map[string]bool{}
	for i, name := range names {
		path := element("topic", i)
		if seen[name] {
			c.faults.Warn(path, fmt.Sprintf("%q stands twice", clip(name)), "")
			continue
		}
		seen[name] = true
		if strings.HasPrefix(name, "^") {
			cfg.Pattern = true
			name = c.checkPattern(path, name)
		} else {
			c.checkTopic(path, name)
		}
		cfg.Topics = append(cfg.Topics, name)
	}
	if !cfg.Pattern {
		return
	}
	for i, name := range cfg.Topics {
		if !strings.HasPrefix(name, "^") {
			cfg.Topics[i] = "^" + regexp.QuoteMeta(name) + "$"
		}
	}
}

func (c *compilation) checkTopic(path, name string) {
	switch {
	case !topicName.MatchString(name) || name == "." || name == "..":
		c.faults.Add(path, fmt.Sprintf("%q is no name of a Kafka topic", clip(name)),
			"use letters, digits, dots, dashes and underscores; a pattern is written ^…$")
	case c.closed(name):
		c.faults.Add(path, fmt.Sprintf("topic %q may not be read by a job", name),
			fmt.Sprintf("of streamer's own topics only %s.out.* may be read", c.process.Namespace))
	case c.grant.Topics != nil && !has(c.grant.Topics, name):
		c.faults.Add(path, fmt.Sprintf("topic %q is not granted to %s", name, c.def.Owner), c.granted("topics"))
	}
}

// checkPattern gives the pattern as it is subscribed to.
func (c *compilation) checkPattern(path, given string) string {
	noEnd := func() string {
		c.faults.Add(path, fmt.Sprintf("the pattern %q has no end", clip(given)), "write it as ^…$")
		return given
	}
	if len(given) < 2 || !strings.HasSuffix(given, "$") {
		return noEnd()
	}
	if _, err := regexp.Compile(given); err != nil {
		c.faults.Add(path, "the pattern does not compile: "+err.Error(), "")
		return given
	}
	pattern, ok := whole(given)
	if !ok {
		return noEnd()
	}
	compiled := regexp.MustCompile(pattern)
	// A pattern cannot be searched for all it might match; how it begins and the topics that are there in every installation can be
	// tried.
	refuse := func(name string) {
		c.faults.Add(path, fmt.Sprintf("the pattern matches topics like %q, which may not be read by a job", name),
			fmt.Sprintf("begin it with what the topics have in common; of streamer's own topics only %s.out.* may be read", c.process.Namespace))
	}
	ns := c.process.Namespace + "."
	prefix, one := beginning(pattern)
	if c.closed(prefix) && !strings.HasPrefix(ns+"out.", prefix) {
		refuse(prefix + "…")
		return pattern
	}
	// All that it takes begins so. That is more than can be said of it otherwise, and enough to be sure.
	if list := c.grant.Topics; list != nil && !hasAll(list, prefix) && !(one && has(list, prefix)) {
		c.faults.Add(path, fmt.Sprintf("the pattern may take topics that are not granted to %s", c.def.Owner),
			"begin it with what is granted, or name topics; "+c.granted("topics"))
		return pattern
	}
	for _, name := range []string{"__consumer_offsets", "__transaction_state", ns + "jobs", ns + "status", ns + "audit",
		ns + "dead-letters." + c.def.ID} {
		if compiled.MatchString(name) {
			refuse(name)
			return pattern
		}
	}
	return pattern
}

// closed tells whether a topic is Kafka's or streamer's own and not for jobs.
func (c *compilation) closed(topic string) bool { return closed(c.process.Namespace, topic) }

func closed(namespace, topic string) bool {
	return strings.HasPrefix(topic, "__") || strings.HasPrefix(topic, namespace+".") && !strings.HasPrefix(topic, namespace+".out.")
}

// aetherGroup is the prefix of the Aether consumer's groups, whose offsets a job may continue.
const aetherGroup = "RESTWorker:"

func (c *compilation) group() string {
	own := c.process.Namespace + "."
	group, ok := c.text("group")
	if !ok {
		return own + c.def.ID
	}
	if list := c.grant.Groups; list != nil {
		if group == own+c.def.ID || has(list, group) && groupName(group) {
			return group
		}
		c.faults.Add("group", fmt.Sprintf("group %q is not granted to %s", clip(group), c.def.Owner), "leave it out for "+own+c.def.ID+"; "+c.granted("groups"))
		return ""
	}
	rest, ours := strings.CutPrefix(group, own)
	if ours && namePattern.MatchString(rest) {
		return group
	}
	rest, theirs := strings.CutPrefix(group, aetherGroup)
	if theirs && groupName(rest) {
		return group
	}
	c.faults.Add("group", fmt.Sprintf("group %q may not be used by a job", clip(group)),
		fmt.Sprintf("leave it out for %s%s, or name one of %s* or %s*", own, c.def.ID, own, aetherGroup))
	return ""
}

func groupName(name string) bool {
	return name != "" && len(name) <= 200 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func (c *compilation) start() consumer.Start {
	text, ok := c.text("start")
	if !ok || text == "earliest" {
		return consumer.Start{}
	}
	if text == "latest" {
		return consumer.Start{Latest: true}
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.UnixMilli() < 0 {
		c.faults.Add("start", fmt.Sprintf("%q says no place to begin", clip(text)), "write earliest, latest or a time as in 2026-01-31T12:00:00Z")
		return consumer.Start{}
	}
	return consumer.Start{Time: at}
}
