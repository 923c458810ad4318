package checker_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"streamer/sink/sinktest"
	"streamer/sink/sinktest/checker"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }

func pos(offset int64) checker.Position { return checker.Position{Topic: "t", Offset: offset} }

// row is row 0 of an offset of partition 0.
func row(offset int64, lane string, want checker.Want) checker.Row {
	return checker.Row{Position: pos(offset), Lane: lane, Want: want}
}

// try is an attempt answered whole with status, from and to in milliseconds.
func try(offset int64, from, to, status int) sinktest.Attempt {
	return sinktest.Attempt{Seq: int64(from), Topic: "t", Offset: offset, Start: at(from), End: at(to), Status: status, Answered: true}
}

// cut is an attempt that the API accepted and whose answer was broken off.
func cut(offset int64, from, to int) sinktest.Attempt {
	a := try(offset, from, to, 200)
	a.Answered = false
	return a
}

// hung is an attempt that was never answered.
func hung(offset int64, from, to int) sinktest.Attempt {
	a := try(offset, from, to, 0)
	a.Answered = false
	return a
}

// routed is the part of row 0 of offset 0 that a route makes, by one of its requests an attempt on it.
func routed(route string, part int, told bool) checker.Row {
	return checker.Row{Position: checker.Position{Topic: "t", Route: route}, Lane: "a", Part: part, Told: told}
}

func by(route, step string, from, to int) sinktest.Attempt {
	a := try(0, from, to, 200)
	a.Route, a.Step = route, step
	return a
}

func dead(offset int64, ms int) checker.DeadLetter {
	return checker.DeadLetter{Position: pos(offset), At: at(ms), Class: "rejected"}
}

func seen(offset int64, ms int) checker.Commit {
	return checker.Commit{Topic: "t", Offset: offset, At: at(ms)}
}

// above is a commit of offset 0 whose metadata calls these offsets finished.
func above(ms int, finished ...int64) checker.Commit {
	c := seen(0, ms)
	c.Above = func() func(int64, int) bool {
		asked := int64(-1)
		return func(offset int64, _ int) bool {
			if offset < asked {
				panic("asked backwards")
			}
			asked = offset
			return slices.Contains(finished, offset)
		}
	}
	return c
}

// numbered gives an attempt its number by the sender.
func numbered(a sinktest.Attempt, n int) sinktest.Attempt {
	a.Attempt = n
	return a
}

// doubtful is an answered attempt whose answer may not have arrived.
func doubtful(offset int64, from, to int) sinktest.Attempt {
	a := try(offset, from, to, 200)
	a.Doubtful = true
	return a
}

type (
	rows     = []checker.Row
	attempts = []sinktest.Attempt
	deads    = []checker.DeadLetter
	commits  = []checker.Commit
	events   = []checker.Event
	counts   = map[string]int
)

// Each kind of violation must be found, and what looks like one must not be.
func TestCheck(t *testing.T) {
	two := rows{row(0, "a", checker.Delivered), row(1, "a", checker.Delivered)}
	one := rows{two[0]}
	crash := events{{Cause: checker.Crash, At: at(300)}}
	cases := []struct {
		name      string
		h         checker.History
		found     counts // findings by kind
		explained counts
	}{
		{"in order and committed behind", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 150, 250, 204)}, Commits: commits{seen(1, 120), seen(2, 300)}}, nil, nil},
		{"nothing produced", checker.History{}, counts{"empty": 1}, nil},
		{"row listed twice", checker.History{Rows: rows{two[0], two[0]}, Attempts: attempts{try(0, 0, 100, 200)}}, counts{"empty": 1}, nil},

		{"never attempted", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200)}}, counts{"lost": 1}, nil},
		{"only ever refused", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 503), try(0, 200, 300, 400)}}, counts{"lost": 1}, nil},
		{"accepted, but the answer never arrived and nobody tried again", checker.History{Rows: one, Attempts: attempts{cut(0, 0, 100)}}, counts{"lost": 1}, nil},
		{"still running at the end", checker.History{Rows: one, Attempts: attempts{{Topic: "t", Start: at(0)}}}, counts{"lost": 1}, nil},
		{"rejected and dead-lettered", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, Attempts: attempts{try(0, 0, 100, 400)}, DeadLetters: deads{dead(0, 105)}}, nil, nil},
		{"a status the job takes as success", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 404)}, Success: func(s int) bool { return s == 404 }}, nil, nil},

		{"wanted delivery, was given up", checker.History{Rows: one, DeadLetters: deads{dead(0, 5)}}, counts{"wrong": 1}, nil},
		{"wanted to be given up, was delivered", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, Attempts: attempts{try(0, 0, 100, 200)}}, counts{"wrong": 1}, nil},
		{"filtered out, yet sent", checker.History{Rows: rows{row(0, "a", checker.Nothing)}, Attempts: attempts{try(0, 0, 100, 200)}}, counts{"wrong": 1}, nil},
		{"filtered out and committed", checker.History{Rows: rows{row(0, "a", checker.Nothing)}, Commits: commits{seen(1, 0)}}, nil, nil},
		{"an aborted record was sent", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(9, 150, 250, 200)}}, counts{"unknown": 1}, nil},
		{"a dead letter out of nowhere", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200)}, DeadLetters: deads{dead(9, 5)}}, counts{"unknown": 1}, nil},
		{"an undecodable record's dead letter names row 0", checker.History{Rows: rows{{Position: checker.Position{Topic: "t", Row: checker.WholeRecord}, Want: checker.GivenUp}}, DeadLetters: deads{dead(0, 5)}}, nil, nil},

		{"next row started while the first one ran", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 50, 150, 200)}}, counts{"order": 1}, nil},
		{"next row started between two tries of the first", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 503), try(1, 150, 250, 200), try(0, 300, 400, 200)}}, counts{"order": 1}, nil},
		{"next row started before the dead letter was written", checker.History{Rows: rows{row(0, "a", checker.GivenUp), two[1]}, Attempts: attempts{try(0, 0, 100, 400), try(1, 150, 250, 200)}, DeadLetters: deads{dead(0, 200)}}, counts{"order": 1}, nil},
		{"next row started after the dead letter was written", checker.History{Rows: rows{row(0, "a", checker.GivenUp), two[1]}, Attempts: attempts{try(0, 0, 100, 400), try(1, 250, 350, 200)}, DeadLetters: deads{dead(0, 200)}}, nil, nil},
		{"dead letter in the millisecond of its attempt", checker.History{Rows: rows{row(0, "a", checker.GivenUp), two[1]}, Attempts: attempts{{Topic: "t", Start: at(10).Add(4e5), End: at(10).Add(6e5), Status: 400, Answered: true}, try(1, 20, 30, 200)}, DeadLetters: deads{dead(0, 10)}}, nil, nil},
		{"next row started after an answer that was broken off", checker.History{Rows: two, Attempts: attempts{cut(0, 0, 100), try(1, 150, 250, 200), try(0, 300, 400, 200)}}, counts{"order": 1}, counts{checker.LostAnswer: 1}},
		{"other lanes run at once", checker.History{Rows: rows{row(0, "a", 0), row(1, "b", 0)}, Attempts: attempts{try(0, 0, 100, 200), try(1, 50, 150, 200)}}, nil, nil},
		{"rows without a lane run at once", checker.History{Rows: rows{row(0, "", 0), row(1, "", 0)}, Attempts: attempts{try(1, 0, 100, 200), try(0, 50, 150, 200)}}, nil, nil},
		{"same lane value in two partitions", checker.History{Rows: rows{row(0, "a", 0), {Position: checker.Position{Topic: "t", Partition: 1}, Lane: "a"}}, Attempts: attempts{try(0, 0, 100, 200), {Topic: "t", Partition: 1, Start: at(50), End: at(60), Status: 200, Answered: true}}}, nil, nil},
		{"parts of one row keep their order", checker.History{Rows: rows{routed("b", 0, false), routed("a", 1, false)}, Attempts: attempts{by("a", "", 0, 10), by("b", "", 50, 60)}}, counts{"order": 1}, nil},
		{"a part is lost", checker.History{Rows: rows{routed("b", 0, false), routed("a", 1, false)}, Attempts: attempts{by("b", "", 0, 10)}}, counts{"lost": 1}, nil},
		{"a step delivers nothing, and repeats nothing", checker.History{Rows: rows{routed("a", 0, false), routed("b", 1, false)}, Attempts: attempts{by("a", "find", 0, 10), by("a", "find", 20, 30)}}, counts{"lost": 2}, nil},
		{"the next part starts before the answer was told of", checker.History{Rows: rows{routed("a", 0, true), routed("b", 1, false)}, Attempts: attempts{by("a", "", 0, 10), by("b", "", 15, 20)}, Told: []checker.Told{{Position: routed("a", 0, true).Position, At: at(17)}}}, counts{"order": 1}, nil},
		{"committed before the answer was told of", checker.History{Rows: rows{routed("a", 0, true)}, Attempts: attempts{by("a", "", 0, 10)}, Told: []checker.Told{{Position: routed("a", 0, true).Position, At: at(30)}}, Commits: []checker.Commit{seen(1, 20)}}, counts{"early": 1}, nil},
		{"an answer that was not told of", checker.History{Rows: rows{routed("a", 0, true)}, Attempts: attempts{by("a", "", 0, 10)}}, counts{"lost": 1}, nil},
		{"told of behind the commit in the log, and at the same time by the clock", checker.History{Rows: rows{routed("a", 0, true)}, Attempts: attempts{by("a", "", 0, 10)}, Told: []checker.Told{{Position: routed("a", 0, true).Position, At: at(20), Where: checker.Place{Partition: 2, Offset: 7}}}, Taken: []checker.Commit{{Topic: "t", Offset: 0, Told: map[int32]int64{2: 0}}, {Topic: "t", Offset: 1, Told: map[int32]int64{2: 7}}}}, counts{"early": 1}, nil},
		{"told of before the commit in the log", checker.History{Rows: rows{routed("a", 0, true)}, Attempts: attempts{by("a", "", 0, 10)}, Told: []checker.Told{{Position: routed("a", 0, true).Position, At: at(20), Where: checker.Place{Partition: 2, Offset: 7}}}, Taken: []checker.Commit{{Topic: "t", Offset: 1, Told: map[int32]int64{2: 8}}}}, nil, nil},
		{"told of what was not answered", checker.History{Rows: rows{routed("a", 0, true)}, Told: []checker.Told{{Position: routed("a", 0, true).Position, At: at(30)}}}, counts{"wrong": 1}, nil},
		{"rows of one record keep their order", checker.History{Rows: rows{row(0, "a", 0), {Position: checker.Position{Topic: "t", Row: 1}, Lane: "a"}}, Attempts: attempts{try(0, 50, 100, 200), {Topic: "t", Row: 1, Start: at(0), End: at(10), Status: 200, Answered: true}}}, counts{"order": 1}, nil},
		{"a row that wants nothing holds nobody up", checker.History{Rows: rows{row(0, "a", checker.Nothing), two[1]}, Attempts: attempts{try(1, 0, 100, 200)}}, nil, nil},
		{"the receiver notes an answer's end a moment late", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 99, 195, 200)}}, nil, nil},
		{"two attempts on one row at once", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 503), try(0, 20, 120, 200)}}, counts{"order": 1}, nil},
		{"second attempt when the first one's time was up", checker.History{Rows: one, Timeout: 90 * time.Millisecond, Attempts: attempts{try(0, 0, 110, 503), try(0, 90, 120, 200)}}, nil, nil},

		{"sent again for no reason", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}}, counts{"duplicate": 1}, nil},
		{"sent again after a crash", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: crash}, nil, counts{checker.Crash: 1}},
		{"killed while the API worked", checker.History{Rows: one, Attempts: attempts{try(0, 250, 350, 200), try(0, 400, 500, 200)}, Events: crash}, nil, counts{checker.Crash: 1}},
		{"crash too early to be a reason", checker.History{Rows: one, Attempts: attempts{try(0, 310, 350, 200), try(0, 400, 500, 200)}, Events: crash}, counts{"duplicate": 1}, nil},
		{"crash too late to be a reason", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 200, 250, 200)}, Events: crash}, counts{"duplicate": 1}, nil},
		{"crash of another partition", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Crash, At: at(300), Where: []checker.Partition{{Topic: "t", ID: 1}}}}}, counts{"duplicate": 1}, nil},
		{"one crash, sent twice more", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200), try(0, 600, 700, 200)}, Events: crash}, counts{"duplicate": 1}, counts{checker.Crash: 1}},
		{"crash, but the row was committed before", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 200)}, Events: crash}, counts{"duplicate": 1}, nil},
		{"crash, committed only afterwards", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 600)}, Events: crash}, nil, counts{checker.Crash: 1}},
		{"crash long after the row was final", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Crash, At: at(300), Within: 150 * time.Millisecond}}}, counts{"duplicate": 1}, nil},
		{"frozen while the API worked", checker.History{Rows: one, Attempts: attempts{try(0, 350, 380, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Freeze, At: at(300), Until: at(900)}}}, nil, counts{checker.Freeze: 1}},
		{"crash, but a commit that arrived after it covered the row before it was sent again", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 310)}, Events: crash}, counts{"duplicate": 1}, nil},
		{"freeze, and the one who took over has committed when it wakes up", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 310)}, Events: events{{Cause: checker.Freeze, At: at(300), Until: at(390)}}}, nil, counts{checker.Freeze: 1}},
		{"crash, but the last commit's metadata covered the row", checker.History{Rows: two, Attempts: attempts{try(0, 0, 5, 503), try(1, 10, 100, 200), try(0, 290, 295, 200), try(1, 400, 500, 200)}, Commits: commits{above(200, 1)}, Events: crash}, counts{"duplicate": 1, "order": 1}, nil},
		{"crash, and the last commit's metadata left out what the one before had", checker.History{Rows: rows{row(0, "a", 0), row(1, "b", 0)}, Attempts: attempts{try(1, 10, 100, 200), try(0, 310, 350, 200), try(1, 400, 500, 200)}, Commits: commits{above(200, 1), above(250, 7)}, Events: crash}, nil, counts{checker.Crash: 1}},
		{"session lost, but a commit covered the row before it was sent again", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 310)}, Events: events{{Cause: checker.Lost, At: at(0), Until: at(900)}}}, counts{"duplicate": 1}, nil},
		{"frozen, and who took over sent again what a commit covered", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 310)}, Events: events{{Cause: checker.Freeze, At: at(300), Until: at(900)}}}, counts{"duplicate": 1}, nil},
		{"crash of an instance that owned nothing", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Crash, At: at(300), Where: []checker.Partition{}}}}, counts{"duplicate": 1}, nil},
		{"crash of the instance that owned it", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Crash, At: at(300), Where: []checker.Partition{{Topic: "t", ID: 2}, {Topic: "t"}}}}}, nil, counts{checker.Crash: 1}},
		{"broker lost just after the commit", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 250)}, Events: events{{Cause: checker.Broker, At: at(300), Until: at(350), Within: 250 * time.Millisecond}}}, nil, counts{checker.Broker: 1}},
		{"broker lost long after the commit", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 150)}, Events: events{{Cause: checker.Broker, At: at(300), Until: at(350), Within: 100 * time.Millisecond}}}, counts{"duplicate": 1}, nil},
		{"crash while the commit's broker was lost", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 250)}, Events: events{crash[0], {Cause: checker.Broker, At: at(280), Until: at(320), Within: 50 * time.Millisecond}}}, nil, counts{checker.Crash: 1}},
		{"sent again after an answer that may have been lost", checker.History{Rows: one, Attempts: attempts{doubtful(0, 0, 100), try(0, 400, 500, 200)}}, nil, counts{checker.LostAnswer: 1}},
		{"an answer that may have been lost, and was not", checker.History{Rows: two, Attempts: attempts{doubtful(0, 0, 100), try(1, 120, 500, 200)}}, nil, nil},
		{"sent again after a lost answer", checker.History{Rows: one, Attempts: attempts{cut(0, 0, 100), try(0, 400, 500, 200)}}, nil, counts{checker.LostAnswer: 1}},
		{"sent again after an answer that came too late", checker.History{Rows: one, Timeout: 100 * time.Millisecond, Attempts: attempts{try(0, 0, 100, 200), try(0, 110, 150, 200)}}, nil, counts{checker.LostAnswer: 1}},
		{"retried until accepted is no duplicate", checker.History{Rows: one, Attempts: attempts{hung(0, 0, 10), try(0, 20, 30, 503), try(0, 40, 50, 200)}}, nil, nil},
		{"refused when sent again for no reason", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 409)}}, counts{"duplicate": 1}, nil},
		{"two dead letters for no reason", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, DeadLetters: deads{dead(0, 5), dead(0, 50)}}, counts{"duplicate": 1}, nil},
		{"two dead letters around a crash", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, Attempts: attempts{try(0, 0, 4, 400)}, DeadLetters: deads{dead(0, 5), dead(0, 400)}, Events: crash}, nil, counts{checker.Crash: 1}},

		{"metadata that could not be confirmed does not cover", checker.History{Rows: rows{two[0], row(1, "b", 0)}, Attempts: attempts{try(1, 10, 100, 200), try(0, 290, 295, 200), try(1, 400, 500, 200)}, Commits: commits{above(200, 1)}, Events: events{{Cause: checker.Away, At: at(300)}}}, nil, counts{checker.Away: 1}},
		{"an offset covers whether metadata can be confirmed or not", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Commits: commits{seen(1, 200)}, Events: events{{Cause: checker.Away, At: at(300)}}}, counts{"duplicate": 1}, nil},
		{"two dead letters, and the broker could not be reached between", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, DeadLetters: deads{dead(0, 5), dead(0, 400)}, Events: events{{Cause: checker.Blind, At: at(0), Until: at(100)}}}, nil, counts{checker.Blind: 1}},
		{"an unreachable broker is no reason to repeat a request", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}, Events: events{{Cause: checker.Blind, At: at(0), Until: at(450)}}}, counts{"duplicate": 1}, nil},
		{"an attempt that was given up arrives behind the next one", checker.History{Rows: two, Attempts: attempts{
			numbered(try(0, 0, 100, 200), 2), numbered(hung(0, 110, 300), 1), try(1, 150, 250, 200)}}, nil, nil},
		{"an attempt that nobody gave up keeps the next row waiting", checker.History{Rows: two, Attempts: attempts{
			numbered(try(0, 0, 100, 200), 1), numbered(hung(0, 310, 390), 1), try(1, 350, 450, 200)}, Events: crash}, counts{"order": 1}, counts{checker.Crash: 1}},
		{"sent again in order after a crash", checker.History{Rows: two, Events: crash, Attempts: attempts{
			try(0, 0, 100, 200), try(1, 110, 200, 200), try(0, 400, 500, 200), try(1, 510, 600, 200)}}, nil, counts{checker.Crash: 2}},
		{"sent again after a crash, the second before the first was final again", checker.History{Rows: two, Events: crash, Attempts: attempts{
			try(0, 0, 100, 200), try(1, 110, 200, 200), try(0, 400, 500, 200), try(1, 450, 600, 200)}}, counts{"order": 1}, counts{checker.Crash: 2}},
		{"sent again after a crash, overtaken while the first backs off", checker.History{Rows: two, Events: crash, Attempts: attempts{
			try(0, 0, 100, 200), try(0, 400, 410, 503), try(1, 450, 460, 200), try(0, 500, 510, 200)}}, counts{"order": 1}, counts{checker.Crash: 2}},
		{"going back in a lane for no reason", checker.History{Rows: two, Attempts: attempts{
			try(0, 0, 100, 200), try(1, 110, 200, 200), try(0, 400, 500, 200)}}, counts{"duplicate": 1}, nil},

		{"committed before the answer", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200)}, Commits: commits{seen(1, 50)}}, counts{"early": 1}, nil},
		{"committed before the dead letter", checker.History{Rows: rows{row(0, "a", checker.GivenUp)}, DeadLetters: deads{dead(0, 100)}, Commits: commits{seen(1, 50)}}, counts{"early": 1}, nil},
		{"committed past a lost row", checker.History{Rows: one, Commits: commits{seen(1, 50)}}, counts{"early": 1, "lost": 1}, nil},
		{"metadata that calls a row finished too early", checker.History{Rows: two, Attempts: attempts{try(0, 0, 10, 200), try(1, 20, 100, 200)}, Commits: commits{above(50, 1), above(120, 0, 1)}}, counts{"early": 1}, nil},
		{"metadata that calls a lost row finished", checker.History{Rows: one, Commits: commits{above(50, 0)}}, counts{"early": 1, "lost": 1}, nil},
		{"metadata of finished rows", checker.History{Rows: two, Attempts: attempts{try(0, 0, 10, 200), try(1, 20, 30, 200)}, Commits: commits{above(50, 1)}}, nil, nil},
		{"a gap under the commit", checker.History{Rows: rows{row(0, "", 0), row(1, "", 0)}, Attempts: attempts{try(1, 0, 100, 200), try(0, 300, 400, 200)}, Commits: commits{seen(2, 200), seen(2, 500)}}, counts{"early": 1}, nil},
		{"the commit of another partition", checker.History{Rows: one, Attempts: attempts{try(0, 0, 100, 200)}, Commits: commits{{Topic: "t", Partition: 1, Offset: 9, At: at(0)}}}, nil, nil},
		{"committed offset went back", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 110, 200, 200)}, Commits: commits{seen(2, 300), seen(1, 400)}}, counts{"back": 1}, nil},
		{"committed offset was reset", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 110, 200, 200)}, Commits: commits{seen(2, 300), seen(1, 400)}, Events: events{{Cause: checker.Reset, At: at(350)}}}, nil, nil},
		{"committed offset seen behind while a broker was lost", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 110, 200, 200)}, Commits: commits{seen(2, 300), seen(1, 400)}, Events: events{{Cause: checker.Broker, At: at(310), Until: at(500)}}}, nil, nil},
		{"committed offset went back after a broker was lost", checker.History{Rows: two, Attempts: attempts{try(0, 0, 100, 200), try(1, 110, 200, 200)}, Commits: commits{seen(2, 300), seen(1, 400)}, Events: events{{Cause: checker.Broker, At: at(100), Until: at(200)}}}, counts{"back": 1}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			v := checker.Check(tc.h)
			got := counts{}
			for _, f := range v.Findings {
				got[f.Kind]++
			}
			if tc.found == nil {
				tc.found = counts{}
			}
			if tc.explained == nil {
				tc.explained = counts{}
			}
			if !maps.Equal(got, tc.found) || !maps.Equal(v.Explained, tc.explained) {
				t.Errorf("found %v explained %v, want %v and %v\n%v", got, v.Explained, tc.found, tc.explained, v)
			}
			if v.OK() != (len(tc.found) == 0) {
				t.Errorf("OK %v with %d findings", v.OK(), len(v.Findings))
			}
		})
	}
}

// perfect makes a run in which every lane goes forward, with retries, and commits follow.
func perfect(rng *rand.Rand, n int) checker.History {
	var h checker.History
	free := map[string]int{}
	finals := make([]int, n)
	for i := range n {
		lane := string(rune('a' + rng.IntN(5)))
		h.Rows = append(h.Rows, row(int64(i), lane, checker.Delivered))
		now := free[lane] + 20 + rng.IntN(5)
		for rng.IntN(4) == 0 {
			h.Attempts = append(h.Attempts, try(int64(i), now, now+30, 503))
			now += 60
		}
		h.Attempts = append(h.Attempts, try(int64(i), now, now+30, 200))
		free[lane], finals[i] = now+30, now+30
	}
	latest := 0
	for i, f := range finals {
		latest = max(latest, f)
		h.Commits = append(h.Commits, seen(int64(i+1), latest))
	}
	return h
}

// One thing changed in a perfect run, at a random place, must be found.
func TestCheckFindsAnyOneChange(t *testing.T) {
	pick := func(rng *rand.Rand, h *checker.History) *sinktest.Attempt { // the last row's lane has nobody behind it
		for {
			if a := &h.Attempts[rng.IntN(len(h.Attempts))]; a.Status == 200 {
				return a
			}
		}
	}
	changes := []struct {
		name, kind string
		change     func(*rand.Rand, *checker.History)
	}{
		{"none", "", func(*rand.Rand, *checker.History) {}},
		{"an answer turns into a refusal", "lost", func(rng *rand.Rand, h *checker.History) { pick(rng, h).Status = 500 }},
		{"an attempt is repeated", "duplicate", func(rng *rand.Rand, h *checker.History) {
			a := *pick(rng, h)
			a.Start, a.End = a.End.Add(15*time.Millisecond), a.End.Add(15*time.Millisecond)
			h.Attempts = append(h.Attempts, a)
		}},
		{"a commit comes before its row", "early", func(rng *rand.Rand, h *checker.History) {
			i := rng.IntN(len(h.Commits))
			for j := i; j >= 0; j-- { // those before it too, so that it does not go back
				h.Commits[j].At = began
			}
		}},
		{"a commit's metadata names a row before its time", "early", func(rng *rand.Rand, h *checker.History) {
			a := pick(rng, h)
			c := above(int(a.End.Sub(began).Milliseconds())-10, a.Offset)
			h.Commits = append([]checker.Commit{c}, h.Commits...)
		}},
		{"an attempt is repeated after a crash, and the metadata had it", "duplicate", func(rng *rand.Rand, h *checker.History) {
			a := *pick(rng, h)
			c := above(int(a.End.Sub(began).Milliseconds())+5, a.Offset)
			h.Commits = []checker.Commit{c}
			h.Events = []checker.Event{{Cause: checker.Crash, At: a.End.Add(10 * time.Millisecond)}}
			a.Start, a.End = a.End.Add(15*time.Millisecond), a.End.Add(15*time.Millisecond)
			h.Attempts = append(h.Attempts, a)
		}},
		{"a row moves before all others of its lane", "order", func(rng *rand.Rand, h *checker.History) {
			for { // one that is not the first of its lane
				a := pick(rng, h)
				lane := h.Rows[a.Offset].Lane
				for _, r := range h.Rows[:a.Offset] {
					if r.Lane == lane {
						a.Start, a.End = began.Add(-time.Second), began.Add(-time.Second)
						return
					}
				}
			}
		}},
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(200) {
				rng := rand.New(rand.NewPCG(seed, 1))
				h := perfect(rng, 40)
				c.change(rng, &h)
				if v := checker.Check(h); c.kind == "" && !v.OK() || c.kind != "" && v.Count(c.kind) == 0 {
					t.Fatalf("seed %d: want a finding %q, got %v", seed, c.kind, v)
				}
			}
		})
	}
}

func TestReport(t *testing.T) {
	var h checker.History
	for i := range int64(20) {
		h.Rows = append(h.Rows, row(i, "", checker.Delivered))
	}
	h.Attempts = attempts{try(0, 0, 100, 200), try(0, 400, 500, 200)}
	h.Events = events{{Cause: checker.Crash, At: at(300)}}
	got := checker.Check(h).String()
	for _, want := range []string{"20 rows: 1 delivered, 0 given up, 19 lost", "1 duplicates (crash: 1 final at most 200ms before), 0 unexplained", "t/0/1/0: neither delivered nor given up", "and 11 more"} {
		if !strings.Contains(got, want) {
			t.Errorf("report lacks %q:\n%s", want, got)
		}
	}
}

// verdictFails is a testing.TB that only notes whether it failed.
type verdictFails struct {
	testing.TB
	failed bool
}

func (f *verdictFails) Helper()               {}
func (f *verdictFails) Log(...any)            {}
func (f *verdictFails) Errorf(string, ...any) { f.failed = true }

func TestVerdictFailsItsTest(t *testing.T) {
	bad, good := &verdictFails{}, &verdictFails{}
	checker.Check(checker.History{Rows: rows{row(0, "", 0)}}).Check(bad)
	checker.Check(checker.History{Rows: rows{row(0, "", 0)}, Attempts: attempts{try(0, 0, 1, 200)}}).Check(good)
	if !bad.failed || good.failed {
		t.Fatalf("a lost row failed its test: %v; a kept promise did: %v", bad.failed, good.failed)
	}
}

func TestParseDeadLetter(t *testing.T) {
	headers := map[string]string{"streamer-topic": "t", "streamer-partition": "3", "streamer-offset": "7000000000", "streamer-row": "2",
		"streamer-class": "rejected", "streamer-status": "400", "streamer-attempts": "2", "streamer-reason": "no"}
	parse := func() (checker.DeadLetter, error) {
		return checker.ParseDeadLetter(func(name string) (string, bool) { v, ok := headers[name]; return v, ok }, began)
	}
	want := checker.DeadLetter{Position: checker.Position{Topic: "t", Partition: 3, Offset: 7000000000, Row: 2}, At: began, Class: "rejected", Reason: "no", Status: 400, Attempts: 2}
	if got, err := parse(); err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	delete(headers, "streamer-row")
	if got, err := parse(); err != nil || got.Row != checker.WholeRecord {
		t.Fatalf("without a row: %+v, %v", got, err)
	}
	for _, name := range []string{"streamer-offset", "streamer-partition", "streamer-topic"} {
		delete(headers, name)
		if _, err := parse(); err == nil {
			t.Fatalf("no error without %s", name)
		}
	}
}
