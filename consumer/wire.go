package consumer

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupConn looks at what the coordinator answers to the requests that keep a membership alive. The client's hooks say that there was an
// answer, and not that it was a refusal: an answer with an error code proves no membership, and some say at once that it has ended.
// And it sets how long a broker may hold a fetch back, which the client knows one value for in all its life: see patience.
//
// It counts through the frames of the protocol (a length of four bytes, then so many) and reads the first bytes of the answers it
// waits for. What it does not understand it lets pass.
type groupConn struct {
	net.Conn
	told     func(key kmsg.Key, code int16)
	patience *patience // how long fetches wait

	broker atomic.Int32 // its id
	ended  atomic.Bool

	mu    sync.Mutex
	asked map[int32]kmsg.Key // by correlation id

	// The reading goroutine's own.
	head [errorAt + 2]byte // of the present frame
	have int
	left int // bytes of the frame that were not seen; meaningful from have ≥ 4 on
}

// An answer begins with its length, the correlation id, no tags (one byte: 0), the throttle time, the error code.
const (
	tagsAt  = 4 + 4
	errorAt = tagsAt + 1 + 4
)

// flexible are the requests that are looked at, with the first version whose answer begins as told above.
var flexible = map[kmsg.Key]int16{kmsg.JoinGroup: 6, kmsg.Heartbeat: 4, kmsg.SyncGroup: 4, kmsg.ConsumerGroupHeartbeat: 0}

// Write takes a whole request at a time, as the client writes them.
func (c *groupConn) Write(b []byte) (int, error) {
	if len(b) >= 12 && int(binary.BigEndian.Uint32(b)) == len(b)-4 {
		key, version := kmsg.Key(binary.BigEndian.Uint16(b[4:])), int16(binary.BigEndian.Uint16(b[6:]))
		if key == kmsg.Fetch && version >= fetchVersion {
			b = c.patient(b, c.patience.sent(c, time.Now()))
		}
		if first, ok := flexible[key]; ok && version >= first {
			c.mu.Lock()
			c.asked[int32(binary.BigEndian.Uint32(b[8:]))] = key
			c.mu.Unlock()
		}
	}
	n, err := c.Conn.Write(b)
	if err != nil { // it may have been closed before
		c.patience.answered(c)
	}
	return n, err
}

// fetchVersion is the first version of Fetch that begins with the wait, behind its header.
const fetchVersion = 15

// patient gives a fetch with a wait in it.
func (c *groupConn) patient(b []byte, held time.Duration) []byte {
	const idAt = 12 // length, key, version, correlation id; then the client's id, behind its length, and no tags
	if len(b) < idAt+2 {
		return b
	}
	at := idAt + 2 + max(int(int16(binary.BigEndian.Uint16(b[idAt:]))), 0)
	if len(b) < at+5 || b[at] != 0 {
		return b
	}
	wait := uint32(held.Milliseconds())
	if at++; binary.BigEndian.Uint32(b[at:]) == wait {
		return b
	}
	b = bytes.Clone(b) // a Writer must not change what it is given
	binary.BigEndian.PutUint32(b[at:], wait)
	return b
}

// Read implements net.Conn.
func (c *groupConn) Read(b []byte) (int, error) {
	if c.ended.Load() { // the client has set the deadline anew since
		return 0, errHurried
	}
	n, err := c.Conn.Read(b)
	c.patience.answered(c)
	c.scan(b[:n])
	if err != nil && c.ended.Load() {
		err = errHurried
	}
	return n, err
}

// end lets whoever reads see an error, so that the client closes the connection.
func (c *groupConn) end() {
	c.ended.Store(true)
	_ = c.SetReadDeadline(time.Unix(0, 1))
}

// Close implements net.Conn.
func (c *groupConn) Close() error {
	c.patience.answered(c)
	return c.Conn.Close()
}

func (c *groupConn) scan(b []byte) {
	for len(b) > 0 {
		n := len(b)
		if c.have < 4 {
			n = min(n, 4-c.have)
		} else {
			n = min(n, c.left)
			c.left -= n
		}
		if c.have < len(c.head) {
			c.have += copy(c.head[c.have:], b[:n])
		}
		if b = b[n:]; c.have == 4 {
			c.left = int(binary.BigEndian.Uint32(c.head[:]))
		}
		if c.have >= 4 && c.left == 0 {
			c.answer()
			c.have = 0
		}
	}
}

func (c *groupConn) answer() {
	if c.have < tagsAt {
		return
	}
	id := int32(binary.BigEndian.Uint32(c.head[4:]))
	c.mu.Lock()
	key, ok := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if ok && c.have == len(c.head) && c.head[tagsAt] == 0 {
		c.told(key, int16(binary.BigEndian.Uint16(c.head[errorAt:])))
	}
}
