package people

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
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
	auth, err := New(Options{Require: true, OIDC: OIDC{issuer, "streamer-api", "roles"}, Grants: grants}, "0.0.0.0:9013")
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
