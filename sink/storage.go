package sink

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// TokenStorage gets the access tokens of users (Request.User) from a Token Storage of Research Data Services, which holds and renews them:
// GET <URL>/user/<user>/token/<Service>, and PUT there to renew one.
type TokenStorage struct {
	// URL is what the paths stand behind. Without TLS it is asked only at addresses that the Guard lists.
	URL string
	// Service is the name under which the target is registered there.
	Service string
}

const (
	// maxStorageAnswer bounds what is read of an answer.
	maxStorageAnswer = 1 << 20
	// keptWithoutEnd is how long a token is used that does not say when it ends.
	keptWithoutEnd = 5 * time.Minute
)

type storage struct {
	TokenStorage
	client *http.Client
	whom   string
}

// newStorage makes the tokens of users, got by client.
func newStorage(c TokenStorage, client *http.Client) *tokens {
	c.URL = strings.TrimRight(c.URL, "/")
	st := storage{c, client, "the token storage " + originOf(c.URL)}
	return &tokens{fetch: st.fetch, holders: map[string]*holder{}}
}

func (st storage) fetch(ctx context.Context, user string, renew bool) (token, error) {
	switch user {
	case "":
		return token{}, &loginError{Payload, "the row names no user for the token storage"}
	case ".", "..":
		return token{}, &loginError{Payload, "the row's user for the token storage is no name"}
	}
	path := "/user/" + url.PathEscape(user) + "/token/" + url.PathEscape(st.Service)
	if renew {
		// What it answers is not looked at but for its status: the token is read again.
		if _, err := st.ask(ctx, http.MethodPut, path); err != nil {
			return token{}, err
		}
	}
	now := time.Now()
	t, expires, err := st.read(ctx, path)
	if err == nil && !renew && !t.endless && !expires.After(now) {
		if _, err = st.ask(ctx, http.MethodPut, path); err == nil {
			t, expires, err = st.read(ctx, path)
		}
	}
	if err != nil {
		return token{}, err
	}
	return t.until(now, expires), nil
}

// read gets the token that is stored, and when it ends.
func (st storage) read(ctx context.Context, path string) (t token, expires time.Time, err error) {
	body, err := st.ask(ctx, http.MethodGet, path)
	if err != nil {
		return t, expires, err
	}
	var answer struct {
		Data struct {
			AccessToken string `json:"access_token"`
			Expires     string `json:"expiration_date"`
		} `json:"data"`
	}
	// It says what is wrong with a request with status 200, too.
	if err := json.Unmarshal(body, &answer); err != nil || answer.Data.AccessToken == "" {
		return t, expires, &loginError{Target, st.whom + " answered 200 OK without an access token"}
	}
	if t.value = "Bearer " + answer.Data.AccessToken; !headerText(t.value) {
		return t, expires, &loginError{Target, st.whom + " answered with a token that cannot stand in a header"}
	}
	if expires = expiration(answer.Data.Expires); expires.IsZero() {
		t.endless, expires = true, time.Now().Add(keptWithoutEnd)
	}
	return t, expires, nil
}

// expiration reads what Python writes of a time, in UTC; zero: it is none.
func expiration(text string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05.999999", "2006-01-02T15:04:05.999999", time.RFC3339Nano} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// ask makes a request and gives the body of an answer 200. No other one is looked at: a 404 carries the whole store.
func (st storage) ask(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, st.URL+path, nil)
	if err != nil {
		return nil, &loginError{Payload, "the row's user for the token storage cannot stand in a URL"}
	}
	resp, err := st.client.Do(req)
	if err != nil {
		return nil, loginFailed(ctx, st.whom, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answered := st.whom + " answered " + statusText(resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, &loginError{Rejected, answered + ": it has no token of the row's user for the service " + st.Service}
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, &loginError{Credentials, answered}
	default:
		return nil, &loginError{Target, answered}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStorageAnswer))
	if err != nil {
		return nil, loginFailed(ctx, st.whom, err)
	}
	return body, nil
}
