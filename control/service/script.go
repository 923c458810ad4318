package service

import (
	_ "embed" // the script
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed client.js
var script []byte

// scriptPath is the one path below /api that is for everybody: a page loads it before anybody has logged in, and it tells nothing.
const scriptPath = prefix + "/client.js"

// serveScript gives pages the client. It belongs to this very version, so it is asked for every time.
func serveScript(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
	return c.Blob(http.StatusOK, "text/javascript; charset=utf-8", script)
}
