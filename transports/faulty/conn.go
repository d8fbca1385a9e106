package faulty

import (
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/lahja-go/lahja"
)

// chunk is how much is read of the wrapped connection at once, and so how far ahead of Read.
const chunk = 16 << 10

// conn is the end of a connection that has the faults. What goes out goes in the goroutine that
// calls Write. What comes in is read by the pump: if Read itself did so, a connection could not be
// closed here without the other end hearing of it, which is what a black hole is.
type conn struct {
	inner   lahja.Conn
	place   *Transport
	number  int
	out, in flow
	over    chan struct{} // closed when the connection has ended, in whatever way
	pumped  chan struct{} // closed when the pump has ended

	mu      sync.Mutex // guards what follows; taken after the Transport's, or alone
	changed sync.Cond  // something of what follows has changed
	arrived []byte     // has come in and waits for Read
	failure error      // follows what has arrived: the wrapped connection's
	ending  ending
	ghost   bool // it was closed while nothing got out: the other end knows nothing of it
}

// ending is how a connection has ended.
type ending uint8

const (
	open ending = iota
	closed
	reset
	hungUp
)

var _ lahja.AttachedConn = (*conn)(nil)

func newConn(t *Transport, number int, inner lahja.Conn, faults []Fault) *conn {
	c := &conn{
		inner: inner, place: t, number: number,
		over: make(chan struct{}), pumped: make(chan struct{}),
	}
	c.changed.L = &c.mu
	c.out.init(c, Out, faults)
	c.in.init(c, In, faults)
	return c
}

// Identity is the wrapped connection's.
func (c *conn) Identity() lahja.Identity { return c.inner.Identity() }

// Attached tells the wrapped connection, if it wants to know.
func (c *conn) Attached(name string) {
	if inner, ok := c.inner.(lahja.AttachedConn); ok {
		inner.Attached(name)
	}
}

// Read takes what the pump has brought.
func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.ending == closed:
			return 0, errClosed
		case c.ending == reset:
			return 0, errReset
		case len(p) == 0:
			return 0, nil
		case len(c.arrived) > 0:
			return c.takeLocked(c.in.portion(p)), nil
		case c.failure != nil:
			return 0, c.failure
		case c.ending == hungUp:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

func (c *conn) takeLocked(p []byte) int {
	n := copy(p, c.arrived)
	c.arrived = c.arrived[n:]
	if len(c.arrived) == 0 {
		c.changed.Broadcast()
	}
	return n
}

// pump brings in what the other end sends, until one of them has ended.
func (c *conn) pump() {
	defer close(c.pumped)
	buf := make([]byte, chunk)
	for {
		if _, alive := c.in.pass(); !alive {
			break
		}
		n, err := c.inner.Read(c.in.piece(buf))
		if !c.bring(buf[:n], err) {
			break
		}
	}
	c.haunt(buf)
}

// bring hands over what was read, and waits until it is taken. It reports false when nothing is to
// be read any more.
func (c *conn) bring(p []byte, err error) bool {
	if !c.in.pause() {
		return false
	}
	vanishes, alive := c.in.pass()
	switch {
	case !alive:
		return false
	case !vanishes:
		c.put(c.in.change(p), err)
	}
	c.in.went(len(p), vanishes)
	if err != nil && vanishes {
		<-c.over // that the other end has closed vanishes too
	}
	return err == nil && c.taken()
}

// put leaves bytes and an error for Read.
func (c *conn) put(p []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending == open {
		c.arrived, c.failure = p, err
		c.changed.Broadcast()
	}
}

// taken waits until Read has taken everything; false: the connection has ended before.
func (c *conn) taken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.arrived) > 0 && c.ending == open {
		c.changed.Wait()
	}
	return c.ending == open
}

// haunt reads away what comes to a connection that was closed and whose other end does not know.
func (c *conn) haunt(buf []byte) {
	c.mu.Lock()
	ghost := c.ghost
	c.mu.Unlock()
	if !ghost {
		return
	}
	for {
		if _, err := c.inner.Read(buf); err != nil {
			break
		}
	}
	c.release()
}

// Write sends p in pieces, between which there may be faults.
func (c *conn) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, c.writeError(nil)
	}
	for n < len(p) && err == nil {
		var sent int
		sent, err = c.send(c.out.piece(c.out.portion(p[n:])))
		n += sent
	}
	return n, err
}

// send sends one piece.
func (c *conn) send(p []byte) (n int, err error) {
	if !c.out.pause() {
		return 0, c.writeError(nil)
	}
	vanishes, alive := c.out.pass()
	if !alive {
		return 0, c.writeError(nil)
	}
	n = len(p)
	if !vanishes {
		n, err = c.inner.Write(c.out.change(p))
	}
	c.out.went(n, vanishes)
	if err != nil {
		return n, c.writeError(err)
	}
	return n, nil
}

// writeError says why Write fails: err, unless the connection has ended here.
func (c *conn) writeError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.ending {
	case closed:
		return errClosed
	case reset:
		return errReset
	case hungUp:
		return errHungUp
	}
	return err
}

// Close ends the connection, and tells the other end by closing the wrapped one, unless nothing
// gets out.
func (c *conn) Close() error {
	c.mu.Lock()
	first := c.ending == open
	if first {
		c.ghost = c.out.heldLocked() && !c.out.moving && c.failure == nil
		c.endLocked(closed)
	}
	ghost := c.ghost
	c.mu.Unlock()
	if ghost {
		return nil
	}
	var err error
	if first {
		c.place.forget(c)
		err = c.inner.Close()
	}
	<-c.pumped
	return err
}

// endLocked ends an open connection.
func (c *conn) endLocked(how ending) {
	c.ending = how
	if how != hungUp {
		c.arrived = nil
	}
	if !c.ghost { // of which a stall that is over tells the other end
		c.in.freeLocked()
		c.out.freeLocked()
	}
	close(c.over)
	c.changed.Broadcast()
}

// cut breaks the connection. It reports false when there was nothing left to break.
func (c *conn) cut(how Ending) bool {
	c.mu.Lock()
	alive, ghost := c.ending == open, c.ghost
	switch {
	case alive && how == Reset:
		c.endLocked(reset)
	case alive:
		c.endLocked(hungUp)
	}
	c.ghost = false
	c.mu.Unlock()
	if !alive && !ghost {
		return false
	}
	c.place.forget(c)
	c.place.tally(func(s *Stats) { s.Cut++ })
	if inner, ok := c.inner.(Resetter); ok && how == Reset {
		inner.Reset()
	}
	c.inner.Close()
	return true
}

// resume ends stalls, and what they hold back of a connection that was closed.
func (c *conn) resume(d Direction) {
	c.mu.Lock()
	for _, f := range []*flow{&c.out, &c.in} {
		if d&f.dir != 0 {
			f.freeLocked()
		}
	}
	held := c.out.heldLocked()
	c.mu.Unlock()
	if !held {
		c.release()
	}
}

// release tells the other end of a connection that was closed while nothing got out.
func (c *conn) release() {
	c.mu.Lock()
	ghost := c.ghost
	c.ghost = false
	c.mu.Unlock()
	if ghost {
		c.place.forget(c)
		c.inner.Close()
	}
}

// passed says how much has gone so far.
func (c *conn) passed() string {
	return fmt.Sprintf("%d bytes out and %d in", c.out.position.Load(), c.in.position.Load())
}

var (
	errClosed = fmt.Errorf("faulty: %w", net.ErrClosed)
	errReset  = fmt.Errorf("faulty: reset, on purpose: %w", syscall.ECONNRESET)
	errHungUp = fmt.Errorf("faulty: write: hung up, on purpose: %w", syscall.EPIPE)
)
