package control

import (
	"bytes"
	"fmt"
	"slices"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
	"streamer/control/job"
	"streamer/control/service"
	"streamer/internal/fault"
)

// clashes says what a job may not have in common with the others that are in the log now, and what it writes that comes back to it by way of
// them. Those that the caller may not view are not named.
func (d *Definitions) clashes(by service.Caller, id string, config consumer.Config) (faults fault.List) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index()
	named := func(other string) string {
		if !by.May(service.View, d.known[other].owner) {
			return "a job of another owner"
		}
		return fmt.Sprintf("job %q", other)
	}
	if other, taken := d.plain[job.PlainID(id)]; taken && other != id {
		faults.Add("id", "it is too near to that of "+named(other), "ids must differ by more than . and _")
	}
	others := slices.DeleteFunc(slices.Clone(d.groups[config.Group]), func(other string) bool { return other == id })
	if config.Group != "" && len(others) > 0 {
		faults.Add("group", fmt.Sprintf("group %q is that of %s", config.Group, named(others[0])), "a group belongs to one job")
	}
	return append(faults, d.circles(by, job.FlowOf(&config))...)
}

// circles says what a job writes that comes back to it by way of those in the log, and of more. The caller holds mu.
func (d *Definitions) circles(by service.Caller, f *job.Flow, more ...*job.Flow) fault.List {
	if !f.Goes() {
		return nil
	}
	return f.Circles(append(d.flows(f.Job), more...), func(id string) string {
		if k := d.known[id]; k != nil && id != f.Job && !by.May(service.View, k.owner) {
			return ""
		}
		return id
	})
}

// flows are those of the jobs that can be on a circle, but one, by their ids. The caller holds mu.
func (d *Definitions) flows(but string) (flows []*job.Flow) {
	for _, id := range d.sortedIDs() {
		k := d.known[id]
		if !k.looked {
			k.looked, k.flow = true, d.flowOf(k.entry)
		}
		if k.flow != nil && id != but {
			flows = append(flows, k.flow)
		}
	}
	return flows
}

// readable are the words without which no job writes what jobs may read: nobody reads where its dead letters go without a setting.
var readable = [][]byte{[]byte("dead_letter"), []byte("callback"), []byte("response")}

// flowOf reads what a job reads and writes out of its entry in the log, whether it can run here or not; nil if it cannot be on a circle.
func (d *Definitions) flowOf(e kafkalog.Entry) *job.Flow {
	if !slices.ContainsFunc(readable, func(word []byte) bool { return bytes.Contains(e.Value, word) }) {
		return nil
	}
	s, err := decodeDefinition(e)
	if err != nil {
		return nil
	}
	def, err := s.parse()
	if err != nil {
		return nil
	}
	if f := def.Flow(d.process); f.Goes() {
		return f
	}
	return nil
}
