package client

import (
	"context"

	"streamer/control/people"
	"streamer/control/service"
)

// CreateToken makes an API token. It is told this once what it is sent as.
func (c *Client) CreateToken(ctx context.Context, in people.Creation) (people.Created, error) {
	var made people.Created
	err := c.Call(ctx, "tokens.create", in, &made)
	return made, err
}

// Tokens gives a page of the API tokens. limit 0 is the server's.
func (c *Client) Tokens(ctx context.Context, cursor string, limit int) (people.TokenPage, error) {
	var page people.TokenPage
	err := c.Call(ctx, "tokens.list", people.TokenList{Page: service.Page{Limit: limit, Cursor: cursor}}, &page)
	return page, err
}

// RevokeToken ends an API token.
func (c *Client) RevokeToken(ctx context.Context, id string) (people.Revoked, error) {
	var revoked people.Revoked
	err := c.Call(ctx, "tokens.revoke", people.TokenID{ID: id}, &revoked)
	return revoked, err
}
