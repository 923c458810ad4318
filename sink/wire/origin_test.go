package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	for url, want := range map[string]string{
		"http://api.test":                 "http://api.test:80 Host=api.test rest=",
		"HTTP://API.Test:80/x?y#z":        "http://api.test:80 Host=api.test rest=/x?y#z",
		"https://api.test?y":              "https://api.test:443 Host=api.test rest=?y",
		"https://api.test:8443/":          "https://api.test:8443 Host=api.test:8443 rest=/",
		"http://api.test:443/":            "http://api.test:443 Host=api.test:443 rest=/",
		"http://[::1]:8080/":              "http://[::1]:8080 Host=[::1]:8080 rest=/",
		"http://[2001:DB8::1]/":           "http://[2001:db8::1]:80 Host=[2001:db8::1] rest=/",
		"http://u:p@api.test/":            "http://api.test:80 Host=api.test user=Basic dTpw rest=/",
		"http://u%40x:p%3A@api.test/":     "http://api.test:80 Host=api.test user=Basic dUB4OnA6 rest=/",
		"http://bücher.example/":          "http://xn--bcher-kva.example:80 Host=xn--bcher-kva.example rest=/",
		"http://my_service.default/":      "http://my_service.default:80 Host=my_service.default rest=/",
		"http://api.test:/":               "http://api.test:80 Host=api.test rest=/",
		"http://127.0.0.1:1/a@b:c":        "http://127.0.0.1:1 Host=127.0.0.1:1 rest=/a@b:c",
		"":                                "url: is not absolute",
		"//api.test/":                     "url: is not absolute",
		"http:///x":                       "url: is not absolute",
		"api.test/x":                      "url: is not absolute",
		"ftp://api.test/":                 "url: has a scheme",
		"http://:80/":                     "url: has no host",
		"http://./":                       "url: has no host",
		"http://api.test:0/":              "url: has a port",
		"http://api.test:65536/":          "url: has a port",
		"http://api.test:8o/":             "url: has a port",
		"http://[::1/":                    "url: has a bracket",
		"http://[::1]x/":                  "url: has a port",
		"http://[fe80::1%25eth0]/":        "url: has no IPv6 address",
		"http://[127.0.0.1]/":             "url: has no IPv6 address",
		"http://a b/":                     "url: has a character",
		"http://a\r\nb/":                  "url: has a character",
		"http://a%00b/":                   "url: has a character",
		"http://u%zz@api.test/":           "url: has user information",
		"http://good.test\\@evil.test/":   "http://good.test:80 Host=good.test rest=\\@evil.test/",
		"http://good.test#@evil.test/":    "http://good.test:80 Host=good.test rest=#@evil.test/",
		"http://good.test@evil.test:80/ä": "http://evil.test:80 Host=evil.test user=Basic Z29vZC50ZXN0Og== rest=/ä",
	} {
		o, rest, err := ParseOrigin(url)
		var got string
		if err != nil {
			got = err.Error()
			var re *RequestError
			if !errors.As(err, &re) {
				t.Errorf("%q: %T", url, err)
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%q: %s, want %s", url, got, want)
			}
			continue
		}
		got = o.String() + " Host=" + o.HostHeader()
		if o.User != "" {
			got += " user=" + o.User
		}
		if got += " rest=" + rest; got != want {
			t.Errorf("%q: %s, want %s", url, got, want)
		}
	}
}
