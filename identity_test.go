package lahja_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// signed makes a certificate with a new key; one whose issuer is its subject signs itself.
func signed(t testing.TB, issuer, subject string, names ...string) []byte {
	t.Helper()
	party := func(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano())}
		if name != "" {
			c.Subject.CommonName = name
		}
		return c, key
	}
	own, key := party(subject)
	own.DNSNames = names
	parent, signer := &x509.Certificate{Subject: pkix.Name{CommonName: issuer}}, key
	if issuer != subject {
		_, signer = party(issuer)
	}
	der, err := x509.CreateCertificate(rand.Reader, own, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certified is a listener whose connections have these certificates, the last one for ever.
type certified struct {
	lahja.Listener
	certificates [][]byte
}

func (l *certified) Accept() (lahja.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	own := l.certificates[0]
	if len(l.certificates) > 1 {
		l.certificates = l.certificates[1:]
	}
	return &certifiedConn{c, own}, nil
}

type certifiedConn struct {
	lahja.Conn
	certificate []byte
}

func (c *certifiedConn) Identity() lahja.Identity {
	return lahja.Identity{Transport: "tcp", Certificate: c.certificate}
}

// A session is resumed by who began it: with the same certificate or a renewed one, and no other.
func TestResumeIsForTheSame(t *testing.T) {
	worker, selfMade := signed(t, "ours", "worker", "w1"), signed(t, "me", "me")
	nobody := signed(t, "ours", "")
	for _, c := range []struct {
		name         string
		first, again []byte
		same         bool
	}{
		{"the same certificate", worker, worker, true},
		{"renewed", worker, signed(t, "ours", "worker", "w1"), true},
		{"of another subject", worker, signed(t, "ours", "boss", "w1"), false},
		{"with another name", worker, signed(t, "ours", "worker", "w2"), false},
		{"without its name", worker, signed(t, "ours", "worker"), false},
		{"of another issuer", worker, signed(t, "theirs", "worker", "w1"), false},
		{"none", worker, nil, false},
		{"where there was none", nil, worker, false},
		{"the same self-made one", selfMade, selfMade, true},
		{"another self-made one", selfMade, signed(t, "me", "me"), false},
		{"the same without a name", nobody, nobody, true},
		{"another without a name", nobody, signed(t, "ours", ""), false},
		{"of a name alone", signed(t, "ours", "", "w1"), signed(t, "ours", "", "w1"), true},
		{"no certificate at all", []byte("x"), []byte("y"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { comesBack(t, c.first, c.again, c.same) })
		})
	}
}

// comesBack cuts a connection and looks whether the session goes on over the next one.
func comesBack(t *testing.T, first, again []byte, same bool) {
	bus := lahja.NewBus()
	defer bus.Close()
	place, wires := memory.New(), &wires{}
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go bus.ServeListener(t.Context(), &certified{l, [][]byte{first, again}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ep, err := lahja.Connect(ctx, "worker", &severable{place, wires})
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	wires.cutLast()
	for st := range ep.WatchState(ctx) {
		if st.Connected && st.Resumes+st.Restarts == 1 {
			if (st.Resumes == 1) != same {
				t.Errorf("the session is %+v", st)
			}
			return
		}
	}
	t.Errorf("it did not come back: %v", ep.Err())
}
