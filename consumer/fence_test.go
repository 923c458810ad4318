package consumer

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFence(t *testing.T) {
	type step struct {
		wait    time.Duration
		answer  time.Duration // an answered heartbeat, written so long ago; -1: none
		key     kmsg.Key
		failed  bool        // the request came to nothing
		code    *kerr.Error // in the answer
		group   bool        // the group gave an error
		assign  bool
		allowed bool // what permit says after the step
	}
	none := time.Duration(-1)
	for name, steps := range map[string][]step{
		"closed before the group has answered":       {{answer: none}},
		"open after joining":                         {{key: kmsg.JoinGroup, allowed: true}},
		"open after a heartbeat":                     {{key: kmsg.Heartbeat, allowed: true}},
		"other requests prove nothing":               {{key: kmsg.Fetch}},
		"a failed heartbeat proves nothing":          {{key: kmsg.Heartbeat, failed: true}},
		"closed when the session may have run out":   {{key: kmsg.Heartbeat, allowed: true}, {wait: 7 * time.Second, answer: none, allowed: true}, {wait: 2 * time.Second, answer: none}},
		"an answer counts from when it was asked":    {{key: kmsg.Heartbeat, allowed: true}, {wait: 7 * time.Second, answer: 6 * time.Second, key: kmsg.Heartbeat, allowed: true}, {wait: 3 * time.Second, answer: none}},
		"the first answer after a gap opens nothing": {{key: kmsg.Heartbeat, allowed: true}, {wait: 20 * time.Second, key: kmsg.Heartbeat}},
		"the second answer after a gap opens":        {{key: kmsg.Heartbeat, allowed: true}, {wait: 20 * time.Second, key: kmsg.Heartbeat}, {wait: 2 * time.Second, key: kmsg.Heartbeat, allowed: true}},
		"an answer that waited in the socket while frozen opens nothing": {
			{key: kmsg.Heartbeat, allowed: true},
			{wait: 30 * time.Second, answer: 29 * time.Second, key: kmsg.Heartbeat},
		},
		"an assignment opens after a gap":                 {{key: kmsg.Heartbeat, allowed: true}, {wait: 20 * time.Second, key: kmsg.SyncGroup}, {answer: none, assign: true, allowed: true}},
		"an error of the group closes at once":            {{key: kmsg.Heartbeat, allowed: true}, {answer: none, group: true}},
		"heartbeats do not open after an error":           {{key: kmsg.Heartbeat, allowed: true}, {group: true, key: kmsg.Heartbeat}, {key: kmsg.Heartbeat}},
		"an assignment opens after an error":              {{key: kmsg.Heartbeat, allowed: true}, {group: true, answer: none}, {key: kmsg.JoinGroup, assign: true, allowed: true}},
		"a JoinGroup that was asked twice was refused":    {{key: kmsg.Heartbeat, allowed: true}, {key: kmsg.JoinGroup, allowed: true}, {key: kmsg.JoinGroup}, {key: kmsg.SyncGroup}, {answer: none, assign: true, allowed: true}},
		"open after a heartbeat of the consumer protocol": {{key: kmsg.ConsumerGroupHeartbeat, allowed: true}},
		"a refused heartbeat proves nothing": {
			{key: kmsg.ConsumerGroupHeartbeat, allowed: true},
			{wait: 6 * time.Second, key: kmsg.ConsumerGroupHeartbeat, code: kerr.NotCoordinator, allowed: true},
			{wait: 3 * time.Second, answer: none},
		},
		"a heartbeat of a member that is not known closes at once": {
			{key: kmsg.ConsumerGroupHeartbeat, allowed: true},
			{key: kmsg.ConsumerGroupHeartbeat, code: kerr.FencedMemberEpoch},
			{key: kmsg.ConsumerGroupHeartbeat},
			{answer: none, assign: true, allowed: true},
		},
		"a rebalance is told to members": {{key: kmsg.Heartbeat, allowed: true}, {wait: 7 * time.Second, key: kmsg.Heartbeat, code: kerr.RebalanceInProgress, allowed: true},
			{wait: 7 * time.Second, answer: none, allowed: true}},
		"an assignment alone proves no liveness": {{answer: none, assign: true}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFence(10 * time.Second)
				for i, s := range steps {
					time.Sleep(s.wait) // fake time
					if s.group {
						f.OnGroupManageError(nil)
					}
					if s.answer >= 0 {
						e2e := kgo.BrokerE2E{ReadWait: s.answer / 2, TimeToRead: s.answer - s.answer/2}
						if s.failed {
							e2e.ReadErr = kgo.ErrClientClosed
						}
						if s.code != nil {
							f.told(s.key, s.code.Code)
						}
						f.OnBrokerE2E(kgo.BrokerMetadata{}, int16(s.key), e2e)
					}
					if s.assign {
						f.open()
					}
					if got := f.permit() == 0; got != s.allowed {
						t.Fatalf("step %d: allowed %v, want %v", i, got, s.allowed)
					}
				}
			})
		})
	}
}
