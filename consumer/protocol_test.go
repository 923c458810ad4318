package consumer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest"
)

// classicOnly skips a test that speaks to the broker's side of the classic protocol.
func classicOnly(t *testing.T) {
	t.Helper()
	if consumertest.GroupProtocol == string(GroupConsumer) {
		t.Skip("a story of the classic protocol")
	}
}

// runConsumer runs the job in a group of the consumer protocol.
func (f *fixture) runConsumer(cfg Config) *running {
	f.Helper()
	return f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0), cfg)
}

// refusedWith waits for the end of the run, which must be a refusal that says part.
func (j *running) refusedWith(part string) {
	j.f.Helper()
	select {
	case err := <-j.ended:
		j.ended <- err
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), part) {
			j.f.Errorf("ended with %v", err)
		}
	case <-time.After(within):
		j.f.Error("the run does not end")
	}
}

func TestConsumerProtocolIsRefusedWhereItCannotBeHad(t *testing.T) {
	for name, c := range map[string]struct {
		version *kversion.Versions
		part    string
	}{
		"Kafka 4.2, which lacks assignment epochs": {kversion.V4_2_0(), "does not know metadata.version 30"},
		"Kafka 3.6, which lacks the protocol":      {kversion.V3_6_0(), "does not know ConsumerGroupHeartbeat v1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, consumertest.Fake(t, kfake.MaxVersions(c.version)), nil)
			cfg := f.job(f.cluster.Topic(t, "t", 1))
			i := f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0)
			defer i.Close()
			err := i.NewRunner(cfg).Run(t.Context(), t.Context())
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.part) || !strings.Contains(err.Error(), "needs Kafka 4.3") {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// A coordinator that stops serving the protocol after it was looked at: the client would go on with the classic one, in silence.
func TestTheClientNeverFallsBackToTheClassicProtocol(t *testing.T) {
	c := consumertest.Fake(t)
	f := setup(t, c, nil)
	topic := f.cluster.Topic(t, "t", 1)
	consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1))
	c.Fake.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.Fake.KeepControl()
		resp := kreq.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		return resp, nil, true
	})
	f.runConsumer(f.job(topic)).refusedWith("the group coordinator refuses the consumer protocol")
	if n := f.api.Len(); n != 0 {
		t.Errorf("%d rows were sent", n)
	}
}

func TestAGroupWhoseSessionIsTooShortIsRefused(t *testing.T) {
	f := setup(t, consumertest.Fake(t), nil)
	cfg := f.job(f.cluster.Topic(t, "t", 1))
	f.cluster.GroupTimes(f, cfg.Group, 1500*time.Millisecond, 1200*time.Millisecond)
	i := f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: GroupConsumer}, 0)
	defer i.Close()
	if err := i.NewRunner(cfg).Run(t.Context(), t.Context()); err == nil || !strings.Contains(err.Error(), "session timeout of 1.5s and a heartbeat every 1.2s") {
		t.Errorf("ended with %v", err)
	}
}

// Members of another client, in a group of either protocol, are seen by jobs of either.
func TestAForeignMemberIsRefusedUnderBothProtocols(t *testing.T) {
	for _, theirs := range []GroupProtocol{GroupClassic, GroupConsumer} {
		for _, ours := range []GroupProtocol{GroupClassic, GroupConsumer} {
			t.Run(fmt.Sprint(theirs, " there, ", ours, " here"), func(t *testing.T) {
				t.Parallel()
				f := setup(t, consumertest.Fake(t), nil)
				topic := f.cluster.Topic(t, "t", 1)
				cfg := f.job(topic)
				f.lively(cfg.Group)
				opts := []kgo.Opt{kgo.ConsumerGroup(cfg.Group), kgo.ConsumeTopics(topic), kgo.ClientID("somebody-else")}
				if theirs == GroupConsumer {
					opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
				}
				foreign := f.cluster.Client(t, opts...)
				go foreign.PollFetches(t.Context())
				consumertest.WaitFor(t, within, "the foreign member", func() (any, bool) {
					id, generation := foreign.GroupMetadata()
					return id, id != "" && generation > 0
				})
				f.runOn(f.instance(Client{Brokers: f.cluster.Brokers, GroupProtocol: ours}, 0), cfg).refusedWith(`client "somebody-else"`)
			})
		}
	}
}

// The coordinator does not know the member any more, or not in this epoch: attempts are cancelled at once, nothing is committed, and
// after joining again the rows are sent from the last commit. The fence is closed before the client has understood.
func TestAMemberThatTheCoordinatorRefusesGivesItsPartitionsUp(t *testing.T) {
	for _, refusal := range []*kerr.Error{kerr.UnknownMemberID, kerr.FencedMemberEpoch} {
		t.Run(refusal.Message, func(t *testing.T) {
			t.Parallel()
			var hang atomic.Bool
			hang.Store(true)
			c := consumertest.Fake(t)
			f := setup(t, c, func(a *sinktest.Attempt) sinktest.Answer {
				if a.Path == "/rows/a" && hang.Load() {
					return sinktest.Answer{Fault: sinktest.Hang}
				}
				return sinktest.Answer{}
			})
			topic := f.cluster.Topic(t, "t", 1)
			consumertest.Produce(t, f.producer, rec(topic, 0, "a", 1), rec(topic, 0, "b", 1))
			cfg := f.job(topic, func(c *Config) { c.Sink.Timeout, c.Drain = time.Minute, time.Minute })
			f.runConsumer(cfg)
			consumertest.WaitFor(t, within, "the hanging attempt", func() (any, bool) { return f.api.Len(), f.api.Len() == 2 })
			hang.Store(false)
			var refused, commits atomic.Int64
			c.Fake.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.Fake.KeepControl()
				if refused.Load() == 1 {
					commits.Add(1)
				}
				return nil, nil, false
			})
			c.Fake.ControlKey(int16(kmsg.ConsumerGroupHeartbeat), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				c.Fake.KeepControl()
				req := kreq.(*kmsg.ConsumerGroupHeartbeatRequest)
				switch {
				case req.MemberEpoch == 0: // it joins again
					refused.CompareAndSwap(1, 2)
				case refused.CompareAndSwap(0, 1):
					resp := kreq.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
					resp.ErrorCode = refusal.Code
					return resp, nil, true
				}
				return nil, nil, false
			})
			f.committed(cfg, topic)
			for _, a := range f.attempts(3) {
				if a.Path == "/rows/a" && a.Attempt == 1 && a.End.IsZero() {
					t.Error("the attempt that was in flight when the partition was lost still runs")
				}
			}
			if refused.Load() != 2 || commits.Load() != 0 {
				t.Errorf("%d commits after the group had given the member up", commits.Load())
			}
		})
	}
}

// The answers of the coordinator are understood however the network cuts them, among others, and whatever else passes.
func TestGroupConnReadsErrorCodes(t *testing.T) {
	answer := func(id int32, body ...byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))
		return append(binary.BigEndian.AppendUint32(b, uint32(id)), body...)
	}
	group := func(id int32, code byte) []byte { return answer(id, 0, 0, 0, 0, 0, 0, code, 1, 2, 3) }
	wire := bytes.Join([][]byte{answer(1, 7), group(2, 25), answer(3), answer(4, bytes.Repeat([]byte{9}, 5000)...), group(5, 0), group(6, 110)}, nil)
	for chunk := 1; chunk < 40; chunk++ {
		ours, theirs := net.Pipe()
		var told []string
		c := &groupConn{Conn: ours, patience: &patience{}, asked: map[int32]kmsg.Key{}, told: func(key kmsg.Key, code int16) { told = append(told, fmt.Sprint(key.Name(), " ", code)) }}
		ask := func(id int32, key kmsg.Key, version uint16) {
			b := binary.BigEndian.AppendUint32(nil, 8)
			b = binary.BigEndian.AppendUint16(b, uint16(key))
			b = binary.BigEndian.AppendUint16(b, version)
			if _, err := c.Write(binary.BigEndian.AppendUint32(b, uint32(id))); err != nil {
				t.Error(err)
			}
		}
		go func() { // ends when everything was written and read
			_, _ = io.CopyN(io.Discard, theirs, 6*12)
			for rest := wire; len(rest) > 0; {
				n := min(chunk, len(rest))
				_, _ = theirs.Write(rest[:n])
				rest = rest[n:]
			}
			_ = theirs.Close()
		}()
		ask(1, kmsg.Metadata, 12)
		ask(2, kmsg.Heartbeat, 4)
		ask(3, kmsg.Heartbeat, 3) // not of the form that is looked at
		ask(4, kmsg.Fetch, 17)
		ask(5, kmsg.ConsumerGroupHeartbeat, 1)
		ask(6, kmsg.ConsumerGroupHeartbeat, 1)
		all, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(all, wire) {
			t.Fatalf("%d bytes passed of %d: %v", len(all), len(wire), err)
		}
		if got := strings.Join(told, ", "); got != "Heartbeat 25, ConsumerGroupHeartbeat 0, ConsumerGroupHeartbeat 110" {
			t.Fatalf("in chunks of %d: %s", chunk, got)
		}
		_ = ours.Close()
	}
}

// A drain ends when the session may have run out, though its own time is not over.
func TestADrainEndsWithTheMembership(t *testing.T) {
	r := &Runner{instance: &Instance{kafka: Client{GroupProtocol: GroupConsumer}}, fence: newFence(time.Second)}
	r.fence.answered(time.Now())
	ctx, closeIt := r.whileMember(context.Background())
	defer closeIt()
	if ctx.Err() != nil {
		t.Fatal("ended at once")
	}
	select {
	case <-ctx.Done():
	case <-time.After(within):
		t.Error("goes on without heartbeats")
	}
}
