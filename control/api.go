package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"streamer/consumer"
)

// API is what the routes under /api call. The zero API has none.
type API struct {
	// Jobs are those of this instance. *Supervisor has them.
	Jobs Jobs
	// Store keeps what is wanted of them, and Desires changes it.
	Store   consumer.Store
	Desires Desires
	// Fleet knows the other instances.
	Fleet Fleet
	// Audits reads who did what.
	Audits Audits
	// Letters gives the dead letters of a job, Ledger what Kafka alone tells of its records.
	Letters func(consumer.Config) DeadLetters
	Ledger  func(consumer.Config) Ledger
}

// Jobs are the jobs of one instance.
type Jobs interface {
	// Here gives every job as it is on this instance.
	Here() []JobHere
	// Deliveries are the rows of a job, if it runs on this instance.
	Deliveries(job string) (Deliveries, bool)
	// Gaps are what holds it, if it runs on this instance.
	Gaps(job string) (Gaps, bool)
	// Config is what runs, of a job that is valid.
	Config(job string) (consumer.Config, bool)
}

// Fleet is the instances that are alive, as they report. *Supervisor knows them.
type Fleet interface {
	// Me is this one.
	Me() Self
	// Instances are all of them.
	Instances() []Self
	// OwnerOf gives the instance that reads a partition of a job.
	OwnerOf(job, topic string, partition int32) (Self, bool)
}

// peers are the other instances that run a job, or of all jobs ("").
func (a API) peers(job string) []Peer {
	var peers []Peer
	me := a.Fleet.Me().ID
	for _, i := range a.Fleet.Instances() {
		if i.ID != me && (job == "" || slices.Contains(i.Jobs, job)) {
			peers = append(peers, Peer{i.ID, i.Advertise})
		}
	}
	return peers
}

// Limits of the API.
const (
	maxBodyBytes = 1 << 20
	// apiTimeout bounds what a route does, and apiMargin what its answer may take then.
	apiTimeout = 40 * time.Second
	apiMargin  = 10 * time.Second
)

// operator is who did it, until people have names.
const operator = "operator"

// routes registers the API. addr says where the server listens.
func (a API) routes(e *echo.Echo, addr func() string) {
	if a.Jobs == nil {
		return
	}
	e.Use(guard(addr), bounded)
	get := func(path string, h echo.HandlerFunc) {
		e.Match([]string{http.MethodGet, http.MethodHead}, "/api/v1"+path, timed(h))
	}
	post := func(path string, h echo.HandlerFunc) { e.POST("/api/v1"+path, timed(h)) }
	get("/jobs", a.listJobs)
	get("/jobs/:job", a.showJob)
	get("/jobs/:job/deliveries", a.findDelivery)
	for _, d := range []consumer.Decision{consumer.Retry, consumer.GiveUp} {
		post("/jobs/:job/deliveries/"+string(d), a.decide(d))
	}
	get("/jobs/:job/dead-letters", a.listLetters)
	get("/jobs/:job/dead-letters/:partition/:offset", a.showLetter)
	e.POST("/api/v1/jobs/:job/dead-letters/redrive", a.redrive) // takes as long as it takes
	e.POST("/api/v1/jobs/:job/dead-letters/give-up", timed(a.giveUpLetters))
	post("/jobs/:job/offsets/accept", a.accept)
	get("/audit", a.audit)
	for word, want := range words {
		post("/jobs/:job/"+word, a.desire(want))
	}
}

// ofAPI tells whether a request is for the API, also one that no route takes.
func ofAPI(req *http.Request) bool {
	return req.URL.Path == "/api" || strings.HasPrefix(req.URL.Path, "/api/")
}

// guard lets only programs on this machine call the API, since nobody has to log in yet. Two ways around the loopback address are
// closed as well: a page in a browser here could send requests, and a name of somebody else's could be made to resolve to loopback
// (DNS rebinding), which shows in the Host header.
func guard(addr func() string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if !ofAPI(c.Request()) {
				return next(c)
			}
			c.Response().Header().Set("Cache-Control", "no-store")
			if listen := addr(); !loopback(listen) {
				return refuse(http.StatusForbidden, "", "the API is served on loopback only, as long as nobody has to log in, and this instance listens on "+listen,
					"set STREAMER_LISTEN to 127.0.0.1:9013 and call it on that machine, for example through ssh -L 9013:127.0.0.1:9013")
			}
			for name := range c.Request().Header {
				if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
					return refuse(http.StatusForbidden, "", "a browser has sent this request (header "+name+"), and pages must not steer jobs",
						"use streamer jobs, or a program such as curl")
				}
			}
			if host := c.Request().Host; !loopback(host) {
				return refuse(http.StatusForbidden, "", "the Host header of the request is "+host+", which is not a name of this machine's loopback",
					"call it as 127.0.0.1 or localhost")
			}
			return next(c)
		}
	}
}

// loopback tells whether the host of a host:port, or a host alone, is this machine's loopback: an address of it, or localhost.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// bounded reads the body of a request to the API up to its limit. From then on the time to read is not limited any more: the
// connection is only watched for the caller going away, which ends the request's context.
func bounded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		if !ofAPI(req) {
			return next(c)
		}
		body, err := io.ReadAll(http.MaxBytesReader(c.Response(), req.Body, maxBodyBytes))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return refuse(http.StatusRequestEntityTooLarge, "", "the body is larger than 1 MiB", "")
		case err != nil:
			return refuse(http.StatusBadRequest, "", "the body could not be read", "send it within ten seconds")
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		if err := http.NewResponseController(c.Response()).SetReadDeadline(time.Time{}); err != nil {
			return err
		}
		return next(c)
	}
}

// timed gives a route its time.
func timed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(apiTimeout + apiMargin)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Request().Context(), apiTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}
