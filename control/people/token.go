package people

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"regexp"
	"strings"
	"time"

	"streamer/consumer/kafkalog"
	"streamer/control/service"
	"streamer/control/stored"
)

const (
	// tokenPrefix begins every API token, so that people and scanners for leaked secrets know one when they see it.
	tokenPrefix = "str_"
	// keyPrefix begins the keys of tokens in the log.
	keyPrefix = "token/"
	// tokenVersion is how a token is stored.
	tokenVersion = 1
	// idBytes and secretBytes are random; 24 bytes are far beyond guessing.
	idBytes, secretBytes = 5, 24
	// DefaultLife is how long a token is valid unless something else was said.
	DefaultLife = 90 * 24 * time.Hour
	// MaxLife is the longest that can be said.
	MaxLife = 5 * 365 * 24 * time.Hour
)

var (
	letters   = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	tokenName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
	tokenID   = regexp.MustCompile(`^[a-z2-7]{8}$`)
)

// Log is what tokens need of the log in Kafka. *kafkalog.Log is one.
type Log interface {
	Wait(context.Context) error
	Get(key string) (kafkalog.Entry, bool)
	List(prefix string) []kafkalog.Entry
	Update(ctx context.Context, key string, change func(kafkalog.Entry, bool) (value, audit []byte, err error)) (kafkalog.Entry, error)
}

// Tokens are the API tokens of an installation. What is stored of one is its SHA-256: a slow hash is for passwords that people choose, and
// would only let strangers use up the processor; 192 random bits cannot be guessed from it.
type Tokens struct {
	log   Log
	audit func(by, action string, detail map[string]any) ([]byte, error)
	now   func() time.Time
}

// NewTokens makes the tokens of a log. audit makes the line of the audit that says who did what.
func NewTokens(log Log, audit func(by, action string, detail map[string]any) ([]byte, error)) *Tokens {
	return &Tokens{log: log, audit: audit, now: time.Now}
}

// Token is an API token as it is shown: without what it is sent as.
type Token struct {
	ID     string          `json:"id" doc:"what it is revoked by"`
	Name   string          `json:"name" doc:"what it is for"`
	Grants []service.Grant `json:"grants" doc:"what whoever has it may do"`
	// Created, By and Expires tell when and by whom it was made, and until when it is valid.
	Created time.Time `json:"created"`
	By      string    `json:"by"`
	Expires time.Time `json:"expires"`
}

// storedToken is a token in the log.
type storedToken struct {
	Version int `json:"version"`
	Token
	Hash string `json:"hash"`
}

// Creation is what a token is to be.
type Creation struct {
	Name   string          `json:"name" doc:"what it is for, such as the name of a program; letters, digits, dots, dashes, underscores" maxLength:"100"`
	Grants []service.Grant `json:"grants" doc:"what whoever has it may do" minItems:"1" maxItems:"100"`
	// ExpiresIn is a duration such as 720h; empty: DefaultLife.
	ExpiresIn string `json:"expires_in,omitempty" doc:"how long it is valid, such as 720h; 2160h (90 days) unless said"`
}

// Created is a token right after it was made.
type Created struct {
	Token
	// Secret is what it is sent as: Authorization: Bearer <secret>. It is told this once.
	Secret string `json:"secret" doc:"the token itself; it is told this once"`
}

// Create makes a token. It can do nothing that its maker may not do.
func (t *Tokens) Create(ctx context.Context, by service.Caller, in Creation) (Created, error) {
	if !tokenName.MatchString(in.Name) {
		return Created{}, service.Refuse(http.StatusUnprocessableEntity, "name", fmt.Sprintf("%q is no name of a token", in.Name), "use 1 to 100 letters, digits, dots, dashes and underscores")
	}
	life := DefaultLife
	if in.ExpiresIn != "" {
		d, err := time.ParseDuration(in.ExpiresIn)
		if err != nil || d < time.Minute || d > MaxLife {
			return Created{}, service.Refuse(http.StatusUnprocessableEntity, "expires_in", fmt.Sprintf("%q is no time from 1m to %dh", in.ExpiresIn, int(MaxLife.Hours())), "write it as 720h")
		}
		life = d
	}
	if len(in.Grants) == 0 {
		return Created{}, service.Refuse(http.StatusUnprocessableEntity, "grants", "is empty, so the token could do nothing", `write it as [{"permission": "operate", "owner": "health-demo"}]`)
	}
	for i, g := range in.Grants {
		field := fmt.Sprintf("grants[%d]", i)
		switch owner := g.Owner; {
		case !g.Permission.Valid():
			return Created{}, service.Refuse(http.StatusUnprocessableEntity, field+".permission", fmt.Sprintf("%q is no permission", g.Permission), "there are view, operate, edit, admin")
		case owner == "":
			return Created{}, service.Refuse(http.StatusUnprocessableEntity, field+".owner", "is missing", "name the owner of the jobs, or * for all")
		case owner == service.Everyone && !by.May(g.Permission, ""), !by.May(g.Permission, owner) && owner != service.Everyone:
			return Created{}, service.Refuse(http.StatusForbidden, field, by.Name+" may not "+string(g.Permission)+" what is "+owner+"'s, and so cannot let a token do it", "")
		}
	}
	id := letters.EncodeToString(random(idBytes))
	secret := letters.EncodeToString(random(secretBytes))
	text := tokenPrefix + id + "_" + secret
	text += check(text)
	made := Token{ID: id, Name: in.Name, Grants: in.Grants, Created: t.now().UTC().Truncate(time.Second), By: by.Name}
	made.Expires = made.Created.Add(life)
	_, err := t.log.Update(ctx, keyPrefix+id, func(_ kafkalog.Entry, exists bool) ([]byte, []byte, error) {
		if exists {
			return nil, nil, errors.New("two tokens got one id; try again")
		}
		value, err := stored.Encode(storedToken{tokenVersion, made, hash(text)})
		if err != nil {
			return nil, nil, err
		}
		line, err := t.audit(by.Name, "tokens.create", map[string]any{"token": made})
		return value, line, err
	})
	if err != nil {
		return Created{}, unkept(err)
	}
	return Created{made, text}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// check are the last letters of a token: who mistypes one is told so, and a scanner is sure of what it has found.
func check(text string) string {
	var sum [4]byte
	binary.BigEndian.PutUint32(sum[:], crc32.ChecksumIEEE([]byte(text)))
	return letters.EncodeToString(sum[:])
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TokenList says which tokens are wanted.
type TokenList struct {
	service.Page
}

// TokenPage is a page of tokens, by id.
type TokenPage struct {
	Tokens []Token `json:"tokens"`
	// Next is the cursor of the next page; absent on the last one.
	Next string `json:"next,omitempty"`
}

// List gives a page of tokens, those that have expired included. What of the log is of another version is left out.
func (t *Tokens) List(_ context.Context, _ service.Caller, page TokenList) (TokenPage, error) {
	if p := t.unread(); p != nil {
		return TokenPage{}, p
	}
	out := TokenPage{Tokens: []Token{}}
	for _, e := range t.log.List(keyPrefix) {
		s, err := decode(e)
		if err != nil || s.ID <= page.Cursor {
			continue
		}
		if len(out.Tokens) == page.Limit {
			out.Next = out.Tokens[len(out.Tokens)-1].ID
			break
		}
		out.Tokens = append(out.Tokens, s.Token)
	}
	return out, nil
}

// TokenID names a token.
type TokenID struct {
	ID string `json:"id" doc:"id of the token"`
}

// Revoked is what became of a token.
type Revoked struct {
	ID string `json:"id"`
	// Revoked is false when there was none: it had been revoked before.
	Revoked bool `json:"revoked"`
}

// Revoke ends a token on every instance, as soon as they have read it in the log. Twice is no error.
func (t *Tokens) Revoke(ctx context.Context, by service.Caller, in TokenID) (Revoked, error) {
	if !tokenID.MatchString(in.ID) {
		return Revoked{ID: in.ID}, nil
	}
	_, err := t.log.Update(ctx, keyPrefix+in.ID, func(e kafkalog.Entry, exists bool) ([]byte, []byte, error) {
		if !exists {
			return nil, nil, errGone
		}
		detail := map[string]any{"id": in.ID}
		if s, err := decode(e); err == nil { // one that cannot be read is revoked all the same
			detail["token"] = s.Token
		}
		line, err := t.audit(by.Name, "tokens.revoke", detail)
		return nil, line, err
	})
	if errors.Is(err, errGone) {
		return Revoked{ID: in.ID}, nil
	}
	return Revoked{ID: in.ID, Revoked: err == nil}, unkept(err)
}

// errGone says that there is no such token.
var errGone = errors.New("there is no such token")

// unkept says that the log did not take a change.
func unkept(err error) error {
	if err == nil {
		return err
	}
	if errors.Is(err, kafkalog.ErrReadOnly) {
		return service.Unmended(err.Error())
	}
	return service.Unavailable("the change of the token could not be kept: " + err.Error())
}

func decode(e kafkalog.Entry) (storedToken, error) {
	return stored.Decode[storedToken](e.Value, tokenVersion)
}

// unread refuses what needs the tokens before the log was read once; nil: it was.
func (t *Tokens) unread() *service.Problem {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if t.log.Wait(now) == nil {
		return nil
	}
	return service.Unavailable("API tokens are in Kafka, and this instance has not read them yet")
}

// caller gives whom a token is of, by what it is sent as.
func (t *Tokens) caller(text string) (service.Caller, *service.Problem) {
	id, _, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	if whole := len(text) - len(check("")); t == nil || whole < 0 || !tokenID.MatchString(id) || check(text[:whole]) != text[whole:] {
		return service.Caller{}, unauthorized("the API token is not complete, or mistyped", "copy it as a whole, or make another one")
	}
	if p := t.unread(); p != nil {
		return service.Caller{}, p
	}
	e, exists := t.log.Get(keyPrefix + id)
	if !exists {
		return service.Caller{}, unknownToken()
	}
	s, err := decode(e)
	switch {
	case err != nil:
		return service.Caller{}, service.Refuse(http.StatusServiceUnavailable, "", "this instance cannot read the API token: "+err.Error(), "")
	case subtle.ConstantTimeCompare([]byte(s.Hash), []byte(hash(text))) != 1:
		return service.Caller{}, unknownToken()
	case !t.now().Before(s.Expires):
		return service.Caller{}, unauthorized("the API token "+s.ID+" ("+s.Name+") has expired at "+s.Expires.Format(time.RFC3339), "make another one")
	}
	return service.Caller{Name: "token:" + s.Name, Grants: s.Grants}, nil
}

func unknownToken() *service.Problem {
	return unauthorized("the API token is not known, or was revoked", "make another one")
}
