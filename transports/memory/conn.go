package memory

import (
	"fmt"
	"net"
	"syscall"

	"github.com/lahja-go/lahja"
)

// conn is one end of a connection.
type conn struct {
	in, out *stream
}

// newPair makes the two ends of one connection, in one piece of memory.
func newPair() (*conn, *conn) {
	var pair struct {
		there, back stream
		near, far   conn
	}
	pair.there.init()
	pair.back.init()
	pair.near = conn{in: &pair.back, out: &pair.there}
	pair.far = conn{in: &pair.there, out: &pair.back}
	return &pair.near, &pair.far
}

// Read implements [lahja.Conn].
func (c *conn) Read(p []byte) (int, error) {
	return c.in.read(p)
}

// Write implements [lahja.Conn].
func (c *conn) Write(p []byte) (int, error) {
	return c.out.write(p)
}

// Close closes one direction after the other. Both steps can be repeated, so it does not matter
// how many do this at once.
func (c *conn) Close() error {
	c.in.closeReader()
	c.out.closeWriter()
	return nil
}

// Reset ends the connection as a broken network would: Read and Write fail at both ends, and what
// is under way is lost. A test can ask for it by an interface, as package faulty does.
func (c *conn) Reset() error {
	c.in.reset()
	c.out.reset()
	return nil
}

// Identity knows no more than the kind: the peer is this process itself.
func (c *conn) Identity() lahja.Identity {
	return lahja.Identity{Transport: "memory"}
}

var (
	errReadClosed  = fmt.Errorf("memory: read: %w", net.ErrClosed)
	errWriteClosed = fmt.Errorf("memory: write: %w", net.ErrClosed)
	errReset       = fmt.Errorf("memory: the connection was reset: %w", syscall.ECONNRESET)
	errPeerClosed  = fmt.Errorf("memory: write: the other side has closed: %w", syscall.EPIPE)
)
