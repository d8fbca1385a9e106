// Package memory is a transport inside one process: a wire without an operating system.
//
// It carries bytes between a bus and an endpoint of the same process exactly as a socket would,
// and is meant for tests. It starts no goroutine and waits only on conditions and channels of its
// own, so everything works inside a [testing/synctest] bubble, as long as the Listener and its
// connections are made and used in that one bubble.
//
//	wire := memory.New()
//	go bus.Serve(ctx, wire)
//	ep, err := lahja.Connect(ctx, "worker", wire)
package memory

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// backlog is how many connections may wait to be accepted; a further Dial waits for room.
const backlog = 128

// Transport is one place in the memory of this process. It implements [lahja.Transport].
//
// Only the same *Transport leads to it: two calls of [New] make two places that know nothing of
// each other. All methods may be called concurrently.
type Transport struct {
	mu       sync.Mutex
	listener *listener // nil: nobody listens
}

var _ lahja.Redialer = (*Transport)(nil)

// New makes a new place, where nobody listens yet.
func New() *Transport {
	return &Transport{}
}

// Dial connects to the Listener. When there is none it fails at once, with an error that matches
// [syscall.ECONNREFUSED]. It does not wait for Accept, except when 128 connections already wait to
// be accepted: then it waits until ctx ends.
//
// Each direction of the connection holds up to 64 KiB that were written and not yet read.
func (t *Transport) Dial(ctx context.Context) (lahja.Conn, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("memory: dial: %w", fault.Ended(ctx))
	}
	l := t.current()
	if l == nil {
		return nil, errRefused
	}
	dialled, accepted := newPair()
	select {
	case l.waiting <- accepted:
	case <-l.closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, fmt.Errorf("memory: dial: nobody accepts: %w", fault.Ended(ctx))
	}
	l.dropIfClosed()
	return dialled, nil
}

// Redials implements [lahja.Redialer]: a place in memory can be dialled again.
func (t *Transport) Redials() bool { return true }

// Listen makes this the place's Listener. A place has one at a time: while it is open a second
// Listen fails, with an error that matches [syscall.EADDRINUSE].
func (t *Transport) Listen(ctx context.Context) (lahja.Listener, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("memory: listen: %w", fault.Ended(ctx))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != nil {
		return nil, errInUse
	}
	t.listener = &listener{
		transport: t,
		waiting:   make(chan *conn, backlog),
		closed:    make(chan struct{}),
	}
	return t.listener, nil
}

// current returns the open Listener, or nil.
func (t *Transport) current() *listener {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listener
}

// forget makes room for the next Listener. It reports whether l was the open one, which it is for
// exactly one caller.
func (t *Transport) forget(l *listener) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != l {
		return false
	}
	t.listener = nil
	return true
}

// listener hands over what was dialled.
type listener struct {
	transport *Transport
	waiting   chan *conn    // the near ends of connections that nobody has accepted
	closed    chan struct{} // closed by the first Close
}

// Accept waits for the next connection. It looks for Close first: select alone might still choose a
// connection that a late Dial has left.
func (l *listener) Accept() (lahja.Conn, error) {
	select {
	case <-l.closed:
		return nil, errListenerClosed
	default:
	}
	select {
	case <-l.closed:
		return nil, errListenerClosed
	case c := <-l.waiting:
		return c, nil
	}
}

// Addr has nothing to tell: a place in memory is reached by its Transport only.
func (l *listener) Addr() string {
	return "memory"
}

// Close ends Accept, and the connections that nobody has accepted.
func (l *listener) Close() error {
	if l.transport.forget(l) {
		close(l.closed)
		l.dropIfClosed()
	}
	return nil
}

// dropIfClosed closes what still waits once nobody will accept it, so that the other side reads
// io.EOF instead of waiting for ever. Close calls it, and so does a Dial that may have come in
// after Close looked.
func (l *listener) dropIfClosed() {
	select {
	case <-l.closed:
	default:
		return
	}
	for {
		select {
		case c := <-l.waiting:
			c.Close()
		default:
			return
		}
	}
}

var (
	errRefused = fmt.Errorf("memory: dial: nobody listens here: "+
		"call Listen on the same *memory.Transport first: %w", syscall.ECONNREFUSED)
	errInUse = fmt.Errorf("memory: listen: this *memory.Transport already has a Listener: "+
		"close it first, or make another place by memory.New: %w", syscall.EADDRINUSE)
	errListenerClosed = fmt.Errorf("memory: accept: %w", net.ErrClosed)
)
