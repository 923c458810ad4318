package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"streamer/sink"
)

// registering is a connection that wants a service to be registered.
func registering(name, url string) []byte {
	return target(name, "o", "https://"+name+".test", `, "register": {"url": "`+url+`", "servicename": "port-`+name+`", "authorize_url": "https://a.test/authorize", "refresh_url": "https://a.test/token",
		"client_id": "streamer", "client_secret": "geheim-1", "implements": ["metadata"]}`)
}

// storages are Token Storages, each called by its URL, which answer as they are told.
type storages struct {
	mu    sync.Mutex
	fails map[string]error
	posts []string
}

func (s *storages) register(_ context.Context, r sink.Registration) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts = append(s.posts, r.URL+" "+r.Name+" "+r.ClientSecret.Reveal())
	return "", s.fails[r.URL]
}

func (s *storages) set(url string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails[url] = err
}

func (s *storages) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.posts...)
}

// A connection may be deleted between the look that finds its registration due and the post: nothing is registered then.
func TestRegistrationOfADeletedConnection(t *testing.T) {
	t.Parallel()
	st := &storages{}
	s := &Supervisor{options: Options{Register: st.register, Log: slog.New(slog.DiscardHandler)}}
	s.registrations.look(map[string]sink.Registration{"a": {Name: "a", URL: "https://one.test"}}, time.Now())
	s.registrations.look(nil, time.Now())
	if s.post(t.Context(), "a"); len(st.said()) > 0 {
		t.Error(st.said())
	}
}

// An instance is ready when everything that the connections of its start register is registered, tries again with back-off, and says what
// it waits for. What comes later, or changes, is registered too, and does not make it unready.
func TestInstanceIsReadyWhenServicesAreRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, ctx := newDefined(t), t.Context()
		defer d.end()
		st := &storages{fails: map[string]error{"https://one.test": errors.New("the token storage answered 500"), "https://two.test": nil}}
		c := d.Connections()
		ok := must[Connection](t)
		ok(c.Create(ctx, admin, registering("a", "https://one.test")))
		ok(c.Create(ctx, admin, registering("b", "https://two.test")))
		ok(c.Create(ctx, admin, target("c", "o", "https://c.test", "")))
		x := d.on("x", func(o *Options) { o.Register = st.register })
		time.Sleep(5 * time.Second)
		r := x.Readiness()
		if r.Ready || len(r.Registrations) != 1 || r.Registrations[0] != "connection a registers service port-a: the token storage answered 500" {
			t.Errorf("readiness %+v", r)
		}
		time.Sleep(10 * time.Minute)
		if n := len(st.said()); n < 12 || n > 35 {
			t.Errorf("%d posts in ten minutes", n)
		}
		st.set("https://one.test", nil)
		time.Sleep(time.Minute)
		if r := x.Readiness(); !r.Ready || len(r.Registrations) != 0 {
			t.Errorf("readiness %+v", r)
		}
		all := len(st.said())

		// Another base URL is no other registration; another secret is. One that comes later keeps nobody from being ready.
		st.set("https://three.test", errors.New("it is down"))
		ok(c.Create(ctx, admin, registering("d", "https://three.test")))
		ok(c.Replace(ctx, admin, "b", "", []byte(strings.Replace(string(registering("b", "https://two.test")), "https://b.test", "https://b.test/v2", 1))))
		time.Sleep(5 * time.Second)
		if r := x.Readiness(); !r.Ready || len(r.Registrations) != 1 || r.Registrations[0] != "connection d registers service port-d: it is down" {
			t.Errorf("readiness %+v", r)
		}
		ok(c.Replace(ctx, admin, "b", "", []byte(strings.Replace(string(registering("b", "https://two.test")), "geheim-1", "geheim-2", 1))))
		time.Sleep(5 * time.Second)
		var two []string
		for _, post := range st.said()[all:] {
			if strings.HasPrefix(post, "https://two") {
				two = append(two, post)
			}
		}
		if len(two) != 1 || two[0] != "https://two.test port-b geheim-2" {
			t.Errorf("said of b: %v", two)
		}

		// A connection that is gone is waited for no more.
		y := d.on("y", func(o *Options) { o.Register = st.register })
		time.Sleep(5 * time.Second)
		if r := y.Readiness(); r.Ready {
			t.Errorf("readiness %+v", r)
		}
		if err := c.Delete(ctx, admin, "d", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if r := y.Readiness(); !r.Ready {
			t.Errorf("readiness %+v", r)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if text := d.log.String(); strings.Contains(text, "geheim") || !strings.Contains(text, "a service is not registered yet") || !strings.Contains(text, "the token storage answered 500") {
			t.Errorf("log: %s", text)
		}
	})
}
