package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// ErrorHandler makes every error of a handler, and every unknown path, a problem document. What is not meant for the caller is logged and
// not told.
func ErrorHandler(log *slog.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		p := problemOf(err, c.Request().Method)
		note(log, p, c.Request(), err)
		h := c.Response().Header()
		h.Set(echo.HeaderContentType, ProblemType)
		if p.Status == http.StatusUnauthorized {
			h.Set(echo.HeaderWWWAuthenticate, `Basic realm="streamer", Bearer`)
		}
		if p.RetryAfter > 0 {
			h.Set(echo.HeaderRetryAfter, strconv.Itoa(int(p.RetryAfter.Seconds())))
		}
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

// note logs what is not the caller's fault, and not told.
func note(log *slog.Logger, p Problem, req *http.Request, err error) {
	if p.Status == http.StatusInternalServerError {
		log.Error("a request broke", "method", req.Method, "path", req.URL.Path, "cause", err)
	}
}

// problemOf is what a caller is told of an error.
func problemOf(err error, verb string) Problem {
	p := Problem{Status: http.StatusInternalServerError}
	var told *Problem
	var router *echo.HTTPError
	switch {
	case errors.As(err, &told):
		p = *told
	case errors.Is(err, context.DeadlineExceeded):
		p = *Unavailable("Kafka or another instance did not answer in time")
	case errors.As(err, &router):
		p.Status = router.Code
		switch p.Status {
		case http.StatusNotFound:
			p.Detail = "there is nothing at this path"
		case http.StatusMethodNotAllowed:
			p.Detail = "this path does not take " + verb
		}
	}
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	return p
}
