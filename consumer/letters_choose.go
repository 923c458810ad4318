package consumer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// chooseWithin bounds the look for the letters of a record or a key, beside the bounds of a page.
	chooseWithin = 10 * time.Second
	// chooseWhole is how many records of a topic are looked through from its beginning, whatever their times.
	chooseWhole = 20_000
	// clockSlack is what clocks of producers may be ahead of ours: a letter is written after its record, by another clock.
	clockSlack = time.Hour
)

// choose gives the letters that chosen takes, with what has become of each, in the order of their address; cut says why there may be more.
// A large topic is looked through from since on, less clockSlack; zero, or a time to come: all of it. Keys of letters are cloned, values left out.
func (d *DeadLetters) choose(ctx context.Context, since time.Time, chosen func(*Letter) bool) (found []Letter, cut string) {
	ctx, cancel := context.WithTimeout(ctx, chooseWithin)
	defer cancel()
	spans, err := d.spansSince(ctx, since)
	if err != nil {
		return nil, err.Error()
	}
	fold, words := newLetterFold(d.cfg.Job, 0), d.newMatcher(LetterFilter{})
	var places []int // of found, in the fold
	scanned, bytes := 0, 0
	_, err = d.scan(ctx, spans, func(rec *kgo.Record) bool {
		if bytes += len(rec.Value); scanned >= letterScanRecords || bytes > letterScanBytes {
			cut = fmt.Sprintf("%d records were; streamer deadletters list goes on page by page", scanned)
			return false
		}
		scanned++
		if o, ok := outcomeOf(rec); ok {
			fold.outcome(&o)
			return true
		}
		l := letterOf(rec)
		if l.State == LetterForeign || l.Job != d.cfg.Job {
			return true
		}
		l.Source.Topic, l.Source.TopicID = words.intern(l.Source.Topic), words.intern(l.Source.TopicID)
		fold.letter(&l, false)
		if chosen(&l) {
			l.Key = slices.Clone(l.Key)
			found, places = append(found, l), append(places, len(fold.letters)-1)
		}
		return true
	})
	if err != nil {
		cut = err.Error()
		if ctx.Err() != nil {
			cut = fmt.Sprintf("%d records were, in %s; streamer deadletters list goes on page by page", scanned, chooseWithin)
		}
	}
	for n := range found {
		fold.letters[places[n]].tell(&found[n])
	}
	return found, cut
}

// spansSince are the partitions of the topic from a time on. A small topic is given whole: times are those of other clocks.
func (d *DeadLetters) spansSince(ctx context.Context, since time.Time) ([]span, error) {
	spans, err := d.spans(ctx, LetterAddress{})
	if err != nil || since.UnixMilli() <= 0 || since.After(time.Now()) { // records may carry a time that has not come yet: it says nothing
		return spans, err
	}
	var all int64
	for _, s := range spans {
		all += s.to - s.from
	}
	if all <= chooseWhole {
		return spans, nil
	}
	offsets, err := d.instance.admin.ListOffsetsAfterMilli(ctx, since.Add(-clockSlack).UnixMilli(), d.cfg.DeadLetterTopic)
	if err != nil {
		return nil, d.instance.reach(err)
	}
	for i := range spans {
		if o, ok := offsets.Lookup(d.cfg.DeadLetterTopic, spans[i].partition); ok && o.Err == nil {
			spans[i].from = min(max(spans[i].from, o.Offset), spans[i].to)
		}
	}
	return slices.DeleteFunc(spans, func(s span) bool { return s.from == s.to }), nil
}
