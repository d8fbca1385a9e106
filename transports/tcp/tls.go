package tcp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/lahja-go/lahja"
)

// TLS encrypts the connections and says who is at their other end. config is copied; nil means
// tls.Config{}, which suffices to dial a bus whose certificate the system trusts.
//
// To listen, config needs a certificate. With ClientAuth set to tls.RequireAndVerifyClientCert,
// only clients with a certificate signed by ClientCAs can connect; with any other value everyone
// who reaches the address can. The certificate that the other end has proved to own is in its
// Identity, if crypto/tls has verified it, or if VerifyPeerCertificate or VerifyConnection of
// config (or of the config that GetConfigForClient has chosen) has accepted it.
//
// To dial, ServerName is the host of the address unless config has one; Certificates is what this
// end shows to a bus that asks for one. MinVersion is TLS 1.3 unless config says otherwise.
//
// Neither Dial nor Accept waits for the handshake, so that a peer that is silent does not hold them
// up. It is done by the first Read, Write or Identity, which wait for it, and otherwise takes place
// in the background. If it fails, which it also does after ten seconds, Read and Write fail with
// the reason.
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
	made := newTLSConn(c, config, t.address)
	go made.start()
	return made
}

// secure makes the connection that Accept returns.
func (l *listener) secure(c *net.TCPConn) lahja.Conn {
	made := newTLSConn(c, l.tls, c.RemoteAddr().String())
	made.accepted = true
	time.AfterFunc(soon, made.start)
	return made
}

func hasVerifier(config *tls.Config) bool {
	return config.VerifyConnection != nil || config.VerifyPeerCertificate != nil
}

// dialError says where a Dial failed that did not get as far as the network.
func (t *Transport) dialError(err error) error {
	return fmt.Errorf("tcp: dial %s: %w", t.address, err)
}
