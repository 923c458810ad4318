package people

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"streamer/control/service"
)

// OIDC is a provider whose tokens are taken as bearer tokens.
type OIDC struct {
	// Issuer is its address: https, or http on loopback. Its keys are found through it (OpenID Connect Discovery 1.0).
	Issuer string
	// Audience is what a token must be meant for.
	Audience string
	// GroupsClaim names the claim with the groups of a person, with dots between levels: groups, realm_access.roles.
	GroupsClaim string
	// ClientID is what streamer login is at the provider, a public client; empty: nobody logs in there by it. Scopes are what it asks for.
	ClientID string
	Scopes   []string
}

// CheckIssuer says what is wrong with the address of a provider.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is no address of a provider; write it as https://login.example.org/realms/main", issuer)
	}
	if !trusted(u) {
		return fmt.Errorf("%q is not https, so that its keys could be anybody's; http is for loopback", issuer)
	}
	return nil
}

// skew is how far the clocks of the provider and of this machine may be apart.
const skew = time.Minute

// algorithms are those of signatures that are taken: those whose keys cannot be made up from what is public.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// identity finds out whom a provider's token is of.
type identity struct {
	OIDC
	grants   []GroupGrant
	provider *provider
	now      func() time.Time
}

func newIdentity(o OIDC, grants []GroupGrant) *identity {
	return &identity{OIDC: o, grants: grants, provider: newProvider(o.Issuer), now: time.Now}
}

// looks is what a token says of itself before anybody has looked at its signature.
type looks struct {
	Algorithm string `json:"alg"`
	Key       string `json:"kid"`
	Issuer    string `json:"iss"`
}

// look reads head and claims of a token.
func look(token string) (l looks, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return l, false
	}
	claims := struct {
		Issuer *string `json:"iss"`
	}{&l.Issuer}
	for part, into := range map[string]any{parts[0]: &l, parts[1]: &claims} {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil || json.Unmarshal(text, into) != nil {
			return l, false
		}
	}
	return l, true
}

// claims are those of a token that are looked at.
type claims struct {
	NotBefore *float64 `json:"nbf"`
	Name      string   `json:"preferred_username"`
	Email     string   `json:"email"`
}

// caller gives whom a token is of.
func (i *identity) caller(ctx context.Context, token string) (service.Caller, *service.Problem) {
	verified, problem := i.verify(ctx, token)
	if problem != nil {
		return service.Caller{}, problem
	}
	var c claims
	all := map[string]any{}
	if verified.Claims(&c) != nil || verified.Claims(&all) != nil {
		return service.Caller{}, unauthorized("the claims of the bearer token cannot be read", "")
	}
	if c.NotBefore != nil && i.now().Add(skew).Before(time.Unix(int64(*c.NotBefore), 0)) {
		return service.Caller{}, unauthorized("the bearer token is not valid yet", "look at the clocks of this machine and of the provider")
	}
	by := service.Caller{Name: "oidc:" + nameOf(c.Name, c.Email, verified.Subject)}
	if by.Name == "oidc:" {
		return service.Caller{}, unauthorized("the bearer token does not say whom it is of", "its preferred_username, email or sub must say so")
	}
	groups := groupsOf(all, i.GroupsClaim)
	for _, g := range i.grants {
		if slices.Contains(groups, g.Group) {
			by.Grants = append(by.Grants, g.Grant)
		}
	}
	return by, nil
}

// nameOf takes the first name that can stand in a log.
func nameOf(names ...string) string {
	for _, name := range names {
		if name != "" && len(name) <= 200 && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return name
		}
	}
	return ""
}

// verify finds out whether a token is the provider's, for this audience, and still valid.
func (i *identity) verify(ctx context.Context, token string) (*oidc.IDToken, *service.Problem) {
	seen, ok := look(token)
	switch {
	case !ok:
		return nil, unauthorized("the bearer token is neither an API token nor a JSON Web Token", "API tokens begin with "+tokenPrefix)
	case seen.Algorithm == "" || strings.EqualFold(seen.Algorithm, "none"):
		return nil, unauthorized("the bearer token is not signed", "get one from "+i.Issuer)
	case !slices.Contains(algorithms, jose.SignatureAlgorithm(seen.Algorithm)):
		return nil, unauthorized(fmt.Sprintf("the bearer token is signed by %q, which anybody could do who knows public keys, or is not known", seen.Algorithm), "let the provider sign by RS256 or ES256")
	case seen.Issuer != i.Issuer:
		return nil, unauthorized(fmt.Sprintf("the bearer token is of the issuer %q, and %q is wanted", seen.Issuer, i.Issuer), "")
	}
	keys, err := i.provider.keysFor(ctx, seen.Key)
	if err != nil {
		away := service.Unavailable(err.Error())
		away.Mend = "try again; basic and API tokens do not need the provider"
		return nil, away
	}
	config := &oidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true} // they are looked at below, with texts of their own
	for _, a := range algorithms {
		config.SupportedSigningAlgs = append(config.SupportedSigningAlgs, string(a))
	}
	verified, err := oidc.NewVerifier(i.Issuer, keys, config).Verify(ctx, token)
	switch {
	case err != nil && signedBy(keys, token):
		return nil, unauthorized("the claims of the bearer token cannot be read", "")
	case err != nil:
		return nil, unauthorized("the signature of the bearer token is not one of "+i.Issuer, "get a token from that provider")
	case !slices.Contains(verified.Audience, i.Audience):
		return nil, unauthorized(fmt.Sprintf("the bearer token is for %q, and not for %q", verified.Audience, i.Audience), "ask the provider for a token of that audience")
	case verified.Expiry.Unix() <= 0:
		return nil, unauthorized("the bearer token does not say when it expires", "let the provider set exp")
	case !i.now().Before(verified.Expiry.Add(skew)):
		return nil, unauthorized("the bearer token has expired at "+verified.Expiry.UTC().Format(time.RFC3339), "get a new one")
	}
	return verified, nil
}

func signedBy(keys keySet, token string) bool {
	_, err := keys.VerifySignature(context.Background(), token)
	return err == nil
}

// groupsOf gives the texts of a claim, which is a text or a list of them. A claim of that very name goes before one on a path of names.
func groupsOf(all map[string]any, claim string) (groups []string) {
	value, found := all[claim]
	if !found {
		at := all
		path := strings.Split(claim, ".")
		for i, name := range path {
			if value = at[name]; i < len(path)-1 {
				at, _ = value.(map[string]any)
			}
		}
	}
	switch v := value.(type) {
	case string:
		groups = append(groups, v)
	case []any:
		for _, g := range v {
			if text, ok := g.(string); ok {
				groups = append(groups, text)
			}
		}
	}
	return groups
}
