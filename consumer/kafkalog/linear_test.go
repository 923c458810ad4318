package kafkalog

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"streamer/consumer/consumertest"
)

// cells are the objects that histories are about; few, so that writers meet.
var cells = [3]string{"cell/0", "cell/1", "cell/2"}

// cell is an object as somebody saw it. Its revision is that of the entry plus 1, so that the zero cell is no object.
type cell struct {
	Value    string
	Revision int64
}

// unseen is the revision of what was written by somebody who never heard of it.
const unseen = -1

// call is what somebody wants: to write cells, if all those in Expect have these revisions. Without a write it is a read.
type call struct {
	ID     string
	Writer int
	At     int64
	Writes map[int]string // "": delete
	Expect map[int]int64
}

// answer is what came of a call: what it has seen when it was decided, and what it has left there.
type answer struct {
	ID    string
	At    int64
	Seen  [len(cells)]cell
	After [len(cells)]cell
	Wrote bool
	None  bool // surely nothing was written, and nothing was seen
	Open  bool // nobody knows
}

// line is one line of what a writer tells.
type line struct {
	Call   *call   `json:",omitempty"`
	Answer *answer `json:",omitempty"`
}

// state is what the model knows.
type state struct {
	cells [len(cells)]cell
	top   int64 // the largest revision ever seen
}

func (s state) fits(expect map[int]int64) bool {
	for i, revision := range expect {
		if s.cells[i].Revision != revision {
			return false
		}
	}
	return true
}

// model is what a log promises: calls take effect one after the other, each as a whole, at some moment between its begin and its end;
// it sees everything before it, and revisions rise. A call whose answer nobody has takes effect at some moment after its begin, or never:
// at the very end is never.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(was, in, out any) (bool, any) {
		s, c, a := was.(state), in.(call), out.(answer)
		if a.Open {
			if s.fits(c.Expect) {
				for i, value := range c.Writes {
					if s.cells[i] = (cell{value, unseen}); value == "" {
						s.cells[i] = cell{}
					}
				}
			}
			return true, s
		}
		for i, seen := range a.Seen {
			if now := s.cells[i]; now != seen && now != (cell{seen.Value, unseen}) {
				return false, s
			}
			s.cells[i], s.top = seen, max(s.top, seen.Revision)
		}
		if s.fits(c.Expect) != a.Wrote {
			return false, s
		}
		if !a.Wrote {
			return true, s
		}
		top := s.top
		for i, value := range c.Writes {
			after := a.After[i]
			if after.Value != value || value != "" && after.Revision <= s.top {
				return false, s
			}
			s.cells[i], top = after, max(top, after.Revision)
		}
		s.top = top
		return true, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
}

var errConflict = errors.New("not the expected revision")

// perform makes a call to a log.
func perform(ctx context.Context, l *Log, c call) answer {
	a := answer{ID: c.ID}
	entries, err := l.Transact(ctx, func(read func(string) (Entry, bool)) (writes []Write, err error) {
		for i, key := range cells {
			a.Seen[i] = cell{}
			if e, ok := read(key); ok {
				a.Seen[i] = cell{string(e.Value), e.Revision + 1}
			}
		}
		if !(state{cells: a.Seen}).fits(c.Expect) {
			return nil, errConflict
		}
		for i, key := range cells {
			if value, ok := c.Writes[i]; ok && value != "" {
				writes = append(writes, Write{Key: key, Value: []byte(value)})
			} else if ok {
				writes = append(writes, Write{Key: key})
			}
		}
		return writes, nil
	})
	a.Wrote = err == nil
	a.None = errors.Is(err, ErrUnavailable)
	a.Open = err != nil && !a.None && !errors.Is(err, errConflict)
	for _, e := range entries {
		if e.Value != nil {
			a.After[slices.Index(cells[:], e.Key)] = cell{string(e.Value), e.Revision + 1}
		}
	}
	return a
}

// writeCells makes calls to a log until enough says so, and tells of each before and after it. What it expects is what it saw last, which
// others may have changed since.
func writeCells(ctx context.Context, l *Log, name string, writer int, seed uint64, tell func(line), enough func(calls int) bool) {
	r := rand.New(rand.NewPCG(seed, uint64(writer)))
	var last [len(cells)]cell
	for n := 0; !enough(n); n++ {
		c := call{ID: name + "-" + strconv.Itoa(n), Writer: writer, Writes: map[int]string{}, Expect: map[int]int64{}}
		i := r.IntN(len(cells))
		switch kind := r.IntN(10); {
		case kind < 2: // read
		case kind < 6: // compare and set
			c.Writes[i], c.Expect[i] = c.ID, last[i].Revision
		case kind < 7:
			c.Writes[i] = "" // delete
		default: // two at once
			c.Writes[i], c.Writes[(i+1)%len(cells)] = c.ID, c.ID
		}
		c.At = time.Now().UnixNano()
		tell(line{Call: &c})
		a := perform(ctx, l, c)
		a.At = time.Now().UnixNano()
		tell(line{Answer: &a})
		if !a.Open && !a.None {
			last = a.Seen
		}
	}
}

// history collects what writers tell.
type history struct {
	mu      sync.Mutex
	calls   []call
	answers map[string]answer
}

func (h *history) tell(l line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.Call != nil {
		h.calls = append(h.calls, *l.Call)
	}
	if l.Answer != nil {
		if h.answers == nil {
			h.answers = map[string]answer{}
		}
		h.answers[l.Answer.ID] = *l.Answer
	}
}

// read takes what a writer tells, as JSON, until it ends; its last line may be cut off. It counts the answers.
func (h *history) read(from io.Reader, answers *atomic.Int32) {
	for lines := json.NewDecoder(from); ; {
		var l line
		if lines.Decode(&l) != nil {
			return
		}
		h.tell(l)
		if l.Answer != nil {
			answers.Add(1)
		}
	}
}

// operations gives the history as the checker wants it, and how many calls were refused as somebody else was faster, and how many have
// no answer.
func (h *history) operations() (ops []porcupine.Operation, conflicts, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		a, ok := h.answers[c.ID]
		switch {
		case a.None:
			continue
		case !ok || a.Open:
			a.Open, a.At = true, math.MaxInt64
			open++
		case !a.Wrote:
			conflicts++
		}
		ops = append(ops, porcupine.Operation{ClientId: c.Writer, Input: c, Call: c.At, Output: a, Return: a.At})
	}
	return ops, conflicts, open
}

// check holds the history against the model.
func (h *history) check(t *testing.T, leastCalls, leastConflicts int) (open int) {
	t.Helper()
	ops, conflicts, open := h.operations()
	begun := time.Now()
	result := porcupine.CheckOperationsTimeout(model, ops, time.Minute)
	t.Logf("%d calls, %d conflicts, %d without an answer; checked in %v: %v", len(ops), conflicts, open, time.Since(begun), result)
	if result != porcupine.Ok {
		for _, op := range ops {
			t.Logf("%d %d %s", op.Call, op.Return, model.DescribeOperation(op.Input, op.Output))
		}
		t.Errorf("the history is not linearizable (%v)", result)
	}
	if len(ops) < leastCalls || conflicts < leastConflicts {
		t.Errorf("%d calls and %d conflicts prove little", len(ops), conflicts)
	}
	return open
}

// lagging are connections on which what was fetched arrives late, so that an instance knows less than it should.
type lagging struct {
	net.Conn
	fetches atomic.Bool
}

func lag(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &lagging{Conn: c}, err
}

func (c *lagging) Write(b []byte) (int, error) {
	if len(b) > 6 && kmsg.Key(binary.BigEndian.Uint16(b[4:])) == kmsg.Fetch {
		c.fetches.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lagging) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.fetches.Load() {
		time.Sleep(rand.N(20 * time.Millisecond)) // the network's
	}
	return n, err
}

// Several instances write the same objects at once, one after another as far as anybody can see: single objects by their revision, and
// several together.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	const instances, each = 4, 60
	c, h := consumertest.Fake(t), &history{}
	seed := uint64(5)
	var all sync.WaitGroup
	for i := range instances {
		l := opened(t, c, "ns", kgo.Dialer(lag))
		for j := range 2 { // two people at one instance
			writer := 2*i + j
			all.Go(func() {
				writeCells(t.Context(), l, strconv.Itoa(writer), writer, seed, h.tell, func(calls int) bool { return calls >= each/2 })
			})
		}
	}
	all.Wait()
	if open := h.check(t, instances*each, 20); open > 0 {
		t.Errorf("%d calls have no answer, although everything was well", open)
	}
}

// The checker refuses what must never be seen.
func TestLinearizableModel(t *testing.T) {
	t.Parallel()
	one, two, both := cell{"one", 1}, cell{"two", 5}, cell{"both", 3}
	type step struct {
		writes map[int]string
		expect map[int]int64
		answer
	}
	set := step{map[int]string{0: "one"}, nil, answer{After: [3]cell{one}, Wrote: true}}
	pair := map[int]string{0: "both", 1: "both"}
	read := func(seen ...cell) step {
		return step{answer: answer{Seen: [3]cell(append(seen, cell{}, cell{}, cell{})[:3]), Wrote: true}}
	}
	for name, o := range map[string]struct {
		steps []step
		want  porcupine.CheckResult
	}{
		"all is well":                 {[]step{set, read(one)}, porcupine.Ok},
		"a write is lost":             {[]step{set, read()}, porcupine.Illegal},
		"two succeed on one revision": {[]step{set, {map[int]string{0: "two"}, map[int]int64{0: 0}, answer{After: [3]cell{two}, Wrote: true}}}, porcupine.Illegal},
		"a conflict about old news":   {[]step{set, {map[int]string{0: "two"}, map[int]int64{0: 1}, answer{Seen: [3]cell{}}}}, porcupine.Illegal},
		"half a transaction is seen":  {[]step{{pair, nil, answer{Open: true}}, read(cell{"both", 3})}, porcupine.Illegal},
		"one without an answer, seen": {[]step{{pair, nil, answer{Open: true}}, read(both, cell{"both", 4}), read(both, cell{"both", 4})}, porcupine.Ok},
		"one without an answer, late": {[]step{{pair, nil, answer{Open: true}}, read(), read(both, cell{"both", 4})}, porcupine.Ok},
		"one without an answer, lost": {[]step{{pair, nil, answer{Open: true}}, read(both, cell{"both", 4}), read()}, porcupine.Illegal},
		"a revision that falls":       {[]step{set, {map[int]string{1: "two"}, nil, answer{Seen: [3]cell{one}, After: [3]cell{{}, {"two", 1}}, Wrote: true}}}, porcupine.Illegal},
	} {
		h := &history{}
		for i, s := range o.steps {
			id := strconv.Itoa(i)
			h.tell(line{Call: &call{ID: id, At: int64(2 * i), Writes: s.writes, Expect: s.expect}})
			s.answer.ID, s.At = id, int64(2*i+1)
			h.tell(line{Answer: &s.answer})
		}
		ops, _, _ := h.operations()
		if got := porcupine.CheckOperationsTimeout(model, ops, time.Minute); got != o.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
