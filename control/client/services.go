package client

import (
	"context"

	"streamer/control/service"
)

// Services gives every method that the instance has.
func (c *Client) Services(ctx context.Context) (service.List, error) {
	var list service.List
	err := c.Call(ctx, "system.services", struct{}{}, &list)
	return list, err
}
