package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/lahja-go/lahja"
)

// TLS encrypts the connections and says who is at their other end. config is copied; nil means
// tls.Config{}, which suffices to dial a bus whose certificate the system trusts.
//
// To listen, config needs a certificate. With ClientAuth set to tls.RequireAndVerifyClientCert only
// those come in who have a certificate that ClientCAs signed; with less, anyone who reaches the
// address does. The certificate that the other end has proved to own is in its Identity: one that
// crypto/tls has verified, or that a VerifyPeerCertificate or VerifyConnection of config accepted
// (of the one that GetConfigForClient has chosen, if it has).
//
// To dial, ServerName is the host of the address unless config has one; Certificates is what this
// end shows to a bus that asks. MinVersion is TLS 1.3 unless config says otherwise.
//
// The handshake takes place in the background as soon as a connection is made: a peer that is
// silent holds up neither Dial nor Accept. Read, Write and Identity wait for it, and Read and Write
// fail with the reason if it fails; it does when it has not succeeded within ten seconds.
func TLS(config *tls.Config) Option {
	if config == nil {
		config = &tls.Config{}
	}
	config = atLeast13(config)
	if choose := config.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			if s, ours := hello.Conn.(*socket); ours {
				s.verifies = hasVerifier(chosen) // it alone is asked now
			}
			return atLeast13(chosen), nil
		}
	}
	return func(o *options) { o.tls = config }
}

// atLeast13 copies config and asks for TLS 1.3 if it asks for nothing.
func atLeast13(config *tls.Config) *tls.Config {
	config = config.Clone()
	if config.MinVersion == 0 && (config.MaxVersion == 0 || config.MaxVersion >= tls.VersionTLS13) {
		config.MinVersion = tls.VersionTLS13
	}
	return config
}

var errNoCertificate = errors.New("tcp.TLS was given no certificate to show: " +
	"set Certificates in the tls.Config, for instance by tls.LoadX509KeyPair")

// canServe says whether the configuration suffices to listen.
func (o *options) canServe() error {
	c := o.tls
	if c != nil && len(c.Certificates) == 0 && c.GetCertificate == nil &&
		c.GetConfigForClient == nil {
		return errNoCertificate
	}
	return nil
}

// clientConfig is the configuration with the name to check the certificate of address against.
func (o *options) clientConfig(address string) (*tls.Config, error) {
	if o.tls.ServerName != "" || o.tls.InsecureSkipVerify {
		return o.tls, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return nil, errors.New("no name to check the certificate against: " +
			"give the address a host, or set ServerName in the tls.Config")
	}
	config := o.tls.Clone()
	config.ServerName = host
	return config, nil
}

// secure makes the connection that Dial returns.
func (t *Transport) secure(c *net.TCPConn, config *tls.Config) lahja.Conn {
	s := &socket{TCPConn: c, verifies: hasVerifier(config)}
	made := newTLSConn(s, tls.Client(s, config), t.address)
	go made.handshake()
	return made
}

// secure makes the connection that Accept returns.
func (l *listener) secure(c *net.TCPConn) lahja.Conn {
	s := &socket{TCPConn: c, verifies: hasVerifier(l.tls)}
	made := newTLSConn(s, tls.Server(s, l.tls), c.RemoteAddr().String())
	made.accepted = true
	go made.handshake()
	return made
}

func hasVerifier(config *tls.Config) bool {
	return config.VerifyConnection != nil || config.VerifyPeerCertificate != nil
}

// dialError says where a Dial failed that did not get as far as the network.
func (t *Transport) dialError(err error) error {
	return fmt.Errorf("tcp: dial %s: %w", t.address, err)
}
