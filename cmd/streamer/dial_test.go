package main

import (
	"path/filepath"
	"testing"
	"time"

	"streamer/cmd/streamer/contexts"
	"streamer/control/people"
	"streamer/control/people/peopletest"
)

// Two commands renew the same login in the same moment, and a provider that takes a refresh token once refuses the second: it goes on with
// what the first has kept. A login that was forgotten meanwhile is not kept again.
func TestRenewBesideAnotherCommand(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	p := peopletest.New(t, peopletest.Answer{Error: "invalid_grant"})
	old := contexts.Context{Name: "prod", URL: "https://streamer.example.org", Token: "old", Refresh: "r0", Expires: time.Now(), Provider: people.Device{Issuer: p.URL, ClientID: peopletest.ClientID}}
	next := old
	next.Token, next.Refresh, next.Expires = "next", "r1", time.Now().Add(time.Hour)
	keep := func(c contexts.Context) {
		t.Helper()
		var b contexts.Book
		b.Put(c)
		if err := b.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	keep(next)
	if got, err := renew(t.Context(), old, path); err != nil || got.Token != "next" {
		t.Errorf("%q, %v", got.Token.Reveal(), err)
	}
	keep(old)
	if _, err := renew(t.Context(), old, path); err == nil {
		t.Error("nobody has renewed it")
	}

	yes := peopletest.New(t, peopletest.Answer{Access: "new", Expires: 300})
	old.Provider.Issuer = yes.URL
	keep(contexts.Context{Name: "prod", URL: old.URL})
	got, err := renew(t.Context(), old, path)
	book, unread := contexts.Read(path)
	if err != nil || unread != nil || got.Token != "new" || book.Contexts[0].Login() != "none" {
		t.Errorf("%q, %v; kept %+v, %v", got.Token.Reveal(), err, book, unread)
	}
}
