//go:build unix

package wire

import (
	"crypto/tls"
	"net"
	"syscall"
)

// Alive says whether c, a connection on which nothing is expected, is still open with nothing to read, without blocking and
// without taking a byte. What has no file descriptor counts as alive. One system call.
func Alive(c net.Conn) bool {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, rerr := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = rerr == syscall.EAGAIN || rerr == syscall.EWOULDBLOCK || rerr == syscall.EINTR
	})
	return err == nil && alive
}
