package sink

import (
	"fmt"
	"net/netip"
	"slices"
)

// AddressError says that the guard refused to dial an address.
type AddressError struct {
	// Host is the name as the URL has it, IP what it resolved to.
	Host string
	IP   netip.Addr
	// Never is set for addresses that no setting allows.
	Never bool
	// Owner is set when the process allows the address, but not to this owner.
	Owner string
	// Plain is set for a public address to which credentials would go without TLS.
	Plain bool
}

func (e *AddressError) Error() string {
	literal, which := e.Host == e.IP.String(), e.Host+" is"
	if !literal {
		which += " " + e.IP.String() + ","
	}
	switch {
	case e.Plain:
		return which + " a public address, and credentials go there by https only"
	case e.Never:
		return which + " an address that is never dialled (link-local, metadata, multicast, reserved)"
	case e.Owner != "" && literal:
		return fmt.Sprintf("%s a private address that %s is not granted; owners.%[2]s.cidrs in the settings can grant its range", which, e.Owner)
	case e.Owner != "":
		return fmt.Sprintf("%s a private address that %s is not granted; owners.%[2]s.hosts in the settings can grant the name, .cidrs the range", which, e.Owner)
	case literal:
		return which + " a private address; STREAMER_ALLOW_CIDRS can allow its range"
	}
	return which + " a private address; STREAMER_ALLOW_HOSTS can allow the name, STREAMER_ALLOW_CIDRS the range"
}

// Allow checks the address that host resolved to, right before it is dialled. The error is an *AddressError.
//
//	never:       unspecified, 0/8, multicast, broadcast and 240/4, link-local (with 169.254.169.254), metadata services elsewhere,
//	             IETF 192.0.0/24, IPv6 forms that carry an IPv4 address (compatible, 6to4, Teredo)
//	by the lists: loopback, RFC 1918, 100.64/10, 198.18/15, fc00::/7, fec0::/10; with Narrowed, by both
//	as the IPv4 address inside: IPv4-mapped; NAT64 64:ff9b::/96, of which private ones are never dialled
//	always:      everything else
func (g Guard) Allow(host string, ip netip.Addr) error {
	nat64 := false
	ip = ip.Unmap().WithZone("")
	shown := ip
	if wellKnownNAT64.Contains(ip) {
		b := ip.As16()
		ip, nat64 = netip.AddrFrom4([4]byte(b[12:])), true
	}
	within := func(p netip.Prefix) bool { return p.Contains(ip) }
	switch {
	case !ip.IsValid(), ip != netip.IPv6Loopback() && slices.ContainsFunc(neverDialled, within):
		return &AddressError{Host: host, IP: shown, Never: true}
	case !slices.ContainsFunc(privateRanges, within):
		return nil
	case nat64:
		return &AddressError{Host: host, IP: shown, Never: true}
	case !slices.Contains(g.Hosts, host) && !slices.ContainsFunc(g.CIDRs, within):
		return &AddressError{Host: host, IP: shown}
	}
	if n := g.Narrowed; n != nil && !slices.Contains(n.Hosts, host) && !slices.ContainsFunc(n.CIDRs, within) {
		return &AddressError{Host: host, IP: shown, Owner: n.Owner}
	}
	return nil
}

// private says that only the lists let an address be dialled.
func private(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(privateRanges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

var wellKnownNAT64 = netip.MustParsePrefix("64:ff9b::/96")

var neverDialled = prefixes(
	"0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "169.254.0.0/16", "192.0.0.0/24",
	"100.100.100.200/32", // metadata, inside the carrier range
	"168.63.129.16/32",   // metadata on a public address
	"::/128", "ff00::/8", "fe80::/10",
	"fd00:ec2::/32", "fd20:ce::/32", // metadata, inside the private range
	"64:ff9b:1::/48",                  // NAT64 for local use: what is behind it is not known here
	"::/96", "2002::/16", "2001::/32", // carry an IPv4 address
)

var privateRanges = prefixes(
	"127.0.0.0/8", "::1/128",
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
	"fc00::/7", "fec0::/10",
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}
