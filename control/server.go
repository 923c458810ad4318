package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the server. Its answers are small and nothing is uploaded in this version.
const (
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// ServerOptions are what a Server needs.
type ServerOptions struct {
	// Listen is host:port; port 0 takes a free one, see Addr.
	Listen string
	// Readiness answers /readyz.
	Readiness func() Readiness
	// Metrics answers /metrics.
	Metrics prometheus.Gatherer
	Log     *slog.Logger
}

// Server answers /healthz (alive), /readyz (ready, with every job's state) and /metrics. All three are public.
type Server struct {
	http   *http.Server
	listen string

	mu       sync.Mutex
	listener net.Listener
	stopped  bool
	serving  sync.WaitGroup
}

// NewServer makes a server that is not listening yet.
func NewServer(o ServerOptions) *Server {
	log := slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)
	return &Server{
		listen: o.Listen,
		http: &http.Server{
			Handler:           handler(o),
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          log,
		},
	}
}

// handler has the routes.
func handler(o ServerOptions) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = problem(o.Log)
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisablePrintStack: true}))
	get := func(path string, h echo.HandlerFunc) { e.Match([]string{http.MethodGet, http.MethodHead}, path, h) }
	get("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "alive\n") })
	get("/readyz", func(c echo.Context) error {
		r, status := o.Readiness(), http.StatusOK
		if !r.Ready {
			status = http.StatusServiceUnavailable
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		return c.JSONPretty(status, r, "  ")
	})
	get("/metrics", echo.WrapHandler(promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError})))
	return e
}

// Problem is an error as RFC 9457 writes it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// problem makes every error of a handler, and every unknown path, a problem document. What is not meant for the caller is logged.
func problem(log *slog.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		p := Problem{Type: "about:blank", Status: http.StatusInternalServerError}
		var known *echo.HTTPError
		switch {
		case errors.As(err, &known):
			p.Status = known.Code
		default:
			log.Error("a request broke", "method", c.Request().Method, "path", c.Request().URL.Path, "cause", err)
		}
		p.Title = http.StatusText(p.Status)
		switch p.Status {
		case http.StatusNotFound:
			p.Detail = "there is nothing at this path"
		case http.StatusMethodNotAllowed:
			p.Detail = "this path does not take " + c.Request().Method
		}
		c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
		if c.Request().Method == http.MethodHead {
			err = c.NoContent(p.Status)
		} else {
			c.Response().WriteHeader(p.Status)
			err = c.Echo().JSONSerializer.Serialize(c, p, "")
		}
		if err != nil {
			log.Debug("a problem could not be sent", "cause", err)
		}
	}
}

// Start listens and serves in the background. The error names the address and what to do. A second call, or one after Stop, does
// nothing.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil || s.stopped {
		return nil
	}
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("http server: %w; choose another address by STREAMER_LISTEN or --listen", err)
	}
	s.listener = l
	s.serving.Go(func() { _ = s.http.Serve(l) }) // ends with Stop; its error then says only that
	return nil
}

// Addr is the address that is listened on, empty before Start.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Stop lets running requests end until ctx does, then cuts them off. It may be called twice, and before Start.
func (s *Server) Stop(ctx context.Context) {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	s.serving.Wait()
}
