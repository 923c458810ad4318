package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

const (
	// watchEvery is how often Kafka is asked whether it is there, the topics are the same, and where the log ends. A client that follows
	// a topic by its id, and is given no records, learns nothing of this.
	watchEvery = 2 * time.Second
	// inspectEvery is how often the settings of the topics are looked at again, so that Problem says it when somebody mends or spoils them.
	inspectEvery = 10 * time.Second
	// deaf is how long Kafka may leave questions unanswered before the log counts as not followed.
	deaf = 10 * time.Second
)

// topicIDs are Kafka's ids of .jobs, .status and .audit; zero: there is no such topic.
type topicIDs [3]kadm.TopicID

// asked is a question where .jobs ends, with its answer.
type asked struct {
	at  time.Time // when it was asked
	end int64
}

// Age tells how old what Get, List and Since give may be: the time since Kafka was last asked where the log ends, of those times whose
// answer this instance has read up to. It is 2 s and some while all is well, and grows while Kafka cannot be reached. Until the log was
// read once, it is the time since Open.
func (l *Log) Age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.heard)
}

// settle notes how new the view is. The caller holds mu.
func (l *Log) settle() {
	if l.view != nil && l.view.next >= l.asked.end && l.asked.at.After(l.heard) {
		l.heard = l.asked.at
	}
}

// watch asks Kafka until ctx ends, or gives what is wrong.
func (l *Log) watch(ctx context.Context, ids topicIDs) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for inspected := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		now, err := l.ids(ctx)
		if err == nil && now != ids {
			l.client.PurgeTopicsFromProducing(l.status) // it would go on writing reports to the id it knows
			return errors.New("a topic of the log was deleted or made anew")
		}
		if err == nil {
			err = l.askEnd(ctx)
		}
		if err == nil && time.Since(inspected) > inspectEvery {
			inspected = time.Now()
			_, _, err = l.inspect(ctx)
		}
		if err != nil && (l.Age() > deaf || errors.As(err, new(*barredError))) {
			return err
		}
	}
}

// ids asks for the topics of the log. That one of them is missing is no error.
func (l *Log) ids(ctx context.Context) (ids topicIDs, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	meta, err := l.admin.Metadata(ctx, l.topics()...)
	if err != nil {
		return ids, err
	}
	for i, topic := range l.topics() {
		switch t := meta.Topics[topic]; {
		case t.Err == nil:
			ids[i] = t.ID
		case !missing(t.Err):
			return ids, fmt.Errorf("topic %s: %w", topic, t.Err)
		}
	}
	return ids, nil
}

// askEnd asks where .jobs ends, for Age.
func (l *Log) askEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	at := time.Now()
	ends, err := l.admin.ListCommittedOffsets(ctx, l.jobs)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	end, _ := ends.Lookup(l.jobs, 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil || l.asked.end <= l.view.next { // a question that is open is not put off by the next
		l.asked = asked{at, end.Offset}
		l.wanted = max(l.wanted, end.Offset)
	}
	l.settle()
	return nil
}
