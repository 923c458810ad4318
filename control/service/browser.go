package service

import (
	"net/http"
	"strings"
)

// crossOrigin finds requests that a page of another origin makes a browser send, with the credential that it remembers.
var crossOrigin = http.NewCrossOriginProtection()

// CrossOrigin refuses a write that a page of another origin makes a browser send: a browser adds a basic credential that it remembers by
// itself. Nil: it is none. Programs send no such headers, and are let through.
func CrossOrigin(req *http.Request) *Problem {
	if crossOrigin.Check(req) == nil {
		return nil
	}
	return Refuse(http.StatusForbidden, "", "a page of another origin has sent this request", "call it by a program")
}

// FromBrowser gives the header by which a request is known to be of a browser; empty: it is of a program. A GET that writes is refused for it:
// a link, an image or a redirect is enough to send one.
func FromBrowser(req *http.Request) string {
	for name := range req.Header {
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-Fetch-") {
			return name
		}
	}
	return ""
}
