package demo

import (
	"slices"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }

func at(offset int64) checker.Position {
	return checker.Position{Topic: householdTopic, Partition: 0, Offset: offset}
}

// good is a history in which the promise was kept: two rows of a lane, the first one with a retry; a row given up; all committed.
func good() evidence {
	try := func(offset int64, attempt, from, to, status int) sinktest.Attempt {
		return sinktest.Attempt{Seq: int64(from), Start: ms(from), End: ms(to), Path: "/households/a", Topic: householdTopic, Offset: offset,
			Attempt: attempt, Status: status, Answered: true}
	}
	commit := []checker.Commit{{Topic: householdTopic, Offset: 3, At: ms(900)}}
	return evidence{
		role: roles[0],
		history: checker.History{
			Rows: []checker.Row{{Position: at(0), Lane: "a"}, {Position: at(1), Lane: "a"}, {Position: at(2), Lane: "b", Want: checker.GivenUp}},
			Attempts: []sinktest.Attempt{
				try(0, 1, 100, 120, 503), try(0, 2, 300, 320, 200), try(1, 1, 340, 360, 200), try(2, 1, 100, 120, 422),
			},
			DeadLetters: []checker.DeadLetter{{Position: at(2), At: ms(130), Class: "rejected"}},
			Commits:     commit,
		},
		committed: commit,
		own:       numbers{rows: map[string]int{"delivered": 2, "dead_lettered": 1}},
	}
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*evidence)
		number func(JobReport) int
		says   string // of a problem; empty: there is none
	}{
		"kept": {func(*evidence) {}, func(j JobReport) int { return j.Retries }, ""},
		"a row was never sent": {func(e *evidence) { e.history.Attempts = slices.Delete(e.history.Attempts, 2, 3) },
			func(j JobReport) int { return j.Lost }, "job households: lost: demo.Household/0/1/0"},
		"a row that is not committed is not lost": {func(e *evidence) {
			e.history.Attempts = slices.Delete(e.history.Attempts, 2, 3)
			e.committed = []checker.Commit{{Topic: householdTopic, Offset: 1, At: ms(900)}}
			e.history.Commits, e.own.rows["delivered"] = e.committed, 1
		}, func(j JobReport) int { return j.Pending }, ""},
		"nothing is committed at all": {func(e *evidence) {
			e.history.Attempts = slices.Delete(e.history.Attempts, 2, 3)
			e.committed, e.history.Commits, e.own.rows["delivered"] = nil, nil, 1
		}, func(j JobReport) int { return j.Pending }, ""},
		"a row starts before the one before it is final": {func(e *evidence) { e.history.Attempts[2].Start = ms(200) },
			func(j JobReport) int { return j.Overtaken }, "job households: order"},
		"an offset is committed too early": {func(e *evidence) { e.history.Commits[0].At = ms(342) },
			func(j JobReport) int { return j.Early }, "job households: early"},
		"a row is sent again for no reason": {func(e *evidence) {
			again := e.history.Attempts[2]
			again.Start, again.End = ms(500), ms(520)
			e.history.Attempts = append(e.history.Attempts, again)
		}, func(j JobReport) int { return j.Other }, "job households: duplicate"},
		"a row is sent again as its answer was lost": {func(e *evidence) {
			e.history.Attempts[0].Status, e.history.Attempts[0].Answered = 200, false
		}, func(j JobReport) int { return j.Explained[checker.LostAnswer] }, ""},
		"a good row is given up": {func(e *evidence) { e.history.Rows[2].Want = checker.Delivered },
			func(j JobReport) int { return j.Other }, "job households: wrong"},
		"streamer counts a row that nobody saw": {func(e *evidence) { e.own.rows["delivered"] = 3 },
			func(JobReport) int { return 1 }, "job households: the metric streamer_rows_total says 3 delivered, from outside it was 2"},
	} {
		t.Run(name, func(t *testing.T) {
			e := good()
			c.change(&e)
			j, problems := assess(e)
			if c.number(j) != 1 {
				t.Errorf("not counted: %+v", j)
			}
			if all := strings.Join(problems, "\n"); (c.says == "") != (all == "") || !strings.Contains(all, c.says) {
				t.Errorf("problems %q, want %q", all, c.says)
			}
		})
	}
}

func TestManyFindingsAreSummedUp(t *testing.T) {
	e := good()
	e.history.Attempts = nil
	for i := range int64(20) {
		e.history.Rows = append(e.history.Rows, checker.Row{Position: at(100 + i)})
	}
	e.committed = []checker.Commit{{Topic: householdTopic, Offset: 1000}}
	e.own = numbers{}
	_, problems := assess(e)
	if last := problems[shownFindings]; !strings.Contains(last, "and ") || !strings.HasSuffix(last, " more") {
		t.Errorf("%q", problems)
	}
}

func TestLaneShownIsOneInWhichRowsWaited(t *testing.T) {
	try := func(path string, offset int64, from, status int) sinktest.Attempt {
		return sinktest.Attempt{Seq: int64(from), Path: path, Offset: offset, Start: ms(from), End: ms(from + 10), Status: status, Answered: true}
	}
	var out listener
	d := &demo{screen: newScreen(&out, nil)}
	d.screen.begun = noon
	d.laneStory([]sinktest.Attempt{
		try("/households/quiet", 0, 0, 200), try("/households/quiet", 1, 50, 200),
		try("/households/waited", 2, 100, 503), try("/households/waited", 2, 900, 200), try("/households/waited", 3, 911, 200),
		try("/households/alone", 4, 100, 503), try("/households/alone", 4, 900, 200), try("/households/alone", 5, 2000, 200),
	})
	if text := out.String(); !strings.Contains(text, "/households/waited") || !strings.Contains(text, "offset 3 row 0, attempt 0: 200 (1ms later)") {
		t.Errorf("%s", text)
	}
}

func TestOutageMeetsEnoughRows(t *testing.T) {
	w := &weather{length: time.Microsecond} // its time is over at once
	w.begin()
	o := outage{weather: w}
	for n := 0; ; n++ {
		on, turned := o.meets(string(rune('a' + n)))
		if turned && !on {
			if n < outageRows {
				t.Errorf("over after %d rows", n)
			}
			return
		}
		if n > 1000 {
			t.Fatal("never began and ended")
		}
	}
}
