package transporttest

import (
	"context"
	"net"
	"sync"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// faulty is a right transport made wrong: each of its functions can be replaced, and its Listeners
// and connections too, before they are handed out.
type faulty struct {
	inner    *memory.Transport
	released chan struct{} // closed when the test is over
	onListen func(*faultyListener)
	onConn   func(*faultyConn)
	dial     func(context.Context) (lahja.Conn, error)
	listen   func(context.Context) (lahja.Listener, error)

	mu        sync.Mutex
	listeners []*faultyListener
	conns     []*faultyConn
}

func newFaulty() *faulty {
	f := &faulty{
		inner:    memory.New(),
		released: make(chan struct{}),
		onListen: func(*faultyListener) {},
		onConn:   func(*faultyConn) {},
	}
	f.dial, f.listen = f.rightDial, f.rightListen
	return f
}

func (f *faulty) Dial(ctx context.Context) (lahja.Conn, error)       { return f.dial(ctx) }
func (f *faulty) Listen(ctx context.Context) (lahja.Listener, error) { return f.listen(ctx) }

func (f *faulty) rightDial(ctx context.Context) (lahja.Conn, error) {
	c, err := f.inner.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return f.wrap(c), nil
}

func (f *faulty) rightListen(ctx context.Context) (lahja.Listener, error) {
	inner, err := f.inner.Listen(ctx)
	if err != nil {
		return nil, err
	}
	l := &faultyListener{Listener: inner, ctx: ctx, addr: inner.Addr, close: inner.Close}
	l.accept = func() (lahja.Conn, error) {
		c, err := inner.Accept()
		if err != nil {
			return nil, err
		}
		return f.wrap(c), nil
	}
	f.onListen(l)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners = append(f.listeners, l)
	return l, nil
}

func (f *faulty) wrap(inner lahja.Conn) lahja.Conn {
	c := &faultyConn{
		Conn:     inner,
		read:     inner.Read,
		write:    inner.Write,
		close:    inner.Close,
		identity: inner.Identity,
	}
	f.onConn(c)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, c)
	return c
}

// closeConns closes all connections rightly.
func (f *faulty) closeConns() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		c.Conn.Close()
	}
}

// release ends whatever the fault has left waiting.
func (f *faulty) release() {
	close(f.released)
	f.closeConns()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.listeners {
		l.Listener.Close()
	}
}

type faultyListener struct {
	lahja.Listener
	ctx    context.Context
	accept func() (lahja.Conn, error)
	addr   func() string
	close  func() error
}

func (l *faultyListener) Accept() (lahja.Conn, error) { return l.accept() }
func (l *faultyListener) Addr() string                { return l.addr() }
func (l *faultyListener) Close() error                { return l.close() }

type faultyConn struct {
	lahja.Conn
	read, write func([]byte) (int, error)
	close       func() error
	identity    func() lahja.Identity
}

func (c *faultyConn) Read(p []byte) (int, error)  { return c.read(p) }
func (c *faultyConn) Write(p []byte) (int, error) { return c.write(p) }
func (c *faultyConn) Close() error                { return c.close() }
func (c *faultyConn) Identity() lahja.Identity    { return c.identity() }

// netConn makes a transport's connection of a net.Conn, without more ado.
type netConn struct {
	net.Conn
}

func (c netConn) Identity() lahja.Identity {
	return lahja.Identity{Transport: "net"}
}

// viaPipe connects by net.Pipe.
func viaPipe() (a, b lahja.Conn, err error) {
	c, d := net.Pipe()
	return netConn{c}, netConn{d}, nil
}

// viaTCP connects by TCP, without the care that Close takes.
func viaTCP() (a, b lahja.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	d, err := l.Accept()
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return netConn{c}, netConn{d}, nil
}
