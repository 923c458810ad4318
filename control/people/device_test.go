package people

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"streamer/control/people/peopletest"
)

// Somebody says yes in a browser, or no, or nothing; the provider is what it should be, or not.
func TestDeviceLogin(t *testing.T) {
	t.Parallel()
	pending := peopletest.Answer{Error: "authorization_pending"}
	yes := peopletest.Answer{Access: "acc3ss", Refresh: "r3fresh", Expires: 300}
	for name, c := range map[string]struct {
		answers []peopletest.Answer
		change  func(*peopletest.Provider, *Device)
		says    string // empty: he is logged in
	}{
		"yes":                  {[]peopletest.Answer{pending, yes}, nil, ""},
		"no":                   {[]peopletest.Answer{{Error: "access_denied"}}, nil, "lets nobody in: somebody said no"},
		"too late":             {[]peopletest.Answer{{Error: "expired_token"}}, nil, "the code has expired"},
		"nothing":              {[]peopletest.Answer{pending}, func(p *peopletest.Provider, _ *Device) { p.Code["expires_in"] = 1 }, "the code has expired"},
		"a page":               {[]peopletest.Answer{{Page: "s3cret page"}}, nil, "lets nobody in: it answered 502"},
		"an unknown client":    {nil, func(_ *peopletest.Provider, d *Device) { d.ClientID = "other" }, "gives no code: invalid_client (there is no such client)"},
		"no device flow":       {nil, func(p *peopletest.Provider, _ *Device) { delete(p.Discovery, "device_authorization_endpoint") }, "has no device authorization"},
		"another issuer":       {nil, func(p *peopletest.Provider, _ *Device) { p.Discovery["issuer"] = "https://evil.test" }, "cannot be asked"},
		"a token in the clear": {nil, func(p *peopletest.Provider, _ *Device) { p.Discovery["token_endpoint"] = "http://evil.test/token" }, "http://evil.test/token is not https"},
		"a code in the clear": {nil, func(p *peopletest.Provider, _ *Device) {
			p.Discovery["device_authorization_endpoint"] = "http://evil.test/d"
		}, "http://evil.test/d is not https"},
		"a page in the clear": {nil, func(p *peopletest.Provider, _ *Device) { p.Code["verification_uri"] = "http://evil.test/enter" }, `sends people to "http://evil.test/enter"`},
		"a program as a page": {nil, func(p *peopletest.Provider, _ *Device) { p.Code["verification_uri_complete"] = "javascript:alert(1)" }, "which is not https"},
		"an issuer in clear":  {nil, func(_ *peopletest.Provider, d *Device) { d.Issuer = "http://login.example.org" }, "is not https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := peopletest.New(t, append(c.answers, pending)...)
			d := Device{p.URL, peopletest.ClientID, []string{"openid", "groups"}}
			if c.change != nil {
				c.change(p, &d)
			}
			var shown []Code
			s, err := d.Login(t.Context(), func(c Code) { shown = append(shown, c) })
			switch {
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret")):
				t.Errorf("%v, want %s", err, c.says)
			case c.says != "":
			case err != nil:
				t.Error(err)
			default:
				asked := p.Asked()
				if s.Access != "acc3ss" || s.Refresh != "r3fresh" || time.Until(s.Expires) > 5*time.Minute || time.Until(s.Expires) < 4*time.Minute ||
					len(shown) != 1 || shown[0].UserCode != "WDJB-MJHT" || !strings.HasSuffix(shown[0].Complete, "?user_code=WDJB-MJHT") ||
					len(asked) != 3 || asked[0].Get("scope") != "openid groups" || asked[2].Get("device_code") != "d3vice" || asked[2].Get("client_id") != peopletest.ClientID {
					t.Errorf("%+v, shown %+v, asked %v", s, shown, asked)
				}
				if text := fmt.Sprintf("%v %+v", s, s); strings.Contains(text, "acc3ss") || strings.Contains(text, "r3fresh") {
					t.Errorf("it prints secrets: %s", text)
				}
			}
		})
	}
}

// Who does not want to wait any more goes.
func TestDeviceLoginIsLeft(t *testing.T) {
	t.Parallel()
	p := peopletest.New(t, peopletest.Answer{Error: "authorization_pending"})
	ctx, leave := context.WithCancel(t.Context())
	_, err := Device{p.URL, peopletest.ClientID, nil}.Login(ctx, func(Code) { leave() })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	old := Session{Access: "old", Refresh: "r0", Expires: time.Now()}
	for name, c := range map[string]struct {
		answer peopletest.Answer
		want   Session
		says   string
		ended  bool
	}{
		"another refresh token": {peopletest.Answer{Access: "new", Refresh: "r1", Expires: 300}, Session{Access: "new", Refresh: "r1"}, "", false},
		"the same again":        {peopletest.Answer{Access: "new"}, Session{Access: "new", Refresh: "r0"}, "", false},
		"it has ended":          {peopletest.Answer{Error: "invalid_grant"}, old, "the login has ended", true},
		"another refusal":       {peopletest.Answer{Error: "server_error"}, old, "does not renew the login: server_error", false},
		"it is away":            {peopletest.Answer{Page: "s3cret page"}, old, "it answered 502", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := peopletest.New(t, c.answer)
			s, err := Device{p.URL, peopletest.ClientID, nil}.Renew(t.Context(), old)
			if s.Access != c.want.Access || s.Refresh != c.want.Refresh {
				t.Errorf("%q %q", s.Access.Reveal(), s.Refresh.Reveal())
			}
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret")) || errors.Is(err, ErrEnded) != c.ended {
				t.Errorf("%v", err)
			}
			if asked := p.Asked(); len(asked) == 0 || asked[0].Get("refresh_token") != "r0" || asked[0].Get("grant_type") != "refresh_token" || asked[0].Get("client_id") != peopletest.ClientID {
				t.Errorf("asked %v", asked)
			}
		})
	}
}
