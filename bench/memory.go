package main

import (
	"context"
	"fmt"
	"time"

	"streamer/consumer"
)

// rest measures what many jobs take that have nothing to do: each has delivered some rows, so that its clients, connections and
// compiled schema are there. Its peak is that burst; what the process has given back some minutes later is judged.
func (b *bench) rest(ctx context.Context) error {
	const rows, target = 800, 150e6
	res := b.report.scenario("rest", fmt.Sprintf("%d jobs, each a group on %d partitions, %v after %d rows each", b.jobs, partitions, b.restFor, rows))
	return b.topic(ctx, contents{rows: rows, keys: rows}, func(topic string) error {
		var used usage
		_, err := against(ctx, receiverSettings{}, func(_ *process, url string) (err error) {
			set := streamerSettings{Brokers: b.brokers, Records: rows, Hold: b.restFor, Memory: int64(b.memory) << 20, profiles: b.profiles("rest")}
			for i := range b.jobs {
				set.Jobs = append(set.Jobs, jobText(fmt.Sprintf("rest-%d-%s", i+1, topic), topic, url, 64, "key", ""))
			}
			used, err = measured(ctx, "streamer", set)
			return err
		})
		if err != nil {
			return err
		}
		res.Memory = &used
		res.check(check{What: "RSS at rest, MB", Value: float64(used.RSS) / 1e6, Target: target / 1e6, Assert: true})
		return nil
	})
}

// stuckTarget is what the process may take under an API that never answers: the setting bounds what records take, half of it by one job;
// the program itself and what the collector has not yet swept come on top.
func stuckTarget(setting int64) float64 { return 30e6 + 2*float64(setting) }

// stuck measures what one job takes when its API never answers and far more records wait than memory would hold.
func (b *bench) stuck(ctx context.Context) error {
	const keys = 10_000
	setting := int64(consumer.DefaultMemoryBytes)
	if b.memory > 0 {
		setting = int64(b.memory) << 20
	}
	res := b.report.scenario("stuck", fmt.Sprintf("%d JSON records of 1 kB wait, %d partitions, %d keys, API never answers, STREAMER_MEMORY %d MiB, watched for %v",
		b.waiting, partitions, keys, setting>>20, b.hold))
	return b.topic(ctx, contents{rows: b.waiting, keys: keys, format: formatJSON, pad: true}, func(topic string) error {
		var used usage
		got, err := against(ctx, receiverSettings{Stuck: true}, func(_ *process, url string) (err error) {
			used, err = measured(ctx, "streamer", streamerSettings{Brokers: b.brokers, Jobs: []string{jobText("stuck-"+topic, topic, url, 256, "key", "")},
				Hold: b.hold, Memory: setting, profiles: b.profiles("stuck")})
			return err
		})
		if err == nil && got.Rows == 0 {
			err = fmt.Errorf("no request was made in %v", b.hold.Round(time.Second))
		}
		if err != nil {
			return err
		}
		res.Memory = &used
		res.check(check{What: "peak RSS, MB", Value: float64(used.PeakRSS) / 1e6, Target: stuckTarget(setting) / 1e6, Assert: true})
		return nil
	})
}
