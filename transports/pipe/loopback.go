package pipe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// Loopback returns a new place that is reached only through the Transport returned. Both ends of a
// connection are in this process, and between them are real OS pipes: it is for tests of programs
// that use pipes in production, and costs four descriptors a connection. Dial fails while nobody
// listens, with an error that matches [syscall.ECONNREFUSED], and Listen while a Listener is open,
// with one that matches [syscall.EADDRINUSE].
func Loopback() lahja.Transport { return &loopback{} }

type loopback struct {
	mu       sync.Mutex // guards listener
	listener *listener  // nil: nobody listens
}

var (
	errRefused = fmt.Errorf("pipe: dial the loopback: nobody listens there: call Listen on the "+
		"same Transport first: %w", syscall.ECONNREFUSED)
	errInUse = fmt.Errorf("pipe: listen at the loopback: it has a Listener: close that first, or "+
		"make another by pipe.Loopback: %w", syscall.EADDRINUSE)
	errReset = fmt.Errorf("pipe: the connection was reset: %w", syscall.ECONNRESET)
)

// Dial implements [lahja.Transport].
func (p *loopback) Dial(ctx context.Context) (lahja.Conn, error) {
	if err := errors.Join(fault.Ended(ctx), supported()); err != nil {
		return nil, fmt.Errorf("pipe: dial the loopback: %w", err)
	}
	p.mu.Lock()
	l := p.listener
	p.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	near, far, err := pair()
	if err != nil {
		return nil, fmt.Errorf("pipe: dial the loopback: %w", err)
	}
	if !l.offer(far) {
		near.Close()
		far.Close()
		return nil, errRefused
	}
	return near, nil
}

// pair returns a connection's two ends.
func pair() (near, far *loopbackConn, err error) {
	nearIn, farOut, err := newPipe()
	if err != nil {
		return nil, nil, err
	}
	farIn, nearOut, err := newPipe()
	if err != nil {
		nearIn.Close()
		farOut.Close()
		return nil, nil, err
	}
	self := lahja.Identity{
		Transport: "pipe", Address: peerAddress(os.Getpid()), PID: os.Getpid(),
		User: strconv.Itoa(os.Geteuid()),
	}
	near = &loopbackConn{conn: conn{r: nearIn, w: nearOut, identity: self}}
	far = &loopbackConn{conn: conn{r: farIn, w: farOut, identity: self}}
	near.peer, far.peer = far, near
	return near, far, nil
}

// loopbackConn is a connection of which both ends are here, so that it can break like a network's.
type loopbackConn struct {
	conn
	peer  *loopbackConn
	reset atomic.Bool
}

// Reset makes Read and Write fail at both ends, and drops what is under way. A test can ask for it
// by an interface, as package faulty does.
func (c *loopbackConn) Reset() error {
	c.reset.Store(true)
	c.peer.reset.Store(true)
	return errors.Join(c.Close(), c.peer.Close())
}

func (c *loopbackConn) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	return n, c.why(err)
}

func (c *loopbackConn) Write(p []byte) (int, error) {
	n, err := c.conn.Write(p)
	return n, c.why(err)
}

// why returns the error of a reset in place of what it led to.
func (c *loopbackConn) why(err error) error {
	if err != nil && c.reset.Load() {
		return errReset
	}
	return err
}

// Listen implements [lahja.Transport].
func (p *loopback) Listen(ctx context.Context) (lahja.Listener, error) {
	if err := errors.Join(fault.Ended(ctx), supported()); err != nil {
		return nil, fmt.Errorf("pipe: listen at the loopback: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil, errInUse
	}
	p.listener = &listener{place: p}
	p.listener.changed.L = &p.listener.mu
	return p.listener, nil
}

type listener struct {
	place *loopback

	mu      sync.Mutex // guards what follows
	changed sync.Cond
	waiting []*loopbackConn // dialled, not yet accepted
	closed  bool
}

// offer queues the accepting end of a connection; false: the listener is closed.
func (l *listener) offer(c *loopbackConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.waiting = append(l.waiting, c)
	l.changed.Signal()
	return true
}

// Accept implements [lahja.Listener].
func (l *listener) Accept() (lahja.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return nil, errClosed
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// Addr implements [lahja.Listener].
func (l *listener) Addr() string { return "pipe loopback" }

// Close hangs up on those who were not accepted: nobody else would.
func (l *listener) Close() error {
	l.place.mu.Lock()
	if l.place.listener == l {
		l.place.listener = nil
	}
	l.place.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.waiting {
		c.Close()
	}
	l.waiting = nil
	l.changed.Broadcast()
	return nil
}
