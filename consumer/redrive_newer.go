package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Bounds of the look for newer rows.
const (
	newerRecords = 100_000
	newerTime    = 5 * time.Second
)

// NewerRows says how many of the letters to be redriven have newer rows of their lane in the source topic: rows that went on after them,
// so that a redrive brings an old state after a newer one. It is found by reading the source partitions from the oldest letter on,
// 100,000 records and 5 seconds at most over all; Complete says that this was to their ends. Not looked for with key: park, where newer
// rows wait behind, and with order: none.
type NewerRows struct {
	Letters  int  `json:"letters"`
	Scanned  int  `json:"scanned"`
	Complete bool `json:"complete"`
}

// newer looks for newer rows of the letters' lanes.
func (r *redrive) newer(ctx context.Context, chosen []redriveLane) error {
	n := &r.report.Newer
	n.Complete = true
	if r.d.cfg.DeadLetterPark || r.d.cfg.Order.By == OrderNone || len(chosen) == 0 {
		return nil
	}
	sources := map[sourcePartition]map[laneValue][]int64{} // offsets of letters, by lane
	for _, lane := range chosen {
		for _, l := range lane.letters {
			id := sourcePartition{l.source.topic, l.source.topicID, l.source.partition}
			if sources[id] == nil {
				sources[id] = map[laneValue][]int64{}
			}
			if !l.lane.none {
				sources[id][l.lane] = append(sources[id][l.lane], l.source.offset)
			}
		}
	}
	look, cancel := context.WithTimeout(ctx, newerTime)
	defer cancel()
	for id, lanes := range sources {
		if err := r.newerIn(look, id, lanes); err != nil {
			n.Complete = false
		}
	}
	return ctx.Err()
}

// newerIn reads one source partition. The letters of a lane that have a row behind them are counted once each.
func (r *redrive) newerIn(ctx context.Context, id sourcePartition, lanes map[laneValue][]int64) error {
	n := &r.report.Newer
	source := &DeadLetters{instance: r.d.instance, cfg: r.d.cfg}
	source.cfg.DeadLetterTopic = id.topic // a reader of that topic
	meta, err := r.d.instance.admin.Metadata(ctx, id.topic)
	if err != nil || encodeTopicID(meta.Topics[id.topic].ID) != id.topicID {
		return err // made anew: nothing in it is newer than the letters
	}
	oldest := int64(-1)
	for _, offsets := range lanes {
		for _, o := range offsets {
			if oldest < 0 || o < oldest {
				oldest = o
			}
		}
	}
	spans, err := source.spans(ctx, LetterAddress{id.partition, oldest + 1})
	if err != nil || len(spans) == 0 || spans[0].partition != id.partition {
		return err
	}
	x := newExtraction(&r.d.cfg, r.d.instance.schemas, address{topic: id.topic})
	_, err = source.scan(ctx, spans[:1], func(rec *kgo.Record) bool {
		if n.Scanned++; n.Scanned > newerRecords {
			n.Complete = false
			return false
		}
		for _, lane := range x.lanesOf(rec) {
			left := lanes[lane][:0]
			for _, o := range lanes[lane] {
				if o < rec.Offset {
					n.Letters++
				} else {
					left = append(left, o)
				}
			}
			if len(left) > 0 {
				lanes[lane] = left
			} else {
				delete(lanes, lane)
			}
		}
		return len(lanes) > 0
	})
	return err
}

// lanesOf gives the lanes of a record's rows, long values hashed as in headers.
func (x *extraction) lanesOf(rec *kgo.Record) []laneValue {
	if rec.Attrs.IsControl() {
		return nil
	}
	var out []laneValue
	for _, row := range x.extractNow(rec) {
		if row.lane.value != "" {
			row.lane.value = boundKey(row.lane.value)
		}
		out = append(out, row.lane)
	}
	return out
}
