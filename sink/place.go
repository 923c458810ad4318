package sink

import (
	"math"
	"time"

	"streamer/sink/wire"
)

// Place is an origin that some of a job's requests go to with a login, TLS and limits of its own: that of a step, or of a route. What goes
// to no Place goes as the Config says.
type Place struct {
	// Origin is scheme://host:port, as wire.Origin has it.
	Origin string
	// Target is what it is called; empty: the origin.
	Target string
	// Auth, TLS, Success and Shared are as those of the Config. The zero value logs in nowhere: the job's own login does not go along.
	Auth    Auth
	TLS     TLS
	Success *Success
	Shared  *Shared
}

// AuthOf gives the login that goes along with requests to a URL: that of its Place, or the Config's own.
func (c Config) AuthOf(u string) Auth {
	origin, _, err := wire.ParseOrigin(u)
	if err != nil {
		return Auth{}
	}
	for _, p := range c.Places {
		if p.Origin == origin.String() {
			return p.Auth
		}
	}
	return c.Auth
}

// access is how requests get to a target: the job's own way, or that of a Place.
type access struct {
	sink    *Sink
	auth    Auth
	fixed   string // Authorization by auth; empty: none, or by login
	login   login  // gives Authorization; nil: fixed
	success *Success
	client  *wire.Client
	name    string // of its targets; empty: the origin
	shared  *Shared
	before  func() bool // the last look, right before the first byte

	// guarded by Sink.mu
	inLine bool // at shared
	grants int  // places that shared has given it
}

// newAccess makes the way to a place, for a Config that was validated.
func (s *Sink) newAccess(p Place, w wire.Options) (*access, error) {
	conf, faults := p.TLS.config(s.c.RootCAs)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	w.IdlePerHost, w.Allow, w.TLS = s.c.Concurrency, s.c.Guard.Allow, conf
	a := &access{sink: s, auth: p.Auth, fixed: p.Auth.header(), success: p.Success, client: wire.NewClient(w), name: p.Target, shared: p.Shared}
	a.before = func() bool { return !a.shared.rests() && (s.permit == nil || s.permit() <= 0) }
	a.login = s.newLogin(p, w.Dial)
	if a.shared != nil {
		s.sharing = append(s.sharing, a)
		a.shared.join(a)
	}
	return a, nil
}

// accesses are all of the sink's.
func (s *Sink) accesses() []*access {
	all := []*access{s.own}
	for _, a := range s.others {
		all = append(all, a)
	}
	return all
}

// waits says that no attempt of a row may start for what is shared: it rests, or a is in line.
func (a *access) waits() bool {
	return a.shared != nil && (a.shared.rests() || a.inLine && a.grants == 0)
}

// room is how many rows of t its access lets be picked. A probe of the health URL takes no place.
func (a *access) room(t *target) int {
	if a.shared == nil || !a.waits() || t.open && t.health != nil && !a.shared.rests() {
		return math.MaxInt
	}
	return 0
}

// refreshAll looks again at all targets of a. The caller holds mu.
func (s *Sink) refreshAll(a *access, now time.Duration) {
	for _, t := range s.targets {
		if t.access == a {
			s.refresh(t, now)
		}
	}
}
