package tcp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// explain says with whom something failed and, where that is known, what to do about it.
func (c *tlsConn) explain(err error) error {
	switch {
	case err == io.EOF: // which is the end in order everywhere else
		err = io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("tcp: TLS with %s: the handshake took longer than %v: %w",
			c.peer, handshakeLimit, err)
	}
	for _, r := range remedies {
		advice := r.dialled
		if c.accepted {
			advice = r.accepted
		}
		if advice != "" && r.matches(err) {
			return fmt.Errorf("tcp: TLS with %s: %w: %s", c.peer, err, advice)
		}
	}
	return fmt.Errorf("tcp: TLS with %s: %w", c.peer, err)
}

// remedy is what to do about an error, at the end that dialled and at the one that accepted.
type remedy struct {
	matches           func(error) bool
	dialled, accepted string
}

const noVersion = "the two ends have no version of TLS in common: " +
	"compare MinVersion and MaxVersion of their tls.Configs"

var remedies = []remedy{
	{is[tls.RecordHeaderError],
		"it does not speak TLS: give its listener tcp.TLS, or dial without",
		"it does not speak TLS: dial with tcp.TLS there"},
	{is[x509.HostnameError],
		"dial it by a name that is in its certificate, or set ServerName in the tls.Config",
		"its certificate is for other names than the tls.Config asks for"},
	{is[x509.UnknownAuthorityError],
		"put the authority that signed its certificate into RootCAs of the tls.Config",
		"put the authority that signed its certificate into ClientCAs of the tls.Config"},
	{invalid(x509.Expired),
		"renew its certificate, or set this machine's clock",
		"renew its certificate, or set this machine's clock"},
	{invalid(x509.IncompatibleUsage),
		"its certificate needs x509.ExtKeyUsageServerAuth",
		"its certificate needs x509.ExtKeyUsageClientAuth"},
	{local("client didn't provide a certificate"), "",
		"put one into Certificates of the tls.Config that it dials with"},
	{local("unsupported versions", "unsupported protocol version"), noVersion, noVersion},
	{alert("protocol version"), noVersion, noVersion},
	{alert("certificate required", "bad certificate", "handshake failure"),
		"it wants a certificate that it can verify: " +
			"put one that its ClientCAs has signed into Certificates of the tls.Config",
		"it does not accept this side's certificate, and says there why"},
	{alert("unknown certificate authority"),
		"put a certificate that its ClientCAs has signed into Certificates of the tls.Config",
		"put the authority of this side's certificate into RootCAs of the tls.Config " +
			"that it dials with"},
	{alert("expired certificate"),
		"renew this side's certificate",
		"renew this side's certificate"},
	{hungUp,
		"it hung up without a reason; if it does not speak TLS, give its listener tcp.TLS",
		"it hung up without a reason"},
}

// is reports whether err is a T.
func is[T error](err error) bool {
	var found T
	return errors.As(err, &found)
}

// invalid matches a certificate that was found to be so.
func invalid(why x509.InvalidReason) func(error) bool {
	return func(err error) bool {
		var found x509.CertificateInvalidError
		return errors.As(err, &found) && found.Reason == why
	}
}

// local matches what package tls says of the other side. It has no types for that.
func local(texts ...string) func(error) bool {
	return func(err error) bool { return !remote(err) && contains(err, texts) }
}

// alert matches what the other side says of this one.
func alert(texts ...string) func(error) bool {
	return func(err error) bool { return remote(err) && contains(err, texts) }
}

func remote(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func contains(err error, texts []string) bool {
	for _, text := range texts {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

func hungUp(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}
