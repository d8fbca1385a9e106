package lahja_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

// selfSigned is a TLS configuration for both ends on this machine, of which each trusts the other.
func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs:      pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}

// tlsVenue is tcp with TLS, where each side has a certificate.
var tlsVenue = venue{"tls", func(s *stage) (lahja.Listener, lahja.Transport, error) {
	secured := tcp.TLS(selfSigned(s))
	l, err := tcp.New("127.0.0.1:0", secured).Listen(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	return l, tcp.New(l.Addr(), secured), nil
}}

// strangersVenues are those where a stranger can be at the other end of a connection.
var strangersVenues = append(slices.Clone(venues[2:]), tlsVenue)

// The limits of an arena are small, so that what they end ends soon.
const (
	hasty         = 250 * time.Millisecond // the time for a handshake that is not to succeed
	arenaResume   = 500 * time.Millisecond
	arenaSubs     = 100
	arenaNames    = 200
	arenaRequests = 100
)

// arena is a bus at a venue with two endpoints that talk to each other all the time, and a place
// of the same kind where somebody pretends to be a bus.
type arena struct {
	*stage
	accepted chan chan error // of the bus's connections, in order: how each has ended
	fake     lahja.Listener
	fakeAt   lahja.Transport
	own      *lahja.Endpoint // in the bus's process
	attacks  int
	begun    map[*attack]bool // those that are not over
	hurried  *lahja.Bus       // which gives handshakes little time
	hurries  atomic.Bool      // it serves the next connection

	calm     sync.Mutex    // held while the pair has a round of its talk
	rounds   chan struct{} // receives when the pair has had one, if somebody waits for that
	routines int           // when all is calm
	opened   int           // descriptors
	weight   int64         // memory in use
}

func newArena(t *testing.T, v *venue) *arena {
	t.Helper()
	s := newStage(t, &venues[0], [2]bool{}, lahja.Limits{
		Handshake: tooLong, Resume: arenaResume, Subscriptions: arenaSubs,
		Names: arenaNames, Requests: arenaRequests, Lag: 256 << 10,
	})
	hurried := lahja.NewBus(lahja.Limits{Handshake: hasty})
	ctx, cancel := context.WithCancel(context.Background())
	s.ctx = ctx // each row has its own limit
	s.Cleanup(cancel)
	l, place, err := v.listen(s)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	s.must(err)
	s.venue, s.place, s.address, s.mortal = v, place, l.Addr(), true
	a := &arena{
		stage: s, accepted: make(chan chan error, 1000),
		rounds: make(chan struct{}), hurried: hurried, begun: map[*attack]bool{},
	}
	a.fake, a.fakeAt, err = v.listen(s)
	s.must(err)
	s.group.Go(func() { a.accept(l) })
	s.Cleanup(func() {
		l.Close()
		a.fake.Close()
		hurried.Close()
	})
	a.own = s.own("own")
	a.converse()
	return a
}

// accept serves each connection and tells how it has ended.
func (a *arena) accept(l lahja.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // it concerns one connection
		}
		ended := make(chan error, 1)
		a.accepted <- ended
		bus := a.bus
		if a.hurries.Load() {
			bus = a.hurried
		}
		a.group.Go(func() { ended <- bus.ServeConn(a.ctx, conn) })
	}
}

// converse has two endpoints broadcast and ask all the time, until the test ends.
func (a *arena) converse() {
	near, far := a.connect("near"), a.connect("far")
	take(a.stage, a.accepted)
	take(a.stage, a.accepted)
	heard := lahja.Stream[item](a.ctx, far, lahja.From("near"))
	_, err := lahja.Handle(a.ctx, far,
		func(_ context.Context, ev lahja.Event[question]) (answer, error) {
			return answer{2 * ev.Value.N}, nil
		})
	a.must(err)
	stop := make(chan struct{})
	talk := beside(a.stage, func() error {
		pause := time.NewTicker(time.Millisecond)
		defer pause.Stop()
		for n := 0; ; n++ {
			a.calm.Lock()
			err := a.round(n, near, heard)
			a.calm.Unlock()
			if err != nil {
				return err
			}
			select {
			case a.rounds <- struct{}{}:
			case <-pause.C:
			case <-stop:
				return nil
			}
		}
	})
	a.Cleanup(func() {
		close(stop)
		if err := <-talk; err != nil {
			a.Errorf("the pair beside was disturbed: %v", err)
		}
	})
}

// round is a broadcast that arrives, and a request that is answered.
func (a *arena) round(n int, near *lahja.Endpoint, heard <-chan lahja.Event[item]) error {
	ctx, cancel := context.WithTimeout(a.ctx, 10*time.Second)
	defer cancel()
	if err := lahja.Broadcast(ctx, near, item{n}); err != nil {
		return err
	}
	select {
	case ev := <-heard:
		if ev.Value.N != n || ev.Origin != "near" || ev.Missed > 0 || ev.Gap() {
			return fmt.Errorf("event %d has come as %+v", n, ev)
		}
	case <-ctx.Done():
		return fmt.Errorf("event %d has not come: %w", n, ctx.Err())
	}
	got, err := lahja.Request[question, answer](ctx, near, question{n})
	if err == nil && got.N != 2*n {
		err = fmt.Errorf("request %d was answered with %d", n, got.N)
	}
	return err
}

// undisturbed waits until the pair has begun and ended a round.
func (a *arena) undisturbed() {
	a.Helper()
	for range 2 {
		take(a.stage, a.rounds)
	}
}

// settle notes what is there while all is calm.
func (a *arena) settle() {
	a.calm.Lock()
	defer a.calm.Unlock()
	for range 20 { // until it has fallen for the last time
		time.Sleep(time.Millisecond)
		if n := runtime.NumGoroutine(); a.routines == 0 || n < a.routines {
			a.routines = n
		}
	}
	a.opened, a.weight = descriptors(), footprint()
}

// descriptors is how many files this process has open, where that can be seen.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// left says what is there that was not there before, and does not go. A socket of TCP may stay for
// a second after its connection was closed, so that descriptors are looked at when sockets is set.
func (a *arena) left(sockets bool) string {
	a.calm.Lock()
	defer a.calm.Unlock()
	sockets = sockets || a.venue.name == "pipe" || a.venue.name == "unix"
	pause := 100 * time.Microsecond
	for end := time.Now().Add(5 * time.Second); ; pause = min(2*pause, 5*time.Millisecond) {
		routines, opened := runtime.NumGoroutine()-a.routines, descriptors()-a.opened
		if routines <= 0 && (opened <= 0 || !sockets) {
			return ""
		}
		if time.Now().After(end) {
			stacks := make([]byte, 64<<10)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return fmt.Sprintf("%d goroutines and %d descriptors more\n%s", routines, opened,
				stacks)
		}
		time.Sleep(pause)
	}
}

// weigh is how much more memory is in use than in the beginning, or than when there was least. What
// the test itself holds counts as well: so it may be too much, and never too little. A second
// collection, which takes long in a large process, is made only if the first leaves too much.
func (a *arena) weigh() int64 {
	a.calm.Lock()
	defer a.calm.Unlock()
	now := inUse()
	if now-a.weight > mebibyte {
		now = footprint()
	}
	a.weight = min(a.weight, now)
	return now - a.weight
}
