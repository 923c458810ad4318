package sink

import (
	"cmp"
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// OAuth2 gets access tokens by client credentials (RFC 6749, 4.4), or by a refresh token (6), and sends them as Authorization.
type OAuth2 struct {
	// TokenURL is absolute. Without TLS it is asked only at addresses that the Guard lists.
	TokenURL string
	ClientID string
	// ClientSecret may be empty for a refresh token of a public client. It is sent as basic authentication, or in the body if the server
	// does not take that.
	ClientSecret Secret
	Scopes       []string
	// Audience is sent as audience; empty: none.
	Audience string
	// RefreshToken, when not empty, takes the place of the client's credentials. One that the server replaces is replaced in memory,
	// for as long as the process lives: who starts anew begins with this one again.
	RefreshToken Secret
}

// parts are the fields that are texts.
func (o OAuth2) parts() []string {
	return []string{o.TokenURL, o.ClientID, o.ClientSecret.Reveal(), o.Audience, o.RefreshToken.Reveal()}
}

// newOAuth2 makes the tokens of o, got by client.
func newOAuth2(o OAuth2, client *http.Client) *tokens {
	whom := "the token endpoint " + originOf(o.TokenURL)
	seen := &lastAnswer{next: client.Transport}
	client.Transport = seen
	conf := &clientcredentials.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal(), TokenURL: o.TokenURL, Scopes: o.Scopes, EndpointParams: url.Values{}}
	if o.Audience != "" {
		conf.EndpointParams.Set("audience", o.Audience)
	}
	if o.RefreshToken != "" {
		conf.EndpointParams.Set("grant_type", "refresh_token")
		conf.EndpointParams.Set("refresh_token", o.RefreshToken.Reveal())
	}
	// One flight at a time calls it, so conf and seen are its own.
	fetch := func(ctx context.Context, _ string, _ bool) (token, error) {
		now := time.Now()
		got, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
		if err != nil {
			return token{}, seen.failed(ctx, whom, err)
		}
		value := got.Type() + " " + got.AccessToken
		if !headerText(value) {
			return token{}, &loginError{Target, whom + " answered with a token that cannot stand in a header"}
		}
		if o.RefreshToken != "" && got.RefreshToken != "" {
			conf.EndpointParams.Set("refresh_token", got.RefreshToken)
		}
		return token{value: value}.until(now, got.Expiry), nil
	}
	return &tokens{fetch: fetch, holders: map[string]*holder{}}
}

// lastAnswer notes what the endpoint answered last, which the library's errors do not all say. One flight at a time uses it.
type lastAnswer struct {
	next   http.RoundTripper
	status int
	kind   string // the media type
}

// RoundTrip implements http.RoundTripper.
func (l *lastAnswer) RoundTrip(r *http.Request) (*http.Response, error) {
	l.status, l.kind = 0, ""
	resp, err := l.next.RoundTrip(r)
	if err == nil {
		l.status = resp.StatusCode
		l.kind, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	}
	return resp, err
}

// errorWord is what an error's name may look like: anything else may be more than a name.
var errorWord = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)

// mediaType is the same of what a body says that it is.
var mediaType = regexp.MustCompile(`^[a-z]+/[a-z0-9.+-]{1,64}$`)

// failed puts an error of the library's into words. Neither its text nor the body is repeated: both may hold what was sent.
func (l *lastAnswer) failed(ctx context.Context, whom string, err error) error {
	if l.status == 0 {
		return loginFailed(ctx, whom, err)
	}
	answered := whom + " answered " + statusText(l.status)
	var told *oauth2.RetrieveError
	if !errors.As(err, &told) {
		if ctx.Err() != nil {
			return loginFailed(ctx, whom, err)
		}
		kind := "a body of no kind"
		if mediaType.MatchString(l.kind) {
			kind = l.kind
		}
		return &loginError{Target, answered + " with " + kind + " that holds no access token; auth.oauth2.token_url may be another page"}
	}
	word := ""
	if errorWord.MatchString(told.ErrorCode) {
		word = told.ErrorCode
	}
	switch {
	case word == "temporarily_unavailable", word == "server_error", word == "slow_down":
		return &loginError{Target, answered + ": " + word}
	case word != "" && l.status < 500, l.status == 400, l.status == 401, l.status == 403:
		return &loginError{Credentials, answered + ": " + cmp.Or(word, "no error code") + mendOf(word)}
	}
	return &loginError{Target, answered}
}

// mendOf says what to do about an error of RFC 6749, 5.2.
func mendOf(word string) string {
	switch word {
	case "invalid_client":
		return "; client_id or client_secret is wrong"
	case "unauthorized_client":
		return "; client_id or client_secret is wrong, or the client may not use this grant"
	case "invalid_grant":
		return "; the refresh token has ended, was used before, or is another client's: enter a new one. One that the server replaces with each use is for auth.token_storage"
	case "invalid_scope":
		return "; scopes has what the client may not ask for"
	}
	return ""
}
