package tcp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

func ExampleNew() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	l, err := tcp.New("127.0.0.1:0").Listen(ctx) // any free port
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "ui", tcp.New(l.Addr())) // in another process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	fmt.Println(ep.Name())
	// Output: ui
}

func ExampleInsecure() {
	ctx := context.Background()
	_, err := tcp.New("0.0.0.0:0").Listen(ctx)
	fmt.Println(err != nil) // anyone could come in, and nothing is encrypted
	l, err := tcp.New("0.0.0.0:0", tcp.Insecure()).Listen(ctx)
	fmt.Println(err)
	if err == nil {
		l.Close()
	}
	// Output:
	// true
	// <nil>
}

// With certificates at both ends a bus may be reached over any network: it lets in those who have
// one that its authority has signed, and each end knows who the other is.
func ExampleTLS() {
	ctx := context.Background()
	authority, certificate, err := certify() // in earnest: read them from files
	if err != nil {
		fmt.Println(err)
		return
	}
	bus := lahja.NewBus()
	defer bus.Close()
	server := tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority,
	}
	l, err := tcp.New("127.0.0.1:0", tcp.TLS(&server)).Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	client := tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: authority}
	ep, err := lahja.Connect(ctx, "worker", tcp.New(l.Addr(), tcp.TLS(&client)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	fmt.Println(ep.Name())

	stranger := tls.Config{RootCAs: authority} // has no certificate
	_, err = lahja.Connect(ctx, "intruder", tcp.New(l.Addr(), tcp.TLS(&stranger)))
	fmt.Println(err != nil)
	// Output:
	// worker
	// true
}

// certify makes a certificate for this machine, and an authority that has signed it.
func certify() (*x509.CertPool, tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	itself := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, itself, itself, &key.PublicKey, key)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	authority := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	authority.AddCert(parsed)
	return authority, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
