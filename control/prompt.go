package control

import (
	"context"
	"fmt"
	"time"

	"streamer/consumer/kafkalog"
)

// AwayAfter is how long Kafka is silent before whoever writes is refused at once, rather than after the 15 s for which a write waits for
// it. That must never be while a write could still get through:
//
//  1. When a broker dies, another one takes its place after some 10 s, and the follower of the log finds it within some more. A write that
//     began meanwhile is made then, and goes on to wait for that: age and problem are those of an outage, but younger than this.
//  2. A write reads the log up to its end before it decides, by the same follower. While the log is this old, it cannot have done so.
//  3. An instance that was frozen has an old log as well when it wakes, and Kafka is there: so what the follower says counts, too. It has
//     found that the log cannot be followed, and takes that back when it can.
//
// A write that comes in the last 15 s of a longer outage would have been made, and is refused now: nothing was written, and the caller is told
// when to come again.
const AwayAfter = 30 * time.Second

// away refuses a write that nobody can make, while Kafka is known to be away; nil: it is not known. It is for those who wait for the
// answer. The error is kafkalog.ErrUnavailable.
func away(log Log) error {
	age := log.Age()
	if age <= AwayAfter {
		return nil
	}
	problem := log.Problem()
	if problem == "" {
		return nil
	}
	return fmt.Errorf("%w: it was last read %v ago: %s", kafkalog.ErrUnavailable, age.Round(time.Second), problem)
}

// Prompt is a log for those who wait for the answer to a write: while Kafka is known to be away, they are refused at once.
func Prompt(log Log) Log { return prompt{log} }

type prompt struct{ Log }

func (p prompt) Transact(ctx context.Context, change func(read func(key string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) ([]kafkalog.Entry, error) {
	if err := away(p.Log); err != nil {
		return nil, err
	}
	return p.Log.Transact(ctx, change)
}

func (p prompt) Update(ctx context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error) {
	if err := away(p.Log); err != nil {
		return kafkalog.Entry{}, err
	}
	return p.Log.Update(ctx, key, change)
}
