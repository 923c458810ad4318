package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// floorSettings are those of one run of the loop that streamer is compared with.
type floorSettings struct {
	Brokers  []string `json:"brokers"`
	Topic    string   `json:"topic"`
	Group    string   `json:"group"`
	URL      string   `json:"url"`
	Rows     int      `json:"rows"`
	InFlight int      `json:"in_flight"`
	profiles
}

// floorAhead is how many rows the loop holds: without a bound it would read the whole topic into memory.
const floorAhead = 5000

// floor is what somebody writes by hand for this one topic and this one API, without retries, masking, dead letters, limits or
// metrics: a group, the schema known beforehand, lanes per key, a commit of finished work every second.
type floor struct {
	settings floorSettings
	http     http.Client
	kafka    *kgo.Client
	ahead    chan struct{} // a place for each row that is held
	ready    chan *floorRow

	mu    sync.Mutex
	lanes map[string][]*floorRow // rows of a key that are not finished; the first is on its way
	parts map[int32]*floorPart
	left  int
	done  chan struct{} // closed when no row is left, or one failed
	err   error
}

type floorRow struct {
	key       string
	partition int32
	offset    int64
	body      []byte
}

// floorPart knows which offset to commit: the end of the unbroken run of finished records.
type floorPart struct {
	next     int64
	finished map[int64]bool
}

func floorRole(settings []byte, s *stage) error {
	var set floorSettings
	if err := json.Unmarshal(settings, &set); err != nil {
		return err
	}
	return set.profiled(s, func() (usage, error) { return runFloor(s.stopped, set) })
}

func runFloor(ctx context.Context, set floorSettings) (u usage, err error) {
	before := cpu()
	f := &floor{
		settings: set, left: set.Rows, done: make(chan struct{}),
		http:  http.Client{Transport: &http.Transport{MaxIdleConns: 2 * set.InFlight, MaxIdleConnsPerHost: 2 * set.InFlight}},
		ahead: make(chan struct{}, floorAhead), ready: make(chan *floorRow, floorAhead),
		lanes: map[string][]*floorRow{}, parts: map[int32]*floorPart{},
	}
	if err = f.run(ctx); err != nil {
		return u, err
	}
	u.CPU = cpu() - before
	return u, u.look()
}

func (f *floor) run(ctx context.Context) (err error) {
	f.kafka, err = kgo.NewClient(kgo.SeedBrokers(f.settings.Brokers...), kgo.ConsumerGroup(f.settings.Group), kgo.ConsumeTopics(f.settings.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.FetchMaxBytes(2<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer f.kafka.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for range f.settings.InFlight {
		all.Go(func() { f.send(ctx) })
	}
	all.Go(func() { f.poll(ctx) })
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for working := true; working; {
		select {
		case <-tick.C:
			f.commit(ctx)
		case <-f.done:
			working = false
		case <-ctx.Done():
			working = false
		}
	}
	f.commit(ctx)
	cancel()
	all.Wait()
	if f.err != nil {
		return f.err
	}
	return f.kafka.LeaveGroupContext(context.WithoutCancel(ctx))
}

func (f *floor) poll(ctx context.Context) {
	var rows household
	for {
		fetches := f.kafka.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		if err := fetches.Err(); err != nil {
			f.fail(err)
			return
		}
		for it := fetches.RecordIter(); !it.Done(); {
			rec := it.Next()
			body, err := rows.body(rec.Value)
			if err != nil {
				f.fail(fmt.Errorf("offset %d: %w", rec.Offset, err))
				return
			}
			select {
			case f.ahead <- struct{}{}:
			case <-ctx.Done():
				return
			}
			f.enter(&floorRow{string(rec.Key), rec.Partition, rec.Offset, body})
		}
	}
}

// enter puts a row behind those of its key, or on its way if there are none.
func (f *floor) enter(r *floorRow) {
	f.mu.Lock()
	if f.parts[r.partition] == nil {
		f.parts[r.partition] = &floorPart{next: r.offset, finished: map[int64]bool{}}
	}
	lane := append(f.lanes[r.key], r)
	f.lanes[r.key] = lane
	f.mu.Unlock()
	if len(lane) == 1 {
		f.ready <- r // never blocks: it has a place for each row that is held
	}
}

func (f *floor) send(ctx context.Context) {
	for {
		select {
		case r := <-f.ready:
			if err := f.post(r.body); err != nil {
				f.fail(err)
				return
			}
			f.leave(r)
		case <-ctx.Done():
			return
		}
	}
}

func (f *floor) post(body []byte) error {
	resp, err := f.http.Post(f.settings.URL+"/households", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// leave notes that a row is finished and puts the next one of its key on its way.
func (f *floor) leave(r *floorRow) {
	<-f.ahead
	f.mu.Lock()
	p := f.parts[r.partition]
	p.finished[r.offset] = true
	for p.finished[p.next] {
		delete(p.finished, p.next)
		p.next++
	}
	lane := f.lanes[r.key][1:]
	if f.lanes[r.key] = lane; len(lane) == 0 {
		delete(f.lanes, r.key)
	}
	if f.left--; f.left == 0 {
		close(f.done)
	}
	f.mu.Unlock()
	if len(lane) > 0 {
		f.ready <- lane[0]
	}
}

func (f *floor) commit(ctx context.Context) {
	offsets := map[int32]kgo.EpochOffset{}
	f.mu.Lock()
	for id, p := range f.parts {
		offsets[id] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
	}
	f.mu.Unlock()
	f.kafka.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{f.settings.Topic: offsets}, nil)
}

// fail ends the run with an error.
func (f *floor) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.left > 0 {
		f.err = err
		close(f.done)
	}
}
