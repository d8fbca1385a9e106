package tcp_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/transports/tcp"
)

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
