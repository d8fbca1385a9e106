package tcp_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

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
