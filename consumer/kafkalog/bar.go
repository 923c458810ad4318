package kafkalog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// barredError says that the log is not to be used as it is: what is written would be lost, or what was written is. It is an
// ErrReadOnly, and ends when somebody has mended the topic.
type barredError struct{ cause string }

func (e *barredError) Error() string        { return ErrReadOnly.Error() + ": " + e.cause }
func (e *barredError) Is(target error) bool { return target == ErrReadOnly }

// bar notes why the log is barred; nil: it is not, or not any more.
func (l *Log) bar(why *barredError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.barred = why
}

// allowsWrites gives why the log is barred; nil: it is not.
func (l *Log) allowsWrites() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.barred != nil {
		return l.barred
	}
	return nil
}

// deletes says that Kafka deletes what is old under this policy, whether it is the newest of its key or not.
func deletes(policy string) bool { return slices.Contains(strings.Split(policy, ","), "delete") }

func (l *Log) deleting(policy string) error {
	return &barredError{fmt.Sprintf("topic %s has cleanup.policy=%s, with which Kafka deletes objects when they are old, so nothing is read from it or written to it; "+
		"mend it with: %s", l.jobs, policy, alter(l.jobs, "cleanup.policy=compact"))}
}

// same says whether the topic of the objects is the one that this instance has read; nil: it is, or there was none yet.
func (l *Log) same(ids topicIDs) error {
	known, n := l.known()
	switch {
	case known == [16]byte{} || known == [16]byte(ids[0]):
		return nil
	case ids[0] == [16]byte{}:
		return l.gone("was deleted", n)
	}
	return l.gone("was deleted and made anew", n)
}

// lost says whether .jobs, which is missing, was there before; nil: it was not, and can be made.
func (l *Log) lost(ctx context.Context, missed []string) error {
	if known, n := l.known(); known != [16]byte{} {
		return l.gone("was deleted", n)
	}
	if slices.Contains(missed, l.audit) {
		return nil
	}
	ends, err := l.admin.ListEndOffsets(ctx, l.audit)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	if end, _ := ends.Lookup(l.audit, 0); end.Offset == 0 {
		return nil
	}
	return &barredError{fmt.Sprintf("topic %s is missing, but %s says that it was written to: it was deleted. Restore it from a backup; to begin anew with the job files, "+
		"create it: %s", l.jobs, l.audit, l.create())}
}

func (l *Log) gone(how string, objects int) error {
	return &barredError{fmt.Sprintf("topic %s %s; this instance goes on with the %d objects that it knows, and writes nothing. Restore the topic from a backup, "+
		"or create it empty to begin anew with the job files (%s), and restart every instance then", l.jobs, how, objects, l.create())}
}

// create is the command that makes the topic of jobs with all that is asked of it at the start, in a cluster of as many brokers as were seen last.
func (l *Log) create() string {
	brokers := int(l.brokers.Load())
	command, config := fmt.Sprintf("kafka-topics.sh --bootstrap-server HOST:PORT --create --topic %s --partitions 1 --replication-factor %d", l.jobs, replication(brokers)), l.settings(brokers)[l.jobs]
	for _, key := range slices.Sorted(maps.Keys(config)) {
		command += " --config " + key + "=" + config[key]
	}
	return command
}

// known gives the id of the topic that this instance has read, and how many objects it knows.
func (l *Log) known() (id [16]byte, objects int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.view == nil {
		return id, 0
	}
	return l.view.id, len(l.view.objects.keys)
}
