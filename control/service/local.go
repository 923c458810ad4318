package service

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// LocalOperator is the caller whom Local finds.
const LocalOperator = "local:operator"

// local is the Authenticator of Local.
type local struct{ addr func() string }

// Local lets only programs on this machine call, who may do everything, since nobody has to log in. addr says where the server listens.
// Two ways around the loopback address are closed as well: a page in a browser here could send requests, and a name of somebody else's
// could be made to resolve to loopback (DNS rebinding), which shows in the Host header.
func Local(addr func() string) Authenticator { return local{addr} }

// Authenticate implements Authenticator.
func (l local) Authenticate(req *http.Request) (Caller, error) {
	if listen := l.addr(); !Loopback(listen) {
		return Caller{}, Refuse(http.StatusForbidden, "", "the API is served on loopback only, as long as nobody has to log in, and this instance listens on "+listen,
			"set STREAMER_LISTEN to 127.0.0.1:9013 and call it on that machine, for example through ssh -L 9013:127.0.0.1:9013")
	}
	if header := FromBrowser(req); header != "" {
		return Caller{}, Refuse(http.StatusForbidden, "", "a browser has sent this request (header "+header+"), and pages must not steer jobs",
			"use streamer jobs, or a program such as curl")
	}
	if !Loopback(req.Host) {
		return Caller{}, Refuse(http.StatusForbidden, "", "the Host header of the request is "+req.Host+", which is not a name of this machine's loopback",
			"call it as 127.0.0.1 or localhost")
	}
	return Caller{Name: LocalOperator, Grants: []Grant{{Admin, Everyone}}}, nil
}

// Loopback tells whether the host of a host:port, or a host alone, is this machine's loopback: an address of it, or localhost.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
