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
	Instance string   `json:"instance"` // makes the membership static
	URL      string   `json:"url"`
	// Rows end the run when they are finished; 0: it ends when it is told to.
	Rows     int  `json:"rows"`
	InFlight int  `json:"in_flight"`
	JSON     bool `json:"json"`
	Unorder  bool `json:"unorder"` // rows wait for nobody
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
	ended bool
	done  chan struct{} // closed when no row is left, or one failed
	err   error
}

type floorRow struct {
	householdRow
	record *floorRecord
}

// floorRecord has rows that are not finished.
type floorRecord struct {
	partition int32
	offset    int64
	rows      int
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
	opts := []kgo.Opt{kgo.SeedBrokers(f.settings.Brokers...), kgo.ConsumerGroup(f.settings.Group), kgo.ConsumeTopics(f.settings.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.FetchMaxBytes(2 << 20), kgo.FetchMaxPartitionBytes(1 << 20),
		kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(2 * time.Second)}
	if f.settings.Instance != "" {
		opts = append(opts, kgo.InstanceID(f.settings.Instance))
	}
	f.kafka, err = kgo.NewClient(opts...)
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
	f.commit(context.WithoutCancel(ctx))
	cancel()
	all.Wait()
	if f.err != nil {
		return f.err
	}
	return f.kafka.LeaveGroupContext(context.WithoutCancel(ctx))
}

func (f *floor) poll(ctx context.Context) {
	reader := household{json: f.settings.JSON}
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
			rows, err := reader.read(rec.Value)
			if err != nil {
				f.fail(fmt.Errorf("offset %d: %w", rec.Offset, err))
				return
			}
			record := &floorRecord{rec.Partition, rec.Offset, len(rows)}
			f.begin(record)
			for _, row := range rows {
				select {
				case f.ahead <- struct{}{}:
				case <-ctx.Done():
					return
				}
				f.enter(&floorRow{row, record})
			}
		}
	}
}

// begin notes where a partition begins.
func (f *floor) begin(r *floorRecord) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parts[r.partition] == nil {
		f.parts[r.partition] = &floorPart{next: r.offset, finished: map[int64]bool{}}
	}
}

// enter puts a row behind those of its key, or on its way if there are none.
func (f *floor) enter(r *floorRow) {
	first := f.settings.Unorder
	if !first {
		f.mu.Lock()
		lane := append(f.lanes[r.id], r)
		f.lanes[r.id] = lane
		f.mu.Unlock()
		first = len(lane) == 1
	}
	if first {
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
	if r.record.rows--; r.record.rows == 0 {
		p := f.parts[r.record.partition]
		p.finished[r.record.offset] = true
		for p.finished[p.next] {
			delete(p.finished, p.next)
			p.next++
		}
	}
	var lane []*floorRow
	if !f.settings.Unorder {
		lane = f.lanes[r.id][1:]
		if f.lanes[r.id] = lane; len(lane) == 0 {
			delete(f.lanes, r.id)
		}
	}
	if f.left--; f.left == 0 {
		f.end(nil)
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
	f.end(err)
}

// end ends the run, once. The caller holds mu.
func (f *floor) end(err error) {
	if !f.ended {
		f.ended, f.err = true, err
		close(f.done)
	}
}
