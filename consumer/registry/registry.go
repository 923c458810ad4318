// Package registry asks a schema registry (Confluent's REST API) for the schemas of ids.
package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"streamer/schemas"
	"streamer/sink"
)

// Options say where the registry is.
type Options struct {
	// URL is where its API begins: http or https.
	URL string
	// User and Password log in, if User is not empty.
	User     string
	Password sink.Secret
	// CAFile has the authorities to trust beside the system's, as PEM; empty: those alone.
	CAFile string
	// Guard says which addresses may be dialled.
	Guard sink.Guard
}

const (
	// attempt bounds the request for one schema with all that it refers to.
	attempt = 10 * time.Second
	// unknownFor is how long an id that the registry does not know is not asked for again: a producer may register it soon.
	unknownFor = 10 * time.Second
	// backOffFirst and backOffMost bound the wait after a registry did not answer; it doubles.
	backOffFirst = 250 * time.Millisecond
	backOffMost  = 15 * time.Second
	// answerBytes bounds an answer: schemas of more than 2 MiB are not read.
	answerBytes = 8 << 20
	// referenceMost bounds what one schema may refer to, by however many steps.
	referenceMost = 200
)

// Registry keeps what it was told: a schema under an id never changes. There is one request in flight for an id, and while the registry
// does not answer one for all of them. Safe for concurrent use.
type Registry struct {
	ask   func(id int) (schemas.Registered, error) // one attempt; Close ends it
	now   func() time.Time
	ended <-chan struct{} // closed by Close
	end   context.CancelFunc
	all   sync.WaitGroup

	mu       sync.Mutex
	entries  map[int]*entry
	cause    string        // why the registry does not answer; empty: it does, as far as is known
	failures int           // in a row
	next     time.Time     // no request before
	again    chan struct{} // closed then
	probe    chan struct{} // closed when the one request made meanwhile has ended; nil: there is none
}

// entry is what is known of an id.
type entry struct {
	done   chan struct{} // closed when the request has ended; nil: none is in flight
	schema schemas.Registered
	known  bool
	err    error // there is none
	until  time.Time
}

// New gives a Registry. It asks nothing yet; the error is one of the options. Close it.
func New(o Options) (*Registry, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the schema registry's URL is no http:// or https:// URL of a host and a path; user and password have settings of their own")
	}
	var ca []byte
	if o.CAFile != "" {
		if ca, err = os.ReadFile(o.CAFile); err != nil {
			return nil, fmt.Errorf("the schema registry's authorities: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("the schema registry's authorities: no certificate in %s", o.CAFile)
		}
	}
	hc := o.Guard.Client(o.URL, string(ca))
	hc.Transport = bounded{hc.Transport}
	opts := []sr.ClientOpt{sr.URLs(strings.TrimSuffix(o.URL, "/")), sr.HTTPClient(hc), sr.UserAgent("streamer")}
	if o.User != "" {
		opts = append(opts, sr.BasicAuth(o.User, string(o.Password)))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("the schema registry's client: %w", err)
	}
	asking := &asking{client: client, host: u.Host}
	return newRegistry(asking.schema, time.Now), nil
}

func newRegistry(ask func(context.Context, int) (schemas.Registered, error), now func() time.Time) *Registry {
	ctx, end := context.WithCancel(context.Background()) // ends with Close: requests belong to nobody who asks
	return &Registry{now: now, entries: map[int]*entry{}, ended: ctx.Done(), end: end, ask: func(id int) (schemas.Registered, error) {
		ctx, cancel := context.WithTimeout(ctx, attempt)
		defer cancel()
		return ask(ctx, id)
	}}
}

// Close ends requests in flight and waits for them. Nothing is asked after it.
func (r *Registry) Close() {
	r.mu.Lock()
	r.end()
	r.mu.Unlock()
	r.all.Wait()
}

// Schema is a schemas.Registry: it gives what is known of an id, and does not wait. What is not known is asked for, by a goroutine that ends
// with the answer, its time, or Close.
func (r *Registry) Schema(id int) (schemas.Registered, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, now := r.entries[id], r.now()
	switch {
	case e != nil && e.known:
		return e.schema, nil
	case e != nil && e.err != nil && now.Before(e.until):
		return schemas.Registered{}, e.err
	case e != nil && e.done != nil:
		return schemas.Registered{}, r.wait(id, e.done)
	case r.failures > 0 && now.Before(r.next):
		return schemas.Registered{}, r.wait(id, r.again)
	case r.failures > 0 && r.probe != nil:
		return schemas.Registered{}, r.wait(id, r.probe)
	}
	select {
	case <-r.ended:
		return schemas.Registered{}, &schemas.UnavailableError{Cause: "the process ends", Again: make(chan struct{})}
	default:
	}
	r.forget(now)
	e = &entry{done: make(chan struct{})}
	r.entries[id] = e
	if r.failures > 0 {
		r.probe = e.done
	}
	r.all.Go(func() { r.fetch(id, e) })
	return schemas.Registered{}, r.wait(id, e.done)
}

func (r *Registry) wait(id int, again <-chan struct{}) error {
	cause := fmt.Sprintf("the schema registry is asked for the schema with id %d", id)
	if r.cause != "" {
		cause = r.cause
	}
	return &schemas.UnavailableError{Cause: cause, Again: again}
}

// fetch makes one attempt for an id.
func (r *Registry) fetch(id int, e *entry) {
	s, err := r.ask(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	done := e.done
	defer close(done)
	if e.done = nil; r.probe == done {
		r.probe = nil
	}
	var none *unknownError
	switch {
	case err == nil:
		e.schema, e.known = s, true
	case errors.As(err, &none):
		e.err, e.until = err, r.now().Add(unknownFor)
	default:
		r.failed(err)
		return
	}
	r.cause, r.failures = "", 0
}

// forget drops ids that are unknown and may be asked for again, when there are many.
func (r *Registry) forget(now time.Time) {
	const many = 1024
	if len(r.entries)%many != many-1 {
		return
	}
	for id, e := range r.entries {
		if !e.known && e.done == nil && !now.Before(e.until) {
			delete(r.entries, id)
		}
	}
}

// failed notes that the registry did not answer, and until when it is left alone.
func (r *Registry) failed(err error) {
	r.failures++
	wait := min(backOffFirst<<min(r.failures-1, 10), backOffMost)
	r.cause, r.next = err.Error(), r.now().Add(wait)
	again := make(chan struct{})
	r.again = again
	r.all.Go(func() {
		select {
		case <-time.After(wait):
		case <-r.ended:
		}
		close(again)
	})
}

// bounded bounds what is read of an answer.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, answerBytes), res.Body}
	}
	return res, err
}
