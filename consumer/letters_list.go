package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"streamer/mapping"
)

// DefaultPage is how much one page of a list has unless told, and MaxPage the most: letters, rows found, and what control lists.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Bounds of what is looked at for one page of letters.
const (
	letterScanRecords = 100_000
	letterScanBytes   = 512 << 20
	letterScanTime    = 20 * time.Second
)

// CursorError says that a cursor is none that List gave.
type CursorError struct{ Cursor string }

// Error implements error.
func (e *CursorError) Error() string {
	return fmt.Sprintf("cursor %q is not one that a list of dead letters gave", e.Cursor)
}

// List gives a page of the dead letters that f chooses, in the order of their address, from cursor on ("" is the beginning), limit of
// them at most (0: DefaultPage, never more than MaxPage). It looks at 100,000 records, 512 MiB or for 20 s at most; a page may be empty and have a
// Next all the same. A topic that is missing or empty has no letters. Errors: ErrLettersOff, *CursorError, or Kafka's.
func (d *DeadLetters) List(ctx context.Context, f LetterFilter, cursor string, limit int) (LetterPage, error) {
	var page LetterPage
	from, err := parseCursor(cursor)
	if err != nil {
		return page, err
	}
	if limit <= 0 {
		limit = DefaultPage
	}
	spans, err := d.spans(ctx, from)
	if err != nil {
		return page, err
	}
	w := d.newMatcher(f)
	fold := newLetterFold(d.cfg.Job, 0)
	began, bytes := time.Now(), 0
	var foreign []LetterAddress
	next, err := d.scan(ctx, spans, func(rec *kgo.Record) bool {
		bytes += len(rec.Value)
		if page.Scanned++; page.Scanned > letterScanRecords || bytes > letterScanBytes || time.Since(began) > letterScanTime {
			page.Scanned--
			return false
		}
		if o, ok := outcomeOf(rec); ok {
			fold.outcome(&o)
			return true
		}
		l := letterOf(rec)
		switch {
		case l.State == LetterForeign:
			page.Foreign++
			if f.foreign() {
				foreign = append(foreign, LetterAddress{rec.Partition, rec.Offset})
			}
		case l.Job != d.cfg.Job:
			page.OtherJobs++
		default:
			l.Source.Topic, l.Source.TopicID = w.intern(l.Source.Topic), w.intern(l.Source.TopicID)
			if fold.letter(&l, w.matches(&l, rec)); l.Problem != "" {
				page.Undecodable++
			}
		}
		return true
	})
	if err != nil {
		if ctx.Err() != nil || page.Scanned == 0 {
			return page, err
		}
		page.Problem = err.Error()
	}
	page.Complete = len(spans) == 0 || err == nil && next == LetterAddress{spans[len(spans)-1].partition, spans[len(spans)-1].to}
	page.Counts = counts(fold, f.State)
	err = d.fill(ctx, &page, fold, foreign, f, min(limit, MaxPage), next)
	return page, err // apart: Go does not say which of two operands is read first
}

// fill reads the letters of a page again, now that their state is known.
func (d *DeadLetters) fill(ctx context.Context, page *LetterPage, fold *letterFold, foreign []LetterAddress, f LetterFilter, limit int, next LetterAddress) error {
	known := map[LetterAddress]*foldedLetter{}
	wanted := foreign
	for i := range fold.letters {
		if l := &fold.letters[i]; l.matches && f.hasState(l.state) {
			wanted = append(wanted, l.at)
			known[l.at] = l
		}
	}
	slices.SortFunc(wanted, LetterAddress.compare)
	if !page.Complete {
		page.Next = next.cursor()
	}
	if len(wanted) > limit {
		page.Next = wanted[limit].cursor()
		wanted = wanted[:limit]
	}
	if len(wanted) == 0 {
		return nil
	}
	w := d.newMatcher(f)
	_, err := d.scan(ctx, spansOf(wanted), func(rec *kgo.Record) bool {
		at := LetterAddress{rec.Partition, rec.Offset}
		if _, found := slices.BinarySearchFunc(wanted, at, LetterAddress.compare); !found {
			return true
		}
		l := letterOf(rec)
		if is := known[at]; is != nil {
			is.tell(&l)
			w.matches(&l, rec) // for its Problem
		}
		l.Key = slices.Clone(l.Key)
		page.Letters = append(page.Letters, l)
		return true
	})
	if err != nil && ctx.Err() == nil && page.Problem == "" {
		page.Problem, err = err.Error(), nil
	}
	return err
}

// counts are by class and state of what the filter chose.
func counts(fold *letterFold, states []LetterState) []LetterCount {
	by := map[LetterCount]int{}
	f := LetterFilter{State: states}
	for i := range fold.letters {
		if l := &fold.letters[i]; l.matches && f.hasState(l.state) {
			by[LetterCount{Class: l.class, State: l.state}]++
		}
	}
	return sortedCounts(by)
}

// sortedCounts is by as a list, by class and state.
func sortedCounts(by map[LetterCount]int) []LetterCount {
	out := []LetterCount{}
	for c, n := range by {
		c.Count = n
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b LetterCount) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.State, b.State))
	})
	return out
}

// Show gives one letter with its key, value and headers, or a record of the topic that is none (LetterForeign). The state is looked for
// in what stands behind it, within the bounds of List. A value that was left out is read at its source; if it is not there any more,
// Problem says so. ErrNoRecord: there is nothing at this address.
func (d *DeadLetters) Show(ctx context.Context, partition int32, offset int64) (Letter, error) {
	at := LetterAddress{partition, offset}
	page, err := d.List(ctx, LetterFilter{At: &at}, at.cursor(), 1)
	if err != nil {
		return Letter{}, err
	}
	var found *kgo.Record
	if _, err = d.scan(ctx, []span{{partition, offset, offset + 1}}, func(rec *kgo.Record) bool { found = rec; return true }); err != nil && !errors.Is(err, errPartitionGone) {
		return Letter{}, err
	}
	if found == nil || found.Offset != offset {
		return Letter{}, fmt.Errorf("dead letter %s of %s: %w", at, d.cfg.DeadLetterTopic, ErrNoRecord)
	}
	l := letterOf(found)
	if len(page.Letters) == 1 && page.Letters[0].Offset == offset {
		l = page.Letters[0]
	}
	o := originalOf(found)
	if l.State == LetterForeign || ownHeaders(found) == nil {
		o = original{found.Key, found.Value, found.Headers}
	}
	if l.LeftOut {
		if o, err = d.readSource(ctx, &l); err != nil {
			l.Problem = err.Error()
			o = originalOf(found)
		}
	}
	l.Key, l.Value = o.key, o.value
	for _, h := range o.headers {
		l.Headers = append(l.Headers, RecordHeader(h))
	}
	return l, nil
}

// readSource reads the record of a letter whose value was left out, if it is still the same log.
func (d *DeadLetters) readSource(ctx context.Context, l *Letter) (original, error) {
	gone := func(why string) (original, error) {
		return original{}, fmt.Errorf("the value was left out of the dead letter, since it was too large, and it cannot be read at %s/%d/%d: %s",
			l.Source.Topic, l.Source.Partition, l.Source.Offset, why)
	}
	meta, err := d.instance.admin.Metadata(ctx, l.Source.Topic)
	if err == nil {
		err = meta.Topics.Error()
	}
	switch {
	case err != nil:
		return gone(err.Error())
	case encodeTopicID(meta.Topics[l.Source.Topic].ID) != l.Source.TopicID:
		return gone("the topic was deleted and made anew")
	}
	ctx, cancel := context.WithTimeout(ctx, letterScanTime)
	defer cancel()
	rec, err := ReadRecord(ctx, d.instance.kafka, l.Source.Topic, l.Source.Partition, l.Source.Offset, d.instance.log)
	if err != nil {
		if errors.Is(err, ErrNoRecord) {
			err = ErrNoRecord
		}
		return gone(err.Error())
	}
	o := original{key: rec.Key, value: rec.Value}
	for _, h := range rec.Headers {
		o.headers = append(o.headers, kgo.RecordHeader(h))
	}
	return o, nil
}

// letterMatcher tries a filter on letters. It belongs to one goroutine.
type letterMatcher struct {
	filter  LetterFilter
	sources map[string]*extraction
	d       *DeadLetters
	words   map[string]string
}

func (d *DeadLetters) newMatcher(f LetterFilter) *letterMatcher {
	return &letterMatcher{filter: f, d: d, sources: map[string]*extraction{}, words: map[string]string{}}
}

// intern gives the same memory for the same text: letters name few topics.
func (w *letterMatcher) intern(s string) string {
	known, ok := w.words[s]
	if !ok {
		known = strings.Clone(s)
		w.words[known] = known
	}
	return known
}

// matches tries all but the state. It sets l.Problem where the row could not be looked at.
func (w *letterMatcher) matches(l *Letter, rec *kgo.Record) bool {
	f := &w.filter
	switch {
	case len(f.Class) > 0 && !slices.Contains(f.Class, l.Class):
		return false
	case !f.Since.IsZero() && l.At.Before(f.Since), !f.Until.IsZero() && !l.At.Before(f.Until):
		return false
	case f.Key != nil && *f.Key != string(l.Key):
		return false
	case f.At != nil && *f.At != LetterAddress{l.Partition, l.Offset}:
		return false
	}
	if f.Where == nil {
		return true
	}
	ok, err := w.where(l, rec)
	if err != nil {
		l.Problem = "where: " + err.Error()
	}
	return ok
}

var (
	errLeftOut = errors.New("the value is not in the dead letter")
	errNoRow   = errors.New("the record has no such row, or its route none that matches it, as the job is defined now")
)

// where looks for the path in the message of the letter's row, as the job sees it. A record that could not be decoded and can be now
// matches with any of its rows.
func (w *letterMatcher) where(l *Letter, rec *kgo.Record) (bool, error) {
	if l.LeftOut {
		return false, errLeftOut
	}
	x := w.sources[l.Source.Topic]
	if x == nil {
		made := newExtraction(&w.d.cfg, w.d.instance.schemas, address{topic: l.Source.Topic})
		x, w.sources[l.Source.Topic] = &made, &made
	}
	source := sourceRecord(l, originalOf(rec))
	batch, err := x.decode(source)
	if errors.Is(err, errTombstone) {
		batch, err = x.decoder.Tombstone(&x.headers)
	}
	if err != nil {
		return false, err
	}
	message := mapping.Message{Avro: batch.Schema(), Tombstone: source.Value == nil}
	if w.filter.Where.UsesKafka() {
		message.Kafka = x.kafka(source)
	}
	if l.Source.Row != wholeRecord {
		if int(l.Source.Row) >= batch.Len() {
			return false, errNoRow
		}
		message.Msg, message.Event = batch.Row(int(l.Source.Row)), batch.Event(int(l.Source.Row))
		return x.mapper.Finds(w.filter.Where, &message)
	}
	for i := range batch.Len() {
		message.Msg, message.Event = batch.Row(i), batch.Event(i)
		if ok, err := x.mapper.Finds(w.filter.Where, &message); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// sourceRecord is the record of a letter as it was read from its topic.
func sourceRecord(l *Letter, o original) *kgo.Record {
	return &kgo.Record{Topic: l.Source.Topic, Partition: l.Source.Partition, Offset: l.Source.Offset, Timestamp: l.Source.Timestamp,
		Key: o.key, Value: o.value, Headers: o.headers}
}

func (f *LetterFilter) hasState(s LetterState) bool {
	return len(f.State) == 0 || slices.Contains(f.State, s)
}

// foreign says whether records that are no dead letters can be chosen: they have no class, key or row to try.
func (f *LetterFilter) foreign() bool {
	return len(f.Class) == 0 && f.Since.IsZero() && f.Until.IsZero() && f.Key == nil && f.Where == nil && f.At == nil && f.hasState(LetterForeign)
}

func (a LetterAddress) compare(b LetterAddress) int {
	return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
}

// cursor is where a page begins, as a text.
func (a LetterAddress) cursor() string { return fmt.Sprintf("%d-%d", a.Partition, a.Offset) }

func parseCursor(s string) (a LetterAddress, err error) {
	if s == "" {
		return a, nil
	}
	partition, offset, ok := strings.Cut(s, "-")
	p, err1 := strconv.ParseInt(partition, 10, 32)
	o, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || err1 != nil || err2 != nil || p < 0 || o < 0 {
		return a, &CursorError{s}
	}
	return LetterAddress{int32(p), o}, nil
}
