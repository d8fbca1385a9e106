package tcp_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/transporttest"
)

func TestTransportTLS(t *testing.T) {
	a := newAuthority(t)
	both := a.config(a.issue(t, nil)) // it dials and listens
	transporttest.Run(t, tcp.New(freeAddress(t), tcp.TLS(both)))
}

// With TLS 1.2 too, which has to be asked for. Here the end that accepts is the one that closes.
func TestConnTLS(t *testing.T) {
	for name, version := range map[string]uint16{
		"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13,
	} {
		t.Run(name, func(t *testing.T) { testConnTLS(t, version) })
	}
}

func testConnTLS(t *testing.T, version uint16) {
	a := newAuthority(t)
	both := a.config(a.issue(t, nil))
	both.MinVersion, both.MaxVersion = version, version
	place := tcp.New(freeAddress(t), tcp.TLS(both))
	transporttest.RunConn(t, func() (x, y lahja.Conn, err error) {
		l, err := place.Listen(t.Context())
		if err != nil {
			return nil, nil, err
		}
		defer l.Close()
		if y, err = place.Dial(t.Context()); err != nil {
			return nil, nil, err
		}
		x, err = l.Accept()
		return x, y, err
	})
}

// connectTLS makes a connection; nil is one without TLS.
func connectTLS(t *testing.T, server, client *tls.Config) (dialled, accepted lahja.Conn) {
	t.Helper()
	l, err := tcp.New("127.0.0.1:0", withTLS(server)...).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err = tcp.New(l.Addr(), withTLS(client)...).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	return dialled, accepted
}

func withTLS(c *tls.Config) []tcp.Option {
	if c == nil {
		return nil
	}
	return []tcp.Option{tcp.TLS(c)}
}

// outcome says something and waits for the same, and returns why that failed. It then closes, as
// anyone does.
func outcome(c lahja.Conn) error {
	defer c.Close()
	const word = "some words"
	_, failed := io.WriteString(c, word)
	p := make([]byte, len(word))
	_, err := io.ReadFull(c, p)
	if err == nil && string(p) != word {
		err = errors.New("other words came")
	}
	if failed != nil {
		return failed
	}
	return err
}

// outcomes is that of both ends.
func outcomes(dialled, accepted lahja.Conn) (dial, accept error) {
	result := make(chan error)
	go func() { result <- outcome(accepted) }()
	dial = outcome(dialled)
	return dial, <-result
}

// Each end knows the certificate of the other, from the first moment and after Close.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	bus, worker := a.issue(t, nil), a.issue(t, nil)
	dialled, accepted := connectTLS(t, a.config(bus), a.config(worker))
	check := func() {
		t.Helper()
		if got := accepted.Identity().Certificate; !bytes.Equal(got, worker.Certificate[0]) {
			t.Errorf("the accepting end sees another certificate than the worker's: %x", got)
		}
		if got := dialled.Identity().Certificate; !bytes.Equal(got, bus.Certificate[0]) {
			t.Errorf("the dialling end sees another certificate than the bus's: %x", got)
		}
	}
	check()
	clear(accepted.Identity().Certificate) // it is a copy
	check()
	if dial, accept := outcomes(dialled, accepted); dial != nil || accept != nil {
		t.Errorf("a word each way: %v, %v", dial, accept)
	}
	check()
	if got := accepted.Identity(); got.Transport != "tcp" || got.Address == "" {
		t.Errorf("the rest of Identity is %+v", got)
	}
}

// A certificate is in Identity only if somebody has verified it.
func TestCertificateIsVerified(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	pinned := func([][]byte, [][]*x509.Certificate) error { return nil }
	for _, c := range []struct {
		name   string
		change func(server *tls.Config)
		want   bool
	}{
		{"not asked for", func(s *tls.Config) { s.ClientAuth = tls.NoClientCert }, false},
		{"not verified", func(s *tls.Config) { s.ClientAuth = tls.RequireAnyClientCert }, false},
		{"by the user", func(s *tls.Config) {
			s.ClientAuth, s.VerifyPeerCertificate = tls.RequireAnyClientCert, pinned
		}, true},
		{"not by the chosen config", func(s *tls.Config) {
			chosen := s.Clone()
			chosen.ClientAuth, s.VerifyPeerCertificate = tls.RequireAnyClientCert, pinned
			s.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return chosen, nil
			}
		}, false},
		{"by the chosen config", func(s *tls.Config) {
			chosen := s.Clone()
			chosen.ClientAuth, chosen.VerifyPeerCertificate = tls.RequireAnyClientCert, pinned
			s.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return chosen, nil
			}
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := a.config(a.issue(t, nil)), a.config(stranger.issue(t, nil))
			c.change(server)
			dialled, accepted := connectTLS(t, server, client)
			if got := accepted.Identity().Certificate != nil; got != c.want {
				t.Errorf("there is a certificate: %v, want %v", got, c.want)
			}
			if dial, accept := outcomes(dialled, accepted); dial != nil || accept != nil {
				t.Errorf("a word each way: %v, %v", dial, accept)
			}
		})
	}
}

// Whatever does not fit is refused at both ends, with an error that says what to do.
func TestTLSRefusals(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	long := time.Now().Add(-time.Hour)
	expired := func(c *x509.Certificate) { c.NotAfter = long }
	elsewhere := func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other"} }
	usage := func(u x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
	}
	good := a.config(a.issue(t, nil))
	with := func(change func(*tls.Config)) *tls.Config {
		c := good.Clone()
		change(c)
		return c
	}
	shows := func(cert tls.Certificate) *tls.Config {
		return with(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	}
	for _, c := range []struct {
		name           string
		server, client *tls.Config
		dial, accept   string
	}{
		{"no certificate", good, with(func(c *tls.Config) { c.Certificates = nil }),
			"put one that its ClientCAs has signed into Certificates",
			"put one into Certificates of the tls.Config that it dials with"},
		{"certificate of a stranger", good, shows(stranger.issue(t, nil)),
			"that its ClientCAs has signed", "into ClientCAs"},
		{"bus of a stranger", shows(stranger.issue(t, nil)), good,
			"into RootCAs of the tls.Config", "it does not accept this side's certificate"},
		{"wrong name", shows(a.issue(t, elsewhere)), good,
			"dial it by a name that is in its certificate", "bad certificate"},
		{"wrong ServerName", good, with(func(c *tls.Config) { c.ServerName = "other" }),
			"dial it by a name that is in its certificate", "bad certificate"},
		{"expired bus", shows(a.issue(t, expired)), good,
			"renew its certificate, or set this machine's clock", "bad certificate"},
		{"expired worker", good, shows(a.issue(t, expired)),
			"certificate", "renew its certificate, or set this machine's clock"},
		{"usage of the bus", shows(a.issue(t, usage(x509.ExtKeyUsageClientAuth))), good,
			"ExtKeyUsageServerAuth", "bad certificate"},
		{"usage of the worker", good, shows(a.issue(t, usage(x509.ExtKeyUsageServerAuth))),
			"certificate", "ExtKeyUsageClientAuth"},
		{"old dialler", good, with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
			"no version of TLS in common", "no version of TLS in common"},
		{"old bus", with(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), good,
			"no version of TLS in common", "no version of TLS in common"},
		{"plain bytes to TLS", good, nil, "", "dial with tcp.TLS there"},
		{"TLS to plain bytes", nil, good, "give its listener tcp.TLS", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dialled, accepted := connectTLS(t, c.server, c.client)
			dial, accept := outcomes(dialled, accepted)
			wantWords(t, "the dialling end", dial, dialled, c.dial)
			wantWords(t, "the accepting end", accept, accepted, c.accept)
			if accepted.Identity().Certificate != nil {
				t.Error("there is a certificate all the same")
			}
		})
	}
}

func wantWords(t *testing.T, who string, err error, c lahja.Conn, words string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("%s: no error", who)
	case errors.Is(err, io.EOF):
		t.Errorf("%s: %v, which looks like an end in order", who, err)
	case !strings.Contains(err.Error(), words):
		t.Errorf("%s: %q, which does not say %q", who, err, words)
	case words != "" && !strings.Contains(err.Error(), "tcp: TLS with 127.0.0.1:"):
		t.Errorf("%s: %q, which does not say with whom", who, err)
	default:
		t.Logf("%s: %v", who, err)
	}
}

// The other side of a plain connection sees by the answer that TLS is spoken here.
func TestPlainBytesAreAnswered(t *testing.T) {
	a := newAuthority(t)
	dialled, accepted := connectTLS(t, a.config(a.issue(t, nil)), nil)
	io.WriteString(dialled, "LAHJA and so on")
	accepted.Read(make([]byte, 1))
	accepted.Close()
	got, err := io.ReadAll(dialled)
	if want := []byte{21, 3}; !bytes.HasPrefix(got, want) || err != nil {
		t.Errorf("the answer is %x, %v, want a TLS alert", got, err)
	}
}

// What comes before TLS 1.3 is allowed by those who say so, and by no others.
func TestMinVersion(t *testing.T) {
	a := newAuthority(t)
	good := a.config(a.issue(t, nil))
	old := good.Clone()
	old.MaxVersion = tls.VersionTLS12
	allows := good.Clone()
	allows.MinVersion = tls.VersionTLS12
	chooses := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return good, nil
	}}
	for _, c := range []struct {
		name   string
		server *tls.Config
		want   bool
	}{
		{"by default", good, false}, {"by a chosen config", chooses, false},
		{"allowed", allows, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dial, accept := outcomes(connectTLS(t, c.server, old))
			if got := dial == nil && accept == nil; got != c.want {
				t.Errorf("it succeeds: %v, want %v; %v, %v", got, c.want, dial, accept)
			}
		})
	}
	if good.MinVersion != 0 {
		t.Error("the caller's config was changed")
	}
}

// What the caller does to the config afterwards changes nothing.
func TestConfigIsCopied(t *testing.T) {
	a := newAuthority(t)
	good := a.config(a.issue(t, nil))
	mine := good.Clone()
	option := tcp.TLS(mine)
	mine.Certificates, mine.ClientAuth = nil, tls.NoClientCert
	l, err := tcp.New("127.0.0.1:0", option).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestListenTLS(t *testing.T) {
	_, err := tcp.New("127.0.0.1:0", tcp.TLS(nil)).Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), "set Certificates in the tls.Config") {
		t.Errorf("Listen without a certificate: %v", err)
	}
	a := newAuthority(t)
	l, err := tcp.New("0.0.0.0:0", tcp.TLS(a.config(a.issue(t, nil)))).Listen(t.Context())
	if err != nil {
		t.Fatalf("Listen on all interfaces: %v", err)
	}
	l.Close()
}

func TestDialTLSNeedsName(t *testing.T) {
	for address, words := range map[string]string{
		":4500": "give the address a host, or set ServerName", "nonsense": "missing port",
	} {
		_, err := tcp.New(address, tcp.TLS(nil)).Dial(t.Context())
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("Dial %s: %v, which does not say %q", address, err, words)
		}
	}
}

// ServerName is the host that is dialled, whether it is a name or a number.
func TestServerName(t *testing.T) {
	a := newAuthority(t)
	server := a.config(a.issue(t, nil))
	names := make(chan string, 1)
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}
	l, err := tcp.New("localhost:0", tcp.TLS(server)).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr())
	client := a.config(a.issue(t, nil))
	client.GetConfigForClient = nil
	dialled, err := tcp.New("localhost:"+port, tcp.TLS(client)).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if dial, accept := outcomes(dialled, accepted); dial != nil || accept != nil {
		t.Errorf("a word each way: %v, %v", dial, accept)
	}
	if got := <-names; got != "localhost" {
		t.Errorf("ServerName = %q, want localhost", got)
	}
}

// A peer that says nothing holds up neither Accept nor Close, and what waits for it ends by Close.
func TestSilentPeer(t *testing.T) {
	a := newAuthority(t)
	_, accepted := connectTLS(t, a.config(a.issue(t, nil)), nil)
	failed := make(chan error)
	go func() {
		_, err := accepted.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := accepted.Write(make([]byte, 1))
		failed <- err
	}()
	go func() {
		accepted.Identity()
		failed <- net.ErrClosed
	}()
	accepted.Close()
	for range 3 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("it ends with %v, want net.ErrClosed", err)
		}
	}
}

// Close does not wait for a peer that does not read, and what was written and the end still arrive
// when it reads at last.
func TestCloseTowardsSilentPeer(t *testing.T) {
	a := newAuthority(t)
	config := a.config(a.issue(t, nil))
	dialled, accepted := connectTLS(t, config, config)
	accepted.Identity()
	dialled.Identity()
	written := tcp.Fill(t, dialled)
	began := time.Now()
	dialled.Close()
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("Close took %v", took)
	}
	n, err := io.Copy(io.Discard, onlyRead{accepted})
	if n != written || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, written, err)
	}
}

type onlyRead struct{ io.Reader }

// A reset reaches the other end as one, at once, and Close has nothing left to do.
func TestReset(t *testing.T) {
	a := newAuthority(t)
	for name, config := range map[string]*tls.Config{"tcp": nil, "tls": a.config(a.issue(t, nil))} {
		t.Run(name, func(t *testing.T) {
			dialled, accepted := connectTLS(t, config, config)
			accepted.Identity() // the handshake is over
			dialled.Identity()
			for range 2 {
				if err := dialled.(interface{ Reset() error }).Reset(); err != nil {
					t.Errorf("Reset: %v", err)
				}
			}
			if err := dialled.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			_, err := io.Copy(io.Discard, onlyRead{accepted})
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end reads %v, want ECONNRESET", err)
			}
			if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Reset: %v, want net.ErrClosed", err)
			}
		})
	}
}

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
