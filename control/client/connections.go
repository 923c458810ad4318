package client

import (
	"context"
	"encoding/json"

	"streamer/consumer"
	"streamer/control"
	"streamer/control/service"
)

// Connections gives every connection, by name: all pages in one.
func (c *Client) Connections(ctx context.Context) (control.ConnectionPage, error) {
	all := control.ConnectionPage{Connections: []control.Connection{}}
	in := service.Page{Limit: consumer.MaxPage}
	for {
		var page control.ConnectionPage
		if err := c.Call(ctx, "connections.list", in, &page); err != nil {
			return control.ConnectionPage{}, err
		}
		all.Connections, all.LogAge = append(all.Connections, page.Connections...), page.LogAge
		if page.Next == "" {
			return all, nil
		}
		in.Cursor = page.Next
	}
}

// Connection gives one connection, its secrets masked.
func (c *Client) Connection(ctx context.Context, name string) (control.Connection, error) {
	return c.connection(ctx, "get", control.ConnectionIn{Connection: name})
}

// CreateConnection adds a connection; document is JSON.
func (c *Client) CreateConnection(ctx context.Context, document json.RawMessage) (control.Connection, error) {
	return c.connection(ctx, "create", control.ConnectionCreate{Document: document})
}

// ReplaceConnection changes a connection, if it has the revision still; * is any.
func (c *Client) ReplaceConnection(ctx context.Context, name, revision string, document json.RawMessage) (control.Connection, error) {
	return c.connection(ctx, "replace", control.ConnectionReplace{ConnectionIn: control.ConnectionIn{Connection: name},
		ConnectionCreate: control.ConnectionCreate{Document: document}, IfMatch: revision})
}

// DiffConnection tells what a document would change of a connection. Nothing is written.
func (c *Client) DiffConnection(ctx context.Context, name string, document json.RawMessage) (control.Difference, error) {
	var d control.Difference
	err := c.Call(ctx, "connections.diff", control.ConnectionDiff{ConnectionIn: control.ConnectionIn{Connection: name},
		ConnectionCreate: control.ConnectionCreate{Document: document}}, &d)
	return d, err
}

// DeleteConnection removes a connection that no job names, if it has the revision still; * is any.
func (c *Client) DeleteConnection(ctx context.Context, name, revision string) error {
	return c.Call(ctx, "connections.delete", control.ConnectionDelete{ConnectionIn: control.ConnectionIn{Connection: name}, IfMatch: revision}, nil)
}

// PauseConnection stops every delivery to a connection.
func (c *Client) PauseConnection(ctx context.Context, name string) (control.Connection, error) {
	return c.connection(ctx, "pause", control.ConnectionIn{Connection: name})
}

// ResumeConnection ends that.
func (c *Client) ResumeConnection(ctx context.Context, name string) (control.Connection, error) {
	return c.connection(ctx, "resume", control.ConnectionIn{Connection: name})
}

func (c *Client) connection(ctx context.Context, method string, in any) (control.Connection, error) {
	var out control.Connection
	err := c.Call(ctx, "connections."+method, in, &out)
	return out, err
}
