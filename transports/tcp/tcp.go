// Package tcp is a transport over TCP connections.
//
//	l, err := tcp.New("127.0.0.1:4500").Listen(ctx)
//	go bus.ServeListener(ctx, l)
//
// Between machines, use it with [TLS]. Without TLS what it carries is neither encrypted nor
// authenticated; so without TLS Listen refuses an address that other machines can reach, unless
// [Insecure] is given.
//
//	server := tls.Config{
//		Certificates: []tls.Certificate{own},
//		ClientAuth:   tls.RequireAndVerifyClientCert,
//		ClientCAs:    authority,
//	}
//	l, err := tcp.New("bus.example:4500", tcp.TLS(&server)).Listen(ctx)
//
//	client := tls.Config{Certificates: []tls.Certificate{own}, RootCAs: authority}
//	ep, err := lahja.Connect(ctx, "worker", tcp.New("bus.example:4500", tcp.TLS(&client)))
package tcp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// Transport is one TCP address. It implements [lahja.Transport]; all methods may be called
// concurrently.
type Transport struct {
	address string
	options options
}

var _ lahja.Redialer = (*Transport)(nil)

type options struct {
	insecure bool
	tls      *tls.Config // nil: no TLS
}

// Option changes what [New] makes.
type Option func(*options)

// Insecure lets Listen use an address that is not loopback without TLS, although what is sent is
// then readable to the network and anyone who reaches the address may speak to the bus. It has no
// effect on Dial.
func Insecure() Option {
	return func(o *options) { o.insecure = true }
}

// New describes the place at address, which is host:port as in [net.Dial]; host may be a name, an
// IPv4 address or an IPv6 address in square brackets. It does nothing by itself.
//
// With port 0 each Listen takes a free port. Such a Transport cannot be dialled: dial
// New(l.Addr()) instead.
func New(address string, opts ...Option) *Transport {
	t := &Transport{address: address}
	for _, opt := range opts {
		opt(&t.options)
	}
	return t
}

// Dial connects to the address. It fails when nobody listens there, with an error that matches
// [syscall.ECONNREFUSED] if the machine there says so.
func (t *Transport) Dial(ctx context.Context) (lahja.Conn, error) {
	if ctx.Err() != nil {
		return nil, t.dialError(fault.Ended(ctx))
	}
	var config *tls.Config
	if t.options.tls != nil {
		var err error
		if config, err = t.options.clientConfig(t.address); err != nil {
			return nil, t.dialError(err)
		}
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", fault.Because(ctx, explained(err)))
	}
	if config != nil {
		return t.secure(c.(*net.TCPConn), config), nil
	}
	return newConn(c.(*net.TCPConn)), nil
}

// explained is err of a dial, and says behind the address what a refused connection means.
func explained(err error) error {
	op, ok := err.(*net.OpError)
	if !ok {
		return err
	}
	refused := refusal(op.Err)
	if refused == nil {
		return err
	}
	said := *op
	said.Err = fmt.Errorf("nobody listens there: %w", refused)
	return &said
}

// Redials implements [lahja.Redialer]: an address can be dialled again.
func (t *Transport) Redials() bool { return true }

// Listen accepts connections at the address. Without [TLS] and [Insecure] it refuses every address
// but those of the loopback interface, before it takes the port; an empty host is such an address,
// since it means all interfaces.
func (t *Transport) Listen(ctx context.Context) (lahja.Listener, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("tcp: listen %s: %w", t.address, fault.Ended(ctx))
	}
	if err := t.options.canServe(); err != nil {
		return nil, fmt.Errorf("tcp: listen %s: %w", t.address, err)
	}
	var config net.ListenConfig
	if t.options.tls == nil && !t.options.insecure {
		config.Control = loopbackOnly
	}
	l, err := config.Listen(ctx, "tcp", t.address)
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", fault.Because(ctx, err))
	}
	return &listener{l, t.options.tls}, nil
}

var errNotLoopback = errors.New("not a loopback address, so other machines could read the events " +
	"and join the bus: pass tcp.TLS, or listen on 127.0.0.1, or pass tcp.Insecure() if the " +
	"network is trusted")

// loopbackOnly is called between the making of a socket and its binding, with the address that the
// host's name stands for: nothing can change between this check and the use.
func loopbackOnly(_, address string, _ syscall.RawConn) error {
	place, err := netip.ParseAddrPort(address)
	if err != nil || !place.Addr().Unmap().IsLoopback() {
		return errNotLoopback
	}
	return nil
}

// listener makes a net.Listener's connections ours.
type listener struct {
	net net.Listener
	tls *tls.Config // nil: no TLS
}

// Accept waits for the next connection.
func (l *listener) Accept() (lahja.Conn, error) {
	c, err := l.net.Accept()
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	if l.tls != nil {
		return l.secure(c.(*net.TCPConn)), nil
	}
	return newConn(c.(*net.TCPConn)), nil
}

// Addr is host:port with the port that was chosen.
func (l *listener) Addr() string {
	return l.net.Addr().String()
}

// Close ends Accept; the system resets the connections that nobody has accepted.
func (l *listener) Close() error {
	if err := l.net.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("tcp: %w", err)
	}
	return nil
}
