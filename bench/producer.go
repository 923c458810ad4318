package main

import (
	"encoding/json"
	"errors"
	"time"
)

// producerSettings: JSON rows at a fixed rate, each with the time of its append as its number.
type producerSettings struct {
	Brokers []string `json:"brokers"`
	Topic   string   `json:"topic"`
	Keys    int      `json:"keys"`
	Rows    int      `json:"rows"`
	Rate    int      `json:"rate"` // rows a second
}

// produced is what the producer tells in the end: how long its rows took, and how late the latest was by its own clock. One that
// is late by much could not keep the rate, and measures itself.
type produced struct {
	Took time.Duration `json:"took"`
	Late time.Duration `json:"late"`
}

// producerPace is how often the producer looks at which rows are due.
const producerPace = 500 * time.Microsecond

// producerRole writes each row when it is due, in ns since 1970 of the machine's clock, which the receiver reads too.
func producerRole(settings []byte, s *stage) error {
	var set producerSettings
	if err := json.Unmarshal(settings, &set); err != nil {
		return err
	}
	b, err := contents{rows: set.Keys, keys: set.Keys, format: formatJSON}.batch(set.Topic)
	if err != nil {
		return err
	}
	cl, err := producer(set.Brokers, 0)
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed failure
	var done produced
	began := time.Now()
	for i := 0; i < set.Rows && s.stopped.Err() == nil; {
		due := time.Duration(i) * time.Second / time.Duration(set.Rate)
		late := time.Since(began) - due
		if late < 0 {
			time.Sleep(producerPace) // the pace of the measured input, not a wait for something
			continue
		}
		done.Late = max(done.Late, late)
		cl.Produce(s.stopped, b.record(i, time.Now().UnixNano()), failed.note)
		i++
	}
	if err := errors.Join(cl.Flush(s.stopped), failed.get()); err != nil {
		return err
	}
	done.Took = time.Since(began)
	return s.tell(done)
}
