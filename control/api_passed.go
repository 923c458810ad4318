package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"streamer/consumer"
)

// acceptLines is how many lines of a job's audit are looked at for what was passed over.
const acceptLines = 1000

// tellPassedOver adds to records that are final without a dead letter that somebody accepted a gap over them: the offset was committed
// then, and they need not have been sent.
func (a API) tellPassedOver(ctx context.Context, id string, found []FoundRow) {
	for i := range found {
		f := &found[i].Found
		if f.Letter != nil || f.State != consumer.FoundCommitted && f.State != consumer.FoundFinished {
			continue
		}
		lines, _, err := a.Audits.Audit(ctx, AuditSubject{Job: id}, 0, acceptLines)
		if err != nil {
			f.Reason += "; whether somebody has passed it over (offsets accept) is not known: " + err.Error()
			return
		}
		for _, l := range lines {
			if p, passed := l.passed(f.Position); passed {
				f.Reason += fmt.Sprintf("; or not sent: at %s %s accepted that %s/%d goes on at %d",
					l.At.UTC().Format(time.DateTime+"Z"), l.By, p.Topic, p.Partition, p.After)
				break
			}
		}
		return // all are of one record
	}
}

// passed says whether a line tells of a gap that was accepted over a record.
func (l AuditLine) passed(at consumer.Position) (consumer.Accepted, bool) {
	if l.Action != "accept" {
		return consumer.Accepted{}, false
	}
	var detail struct {
		Partitions []consumer.Accepted `json:"partitions"`
	}
	text, err := json.Marshal(l.Detail)
	if err != nil || json.Unmarshal(text, &detail) != nil { // of a version that writes it in another way
		return consumer.Accepted{}, false
	}
	for _, p := range detail.Partitions {
		if p.Topic == at.Topic && p.Partition == at.Partition && p.Before <= at.Offset && at.Offset < p.After {
			return p, true
		}
	}
	return consumer.Accepted{}, false
}
