package wire

import (
	"encoding/base64"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Origin is where a request goes: what is left of an URL's first slash.
type Origin struct {
	// TLS is true for https.
	TLS bool
	// Host is in lower case: a name in its ASCII form (punycode), an IPv4 address, or an IPv6 address without brackets.
	Host string
	// Port is from 1 to 65535, the scheme's own if the URL gave none.
	Port uint16
	// User is the Authorization value that the URL's userinfo stands for (Basic …), empty without userinfo. It is a secret.
	User string
}

// RequestError says why a request cannot be written. It never repeats the request's values.
type RequestError struct {
	// Part is what of the request is wrong: method, url, header.
	Part string
	// Problem says what is wrong with it.
	Problem string
}

func (e *RequestError) Error() string { return e.Part + ": " + e.Problem }

// SplitURL cuts an absolute URL behind its authority: prefix is scheme and authority as written, target the rest, which may be
// empty and still holds the fragment. ok is false if there is no scheme or no authority. It costs no allocation, so a prefix can
// be the key under which its Origin is remembered.
func SplitURL(u string) (prefix, target string, ok bool) {
	i := strings.Index(u, "://")
	if i <= 0 {
		return "", "", false
	}
	start := i + len("://")
	for j := start; j < len(u); j++ {
		switch u[j] {
		case '/', '?', '#', '\\':
			return u[:j], u[j:], j > start
		}
	}
	return u, "", len(u) > start
}

// ParseOrigin reads the origin of an absolute URL; target is the rest of the URL as SplitURL gives it. Errors are *RequestError.
func ParseOrigin(u string) (o Origin, target string, err error) {
	prefix, target, ok := SplitURL(u)
	if !ok {
		return o, "", &RequestError{"url", "is not absolute: scheme and host are needed"}
	}
	scheme, authority, _ := strings.Cut(prefix, "://")
	switch strings.ToLower(scheme) {
	case "http":
		o.Port = 80
	case "https":
		o.TLS, o.Port = true, 443
	default:
		return o, "", &RequestError{"url", "has a scheme other than http and https"}
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if o.User, err = basicOf(authority[:at]); err != nil {
			return o, "", err
		}
		authority = authority[at+1:]
	}
	host, port := authority, ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return o, "", &RequestError{"url", "has a bracket that is not closed in its host"}
		}
		ip, perr := netip.ParseAddr(authority[1:end])
		if perr != nil || !ip.Is6() || ip.Zone() != "" {
			return o, "", &RequestError{"url", "has no IPv6 address between its brackets"}
		}
		host, port = ip.String(), authority[end+1:]
	} else {
		if colon := strings.IndexByte(authority, ':'); colon >= 0 {
			host, port = authority[:colon], authority[colon:]
		}
		if host, err = asciiHost(host); err != nil {
			return o, "", err
		}
	}
	o.Host = host
	if port != "" && port != ":" {
		n, perr := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if perr != nil || n == 0 || port[0] != ':' {
			return o, "", &RequestError{"url", "has a port that is no number from 1 to 65535"}
		}
		o.Port = uint16(n)
	}
	return o, target, nil
}

// asciiHost gives a name as DNS and TLS want it. Names with other letters become punycode (UTS 46, as browsers do it); ASCII
// names are taken as they are, underscores included, as container networks use them.
func asciiHost(host string) (string, error) {
	ascii := true
	for i := 0; i < len(host); i++ {
		c := host[i]
		switch {
		case c >= 0x80:
			ascii = false
		case c == '-', c == '.', c == '_', '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		default:
			return "", &RequestError{"url", "has a character in its host that no host name has"}
		}
	}
	if !ascii {
		name, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return "", &RequestError{"url", "has a host that is no international domain name"}
		}
		host = name
	}
	if strings.Trim(host, ".") == "" {
		return "", &RequestError{"url", "has no host"}
	}
	return strings.ToLower(host), nil
}

func basicOf(userinfo string) (string, error) {
	user, password, _ := strings.Cut(userinfo, ":")
	u, err1 := url.PathUnescape(user)
	p, err2 := url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return "", &RequestError{"url", "has user information that is not percent-encoded right"}
	}
	return BasicAuth(u, p), nil
}

// BasicAuth is the Authorization value of RFC 7617 for a user and a password.
func BasicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// String is the origin as a person names it: scheme://host:port. It never has user information.
func (o Origin) String() string {
	scheme := "http://"
	if o.TLS {
		scheme = "https://"
	}
	return scheme + o.Address()
}

// Address is host:port for a dialler.
func (o Origin) Address() string { return net.JoinHostPort(o.Host, strconv.Itoa(int(o.Port))) }

// HostHeader is the Host header's value: without the port if it is the scheme's own (RFC 9110, 7.2).
func (o Origin) HostHeader() string {
	if o.TLS && o.Port == 443 || !o.TLS && o.Port == 80 {
		if strings.IndexByte(o.Host, ':') >= 0 {
			return "[" + o.Host + "]"
		}
		return o.Host
	}
	return o.Address()
}
