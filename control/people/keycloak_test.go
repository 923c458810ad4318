package people

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"streamer/control/service"
)

// A real provider: tokens of a program and of persons, by their roles. make oidc starts one and says where it is.
func TestRealKeycloak(t *testing.T) {
	issuer, secret, password := os.Getenv("OIDC_ISSUER"), os.Getenv("OIDC_CLIENT_SECRET"), os.Getenv("OIDC_USER_PASSWORD")
	if issuer == "" {
		t.Skip("OIDC_ISSUER is not set: make oidc runs this test, and CI runs make oidc")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	token := func(form url.Values) string {
		t.Helper()
		form.Set("client_secret", secret)
		resp, err := client.PostForm(issuer+"/protocol/openid-connect/token", form)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var answer struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
			t.Fatalf("no token: %s, %v", resp.Status, err)
		}
		return answer.Token
	}
	program := func(client string) string {
		return token(url.Values{"grant_type": {"client_credentials"}, "client_id": {client}})
	}
	person := func(name string) string {
		return token(url.Values{"grant_type": {"password"}, "client_id": {"streamer-api"}, "username": {name}, "password": {password}})
	}
	var grants []GroupGrant
	for role, g := range map[string]service.Grant{"viewer": {Permission: service.View, Owner: service.Everyone},
		"operator": {Permission: service.Operate, Owner: "health"}, "admin": {Permission: service.Admin, Owner: service.Everyone}} {
		grants = append(grants, GroupGrant{role, g})
	}
	auth, err := New(Options{Require: true, OIDC: OIDC{Issuer: issuer, Audience: "streamer-api", GroupsClaim: "roles"}, Grants: grants}, "0.0.0.0:9013")
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Split(person("viewer"), ".")
	forged[1] = strings.Split(person("admin"), ".")[1]
	for _, c := range []struct{ name, token, want string }{
		{"a program", program("streamer-api"), "oidc:service-account-streamer-api [{operate health}]"},
		{"a viewer", person("viewer"), "oidc:viewer [{view *}]"},
		{"an operator", person("operator"), "oidc:operator [{operate health}]"},
		{"an admin", person("admin"), "oidc:admin [{admin *}]"},
		{"a program that is meant for another API", program("another-api"), `and not for "streamer-api"`},
		{"a viewer who claims to be an admin", strings.Join(forged, "."), "signature of the bearer token is not one of"},
	} {
		by, err := auth.Authenticate(anyone("10.0.0.1", "Bearer "+c.token))
		var p *service.Problem
		got := fmt.Sprint(by.Name, " ", by.Grants)
		if errors.As(err, &p) {
			got = p.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s is %s, want %s", c.name, got, c.want)
		}
	}

	auth.identity.now = func() time.Time { return time.Now().Add(time.Hour) }
	if _, err := auth.Authenticate(anyone("10.0.0.1", "Bearer "+person("admin"))); err == nil || !strings.Contains(err.Error(), "has expired at") {
		t.Errorf("a token of an hour ago: %v", err)
	}
}

// Somebody logs in from a program that has no page, and says yes in a browser: this test plays both. make oidc says where the provider is.
func TestRealKeycloakDevice(t *testing.T) {
	issuer, password := os.Getenv("OIDC_ISSUER"), os.Getenv("OIDC_USER_PASSWORD")
	if issuer == "" {
		t.Skip("OIDC_ISSUER is not set: make oidc runs this test, and CI runs make oidc")
	}
	auth, err := New(Options{Require: true, OIDC: OIDC{Issuer: issuer, Audience: "streamer-api", GroupsClaim: "roles"},
		Grants: []GroupGrant{{"operator", service.Grant{Permission: service.Operate, Owner: "health"}}}}, "0.0.0.0:9013")
	if err != nil {
		t.Fatal(err)
	}
	device := Device{issuer, "streamer-cli", []string{"openid"}}
	s, err := device.Login(t.Context(), func(c Code) { sayYes(t, c.Complete, "operator", password) })
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := device.Renew(t.Context(), s)
	if err != nil || renewed.Access == s.Access || renewed.Access == "" {
		t.Fatalf("renewed: %v", err)
	}
	for _, token := range []string{s.Access.Reveal(), renewed.Access.Reveal()} {
		by, err := auth.Authenticate(anyone("10.0.0.1", "Bearer "+token))
		if err != nil || fmt.Sprint(by.Name, " ", by.Grants) != "oidc:operator [{operate health}]" {
			t.Errorf("%+v, %v", by, err)
		}
	}
	if time.Until(s.Expires) < time.Minute || s.Refresh == "" {
		t.Errorf("expires %v, can be renewed: %v", s.Expires, s.Refresh != "")
	}
	if _, err := device.Renew(t.Context(), Session{Refresh: "forged"}); !errors.Is(err, ErrEnded) {
		t.Errorf("forged: %v", err)
	}
}

var (
	formAction = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)"`)
	formInput  = regexp.MustCompile(`(?s)<input[^>]*>`)
	inputName  = regexp.MustCompile(`\bname="([^"]*)"`)
	inputValue = regexp.MustCompile(`\bvalue="([^"]*)"`)
)

// sayYes opens a page of the provider as a browser does, and fills in each form that comes, until none does.
func sayYes(t *testing.T, page, user, password string) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Error(err)
		return
	}
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
	read := func(ask func() (*http.Response, error)) string {
		resp, err := ask()
		if err != nil {
			t.Error(err)
			return ""
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", resp.Request.URL.Path, resp.Status, err)
		}
		return string(body)
	}
	text := read(func() (*http.Response, error) { return browser.Get(page) })
	for range 4 { // the code, the login, the consent
		action := formAction.FindStringSubmatch(text)
		if action == nil {
			return
		}
		form := url.Values{}
		for _, input := range formInput.FindAllString(text, -1) {
			name, value := inputName.FindStringSubmatch(input), inputValue.FindStringSubmatch(input)
			if name == nil || name[1] == "cancel" || name[1] == "rememberMe" {
				continue
			}
			form.Set(name[1], "")
			if value != nil {
				form.Set(name[1], html.UnescapeString(value[1]))
			}
		}
		if form.Has("username") {
			form.Set("username", user)
			form.Set("password", password)
		}
		to, err := url.Parse(html.UnescapeString(action[1]))
		base, err2 := url.Parse(page)
		if err := errors.Join(err, err2); err != nil {
			t.Error(err)
			return
		}
		text = read(func() (*http.Response, error) { return browser.PostForm(base.ResolveReference(to).String(), form) })
	}
	t.Errorf("forms come without end: %s", text)
}
