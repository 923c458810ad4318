package service

import (
	_ "embed" // the script
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed client.js
var script []byte

// What is below /api and for everybody: it is asked for before anybody has logged in.
const (
	// scriptPath is the client of pages, which tells nothing.
	scriptPath = prefix + "/client.js"
	// loginPath tells how people log in.
	loginPath = prefix + "/login"
)

var public = []string{scriptPath, loginPath}

// Login is how people log in by a provider; the zero value says that they do not.
type Login struct {
	Issuer string `json:"issuer,omitempty"`
	// ClientID is the public client of streamer login there, Scopes what it asks for.
	ClientID string   `json:"client_id,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
}

// serveLogin tells it. What comes from it is checked by who uses it: it is not secret, and whoever answers says it.
func (t *Table) serveLogin(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, t.options.Login)
}

// serveScript gives pages the client. It belongs to this very version, so it is asked for every time.
func serveScript(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
	return c.Blob(http.StatusOK, "text/javascript; charset=utf-8", script)
}
