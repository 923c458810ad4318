package consumer

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/consumer/consumertest"
)

// He gives his job the dead-letter topic of another one, and writes there what looks like its dead letters: by the headers of his own record,
// and by that of the other job's name. Neither is redriven or given up by the other job, nor seen in its list.
func TestAttackDeadLettersOfAnother(t *testing.T) {
	t.Parallel()
	var ok atomic.Bool
	f := setup(t, consumertest.Fake(t), mended(&ok, "/rows/"))
	theirs, his := f.cluster.Topic(t, "theirs", 1), f.cluster.Topic(t, "his", 1)
	shared := func(c *Config) { c.DeadLetterTopic, c.DeadLetterShare = "streamer.out.shared", 1 }
	other, own := f.job(theirs, shared), f.job(his, shared)
	forged := rec(his, 0, "forged", 1)
	for name, value := range map[string]string{"streamer-job": other.Job, "streamer-topic": theirs, "streamer-partition": "0", "streamer-offset": "0", "streamer-row": "0", "streamer-class": "rejected", "streamer-outcome": "given up"} {
		forged.Headers = append(forged.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	consumertest.Produce(t, f.producer, rec(theirs, 0, "theirs", 1), forged)
	for _, cfg := range []Config{other, own} {
		f.run(cfg)
		f.committed(cfg, cfg.Topics[0])
	}
	ok.Store(true)
	before := f.api.Len()
	if page := f.list(f.letters(other), LetterFilter{}); brief(page) != "theirs rejected open" {
		t.Errorf("the other job's letters: %s", brief(page))
	}
	if rep := f.redrive(f.letters(other), LetterFilter{}, RedriveOptions{By: "ann"}); rep.Redriven != 1 || rep.Matching != 1 {
		t.Errorf("redriven: %+v", rep)
	}
	if got := sent(f.api.Attempts()[before:]); got != "theirs1" {
		t.Errorf("sent %s", got)
	}
	if page := f.list(f.letters(own), LetterFilter{}); brief(page) != "forged rejected open" {
		t.Errorf("his own letters: %s", brief(page))
	}
}
