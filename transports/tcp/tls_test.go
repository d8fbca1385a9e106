package tcp_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"testing"

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
