package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// takeOver makes this writer the only one, and lets it know everything that was written before.
func (l *Log) takeOver(ctx context.Context) error {
	l.drop()
	client, err := l.newClient(
		kgo.TransactionalID(l.transactionalID()),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(maxRecordBytes),
		kgo.RecordDeliveryTimeout(transactionTimeout),
		kgo.MaxBufferedRecords(2*MaxWrites), // a transaction is given to the client at once
		kgo.UnknownTopicRetries(2),
	)
	if err != nil {
		return err
	}
	l.writer = client
	id, _, err := client.ProducerID(ctx)
	if err != nil {
		return l.refused(err, "InitProducerID")
	}
	if id < 0 {
		return fmt.Errorf("%w: it has no transactions", ErrReadOnly)
	}
	ids, err := l.ids(ctx)
	if err != nil {
		return l.refused(err, "look up the topics")
	}
	if err := l.same(ids); err != nil { // what we know is not of this topic
		return err
	}
	ends, err := l.admin.ListCommittedOffsets(ctx, l.jobs)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return l.refused(err, "look up the end")
	}
	end, _ := ends.Lookup(l.jobs, 0)
	return l.reach(ctx, end.Offset)
}

// drop ends the writer. A transaction that is open ends with the next InitProducerID, or after its timeout. The caller holds writing.
func (l *Log) drop() {
	if l.writer != nil {
		l.writer.Close()
		l.writer = nil
	}
}

func (l *Log) transactionalID() string { return l.config.Namespace + ".log" }

// refused says what an error of Kafka means for a write: tried again, or not to be had.
func (l *Log) refused(err error, step string) error {
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.TopicAuthorizationFailed),
		errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: %w; this user needs WRITE and DESCRIBE on transactional id %s, and WRITE on topics %s and %s", ErrReadOnly, err, l.transactionalID(), l.jobs, l.audit)
	case errors.Is(err, kerr.UnsupportedVersion), errors.Is(err, kerr.InvalidTransactionTimeout):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return fmt.Errorf("%w: %w; topics %s and %s have to take %d bytes (max.message.bytes)", ErrTooLarge, err, l.jobs, l.audit, maxRecordBytes)
	}
	return fmt.Errorf("%w: %s: %w", errPassing, step, err)
}
