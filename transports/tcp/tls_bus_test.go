package tcp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

// A bus lets in who has a certificate, and says to the others what is wrong.
func TestBusTLS(t *testing.T) {
	a := newAuthority(t)
	bus := lahja.NewBus()
	defer bus.Close()
	l, err := tcp.New("127.0.0.1:0", tcp.TLS(a.config(a.issue(t, nil)))).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go bus.ServeListener(t.Context(), l)
	connect := func(opts ...tcp.Option) (*lahja.Endpoint, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return lahja.Connect(ctx, "worker", tcp.New(l.Addr(), opts...))
	}
	ep, err := connect(tcp.TLS(a.config(a.issue(t, nil))))
	if err != nil {
		t.Fatal(err)
	}
	ep.Close()
	bare := a.config(tls.Certificate{})
	bare.Certificates = nil
	_, err = connect(tcp.TLS(bare))
	if err == nil || !strings.Contains(err.Error(), "it wants a certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	_, err = connect()
	if err == nil || !strings.Contains(err.Error(), "it speaks TLS") {
		t.Errorf("without TLS: %v", err)
	}
}

// A bus that does not speak TLS says so as well, to its own log and to who dials.
func TestPlainBus(t *testing.T) {
	a := newAuthority(t)
	bus := lahja.NewBus()
	defer bus.Close()
	dialled, accepted := connectTLS(t, nil, a.config(a.issue(t, nil)))
	served := make(chan error)
	go func() { served <- bus.ServeConn(t.Context(), accepted) }()
	if err := outcome(dialled); err == nil ||
		!strings.Contains(err.Error(), "give its listener tcp.TLS") {
		t.Errorf("the dialler: %v", err)
	}
	if err := <-served; !errors.Is(err, lahja.ErrProtocol) ||
		!strings.Contains(err.Error(), "it speaks TLS") {
		t.Errorf("the bus: %v", err)
	}
}

// A peer that says nothing is hung up on when the bus's limit for handshakes is over, or when the
// bus closes; it does not hold up the others.
func TestBusAndSilentPeer(t *testing.T) {
	a := newAuthority(t)
	bus := lahja.NewBus()
	defer bus.Close()
	config := a.config(a.issue(t, nil))
	l, err := tcp.New("127.0.0.1:0", tcp.TLS(config)).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go bus.ServeListener(t.Context(), l)
	silent, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ep, err := lahja.Connect(t.Context(), "worker", tcp.New(l.Addr(), tcp.TLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	ep.Close()
	began := time.Now()
	bus.Close()
	silent.Read(make([]byte, 1))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the bus took %v to close and hang up", took)
	}
}

// The bus's limit for handshakes counts from the moment of Accept, with TLS as without.
func TestBusHangsUp(t *testing.T) {
	a := newAuthority(t)
	bus := lahja.NewBus(lahja.Limits{Handshake: 100 * time.Millisecond})
	defer bus.Close()
	dialled, accepted := connectTLS(t, a.config(a.issue(t, nil)), nil)
	if err := bus.ServeConn(t.Context(), accepted); err == nil ||
		!strings.Contains(err.Error(), "the handshake took longer than 100ms") {
		t.Errorf("the bus: %v", err)
	}
	if _, err := dialled.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the silent peer reads %v, want io.EOF", err)
	}
}
