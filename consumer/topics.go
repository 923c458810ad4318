package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
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
	wanted := r.cfg.Topics
	if r.cfg.Pattern {
		wanted = nil // all
	}
	meta, err := r.instance.admin.Metadata(ctx, wanted...)
	if errors.Is(err, kerr.TopicAuthorizationFailed) {
		return nil, &RefusedError{fmt.Errorf("kafka refuses a topic of %s to this user; it needs READ and DESCRIBE on each", strings.Join(r.cfg.Topics, ", "))}
	}
	if err != nil {
		return nil, r.instance.reach(err)
	}
	found := foundTopics{}
	var missing []string
	for _, t := range meta.Topics.Sorted() {
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
