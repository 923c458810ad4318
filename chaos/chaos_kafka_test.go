package chaos

import (
	"syscall"
	"testing"
	"time"

	"streamer/consumer/consumertest"
	"streamer/sink/sinktest/checker"
)

// Two instances, one of which is killed in the middle of its work, again and again, and replaced.
func TestKafkaKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, consumertest.Kafka(t), 8)
	w.delay.Store(50) // so that rows are in flight
	commits := w.cluster.WatchCommits(t, w.group, 20*time.Millisecond)
	a, b := w.start(), w.start()
	for round := range 3 {
		w.work(15, 300+w.random.IntN(500))
		victim := &a
		if w.random.IntN(2) == 1 {
			victim = &b
		}
		w.kill(*victim)
		t.Logf("round %d: %s killed after %d attempts", round, (*victim).name, w.api.Len())
		*victim = w.start()
	}
	w.delay.Store(0)
	w.verdict(commits)
	a.terminate()
	b.terminate()
}

// The same with two routes, a step before each, and a callback: whatever was killed, each part was told of before its offset was committed.
func TestKafkaKillWithSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, consumertest.Kafka(t), 4)
	w.tells()
	w.delay.Store(30)
	commits := w.cluster.WatchCommits(t, w.group, 20*time.Millisecond)
	a, b := w.start(), w.start()
	w.produce(60, 6)
	w.attempts(400 + w.random.IntN(400))
	w.kill(a)
	w.verdict(commits)
	if len(w.toldOf()) == 0 {
		t.Error("nothing was told: this proves nothing")
	}
	b.terminate()
}

// An instance is frozen for longer than its session while it owns half of the partitions. The other one takes them over. What the
// frozen one had waiting when it wakes up must not be sent any more.
func TestKafkaFreeze(t *testing.T) {
	t.Parallel()
	w := newWorld(t, consumertest.Kafka(t), 8)
	commits := w.cluster.WatchCommits(t, w.group, 20*time.Millisecond)
	frozen, other := w.start(), w.start()
	w.split(frozen, other, 8)
	w.delay.Store(300) // so that rows are in flight, and others wait behind them
	w.work(40, 400)
	began := time.Now()
	frozen.signal(syscall.SIGSTOP)
	w.delay.Store(0)
	w.cluster.WaitForLag(t, within, w.group, w.topic) // the other one has taken over and done everything
	if n := len(other.read().owned()); n != 8 {
		t.Fatalf("all is done, and the other one has %d partitions of 8", n)
	}
	seen := w.api.Len()
	frozen.signal(syscall.SIGCONT)
	w.events = append(w.events, checker.Event{Cause: checker.Freeze, At: began, Until: time.Now(), Within: commitWithin})
	t.Logf("frozen for %v", time.Since(began))
	old := int64(len(w.rows) / 8)
	w.produce(200, 1)                                         // both are members again when these have arrived
	frozen.waitLog("partitions lost", "put out of the group") // as a heartbeat or a commit is answered first
	v := w.verdict(commits)
	t.Logf("%d attempts before it woke up, %d in all", seen, v.Attempts)
	for _, a := range w.api.Attempts()[seen:] {
		if a.Offset < old {
			t.Fatalf("offset %d of partition %d was sent after the other instance had finished it", a.Offset, a.Partition)
		}
	}
	frozen.terminate()
	other.terminate()
}

// A stop in the middle is no crash: nothing is sent twice, whichever instance goes on.
func TestKafkaRollingRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, consumertest.Kafka(t), 8)
	w.delay.Store(100) // so that rows are in flight
	commits := w.cluster.WatchCommits(t, w.group, 20*time.Millisecond)
	a, b := w.start(), w.start()
	for range 3 {
		w.work(10, 400)
		a.terminate()
		a = w.start()
		w.work(10, 400)
		b.terminate()
		b = w.start()
	}
	w.delay.Store(0)
	w.verdict(commits)
	a.terminate()
	b.terminate()
}

// One of three brokers is killed under load, comes back, and the next one is.
func TestKafkaBrokersKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, consumertest.ThreeBrokers(t), 9)
	w.produce(180, 5)
	commits := w.cluster.WatchCommits(t, w.group, 20*time.Millisecond)
	a, b := w.start(), w.start()
	for _, node := range []int{2, 3} {
		before := w.api.Len()
		w.produce(180, 15)
		w.attempts(before + 500)
		began := time.Now()
		w.cluster.Kill(t, node)
		w.produce(180, 5)
		w.attempts(before + 20*180) // all of it, on the brokers that are left
		w.cluster.Start(t, node)
		w.events = append(w.events, checker.Event{Cause: checker.Broker, At: began, Until: time.Now(), Within: commitWithin})
	}
	w.verdict(commits)
	a.terminate()
	b.terminate()
}
