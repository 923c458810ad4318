package job

import (
	"fmt"
	"strings"

	"streamer/consumer"
	"streamer/schemas"
)

// told says who is told of answers.
func (c *compilation) told(cfg *consumer.Config) {
	own := c.process.Namespace + ".out." + c.def.ID
	if s, ok := c.sub("callback", false); ok {
		cfg.Callback.Topic = c.toldTopic(s, "callback", own, cfg)
	} else if c.callsBack(c.object, 0) {
		cfg.Callback.Topic = c.toldTopic(reader{}, "callback", own, cfg)
	}
	if s, ok := c.sub("response", false); ok {
		cfg.Response.Topic = c.toldTopic(s, "response", own+".responses", cfg)
		if word, ok := s.word("on", "all", "failures"); ok && word == "failures" {
			cfg.Response.On = consumer.CaptureFailures
		}
	}
}

// callsBack says that a route, or a method of an event, has a callback where the job says nothing of one.
func (c *compilation) callsBack(v schemas.Value, depth int) bool {
	if yes, _ := v.Field("callback").Bool(); yes && depth > 0 {
		return true
	}
	inner := v
	switch depth {
	case 0:
		for e := range v.Field("routes").Elements() {
			if c.callsBack(e, depth+1) {
				return true
			}
		}
		inner = v.Field("events")
	case 4:
		return false
	}
	for _, m := range inner.Members() {
		if c.callsBack(m, depth+1) {
			return true
		}
	}
	return false
}

func (c *compilation) toldTopic(s reader, field, own string, cfg *consumer.Config) string {
	topic, given := s.text("topic")
	if !given {
		topic = own
	}
	switch at := field + ".topic"; {
	case c.def.ID == "": // which has its fault
	case topic == cfg.DeadLetterTopic && topic != "":
		c.faults.Add(at, fmt.Sprintf("topic %q has the job's dead letters", clip(topic)), "leave it out for "+own)
	default:
		c.checkProduced(at, topic, own, cfg)
	}
	return topic
}

// checkProduced refuses a topic that the job may not write, or reads itself. own is what it is without a setting.
func (c *compilation) checkProduced(at, topic, own string, cfg *consumer.Config) {
	out := c.process.Namespace + ".out."
	list := c.grant.Produce
	switch {
	case !topicName.MatchString(topic) || topic == "." || topic == ".." || c.closed(topic) || list == nil && !strings.HasPrefix(topic, out):
		c.faults.Add(at, fmt.Sprintf("topic %q may not be written by a job", clip(topic)), fmt.Sprintf("leave it out for %s, or name one of %s*", own, out))
	case list != nil && !has(list, topic):
		mend := "leave it out for " + own + "; "
		if strings.HasPrefix(own, out) && !has(list, own) { // what a job tells of answers needs the grant by any name, its dead letters do not
			if mend = ""; len(list) > 0 {
				mend = "name one of " + strings.Join(list, ", ") + "; "
			}
		}
		c.faults.Add(at, fmt.Sprintf("topic %q is not granted to %s", topic, c.def.Owner), mend+c.granted("produce"))
	case FlowOf(cfg).reads(topic):
		c.faults.Add(at, fmt.Sprintf("the job reads topic %q itself", topic), "what it writes there would come back to it without end")
	}
}
