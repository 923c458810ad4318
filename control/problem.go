package control

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
)

// Problem is an error as RFC 9457 writes it, with what it is about and what to do. It is what every route answers that could not do
// what it was asked for.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong, in one sentence.
	Detail string `json:"detail,omitempty"`
	// Field is the argument it is about, as the route names it; empty: none, or the whole.
	Field string `json:"field,omitempty"`
	// Mend says what to do.
	Mend string `json:"mend,omitempty"`
}

// Error gives the problem as one line: field: detail; mend.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Mend != "" {
		text += "; " + p.Mend
	}
	return text
}

// refuse makes a problem. field and mend may be empty.
func refuse(status int, field, detail, mend string) *Problem {
	return &Problem{Status: status, Detail: detail, Field: field, Mend: mend}
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
