package proxy

import (
	"sync"
	"time"
)

// pipePieces bounds what a pipe holds back; its reader waits then, and so does the sender.
const pipePieces = 64

// piece is bytes on their way, and when they may arrive.
type piece struct {
	bytes []byte
	due   time.Time
}

// pipe is one direction of a link.
type pipe struct {
	pieces chan piece
	over   chan struct{} // closed by end: nobody takes or puts any more

	once      sync.Once
	closeOnce sync.Once
	said      chan struct{} // closed by close: nothing more is put
}

func newPipe() *pipe {
	return &pipe{pieces: make(chan piece, pipePieces), over: make(chan struct{}), said: make(chan struct{})}
}

// put is false when the pipe has ended.
func (p *pipe) put(x piece) bool {
	select {
	case p.pieces <- x:
		return true
	case <-p.over:
		return false
	}
}

// take waits for a piece; false: there will be none, or the link is over.
func (p *pipe) take(over <-chan struct{}) (piece, bool) {
	select {
	case x := <-p.pieces:
		return x, true
	default:
	}
	select {
	case x := <-p.pieces:
		return x, true
	case <-over:
	case <-p.over:
	case <-p.said:
		select {
		case x := <-p.pieces:
			return x, true
		default:
		}
	}
	return piece{}, false
}

// close says that no more is put; what is there is still taken.
func (p *pipe) close() { p.closeOnce.Do(func() { close(p.said) }) }

func (p *pipe) closed() bool {
	select {
	case <-p.said:
		return true
	default:
		return false
	}
}

// end lets both sides go.
func (p *pipe) end() { p.once.Do(func() { close(p.over) }) }
