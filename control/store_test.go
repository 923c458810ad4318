package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"streamer/consumer"
	"streamer/consumer/kafkalog"
)

// memoryLog is a Log in memory, with one writer at a time.
type memoryLog struct {
	writing sync.Mutex // before mu
	failing error      // of writes
	// auditing is what Audit gives; nil: lines.
	auditing error

	mu       sync.Mutex
	entries  map[string]kafkalog.Entry
	reports  map[string]kafkalog.Entry
	audit    []kafkalog.Entry
	revision int64
	writes   int // transactions that wrote something
	changed  chan struct{}
	problem  string
	name     string // who writes
	age      time.Duration
	unread   chan struct{} // nil, or closed when the log is read
}

func newMemoryLog() *memoryLog {
	return &memoryLog{entries: map[string]kafkalog.Entry{}, reports: map[string]kafkalog.Entry{}, changed: make(chan struct{})}
}

func (l *memoryLog) Wait(ctx context.Context) error {
	if l.unread == nil {
		return nil
	}
	select {
	case <-l.unread:
		return nil
	default:
	}
	select {
	case <-l.unread:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *memoryLog) Get(key string) (kafkalog.Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[key]
	return e, ok && e.Value != nil
}

func (l *memoryLog) List(prefix string) (out []kafkalog.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.entries {
		if strings.HasPrefix(key, prefix) && e.Value != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b kafkalog.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (l *memoryLog) Update(ctx context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error) {
	all, err := l.Transact(ctx, func(read func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error) {
		now, ok := read(key)
		value, audit, err := change(now, ok)
		return []kafkalog.Write{{Key: key, Value: value, Audit: audit}}, err
	})
	if err != nil {
		return kafkalog.Entry{}, err
	}
	return all[0], nil
}

func (l *memoryLog) Transact(_ context.Context, change func(func(string) (kafkalog.Entry, bool)) ([]kafkalog.Write, error)) (out []kafkalog.Entry, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failing != nil {
		return nil, l.failing
	}
	writes, err := change(l.Get)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	wrote := false
	for _, w := range writes {
		now, ok := l.entries[w.Key]
		ok = ok && now.Value != nil
		if w.Audit == nil && ok == (w.Value != nil) && bytes.Equal(now.Value, w.Value) {
			out = append(out, now)
			continue
		}
		wrote = true
		l.revision++
		e := kafkalog.Entry{Key: w.Key, Value: w.Value, Revision: l.revision, At: time.Now()}
		if w.Audit != nil {
			l.audit = append(l.audit, kafkalog.Entry{Key: w.Key, Value: w.Audit, Revision: l.revision, At: e.At, Writer: l.name})
		}
		l.entries[w.Key] = e
		out = append(out, e)
	}
	if wrote {
		l.writes++
		l.tell()
	}
	return out, nil
}

func (l *memoryLog) Since(mark kafkalog.Mark) (changed []kafkalog.Entry, whole bool, now kafkalog.Mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unread != nil {
		select {
		case <-l.unread:
		default:
			return nil, false, mark
		}
	}
	whole = mark == kafkalog.Mark{}
	for _, e := range l.entries {
		if e.Revision >= mark.Next && (e.Value != nil || !whole) {
			changed = append(changed, e)
		}
	}
	slices.SortFunc(changed, func(a, b kafkalog.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	return changed, whole, kafkalog.Mark{View: 1, Next: l.revision + 1}
}

func (l *memoryLog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memoryLog) Report(key string, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if value == nil {
		delete(l.reports, key)
	} else {
		l.revision++
		l.reports[key] = kafkalog.Entry{Key: key, Value: value, Revision: l.revision, At: time.Now()}
	}
	l.tell()
}

func (l *memoryLog) Reports(prefix string) (out []kafkalog.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.reports {
		if strings.HasPrefix(key, prefix) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b kafkalog.Entry) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func (l *memoryLog) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *memoryLog) Sign(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name = name
}

func (l *memoryLog) Problem() string { return l.problem }

func (l *memoryLog) Age() time.Duration { return l.age }

func (l *memoryLog) Audit(_ context.Context, before int64, limit int, keep func(string) bool) (out []kafkalog.Entry, next int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.auditing != nil {
		return nil, 0, l.auditing
	}
	for _, e := range slices.Backward(l.audit) {
		if (before == 0 || e.Revision < before) && keep(e.Key) && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, 0, nil
}

func TestStoreRemembers(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	s := NewStore(log)
	ctx := t.Context()
	if m, err := s.Memory(ctx, "a"); err != nil || m.Desired != consumer.WantRunning || m.Hold != nil {
		t.Errorf("of a job that nobody knows: %+v, %v", m, err)
	}
	hold := consumer.Hold{Cause: consumer.HoldGuard, Reason: "61 of 100", Next: "streamer jobs resume a", Since: time.Unix(1, 0).UTC()}
	begin := func(m *consumer.Memory) error {
		m.Begun = map[string]consumer.Begun{"t": {TopicID: "x", Partitions: 3}}
		m.Hold = &hold
		return nil
	}
	for range 2 { // the second time changes nothing, and is no news
		if _, err := s.Remember(ctx, "a", consumer.Audit{By: consumer.BySelf, Action: "begin"}, begin); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Remember(ctx, "a", consumer.Audit{By: "ann", Action: "give-up", Detail: map[string]any{"offset": 7}}, func(*consumer.Memory) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remember(ctx, "b", consumer.Audit{By: "ann", Action: "stop"}, func(m *consumer.Memory) error { m.Desired = consumer.WantStopped; return nil }); err != nil {
		t.Fatal(err)
	}
	m, err := s.Memory(ctx, "a")
	if err != nil || m.Begun["t"] != (consumer.Begun{TopicID: "x", Partitions: 3}) || m.Hold == nil || *m.Hold != hold {
		t.Errorf("memory %+v, %v", m, err)
	}
	lines, _, err := s.Audit(ctx, AuditSubject{Job: "a"}, 0, 10)
	if err != nil || len(lines) != 2 || lines[0].Action != "give-up" || lines[0].By != "ann" || lines[0].After != nil ||
		lines[1].Action != "begin" || lines[1].Before == nil || lines[1].After.Begun["t"].Partitions != 3 {
		t.Errorf("audit %+v, %v", lines, err)
	}
	no := errors.New("no")
	if _, err := s.Remember(ctx, "a", consumer.Audit{}, func(*consumer.Memory) error { return no }); !errors.Is(err, no) {
		t.Errorf("error %v", err)
	}
}

// Of two Memories of one log it can be told which is older, whoever gives them; nothing is older than the first, and a log that was
// deleted and made anew is another one.
func TestStoreGivesRevisions(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	log.revision = -1 // the first offset is 0
	s := NewStore(log)
	none, err := s.Memory(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	at := []int64{none.Revision}
	for range 2 {
		m, err := s.Remember(t.Context(), "a", consumer.Audit{By: "ann"}, func(*consumer.Memory) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.Memory(t.Context(), "a")
		looked, _, err2 := s.look("a")
		if err != nil || err2 != nil || read.Revision != m.Revision || looked.Revision != m.Revision {
			t.Errorf("written at %d, read at %d (%v) and %d (%v)", m.Revision, read.Revision, err, looked.Revision, err2)
		}
		at = append(at, m.Revision)
	}
	if !slices.Equal(at, []int64{0, 1, 2}) {
		t.Errorf("revisions %v", at)
	}
}

// What is wanted of a job is known from when the log was read, but of what nobody can read, and follows what is written.
func TestStoreGivesWhatIsDesired(t *testing.T) {
	t.Parallel()
	log := newMemoryLog()
	log.unread = make(chan struct{})
	s := NewStore(log)
	if _, known := s.Desired("a"); known {
		t.Error("known before the log was read")
	}
	close(log.unread)
	for _, want := range []consumer.Desired{"", consumer.WantStopped, consumer.WantPaused} {
		if want != "" {
			if _, err := s.Remember(t.Context(), "a", consumer.Audit{By: "ann"}, func(m *consumer.Memory) error { m.Desired = want; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if got, known := s.Desired("a"); !known || got != want {
			t.Errorf("wanted %q, got %q %v", want, got, known)
		}
	}
	if _, err := log.Update(t.Context(), statePrefix+"a", func(kafkalog.Entry, bool) (value, audit []byte, err error) { return []byte("{"), nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, known := s.Desired("a"); known {
		t.Error("known of what cannot be read")
	}
}

// What a newer streamer wrote, or nobody can read, is not touched.
func TestStoreLeavesAlone(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"a newer version":  `{"version": 2}`,
		"a newer field":    `{"version": 1, "colour": "red"}`,
		"no JSON":          `{`,
		"no version":       `{"desired": "paused"}`,
		"an unlikely type": `{"version": 1, "desired": 7}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newMemoryLog()
			log.entries["state/a"] = kafkalog.Entry{Key: "state/a", Value: []byte(value)}
			s := NewStore(log)
			var unreadable *UnreadableError
			if _, err := s.Memory(t.Context(), "a"); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), "job a") {
				t.Errorf("error %v", err)
			}
			_, err := s.Remember(t.Context(), "a", consumer.Audit{By: "ann"}, func(m *consumer.Memory) error { m.Desired = consumer.WantPaused; return nil })
			if !errors.As(err, &unreadable) || string(log.entries["state/a"].Value) != value {
				t.Errorf("error %v; the log has %s", err, log.entries["state/a"].Value)
			}
		})
	}
}
