package service

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestWhatPagesSend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verb, header, value string
		crosses, browser    bool
	}{
		{"POST", "", "", false, false},
		{"POST", "Sec-Fetch-Site", "cross-site", true, true},
		{"POST", "Sec-Fetch-Site", "same-site", true, true},
		{"POST", "Sec-Fetch-Site", "same-origin", false, true},
		{"POST", "Sec-Fetch-Site", "none", false, true},
		{"DELETE", "Origin", "https://evil.test", true, true},
		{"PUT", "Origin", "null", true, true},
		{"PUT", "Origin", "http://streamer.test:9013", false, true},
		{"PUT", "Origin", "http://streamer.test", true, true}, // another port is another origin
		{"GET", "Sec-Fetch-Site", "cross-site", false, true},
		{"GET", "Sec-Fetch-Mode", "navigate", false, true},
		{"GET", "Referer", "https://evil.test/", false, true},
		{"GET", "Accept", "text/html", false, false},
	} {
		req := httptest.NewRequest(c.verb, "http://streamer.test:9013/api/v1/jobs/a/start", nil)
		if c.header != "" {
			req.Header.Set(c.header, c.value)
		}
		p := CrossOrigin(req)
		if (p != nil) != c.crosses || p != nil && p.Status != http.StatusForbidden {
			t.Errorf("%s %s: %s: %v", c.verb, c.header, c.value, p)
		}
		if header := FromBrowser(req); (header != "") != c.browser || c.browser && header != c.header {
			t.Errorf("%s %s: is known by %q", c.verb, c.header, header)
		}
	}
}
