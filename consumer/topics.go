package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// foundTopics are topics as the cluster has them now, by name.
type foundTopics map[string]foundTopic

type foundTopic struct {
	id         [16]byte // zero: the brokers know no ids
	partitions int32
}

func (f foundTopics) names() []string { return slices.Sorted(maps.Keys(f)) }

// existingTopics are those of the job's topics that the cluster has. Missing ones are named in the status and waited for;
// they are never created.
func (r *Runner) existingTopics(ctx context.Context) (foundTopics, error) {
	return r.findTopics(ctx, false)
}

// findTopics is existingTopics; patient: there is time.
func (r *Runner) findTopics(ctx context.Context, patient bool) (foundTopics, error) {
	meta, err := r.describe(ctx, patient)
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return nil, &RefusedError{fmt.Errorf("kafka refuses a topic of %s to this user; it needs READ and DESCRIBE on each", strings.Join(r.cfg.Topics, ", "))}
	}
	if err != nil {
		return nil, r.instance.reach(err)
	}
	found := foundTopics{}
	var missing []string
	all := meta.Topics
	if !r.cfg.Pattern { // others have asked with us
		all = kadm.TopicDetails{}
		for _, name := range r.cfg.Topics {
			if t, known := meta.Topics[name]; known {
				all[name] = t
			}
		}
	}
	for _, t := range all.Sorted() {
		switch {
		case r.cfg.Pattern && !r.matches(t.Topic):
		case errors.Is(t.Err, kerr.TopicAuthorizationFailed):
			return nil, &RefusedError{fmt.Errorf("kafka refuses topic %s to this user; it needs READ and DESCRIBE on the topic", t.Topic)}
		case t.Err != nil && !r.cfg.Pattern:
			missing = append(missing, t.Topic)
		case t.Err == nil:
			found[t.Topic] = foundTopic{id: t.ID, partitions: int32(len(t.Partitions))}
		}
	}
	cause := ""
	switch {
	case len(missing) > 0:
		cause = "waiting for topics that do not exist: " + strings.Join(missing, ", ")
	case r.cfg.Pattern && len(found) == 0:
		cause = "no topic matches " + strings.Join(r.cfg.Topics, ", ")
	}
	if r.status.note(&r.status.topics, cause) && cause != "" {
		r.log.Warn(cause)
	}
	return found, nil
}

// describe asks for the job's topics: those that it names, or all for a pattern.
func (r *Runner) describe(ctx context.Context, patient bool) (kadm.Metadata, error) {
	if r.cfg.Pattern {
		return r.instance.admin.Metadata(ctx)
	}
	return r.instance.topics.do(ctx, patient, r.cfg.Topics...)
}

// newTopic is a topic of our own that is to be made, with one partition.
type newTopic struct {
	name        string
	replication int16
	config      map[string]*string
}

// makeTopics makes topics by one request, and gives what is wrong with each. The controller writes its log to disk for every request.
func (i *Instance) makeTopics(ctx context.Context, topics []newTopic) (map[string]error, error) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(prepareRetry.Milliseconds())
	named := map[string]bool{}
	for _, t := range topics {
		if named[t.name] { // of two jobs
			continue
		}
		named[t.name] = true
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.name, 1, t.replication
		for key, value := range t.config {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = key, value
			topic.Configs = append(topic.Configs, c)
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, i.producer)
	if err != nil {
		return nil, err
	}
	wrong := map[string]error{}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && t.ErrorMessage != nil {
			wrong[t.Topic] = fmt.Errorf("%w: %s", err, *t.ErrorMessage)
		} else if err != nil {
			wrong[t.Topic] = err
		}
	}
	return wrong, nil
}

// exclusions are the topics that no pattern takes: Kafka's own, and ours but for <namespace>.out.*.
func exclusions(namespace string) []string {
	own := "^" + regexp.QuoteMeta(namespace) + `\.`
	return []string{"^__", own + "$", own + "(?:[^o]|o$|o[^u]|ou$|ou[^t]|out$|out[^.])"}
}

// matches says whether a pattern of the job takes a topic.
func (r *Runner) matches(topic string) bool {
	takes := func(p *regexp.Regexp) bool { return p.MatchString(topic) }
	return slices.ContainsFunc(r.patterns, takes) && !slices.ContainsFunc(r.excluded, takes)
}
