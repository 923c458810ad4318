//go:build !unix

package wire

import "net"

// Alive cannot look into a connection without reading on this system and says yes; a dead one is found by the attempt on it.
func Alive(net.Conn) bool { return true }
