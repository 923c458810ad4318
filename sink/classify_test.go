package sink

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"streamer/sink/sinktest"
)

// A row for every status; runs of equal ones are written as ranges.
func TestClassOfEveryStatus(t *testing.T) {
	want := map[int]Class{}
	for _, r := range []struct {
		from, to int
		class    Class
	}{
		{100, 199, Target}, {200, 299, Delivered}, {300, 399, Rejected},
		{400, 400, Rejected}, {401, 401, Credentials}, {402, 402, Rejected}, {403, 403, Credentials}, {404, 406, Rejected},
		{407, 407, Credentials}, {408, 408, Target}, {409, 424, Rejected}, {425, 425, Target}, {426, 428, Rejected}, {429, 429, Target},
		{430, 499, Rejected}, {500, 500, Target}, {501, 501, Rejected}, {502, 504, Target}, {505, 505, Rejected}, {506, 599, Target},
		{600, 999, Target},
	} {
		for s := r.from; s <= r.to; s++ {
			want[s] = r.class
		}
	}
	moved := newClasses(map[Class][]int{Delivered: {404, 409}, Rejected: {503}, Target: {400}})
	for s := 100; s <= 999; s++ {
		if got := classOf(s); got != want[s] {
			t.Errorf("%d is %s, want %s", s, got, want[s])
		}
		expected := want[s]
		switch s {
		case 404, 409:
			expected = Delivered
		case 503:
			expected = Rejected
		case 400:
			expected = Target
		}
		if got := moved.of(s); got != expected {
			t.Errorf("moved: %d is %s, want %s", s, got, expected)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-1", "1.5", "99999999999999999999", "Fri, 31 Dec 1999 23:59:59 GMT", "Friday, 31-Dec-99 23:59:59 GMT", " 5"} {
		f.Add(s, "Fri, 31 Dec 1999 23:59:00 GMT")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		if d := retryAfter(value, date, time.Unix(946684799, 0)); d < 0 || d > maxRetryAfter {
			t.Errorf("%q is %s", value, d)
		}
	})
}

func TestRetryAfterDateIsMeasuredByTheServersClock(t *testing.T) {
	ours := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	if d := retryAfter("Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 31 Dec 1999 23:59:00 GMT", ours); d != 59*time.Second {
		t.Errorf("got %s", d)
	}
	if d := retryAfter("Tue, 01 Jan 2030 00:00:05 GMT", "no date", ours); d != 5*time.Second {
		t.Errorf("without a date: %s", d)
	}
}

const geheim = "geheim" // what no reason, error, log or print may show

// hears collects the reasons of one row's attempts.
type hears chan Outcome

func (hears) Attempt(Class, int, time.Duration) {}
func (h hears) Waiting(_ *Delivery, o Outcome, _ time.Time) {
	select {
	case h <- o:
	default:
	}
}
func (hears) BreakerOpen(string, bool) {}
func (hears) Held(string, Hold, bool)  {}

// Every kind of failure, with every kind of auth: the class is right, the reason says what happened, and none shows a secret.
func TestFailuresHaveAClassAndAReasonWithoutSecrets(t *testing.T) {
	broken := func(f sinktest.Fault) string {
		api, err := sinktest.Listen(func(*sinktest.Attempt) sinktest.Answer { return sinktest.Answer{Fault: f, Body: []byte("some body")} })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(api.Close)
		return strings.TrimPrefix(api.URL(), "http://")
	}
	status := func(code int) string {
		api, err := sinktest.Listen(answers(code))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(api.Close)
		return strings.TrimPrefix(api.URL(), "http://")
	}
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		return l.Addr().String()
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	old := httptest.NewUnstartedServer(http.NotFoundHandler())
	old.Config.ErrorLog = secure.Config.ErrorLog
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)

	auths := map[string]Auth{
		"no auth": {},
		"basic":   {Basic: &Basic{User: "user", Password: geheim}},
		"token":   {Token: geheim},
		"bearer":  {Bearer: geheim},
	}
	for name, c := range map[string]struct {
		scheme, address string
		class           Class
		status          int
		reason          string
	}{
		"reset":               {"http", broken(sinktest.Reset), Target, 0, "connection reset"},
		"cut":                 {"http", broken(sinktest.Cut), Target, 200, "answered 200, but the connection was closed before the answer was whole"},
		"garbage":             {"http", broken(sinktest.Garbage), Target, 0, "malformed response: it has no HTTP/1.x status line"},
		"hang":                {"http", broken(sinktest.Hang), Target, 0, "no whole answer within 3s"},
		"refused":             {"http", closed(), Target, 0, "connection refused"},
		"unknown host":        {"http", "no-such-host.invalid", Target, 0, "the host name"},
		"unknown authority":   {"https", secure.Listener.Addr().String(), Target, 0, "TLS: the certificate is signed by an unknown authority"},
		"TLS too old":         {"https", old.Listener.Addr().String(), Target, 0, "TLS: the "},
		"no TLS":              {"https", plain.Listener.Addr().String(), Target, 0, "TLS: the port does not speak TLS"},
		"unauthorized":        {"http", status(401), Credentials, 401, "answered 401 Unauthorized"},
		"server error":        {"http", status(500), Target, 500, "answered 500 Internal Server Error"},
		"status without name": {"http", status(599), Target, 599, "answered 599"},
		"metadata service":    {"http", "169.254.169.254", Address, 0, "169.254.169.254 is an address that is never dialled"},
		"private address":     {"http", "10.1.2.3", Address, 0, "10.1.2.3 is a private address; STREAMER_ALLOW_CIDRS can allow its range"},
	} {
		for kind, auth := range auths {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				h := make(hears, 1)
				timeout := 5 * time.Minute
				if name == "hang" {
					timeout = 3 * time.Second
				}
				s, err := New(Config{Timeout: timeout, Guard: loopback, Auth: auth, Retry: Retry{Initial: time.Hour, Max: time.Hour}}, nil, h)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				user := ""
				if kind == "no auth" {
					user = "user:" + geheim + "@"
				}
				s.NewScope().Deliver(&Delivery{
					Request: Request{
						Method: "POST", URL: c.scheme + "://" + user + c.address + "/" + geheim + "?key=" + geheim,
						Header: []Header{{"X-Key", geheim}}, Body: []byte(geheim),
					},
					Final: func(_ *Delivery, o Outcome) {
						if o.Class != Interrupted {
							t.Errorf("final: %+v", o)
						}
					},
				})
				o := <-h
				if o.Class != c.class || o.Status != c.status || !strings.HasPrefix(o.Reason, c.reason) {
					t.Errorf("outcome is %+v, want %s, %d, %q", o, c.class, c.status, c.reason)
				}
				for _, text := range []string{fmt.Sprintf("%+v", o), fmt.Sprintf("%+v", s.Stats())} {
					if strings.Contains(text, geheim) {
						t.Errorf("a secret shows: %s", text)
					}
				}
			})
		}
	}
}

func TestSecretsPrintMasked(t *testing.T) {
	c := Config{Auth: Auth{Basic: &Basic{User: "user", Password: geheim}, Token: geheim, Bearer: geheim}}
	texts := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%T %v"} {
		texts[verb] = fmt.Sprintf(verb, c.Auth.Token, c.Auth) + fmt.Sprintf(verb, *c.Auth.Basic, c) + fmt.Sprintf(verb, []Secret{geheim}, map[string]Secret{"a": geheim})
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	texts["json"] = string(j)
	y, err := yaml.Marshal(c.Auth)
	if err != nil {
		t.Fatal(err)
	}
	texts["yaml"] = string(y)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", c.Auth.Token, "auth", c.Auth, "basic", c.Auth.Basic)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", c.Auth.Token, "auth", c.Auth, "basic", c.Auth.Basic)
	texts["slog"] = log.String()
	text, _ := c.Auth.Token.MarshalText()
	binary, _ := c.Auth.Token.MarshalBinary()
	texts["encoders"] = string(text) + string(binary) + c.Auth.Token.String()
	for how, text := range texts {
		for _, form := range []string{geheim, fmt.Sprintf("%x", geheim), fmt.Sprintf("%X", geheim), fmt.Sprint([]byte(geheim))} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows it: %s", how, text)
			}
		}
	}
	if texts["yaml"] == "" || !strings.Contains(texts["json"], mask) {
		t.Error("the mask itself is missing")
	}
	if got := fmt.Sprintf("%v|%s|%q", Secret(""), Secret("x"), Secret("x")); got != `|********|"********"` {
		t.Errorf("printed %s", got)
	}
	if Secret(geheim).Reveal() != geheim {
		t.Error("Reveal does not")
	}
}

func TestAuthIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		auth Auth
		own  string
		user string
		want string
	}{
		"basic":               {Auth{Basic: &Basic{User: "u", Password: "p"}, Token: "t"}, "", "", "Basic dTpw"},
		"token":               {Auth{Token: "t", Bearer: "b"}, "", "", "access_token t"},
		"bearer":              {Auth{Bearer: "b"}, "", "", "Bearer b"},
		"replaces the row's":  {Auth{Bearer: "b"}, "mine", "x:y@", "Bearer b"},
		"the row's own":       {Auth{}, "mine", "x:y@", "mine"},
		"of the URL":          {Auth{}, "", "u:p@", "Basic dTpw"},
		"none":                {Auth{}, "", "", ""},
		"basic beside an URL": {Auth{Basic: &Basic{User: "u", Password: "p"}}, "", "x:y@", "Basic dTpw"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{Auth: c.auth, AttemptHeader: true}, nil, func(w *world) {
				w.api.KeepHeaders = true
				d := &Delivery{Request: Request{Method: "GET", URL: "http://" + c.user + "api.test/"}, Row: "a", Final: w.final}
				if c.own != "" {
					d.Request.Header = []Header{{"authorization", c.own}}
				}
				d.Request.Header = append(d.Request.Header, Header{"streamer-attempt", "7"})
				w.scope.Deliver(d)
				w.pass(0)
				w.outcome("a")
				var got, attempts []string
				for _, h := range w.api.Attempts()[0].Header {
					switch strings.ToLower(h.Name) {
					case "authorization":
						got = append(got, h.Value)
					case "streamer-attempt":
						attempts = append(attempts, h.Value)
					}
				}
				if strings.Join(got, "|") != c.want || strings.Join(attempts, "|") != "1" {
					t.Errorf("sent %q, attempts %q", got, attempts)
				}
			})
		})
	}
}

func TestGuard(t *testing.T) {
	g := Guard{Hosts: []string{"api.internal"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
	closed := Guard{}
	type verdict string
	const (
		always, byList, never verdict = "always", "by the lists", "never"
	)
	for ip, want := range map[string]verdict{
		"8.8.8.8": always, "2606:4700::1111": always, "::ffff:8.8.8.8": always, "64:ff9b::808:808": always,
		"10.1.2.3": byList, "172.16.0.1": byList, "172.31.255.255": byList, "192.168.1.1": byList, "100.64.0.1": byList, "127.0.0.1": byList,
		"::1": byList, "fd12::1": byList, "::ffff:10.0.0.1": byList, "::ffff:127.0.0.1": byList, "198.18.0.1": byList,
		"172.32.0.1": always, "100.128.0.1": always, "11.0.0.1": always,
		"169.254.169.254": never, "169.254.1.1": never, "::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never,
		"64:ff9b::a01:203": never, "64:ff9b::7f00:1": never, "64:ff9b:1::1": never, "2002:a9fe:a9fe::1": never, "2002:7f00:1::": never,
		"2001:0:a9fe:a9fe::": never, "::169.254.169.254": never, "::10.0.0.1": never, "fe80::1": never, "fe80::1%eth0": never,
		"fd00:ec2::254": never, "fd20:ce::254": never, "100.100.100.200": never, "168.63.129.16": never, "192.0.0.192": never,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "224.0.0.1": never, "ff02::1": never, "255.255.255.255": never, "240.0.0.1": never,
	} {
		addr := netip.MustParseAddr(ip)
		err, open := closed.Allow("api.test", addr), g.Allow("api.internal", addr)
		var refused *AddressError
		got := byList
		switch {
		case err == nil && open == nil:
			got = always
		case err != nil && open != nil:
			got = never
		case err == nil:
			t.Errorf("%s: the lists forbid what is allowed without them", ip)
		}
		if got != want {
			t.Errorf("%s is dialled %s, want %s (%v)", ip, got, want, err)
		}
		if err != nil && (!errors.As(err, &refused) || refused.Never != (want == never) || !strings.Contains(err.Error(), "api.test")) {
			t.Errorf("%s: %v", ip, err)
		}
	}
	if g := (Guard{Hosts: []string{"api.internal"}}); g.Allow("other.internal", netip.MustParseAddr("10.1.2.3")) == nil || g.Allow("api.internal", netip.MustParseAddr("10.1.2.3")) != nil {
		t.Error("hosts are not told apart")
	}
	if g.Allow("x", netip.Addr{}) == nil {
		t.Error("no address is allowed")
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string // paths
	}{
		"zero":      {Config{}, ""},
		"all good":  {Config{Timeout: time.Second, Concurrency: 1024, Rate: Rate{Count: 0.5}, Statuses: map[Class][]int{Delivered: {404, 409}, Target: {400}}, Breaker: Breaker{Health: "https://api.test/health"}}, ""},
		"negatives": {Config{Timeout: -1, Concurrency: -1, Rate: Rate{Count: -1, Per: -1, Burst: -1}, Retry: Retry{Initial: -1, Max: -1, MaxAfter: -1}, Breaker: Breaker{Failures: -1, Open: -1}, ResponseBytes: -1}, "delivery.timeout delivery.retry.initial delivery.retry.max delivery.retry.max_after delivery.breaker.open delivery.concurrency delivery.response_bytes delivery.breaker.failures delivery.rate_limit.rate delivery.rate_limit.per delivery.rate_limit.burst"},
		"too much":  {Config{Timeout: time.Hour, Concurrency: 1 << 20, ResponseBytes: 1 << 40}, "delivery.timeout delivery.concurrency delivery.response_bytes"},
		"back-off":  {Config{Retry: Retry{Initial: time.Hour}}, "delivery.retry.initial"},
		"health":    {Config{Breaker: Breaker{Health: "api.test/health"}}, "delivery.breaker.health"},
		"statuses":  {Config{Statuses: map[Class][]int{Delivered: {99, 404}, Rejected: {404}, "wrong": {500}, Payload: {400}}}, "delivery.statuses.delivered[0] delivery.statuses delivery.statuses.rejected[0] delivery.statuses"},
		"auth":      {Config{Auth: Auth{Token: "geheim\n", Bearer: "geheim\x00", Basic: &Basic{User: "a:b"}}}, "token auth.bearer basic_auth.user"},
	} {
		faults := c.config.Validate()
		var paths []string
		for _, f := range faults {
			paths = append(paths, f.Path)
			if strings.Contains(f.Error(), geheim) {
				t.Errorf("%s: shows a secret: %s", name, f.Error())
			}
		}
		if got := strings.Join(paths, " "); got != c.want {
			t.Errorf("%s: faults at %q, want %q", name, got, c.want)
		}
		if s, err := New(c.config, nil, nil); (err == nil) != (c.want == "") {
			t.Errorf("%s: New says %v", name, err)
		} else if s != nil {
			s.Close()
		}
	}
}
