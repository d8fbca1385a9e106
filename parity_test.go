package lahja_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// The tests of this file and of its neighbours say what the package does, one behaviour each, and
// run them wherever endpoints can be. A name that begins with P and a number is a behaviour of
// Python's lahja, one with L a fault of it; docs/migrating.md has both lists.

// venue is where the endpoints of a test are: in the bus's process, or behind a transport.
type venue struct {
	name   string
	listen func(*stage) (lahja.Listener, lahja.Transport, error) // nil: without a transport
}

var venues = []venue{
	{"in-process", nil},
	{"memory", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		return listenAt(s, memory.New())
	}},
	{"pipe", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		return listenAt(s, pipe.Loopback())
	}},
	{"unix", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		return listenAt(s, unix.New(filepath.Join(s.shortDir(), "bus")))
	}},
	{"tcp", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		l, _, err := listenAt(s, tcp.New("127.0.0.1:0"))
		if err != nil {
			return nil, nil, err
		}
		return l, tcp.New(l.Addr()), nil
	}},
}

func listenAt(s *stage, t lahja.Transport) (lahja.Listener, lahja.Transport, error) {
	l, err := t.Listen(s.ctx)
	return l, t, err
}

// stage is one bus at one venue, for one test.
type stage struct {
	testing.TB
	ctx     context.Context // ends when the test has taken far too long
	venue   *venue
	bus     *lahja.Bus
	place   lahja.Transport // where to connect; nil: everything is in the bus's process
	wires   *wires          // the connections made there
	address string          // of the listener
	pairs   [2]bool         // which of a pair connects; the other is in the bus's process
	mortal  bool            // endpoints that connect from now on end with their connections
	group   sync.WaitGroup  // of what the test runs beside itself
}

// tooLong is a limit for failures. No test waits for it to pass.
const tooLong = 30 * time.Second

// behaviour is what a test is of, in words, and how it is shown.
type behaviour struct {
	name string
	show func(*stage)
}

// everywhereOnce shows each behaviour once at each venue, with endpoints that connect.
func everywhereOnce(t *testing.T, all []behaviour) {
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			for _, v := range venues {
				t.Run(v.name, func(t *testing.T) { b.show(newStage(t, &v, [2]bool{true, true})) })
			}
		})
	}
}

// everywhereInPairs shows each behaviour of two endpoints at each venue: between one in the bus's
// process and one that has connected, in both directions, and between two that have connected.
func everywhereInPairs(t *testing.T, all []behaviour) { everywhereInPairsWith(t, all) }

// everywhereInPairsWith is everywhereInPairs with options for the bus.
func everywhereInPairsWith(t *testing.T, all []behaviour, opts ...lahja.BusOption) {
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			show := func(name string, v *venue, pairs [2]bool) {
				t.Run(name, func(t *testing.T) { b.show(newStage(t, v, pairs, opts...)) })
			}
			show("in-process", &venues[0], [2]bool{})
			for _, v := range venues[1:] {
				show(v.name+" from the bus", &v, [2]bool{false, true})
				show(v.name+" to the bus", &v, [2]bool{true, false})
				show(v.name+" through the bus", &v, [2]bool{true, true})
			}
		})
	}
}

func newStage(t testing.TB, v *venue, pairs [2]bool, opts ...lahja.BusOption) *stage {
	ctx, cancel := context.WithTimeout(context.Background(), tooLong*time.Duration(scale()))
	s := &stage{
		TB: t, ctx: ctx, venue: v, bus: lahja.NewBus(opts...), wires: &wires{}, pairs: pairs,
	}
	t.Cleanup(func() {
		if err := s.bus.Close(); err != nil {
			t.Error("closing the bus:", err)
		}
		cancel()
		s.group.Wait()
	})
	if v.listen == nil {
		return s
	}
	l, place, err := v.listen(s)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	s.must(err)
	s.place, s.address = &severable{place, s.wires}, l.Addr()
	s.group.Go(func() {
		if err := s.bus.ServeListener(s.ctx, l); err != nil {
			t.Error("serving:", err)
		}
	})
	return s
}

// shortDir is a directory with a path that is short enough for a socket in it.
func (s *stage) shortDir() string {
	dir, err := os.MkdirTemp("", "lahja")
	s.must(err)
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// connect attaches an endpoint by the transport, or in the bus's process if there is none.
func (s *stage) connect(name string) *lahja.Endpoint {
	s.Helper()
	if s.place == nil {
		return s.own(name)
	}
	ep, err := s.attach(name)
	s.must(err)
	s.Cleanup(func() { ep.Close() })
	return ep
}

// own attaches an endpoint in the bus's process.
func (s *stage) own(name string) *lahja.Endpoint {
	s.Helper()
	ep, err := s.bus.Endpoint(name)
	s.must(err)
	return ep
}

// attach attaches an endpoint as connect does, and returns why that failed.
func (s *stage) attach(name string) (*lahja.Endpoint, error) {
	if s.place == nil {
		return s.bus.Endpoint(name)
	}
	if s.mortal {
		return lahja.Connect(s.ctx, name, s.place, lahja.Limits{Resume: -1})
	}
	return lahja.Connect(s.ctx, name, s.place)
}

// pair attaches the two endpoints "a" and "b".
func (s *stage) pair() (a, b *lahja.Endpoint) {
	s.Helper()
	attach := func(i int, name string) *lahja.Endpoint {
		if s.pairs[i] {
			return s.connect(name)
		}
		return s.own(name)
	}
	return attach(0, "a"), attach(1, "b")
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wantErr checks that err is target, as errors.Is finds it.
func (s *stage) wantErr(err, target error) {
	s.Helper()
	if !errors.Is(err, target) {
		s.Fatalf("the error is %v, and not %q", err, target)
	}
}

// until waits until cond is true of what ep sees of the bus.
func (s *stage) until(ep *lahja.Endpoint, cond func(lahja.Peers) bool) {
	s.Helper()
	if err := ep.WaitUntil(s.ctx, cond); err != nil {
		peers, _ := ep.Peers(context.Background())
		s.Fatalf("waiting at %q: %v; it sees %v", ep.Name(), err, peers)
	}
}

// beside runs f beside the test, which ends when f has returned.
func beside[T any](s *stage, f func() T) <-chan T {
	result := make(chan T, 1)
	s.group.Go(func() { result <- f() })
	return result
}

// take receives from c what must be there, or come.
func take[T any](s *stage, c <-chan T) T {
	s.Helper()
	select {
	case v, open := <-c:
		if !open {
			s.Fatalf("the channel of %T is closed", v)
		}
		return v
	case <-s.ctx.Done():
	}
	var v T
	s.Fatalf("no %T has come", v)
	return v
}

// takeEnd checks that c is closed, or will be, with nothing left in it.
func takeEnd[T any](s *stage, c <-chan T) {
	s.Helper()
	select {
	case v, open := <-c:
		if open {
			s.Fatalf("%+v has come, where nothing more was to come", v)
		}
	case <-s.ctx.Done():
		s.Fatalf("the channel of %T is not closed", *new(T))
	}
}

// say broadcasts, which must work.
func say[T any](s *stage, from *lahja.Endpoint, value T, opts ...lahja.BroadcastOption) {
	s.Helper()
	if err := lahja.Broadcast(s.ctx, from, value, opts...); err != nil {
		s.Fatalf("broadcasting %+v from %q: %v", value, from.Name(), err)
	}
}

// hear checks that the next events of c have these values.
func hear[T comparable](s *stage, c <-chan lahja.Event[T], values ...T) (last lahja.Event[T]) {
	s.Helper()
	for _, want := range values {
		if last = take(s, c); last.Value != want {
			s.Fatalf("%+v has come, and not %+v", last, want)
		}
	}
	return last
}

// not is the opposite of a condition.
func not(cond func(lahja.Peers) bool) func(lahja.Peers) bool {
	return func(p lahja.Peers) bool { return !cond(p) }
}

// The events of these tests.
type (
	item     struct{ N int }
	other    struct{ N int }
	question struct{ N int }
	answer   struct{ N int }
)

// wires remembers the connections that were dialled, in order.
type wires struct {
	mu  sync.Mutex // guards all
	all []lahja.Conn
}

// severable is a transport whose connections can be cut.
type severable struct {
	lahja.Transport
	wires *wires
}

func (t *severable) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := t.Transport.Dial(ctx)
	if err == nil {
		t.wires.mu.Lock()
		t.wires.all = append(t.wires.all, c)
		t.wires.mu.Unlock()
	}
	return c, err
}

// Redials says what the wrapped transport does.
func (t *severable) Redials() bool {
	again, ok := t.Transport.(lahja.Redialer)
	return ok && again.Redials()
}

// cutLast cuts the connection that was dialled last, as the death of its process would.
func (w *wires) cutLast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all[len(w.all)-1].Close()
}
