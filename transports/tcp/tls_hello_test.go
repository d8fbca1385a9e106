package tcp_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja/transports/tcp"
)

// piecemeal writes byte by byte.
type piecemeal struct{ net.Conn }

func (c piecemeal) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		_, err = c.Conn.Write(p[n : n+1])
		n++
	}
	return n, err
}

// A hello that comes in pieces is one, and the handshake goes on though nobody reads or writes.
func TestHelloInPieces(t *testing.T) {
	a := newAuthority(t)
	config := a.config(a.issue(t, nil))
	l, err := tcp.New("127.0.0.1:0", tcp.TLS(config)).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	client := config.Clone()
	client.ServerName = "localhost"
	if err := tls.Client(piecemeal{raw}, client).Handshake(); err != nil {
		t.Fatal(err)
	}
	if accepted.Identity().Certificate == nil {
		t.Error("the certificate is not known")
	}
}

// Of a hello that does not come whole the end is what it was, and not taken for another.
func TestHalfHello(t *testing.T) {
	a := newAuthority(t)
	config := a.config(a.issue(t, nil))
	hello := []byte{22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3}
	reset := func(c *net.TCPConn) error {
		c.SetLinger(0)
		return c.Close()
	}
	for n := range hello {
		closed := io.ErrUnexpectedEOF
		if n == 0 {
			closed = io.EOF
		}
		testHalfHello(t, config, hello[:n], (*net.TCPConn).CloseWrite, closed)
		testHalfHello(t, config, hello[:n], reset, syscall.ECONNRESET)
	}
}

func testHalfHello(
	t *testing.T, config *tls.Config, says []byte, end func(*net.TCPConn) error, want error,
) {
	t.Helper()
	dialled, accepted := connectTLS(t, config, nil)
	raw := tcp.Raw(dialled)
	if _, err := raw.Write(says); err != nil {
		t.Fatal(err)
	}
	if err := end(raw); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, want) {
		t.Errorf("after %d bytes: %v, want %v", len(says), err, want)
	}
}
