package lahja_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/tcp"
)

// office signs certificates.
type office struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newOffice(t testing.TB) *office {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "office"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key}
	der, err := x509.CreateCertificate(rand.Reader, o.certificate, o.certificate, &key.PublicKey,
		key)
	if err == nil {
		o.certificate, err = x509.ParseCertificate(der)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// issue signs a certificate for this machine that ends then.
func (o *office) issue(t testing.TB, ends time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "worker"},
		NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, o.certificate, &key.PublicKey, o.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// config shows own, and wants a certificate of this office.
func (o *office) config(own ...tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(o.certificate)
	return &tls.Config{
		Certificates: own, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// doorkeeper is a listener that counts who is attached.
type doorkeeper struct {
	lahja.Listener
	pinned   string
	admitted atomic.Int64
}

func (l *doorkeeper) Accept() (lahja.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{c, l}, nil
}

type watchedConn struct {
	lahja.Conn
	keeper *doorkeeper
}

func (c *watchedConn) Identity() lahja.Identity {
	id := c.Conn.Identity()
	id.Name = c.keeper.pinned
	return id
}

func (c *watchedConn) Attached(string) { c.keeper.admitted.Add(1) }

// intruder is a way to come in that must not work: of so many in a thousand.
type intruder struct {
	what  string
	share int
	enter func(n int) error
}

// Nobody comes in without credentials or with wrong ones: without TLS, without a certificate, with
// that of a stranger and one that has ended; with a name that Authorize, or the transport, does not
// give; with guessed secrets of a session that is there.
func TestWrongCredentials(t *testing.T) {
	captureLog(t)
	attempts := 1000
	if scale() > 1 {
		attempts = 100_000
	}
	total, admitted := 0, int64(0)
	for _, way := range []func(*testing.T) (*doorkeeper, []intruder, func() error){
		overTLS, byAuthorize, byName, bySecret,
	} {
		keeper, intruders, right := way(t)
		for _, i := range intruders {
			began, n := time.Now(), attempts*i.share/1000
			refused := inParallel(n, i.enter)
			t.Logf("%s: %d attempts, %d refused, in %v", i.what, n, refused,
				time.Since(began).Round(time.Millisecond))
			if refused != n {
				t.Errorf("%s: %d of %d attempts were not refused", i.what, n-refused, n)
			}
			total += n
		}
		admitted += keeper.admitted.Load()
		before := keeper.admitted.Load()
		if err := right(); err != nil || keeper.admitted.Load() != before+1 {
			t.Errorf("who has the right ones: %v, %d", err, keeper.admitted.Load()-before)
		}
	}
	t.Logf("%d handshakes without or with wrong credentials, %d accepted", total, admitted)
	if admitted != 0 {
		t.Errorf("%d were accepted", admitted)
	}
}

// inParallel calls f n times, by 4 goroutines, and counts the errors.
func inParallel(n int, f func(int) error) int {
	var failed, next atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if f(int(i)) != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	return int(failed.Load())
}

// guarded serves a place of the stage at which connections are counted.
func guarded(s *stage, place lahja.Transport, pinned string) (*doorkeeper, string) {
	l, err := place.Listen(s.ctx)
	s.must(err)
	k := &doorkeeper{Listener: l, pinned: pinned}
	s.group.Go(func() { _ = s.bus.ServeListener(s.ctx, k) })
	return k, l.Addr()
}

// tryAttach attaches for a moment.
func tryAttach(s *stage, name string, place lahja.Transport) error {
	ep, err := lahja.Connect(s.ctx, name, place)
	if err == nil {
		ep.Close()
	}
	return err
}

func overTLS(t *testing.T) (*doorkeeper, []intruder, func() error) {
	s := newStage(t, &venues[0], [2]bool{})
	ours, theirs := newOffice(t), newOffice(t)
	valid := time.Now().Add(time.Hour)
	k, address := guarded(s, tcp.New("127.0.0.1:0", tcp.TLS(ours.config(ours.issue(t, valid)))), "")
	with := func(own ...tls.Certificate) func(int) error {
		config := ours.config(own...)
		return func(int) error { return tryAttach(s, "worker", tcp.New(address, tcp.TLS(config))) }
	}
	bare := func(int) error { return tryAttach(s, "worker", tcp.New(address)) }
	right := with(ours.issue(t, valid))
	return k, []intruder{
		{"without TLS", 100, bare},
		{"without a certificate", 50, with()},
		{"with a stranger's certificate", 50, with(theirs.issue(t, valid))},
		{"with one that has ended", 50, with(ours.issue(t, time.Now().Add(-time.Minute)))},
	}, func() error { return right(0) }
}

func byAuthorize(t *testing.T) (*doorkeeper, []intruder, func() error) {
	s := newStage(t, &venues[1], [2]bool{}, lahja.Authorize(
		func(_ context.Context, name string, _ lahja.Identity) (lahja.Permissions, error) {
			if name == "worker" {
				return lahja.AllowAll(), nil
			}
			return lahja.AllowAll(), errors.New("who is that?")
		}))
	k, place := attended(s, "")
	return k, []intruder{
		{"with a name that is not allowed", 300, func(n int) error {
			return tryAttach(s, fmt.Sprint("worker", n), place)
		}},
	}, func() error { return tryAttach(s, "worker", place) }
}

func byName(t *testing.T) (*doorkeeper, []intruder, func() error) {
	s := newStage(t, &venues[1], [2]bool{})
	k, place := attended(s, "worker")
	return k, []intruder{
		{"with another name than is pinned", 200, func(n int) error {
			return tryAttach(s, fmt.Sprint("worker", n), place)
		}},
	}, func() error { return tryAttach(s, "worker", place) }
}

func bySecret(t *testing.T) (*doorkeeper, []intruder, func() error) {
	s := newStage(t, &venues[1], [2]bool{})
	k, place := attended(s, "")
	say := func(h wire.Hello) *stranger {
		c, err := place.Dial(s.ctx)
		s.must(err)
		g := &stranger{TB: s.TB, conn: c}
		h.MinVersion, h.MaxVersion, h.Name, h.Features = 1, 1, "holder", []string{"resume"}
		g.preface(wire.TypeHello, h)
		g.listen()
		t.Cleanup(func() { c.Close() })
		return g
	}
	holder := say(wire.Hello{})
	var w wire.Welcome
	s.must(wire.ParseControl(holder.until(wire.TypeWelcome).Body, &w))
	countedIn(holder)
	k.admitted.Store(0)
	guess := func(n int) error {
		token := make([]byte, len(w.Token))
		rand.Read(token)
		g := say(wire.Hello{Session: w.Session, Token: token, Attempt: uint64(n)})
		defer g.conn.Close()
		for f := range g.heard {
			if f.Type == wire.TypeRefusal {
				return lahja.ErrDenied
			}
		}
		return nil
	}
	return k, []intruder{{"with a guessed secret of a session", 250, guess}}, func() error {
		holder.conn.Close() // what it really has lets it come back
		g := say(wire.Hello{Session: w.Session, Token: w.Token, Attempt: 1 << 40})
		g.until(wire.TypeWelcome)
		countedIn(g)
		return nil
	}
}

// countedIn waits until a stranger who is attached gets a sign of life: it is counted by then.
func countedIn(g *stranger) {
	g.record(wire.Append(nil, wire.TypePing, nil))
	g.until(wire.TypePong)
}

// attended is a place in memory whose connections are counted.
func attended(s *stage, pinned string) (*doorkeeper, lahja.Transport) {
	place := memory.New()
	k, _ := guarded(s, place, pinned)
	return k, place
}
