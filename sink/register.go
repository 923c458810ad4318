package sink

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"streamer/internal/fault"
)

// Registration is how a target is made known to a Token Storage of Research Data Services: POST <URL>/service.
type Registration struct {
	// URL is what the path stands behind. Without TLS it is asked only at addresses that the Guard lists.
	URL string
	// Name is the service's, AuthorizeURL and RefreshURL are its OAuth2 pages, ClientID and ClientSecret are known there.
	Name, AuthorizeURL, RefreshURL, ClientID string
	ClientSecret                             Secret
	// Implements is fileStorage, metadata, or both.
	Implements []string
	// Guard says where URL may lead.
	Guard Guard
	// RefuseKnown says that a service of this name which is there already is a failure.
	RefuseKnown bool
}

// interfaces are those that a service of RDS may implement.
var interfaces = []string{"fileStorage", "metadata"}

// Validate reports what is wrong with r, by the paths of a connection.
func (r Registration) Validate() fault.List {
	var l fault.List
	Config{Guard: r.Guard}.validateTokenURL(&l, "register.url", r.URL)
	for _, f := range []struct{ name, value string }{{"servicename", r.Name}, {"authorize_url", r.AuthorizeURL}, {"refresh_url", r.RefreshURL},
		{"client_id", r.ClientID}, {"client_secret", r.ClientSecret.Reveal()}} {
		if f.value == "" {
			l.Add("register."+f.name, "is missing", "")
		}
	}
	if len(r.Implements) == 0 {
		l.Add("register.implements", "is missing", "write [fileStorage], [metadata], or both")
	}
	for i, name := range r.Implements {
		if !slices.Contains(interfaces, name) || slices.Contains(r.Implements[:i], name) {
			l.Add(fmt.Sprintf("register.implements[%d]", i), "is no interface, or stands twice", "write [fileStorage], [metadata], or both")
		}
	}
	return l
}

// maxRegisterTime bounds one Post.
const maxRegisterTime = 30 * time.Second

// Post says it once. note is what the Token Storage wants to be heard though it is done; the error is why it is not, with nothing secret in
// either.
func (r Registration) Post(ctx context.Context) (note string, err error) {
	client := guardedClient(r.Guard, nil, r.URL, "", nil)
	ctx, cancel := context.WithTimeout(ctx, maxRegisterTime)
	defer cancel()
	whom := "the token storage " + originOf(r.URL)
	body, err := json.Marshal(map[string]any{"servicename": r.Name, "authorize_url": r.AuthorizeURL, "refresh_url": r.RefreshURL,
		"client_id": r.ClientID, "client_secret": r.ClientSecret.Reveal(), "implements": r.Implements})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(r.URL, "/")+"/service", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%s cannot be asked: its URL is none", whom)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", loginFailed(ctx, whom, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s to service %q", whom, statusText(resp.StatusCode), r.Name)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxStorageAnswer))
	if err != nil {
		return "", loginFailed(ctx, whom, err)
	}
	var answer struct {
		Success *bool  `json:"success"`
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Success == nil {
		return "", fmt.Errorf("%s answered 200 OK to service %q, but not whether it is registered; register.url may be another page", whom, r.Name)
	}
	if *answer.Success {
		return "", nil
	}
	message := r.shown(answer.Message)
	if known(answer.Message) && !r.RefuseKnown {
		return fmt.Sprintf("%s has service %q already: %s", whom, r.Name, message), nil
	}
	return "", fmt.Errorf("%s did not take service %q: %s", whom, r.Name, message)
}

// known says that a message is about a service that is there already.
func known(message string) bool {
	message = strings.ToLower(message)
	return strings.Contains(message, "already") || strings.Contains(message, "exist") && !strings.Contains(message, "not exist")
}

// shown is a message on one line, bounded, without the secret that was sent.
func (r Registration) shown(message string) string {
	if secret := r.ClientSecret.Reveal(); secret != "" {
		for _, form := range append(formsOf(secret), base64.StdEncoding.EncodeToString([]byte(r.ClientID+":"+secret)), base64.StdEncoding.EncodeToString([]byte(secret))) {
			message = strings.ReplaceAll(message, form, mask)
		}
	}
	message = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, message)
	const most = 300
	if len(message) > most {
		message = strings.ToValidUTF8(message[:most], "") + "…"
	}
	if message == "" {
		return "it says no more"
	}
	return message
}
