package consumer

import (
	"fmt"
	"testing"
)

func TestFetchesStayWithinTheReserve(t *testing.T) {
	b := &budget{total: 800}
	var a *account
	for jobs, want := range []int64{100, 100, 100, 100, 80, 66} {
		a = b.open(func() int64 { return 0 })
		if got := a.fetchable(); got != want {
			t.Errorf("one of %d jobs may fetch %d, want %d", jobs+1, got, want)
		}
	}
}

func TestBudgetLevels(t *testing.T) {
	type job struct{ used, buffered int64 }
	for name, c := range map[string]struct {
		total int64
		jobs  []job
		full  []bool
	}{
		"nothing used":            {1000, []job{{}, {}}, []bool{false, false}},
		"one job may take a half": {1000, []job{{used: 499}, {}}, []bool{false, false}},
		"and no more":             {1000, []job{{used: 500}, {}}, []bool{true, false}},
		"what the client has fetched ahead counts": {1000, []job{{used: 300, buffered: 200}, {}}, []bool{true, false}},
		"all is used: who is above the reserve stops, who is below goes on": {
			1000, []job{{used: 480}, {used: 480}, {used: 40}}, []bool{true, true, false}},
		"a reserve is a half over the number of jobs": {
			1000, []job{{used: 490}, {used: 400}, {used: 60}, {used: 60}}, []bool{true, true, false, false}},
		"alone": {1000, []job{{used: 600}}, []bool{true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &budget{total: c.total}
			var accounts []*account
			for _, j := range c.jobs {
				a := b.open(func() int64 { return j.buffered })
				a.add(j.used)
				accounts = append(accounts, a)
			}
			var got []bool
			for _, a := range accounts {
				got = append(got, a.level() >= 1)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.full) {
				t.Fatalf("full %v, want %v", got, c.full)
			}
			accounts[0].close()
			if len(b.accounts) != len(c.jobs)-1 {
				t.Fatal("a closed account still counts")
			}
		})
	}
}
