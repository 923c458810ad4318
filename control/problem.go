package control

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"streamer/control/service"
)

// Problem is service.Problem.
type Problem = service.Problem

// refuse is service.Refuse.
func refuse(status int, field, detail, mend string) *Problem {
	return service.Refuse(status, field, detail, mend)
}

// renderProblem makes every error of a handler, and every unknown path, a problem document. What is not meant for the caller is
// logged and not told.
func renderProblem(log *slog.Logger) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		p := problemOf(err, c.Request())
		if p.Status == http.StatusInternalServerError {
			log.Error("a request broke", "method", c.Request().Method, "path", c.Request().URL.Path, "cause", err)
		}
		c.Response().Header().Set(echo.HeaderContentType, problemType)
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

const problemType = "application/problem+json"

// problemOf is what a caller is told of an error.
func problemOf(err error, req *http.Request) Problem {
	p := Problem{Status: http.StatusInternalServerError}
	var told *Problem
	var router *echo.HTTPError
	switch {
	case errors.As(err, &told):
		p = *told
	case errors.Is(err, context.DeadlineExceeded):
		p.Status, p.Detail = http.StatusGatewayTimeout, "Kafka or another instance did not answer in time"
		p.Mend = "look at /readyz, and try again"
	case errors.As(err, &router):
		p.Status = router.Code
		switch p.Status {
		case http.StatusNotFound:
			p.Detail = "there is nothing at this path"
		case http.StatusMethodNotAllowed:
			p.Detail = "this path does not take " + req.Method
		}
	}
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	return p
}
