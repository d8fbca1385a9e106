package tcp

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja"
)

// linger is how long a closed connection's socket stays, for the sake of what it has still to send.
const linger = time.Second

// conn is a TCP connection whose Close does not destroy what was written.
//
// A socket that is closed while the other side still sends answers with a reset, and a reset makes
// both systems drop what is under way, our last bytes included. So Close only says that no more
// comes from here; the socket itself is closed a second later, by a timer: until then what the
// other side sends is taken by the system and read by nobody. No goroutine waits meanwhile. Only
// who needs more than that second to read the rest, and still sends after it, loses something.
type conn struct {
	tcp    *net.TCPConn
	remote string
	closed atomic.Bool // Close was called
	ended  atomic.Bool // the other side has closed or the connection is broken
}

func newConn(c *net.TCPConn) *conn {
	return &conn{tcp: c, remote: c.RemoteAddr().String()}
}

// Read implements [lahja.Conn].
func (c *conn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, errClosed
	}
	n, err := c.tcp.Read(p)
	return n, c.result(err)
}

// Write implements [lahja.Conn].
func (c *conn) Write(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, errClosed
	}
	n, err := c.tcp.Write(p)
	return n, c.result(err)
}

// result remembers that the connection has ended, and says so if it was by Close: Close makes Read
// and Write fail by means that must not be seen.
func (c *conn) result(err error) error {
	if err == nil {
		return nil
	}
	if c.closed.Load() {
		return errClosed
	}
	c.ended.Store(true)
	return err
}

// Close ends Read and Write here, and sends what was written and the end to the other side.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	// Once the other side has closed, nothing comes any more that could cause a reset.
	if c.ended.Load() {
		return c.tcp.Close()
	}
	c.tcp.SetDeadline(time.Unix(1, 0)) // long past: a waiting Read or Write returns
	if err := c.tcp.CloseWrite(); err != nil {
		return c.tcp.Close()
	}
	tcp := c.tcp // alone: whoever has closed c does not pay for it
	time.AfterFunc(linger, func() { tcp.Close() })
	return nil
}

// Reset ends the connection by a reset of TCP: Read and Write fail at both ends, and what is under
// way is lost. A test can ask for it by an interface, as package faulty does.
//
// After Close it ends the time for which the socket would stay.
func (c *conn) Reset() error {
	closed := c.closed.Swap(true)
	c.tcp.SetLinger(0)
	if err := c.tcp.Close(); !closed {
		return err
	}
	return nil
}

// Identity knows the peer's address and nothing that proves who is there.
func (c *conn) Identity() lahja.Identity {
	return lahja.Identity{Transport: "tcp", Address: c.remote}
}

var errClosed = fmt.Errorf("tcp: %w", net.ErrClosed)
