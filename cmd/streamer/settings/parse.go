package settings

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// minMemory is the least that reading from Kafka takes.
const minMemory = 16 << 20

var (
	namespace = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	instance  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)
	sizeText  = regexp.MustCompile(`^(\d{1,12}) ?(B|KiB|MiB|GiB)?$`)
)

// bytesOf reads a size such as 256MiB; a number alone is bytes.
func bytesOf(v string) (int64, error) {
	parts := sizeText.FindStringSubmatch(v)
	if parts == nil {
		return 0, fmt.Errorf("%q is no size; write it as 256MiB", v)
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size; write it as 256MiB", v)
	}
	unit := map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[parts[2]]
	if unit == 0 {
		unit = 1
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is too much", v)
	}
	return n * unit, nil
}

// advertise reads host:port, or a URL with nothing but scheme, host and port.
func advertise(to *string, v string) error {
	*to = v
	if u, err := url.Parse(v); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && *u == (url.URL{Scheme: u.Scheme, Host: u.Host}) {
		return nil
	}
	if _, err := hostPort(v); err != nil || strings.HasPrefix(v, ":") {
		return fmt.Errorf("%q is no address of an instance; write it as streamer-0.streamer:9013 or http://streamer-0.streamer:9013", v)
	}
	return nil
}

// isHost says that a text may be a host's name or address, without scheme, port, path and wildcard.
func isHost(h string) bool { return !strings.ContainsAny(h, "/ *") && strings.Count(h, ":") != 1 }

func hostPort(v string) (string, error) {
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "", fmt.Errorf("%q is no host:port; write it as 127.0.0.1:9013", v)
	}
	return v, nil
}
