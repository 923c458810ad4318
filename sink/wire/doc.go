// Package wire is a lean HTTP/1.1 client: one blocking call on one kept connection, one buffer and one write per request, no
// goroutine per connection. docs/decisions/0002-http-client.md says why it exists and what it leaves out.
package wire
