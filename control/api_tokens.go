package control

import (
	"context"
	"net/http"

	"streamer/control/people"
	"streamer/control/service"
)

// TokensService is the service tokens: the API tokens. *people.Tokens has them.
type TokensService interface {
	// Create makes a token, and tells it this once. It can do nothing that its maker may not do.
	Create(context.Context, service.Caller, people.Creation) (people.Created, error)
	// List pages through the tokens, without what they are sent as.
	List(context.Context, service.Caller, people.TokenList) (people.TokenPage, error)
	// Revoke ends a token on every instance.
	Revoke(context.Context, service.Caller, people.TokenID) (people.Revoked, error)
}

func tokensMethods(s TokensService) []service.Method {
	if s == nil {
		return nil
	}
	return []service.Method{
		service.New(service.Method{Service: "tokens", Name: "create", Verb: http.MethodPost, Route: "/tokens", Permission: service.Admin, Status: http.StatusCreated,
			Location: "/tokens/{id}", Summary: "makes an API token"}, s.Create),
		service.New(service.Method{Service: "tokens", Name: "list", Verb: http.MethodGet, Route: "/tokens", Permission: service.Admin,
			Summary: "lists the API tokens"}, s.List),
		service.New(service.Method{Service: "tokens", Name: "revoke", Verb: http.MethodDelete, Route: "/tokens/{id}", Permission: service.Admin,
			Summary: "ends an API token on every instance"}, s.Revoke),
	}
}
