package control

import (
	"context"
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

	"streamer/control/aether"
	"streamer/control/service"
)

// Limits of the server. Its answers are small; a call of the API that takes longer says so itself.
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
	// API answers the routes under /api.
	API API
	Log *slog.Logger
}

// Server answers /healthz (alive), /readyz (ready, with every job's state) and /metrics, to everyone, and the API under /api, with the routes
// of Aether's consumer beside it, to those whom API.Authenticator knows.
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
	s := &Server{listen: o.Listen}
	s.http = &http.Server{
		Handler:           handler(o, s.Addr),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return s
}

// handler has the routes. addr says where the server listens.
func handler(o ServerOptions, addr func() string) http.Handler {
	e := echo.New()
	e.HTTPErrorHandler = service.ErrorHandler(o.Log)
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
	if o.API.Jobs != nil {
		o.API.Readiness = o.Readiness
		t := o.API.table(addr, o.Log)
		t.Mount(e)
		if o.API.Definitions != nil {
			aether.Mount(e, t)
		}
	}
	return e
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
