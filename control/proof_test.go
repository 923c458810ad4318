package control

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"streamer/control/secret"
	"streamer/control/service"
)

func keyring(t *testing.T, keys ...string) *secret.Keyring {
	t.Helper()
	for i, k := range keys {
		keys[i] = base64.StdEncoding.EncodeToString([]byte(k))
	}
	ring, err := secret.NewKeyring(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

const (
	oldKey = "abcdefghijklmnopqrstuvwxyz012345"
	newKey = "012345abcdefghijklmnopqrstuvwxyz"
)

// An address is believed if whoever reports it has a key of the installation, whichever of them, and has proven this very address.
func TestAddressesAreProven(t *testing.T) {
	t.Parallel()
	before, between, after, foreign := keyring(t, oldKey), keyring(t, oldKey, newKey), keyring(t, newKey), keyring(t, "zyxwvutsrqponmlkjihgfedcba987654")
	now := time.Now().Truncate(time.Second)
	ago := func(d time.Duration, keys *secret.Keyring, id, advertise string) Self {
		i := Self{ID: id, Advertise: advertise}
		i.Proof = prove(keys, i, now.Add(-d))
		return i
	}
	at := func(keys *secret.Keyring, id, advertise string) Self { return ago(0, keys, id, advertise) }
	two := at(before, "two", "http://10.0.0.2:9013")
	moved, renamed, damaged := two, two, two
	moved.Advertise, renamed.ID = "http://10.6.6.6:9013", "three"
	damaged.Proof = strings.TrimSuffix(damaged.Proof, "=") + "AAAA"
	for name, c := range map[string]struct {
		here  *secret.Keyring
		there Self
		want  string
	}{
		"proven":                          {before, two, ""},
		"with the old key, in a rotation": {between, two, ""},
		"with the new key, in a rotation": {between, at(after, "two", "http://10.0.0.2:9013"), ""},
		"by one that is further on":       {before, at(keyring(t, newKey, oldKey), "two", "http://10.0.0.2:9013"), "is proven with key " + after.ID() + ", which is not here"},
		"with a key that is gone":         {after, two, "is proven with key " + before.ID() + ", which is not here"},
		"of another installation":         {before, at(foreign, "two", "http://10.0.0.2:9013"), "which is not here"},
		"another address":                 {before, moved, "not the one that it has proven"},
		"another name":                    {before, renamed, "not the one that it has proven"},
		"damaged":                         {before, damaged, "not the one that it has proven"},
		"no sealed text":                  {before, Self{ID: "two", Advertise: "http://10.0.0.2:9013", Proof: "yes"}, "not the one that it has proven"},
		"not proven":                      {before, at(nil, "two", "http://10.0.0.2:9013"), "does not prove its address"},
		"not proven, on this machine":     {before, at(nil, "two", "http://127.0.0.1:9013"), "does not prove its address"},
		"a clock that is slow":            {before, ago(4*time.Minute, before, "two", "http://10.0.0.2:9013"), ""},
		"a clock that is fast":            {before, ago(-4*time.Minute, before, "two", "http://10.0.0.2:9013"), ""},
		"a clock that is wrong":           {before, ago(-6*time.Minute, before, "two", "http://10.0.0.2:9013"), "by a clock that is more than 5m0s ahead of this one's"},
		"repeated by somebody else":       {before, ago(6*time.Minute, before, "two", "http://10.0.0.2:9013"), "behind this one's, or somebody repeats what it said then"},
		"itself":                          {before, at(nil, "me", "http://10.0.0.2:9013"), ""},
		"no key, this machine":            {nil, at(nil, "two", "http://127.0.0.1:9013"), ""},
		"no key, another machine":         {nil, two, "this instance has no secret key"},
		"no key, https":                   {nil, at(nil, "two", "https://two.example"), "this instance has no secret key"},
	} {
		got, apart := doubt(c.here, "me", c.there, now)
		if got != c.want && (c.want == "" || !strings.Contains(got, c.want)) || apart != strings.Contains(c.want, "this one's") {
			t.Errorf("%s: %q (clocks apart: %v), want %q", name, got, apart, c.want)
		}
	}
	sealed, err := before.Seal("", secret.Place{"", "two", "http://10.0.0.2:9013"})
	if got, _ := doubt(before, "me", Self{ID: "two", Advertise: "http://10.0.0.2:9013", Proof: sealed}, now); err != nil || got == "" {
		t.Errorf("a secret of a job proves an address: %v", err)
	}
}

// proving is an instance that proves where it is.
type proving struct{ fleet }

func (proving) Me() Self { return Self{ID: "one", Proof: "here"} }

// With a forged report somebody would have the caller's credential: nobody asks at the address, whatever it is that is passed on.
func TestForgedAddressesAreNotAsked(t *testing.T) {
	t.Parallel()
	evil := &callers{}
	at := startAPI(t, "127.0.0.1:0", API{Authenticator: evil, Jobs: owned{runs{[]int32{1}, new([]string)}}, Fleet: fleet{me: "two"}})
	forged := Peer{"two", at, "its address is not the one that it has proven"}
	base := startAPI(t, "127.0.0.1:0", API{Authenticator: &callers{}, Jobs: owned{runs{[]int32{0}, new([]string)}}, Store: &fakeStore{},
		Fleet: proving{fleet{me: "one", owners: map[int32]Peer{1: forged}, peers: []Peer{forged}}}})
	const says = "is not called: its address is not the one that it has proven"
	body := `{"topic":"visit","partition":1,"offset":3,"row":0}`
	if status, text, _ := request(t, http.MethodPost, base+"/api/v1/jobs/visits/deliveries/retry", body, "Authorization", "Bearer ada"); status != 502 || !strings.Contains(text, says) {
		t.Errorf("one that is passed on: %d %s", status, text)
	}
	if status, text, _ := request(t, http.MethodGet, base+"/api/v1/jobs", "", "Authorization", "Bearer vera"); status != 200 || !strings.Contains(text, says) {
		t.Errorf("one that is asked of all: %d %s", status, text)
	}
	if len(evil.asked) != 0 {
		t.Errorf("asked with %q", evil.asked)
	}
}

// In clear, credentials go no further than private networks. What is dialled counts, not what the name once pointed to.
func TestPeersByTheirNetworks(t *testing.T) {
	t.Parallel()
	a := API{Authenticator: &callers{}, Fleet: proving{}}
	for advertise, want := range map[string]*http.Client{
		"http://127.0.0.1:9013": callNear, "http://streamer-0.streamer:9013": callNear, "https://streamer.example": callFar, "ftp://streamer.example": nil, "http://": nil,
	} {
		if _, client, err := a.reach(Peer{ID: "two", Advertise: advertise}); client != want || (err == nil) != (want != nil) {
			t.Errorf("%s: %v", advertise, err)
		}
	}
	if _, client, err := (API{Authenticator: &callers{}, Fleet: lonely{"one"}}).reach(Peer{ID: "two", Advertise: "https://localhost:9013"}); err != nil || client != callHere {
		t.Errorf("without a key: %v", err)
	}
	if _, _, err := (API{Fleet: proving{}}).reach(Peer{ID: "two", Advertise: "https://10.0.0.1:9013"}); err == nil {
		t.Error("another machine is called, where nobody logs in")
	}
	for _, c := range []struct {
		ip            string
		private, says string
	}{
		{"127.0.0.1", "yes", ""}, {"::1", "yes", ""}, {"10.1.2.3", "yes", ""}, {"192.168.1.1", "yes", ""}, {"::ffff:172.16.0.1", "yes", ""}, {"fd12::1", "yes", ""},
		{"192.0.2.7", "no", ""}, {"2001:db8::1", "no", ""}, {"172.32.0.1", "no", ""},
		{"169.254.169.254", "", "never dialled"}, {"fe80::1", "", "never dialled"}, {"0.0.0.0", "", "never dialled"}, {"::", "", "never dialled"},
	} {
		private, err := reachable(netip.MustParseAddr(c.ip))
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || c.says == "" && (err != nil || private != (c.private == "yes")) {
			t.Errorf("%s: private %v, error %v", c.ip, private, err)
		}
	}
	_, err := ask[struct{}](t.Context(), a, service.Caller{}, Peer{ID: "two", Advertise: "http://192.0.2.1:9013"}, "system.jobs", nil)
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1 is a public address, and calls go there by https only: set its STREAMER_ADVERTISE to an https URL") {
		t.Errorf("http to a public address: %v", err)
	}
}

// What is wrong with another instance's address stands in the log, once, and in what /readyz tells, as long as it is so. Instances with the
// same key believe each other.
func TestDoubtsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		defer c.end()
		var said bytes.Buffer
		keyed := func(o *Options) { o.Keys = keyring(t, oldKey) }
		x := c.start("x", keyed, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&said, nil)) })
		y := c.start("y", keyed)
		strange, err := json.Marshal(Self{ID: "y", Advertise: "http://203.0.113.6"})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 { // under another's name, which counts for nobody
			c.log.Report(instancePrefix+"z", strange)
			time.Sleep(2 * time.Second)
		}
		if r := x.Readiness(); len(r.Doubted) != 0 || len(x.Instances()) != 2 {
			t.Errorf("doubted %q", r.Doubted)
		}
		forged, err := json.Marshal(Self{ID: "y", Advertise: "http://203.0.113.6", Proof: y.Me().Proof})
		if err != nil {
			t.Fatal(err)
		}
		y.silent.Store(true)
		for range 5 {
			c.log.Report(instancePrefix+"y", forged)
			time.Sleep(2 * time.Second)
		}
		r := x.Readiness()
		if len(r.Doubted) != 1 || !strings.Contains(r.Doubted[0], "instance y at http://203.0.113.6: its address is not the one that it has proven") || !r.Ready {
			t.Errorf("ready %v, doubted %q", r.Ready, r.Doubted)
		}
		y.silent.Store(false)
		time.Sleep(5 * time.Second)
		y.silent.Store(true)
		for range 5 { // by a clock that is wrong and goes on
			time.Sleep(2 * time.Second)
			wrong, err := json.Marshal(Self{ID: "y", Advertise: y.Me().Advertise, Proof: prove(keyring(t, oldKey), y.Me(), time.Now().Add(10*time.Minute))})
			if err != nil {
				t.Fatal(err)
			}
			c.log.Report(instancePrefix+"y", wrong)
		}
		y.silent.Store(false)
		time.Sleep(5 * time.Second)
		if r := x.Readiness(); len(r.Doubted) != 0 {
			t.Errorf("doubted %q", r.Doubted)
		}
		c.end()
		if text := said.String(); strings.Count(text, "an instance is not believed") != 2 || strings.Count(text, "is believed now") != 2 {
			t.Errorf("the log: %s", text)
		}
	})
}

// Something before an instance answers in its place, with JSON that is no problem of ours: its status is that of the answer, and not what the
// body says, which may be none that can be answered.
func TestARefusalOfAPeerHasItsStatus(t *testing.T) {
	two := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, `{"status": 7, "detail": "no upstream"}`)
	}))
	defer two.Close()
	_, err := ask[struct{}](t.Context(), API{Fleet: lonely{"one"}}, service.Caller{}, Peer{ID: "two", Advertise: two.URL}, "system.jobs", nil)
	var p *service.Problem
	if !errors.As(err, &p) || p.Status != http.StatusBadGateway || p.Detail != "no upstream" {
		t.Errorf("%+v", err)
	}
}
