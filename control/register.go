package control

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"streamer/sink"
)

const (
	// registerFirst and registerMost bound the wait before a registration is tried again.
	registerFirst = time.Second
	registerMost  = time.Minute
)

// registrations are what connections want a Token Storage to know (their register). Each instance says it after its start, before it is
// ready, and again when it has changed. Its methods may be called from any goroutine.
type registrations struct {
	mu sync.Mutex
	// looked says that the connections of the log were looked at: those that there were then keep the instance from being ready.
	looked bool
	all    map[string]*registration // by connection
}

// registration is that of one connection.
type registration struct {
	said    sink.Registration
	opening bool // the instance is not ready before it is done
	done    bool
	running bool
	cause   string    // why it is not done
	tries   int       // that failed
	next    time.Time // when it is tried again
}

// register registers until ctx ends: what the connections say, as often as it takes. One that hangs holds up no other.
func (s *Supervisor) register(ctx context.Context) {
	var posts sync.WaitGroup
	defer posts.Wait()
	r := &s.registrations
	ended := make(chan struct{}, 1)
	for {
		changed := s.options.Bulletin.Changed()
		var wake <-chan time.Time
		if notRead(s.options.Store.log) != nil {
			wake = time.After(registerFirst)
		} else {
			due, next := r.look(s.options.Definitions.connections.registrations(), time.Now())
			for _, name := range due {
				posts.Go(func() { // ends with ctx, or when it was answered
					s.post(ctx, name)
					select {
					case ended <- struct{}{}:
					default:
					}
				})
			}
			if !next.IsZero() {
				wake = time.After(time.Until(next))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ended:
		case <-wake:
		}
	}
}

// post registers once.
func (s *Supervisor) post(ctx context.Context, name string) {
	r := &s.registrations
	r.mu.Lock()
	g := r.all[name]
	if g == nil { // the connection was deleted meanwhile
		r.mu.Unlock()
		return
	}
	said := g.said
	r.mu.Unlock()
	note, err := s.options.Register(ctx, said)
	if ctx.Err() != nil {
		return
	}
	log := s.options.Log.With("connection", name, "service", said.Name)
	wait := r.ended(name, said, err)
	switch {
	case err != nil:
		log.Warn("a service is not registered yet; trying again", "cause", err, "in", wait)
	case note != "":
		log.Info("a service was registered before", "answer", note)
	default:
		log.Info("a service is registered")
	}
}

// look takes over what there is to register now. due are those to be posted now; next is when another one is, zero if none waits.
func (r *registrations) look(now map[string]sink.Registration, at time.Time) (due []string, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]*registration{}
	}
	maps.DeleteFunc(r.all, func(name string, _ *registration) bool { _, there := now[name]; return !there })
	for name, said := range now {
		g := r.all[name]
		switch {
		case g == nil:
			g = &registration{said: said, opening: !r.looked}
			r.all[name] = g
		case !reflect.DeepEqual(g.said, said):
			*g = registration{said: said, opening: g.opening && !g.done, running: g.running}
		}
		switch {
		case g.done || g.running:
		case g.next.After(at):
			if next.IsZero() || g.next.Before(next) {
				next = g.next
			}
		default:
			g.running = true
			due = append(due, name)
		}
	}
	r.looked = true
	return due, next
}

// ended notes how a post of what was said ended, and gives the wait before the next one.
func (r *registrations) ended(name string, said sink.Registration, err error) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.all[name]
	if g == nil {
		return 0
	}
	g.running = false
	switch {
	case !reflect.DeepEqual(g.said, said): // it was changed meanwhile, and is to be said anew
	case err == nil:
		g.done, g.opening, g.cause = true, false, ""
	default:
		wait = min(registerFirst<<min(g.tries, 10), registerMost)
		wait = wait/2 + rand.N(wait/2+1)
		g.tries, g.cause, g.next = g.tries+1, err.Error(), time.Now().Add(wait)
	}
	return wait
}

// waits says what is not registered, by connection. The instance is ready for it when the connections were looked at, and those that there
// were then are registered.
func (r *registrations) waits() (ready bool, waits []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready = r.looked
	for _, name := range slices.Sorted(maps.Keys(r.all)) {
		if g := r.all[name]; !g.done {
			ready = ready && !g.opening
			cause := g.cause
			if cause == "" {
				cause = "not answered yet"
			}
			waits = append(waits, fmt.Sprintf("connection %s registers service %s: %s", name, g.said.Name, cause))
		}
	}
	return ready, waits
}

// registrations gives what the connections want to be registered, of those that can be used.
func (c *Connections) registrations() map[string]sink.Registration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index()
	all := map[string]sink.Registration{}
	for name, k := range c.known {
		if k.broken == "" && k.target.Register != nil {
			all[name] = *k.target.Register
		}
	}
	return all
}
