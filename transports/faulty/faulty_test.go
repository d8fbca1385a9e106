package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/transporttest"
)

func TestMain(m *testing.M) { transporttest.Main(m) }

// planned is the plan in which every connection has these faults.
func planned(faults ...faulty.Fault) faulty.Plan {
	return func(int, *rand.Rand) []faulty.Fault { return faults }
}

// Without faults, and with those that only take time, it is as good a transport as the wrapped one.
func TestTransport(t *testing.T) {
	for name, faults := range map[string][]faulty.Fault{
		"no faults": nil,
		"delayed":   {faulty.Delay(faulty.Both, 20*time.Microsecond)},
		"stalled":   {faulty.StallAt(faulty.Both, 1, time.Millisecond)},
		"split":     {faulty.Split(faulty.Both, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, faulty.New(memory.New(), 1, planned(faults...)))
		})
	}
}

// So are connections that come from elsewhere, with the faults at both ends.
func TestConn(t *testing.T) {
	place := pipe.Loopback()
	wire := faulty.New(place, 1, planned(faulty.Split(faulty.Both, 1000)))
	transporttest.RunConn(t, func() (a, b lahja.Conn, err error) {
		l, err := place.Listen(t.Context())
		if err != nil {
			return nil, nil, err
		}
		defer l.Close()
		a, err = place.Dial(t.Context())
		if err != nil {
			return nil, nil, err
		}
		b, err = wire.Listener(l).Accept()
		return wire.Conn(a), b, err
	})
}

// dial connects a to b, with the faults at a.
func dial(t testing.TB, wire *faulty.Transport) (a, b lahja.Conn) {
	t.Helper()
	l, err := wire.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = wire.Dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// over makes a connection of memory with the faults.
func over(t testing.TB, faults ...faulty.Fault) (wire *faulty.Transport, a, b lahja.Conn) {
	t.Helper()
	wire = faulty.New(memory.New(), 1, planned(faults...))
	a, b = dial(t, wire)
	return wire, a, b
}

func mustWrite(t testing.TB, c lahja.Conn, text string) {
	t.Helper()
	if n, err := io.WriteString(c, text); n != len(text) || err != nil {
		t.Fatalf("Write took %d of %d bytes: %v", n, len(text), err)
	}
}

// wantRead reads as many bytes as want has.
func wantRead(t testing.TB, c lahja.Conn, want string) {
	t.Helper()
	p := make([]byte, len(want))
	if n, err := io.ReadFull(c, p); string(p[:n]) != want || err != nil {
		t.Fatalf("read %q, %v, want %q", p[:n], err, want)
	}
}

func wantEnd(t testing.TB, c lahja.Conn, want error) {
	t.Helper()
	if n, err := c.Read(make([]byte, 9)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("Read: %d bytes, %v, want %v", n, err, want)
	}
}

// A reset comes to both ends at once, and what is under way is lost.
func TestCutReset(t *testing.T) {
	for name, place := range map[string]lahja.Transport{
		"memory": memory.New(), "pipe": pipe.Loopback(),
	} {
		t.Run(name, func(t *testing.T) {
			wire := faulty.New(place, 1, nil)
			a, b := dial(t, wire)
			mustWrite(t, a, "lost")
			mustWrite(t, b, "lost")
			if n := wire.Cut(faulty.Reset); n != 1 {
				t.Fatalf("Cut = %d, want 1", n)
			}
			for _, c := range []lahja.Conn{a, b} {
				wantEnd(t, c, syscall.ECONNRESET)
				if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("Write: %v, want ECONNRESET", err)
				}
			}
			if n := wire.Cut(faulty.Reset); n != 0 {
				t.Errorf("the second Cut = %d, want 0", n)
			}
		})
	}
}

// Over TCP the other end, which may be another process, gets a real one.
func TestCutResetTCP(t *testing.T) {
	l, err := tcp.New("127.0.0.1:0").Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wire := faulty.New(tcp.New(l.Addr()), 1, nil)
	a, err := wire.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	mustWrite(t, b, "arrives")
	wantRead(t, a, "arrives")
	wire.Cut(faulty.Reset)
	wantEnd(t, a, syscall.ECONNRESET)
	wantEnd(t, b, syscall.ECONNRESET)
}

// With a hangup what has passed still arrives.
func TestCutHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, a, b := over(t)
		mustWrite(t, a, "there")
		mustWrite(t, b, "back")
		synctest.Wait()
		wire.Cut(faulty.Hangup)
		wantRead(t, a, "back")
		wantEnd(t, a, io.EOF)
		wantRead(t, b, "there")
		wantEnd(t, b, io.EOF)
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write: %v, want EPIPE", err)
		}
	})
}

// Cut unblocks what waits, at both ends.
func TestCutUnblocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, a, b := over(t)
		failed := make(chan error)
		for _, c := range []lahja.Conn{a, b} {
			go func() {
				_, err := io.Copy(c, endless{})
				failed <- err
			}()
		}
		synctest.Wait()
		wire.Cut(faulty.Reset)
		for range 2 {
			if err := <-failed; !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Write: %v, want ECONNRESET", err)
			}
		}
	})
}

// endless is a source of zeros.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The plan is asked for each connection by its number, and given the same random numbers again.
func TestPlan(t *testing.T) {
	drawn := func(seed uint64) string {
		var list []string
		wire := faulty.New(memory.New(), seed, func(n int, random *rand.Rand) []faulty.Fault {
			list = append(list, fmt.Sprint(n, random.Uint64()))
			return nil
		})
		for range 3 {
			dial(t, wire)
		}
		return strings.Join(list, "; ")
	}
	if a, b := drawn(7), drawn(7); a != b {
		t.Errorf("one seed, two plans: %s and %s", a, b)
	}
	if a, b := drawn(7), drawn(8); a == b {
		t.Errorf("two seeds, one plan: %s", a)
	}
	if !strings.HasPrefix(drawn(7), "1 ") {
		t.Errorf("the first connection is not 1: %s", drawn(7))
	}
}

func TestRefuse(t *testing.T) {
	wire, _, _ := over(t)
	wire.Refuse(true)
	if _, err := wire.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial: %v, want ECONNREFUSED", err)
	}
	wire.Refuse(false)
	dial(t, wire)
	if got := wire.Stats().Refused; got != 1 {
		t.Errorf("Stats().Refused = %d, want 1", got)
	}
}

// unlike is a transport that says whether it can be dialled again.
type unlike struct {
	lahja.Transport
	redials bool
}

func (u unlike) Redials() bool { return u.redials }

func TestRedials(t *testing.T) {
	for _, c := range []struct {
		inner lahja.Transport
		want  bool
	}{
		{unlike{redials: true}, true}, {unlike{redials: false}, false}, {pipe.Loopback(), false},
	} {
		if got := faulty.New(c.inner, 1, nil).Redials(); got != c.want {
			t.Errorf("Redials() over %T = %v, want %v", c.inner, got, c.want)
		}
	}
}

// What is wrapped shows through.
func TestErrorsAndIdentity(t *testing.T) {
	wire := faulty.New(memory.New(), 1, nil)
	if _, err := wire.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial where nobody listens: %v, want ECONNREFUSED", err)
	}
	a, b := dial(t, wire)
	if got := a.Identity().Transport; got != "memory" {
		t.Errorf("Identity().Transport = %q, want memory", got)
	}
	l, err := wire.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := wire.Listener(l).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
	}
	b.Close()
	wantEnd(t, a, io.EOF)
	a.Close()
	wantEnd(t, a, net.ErrClosed)
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v, want net.ErrClosed", err)
	}
}

// attachable remembers who was attached.
type attachable struct {
	lahja.Conn
	name string
}

func (a *attachable) Attached(name string) { a.name = name }

func TestAttached(t *testing.T) {
	wire, a, b := over(t)
	inner := &attachable{Conn: b}
	wire.Conn(inner).(lahja.AttachedConn).Attached("worker")
	if inner.name != "worker" {
		t.Errorf("Attached told %q, want worker", inner.name)
	}
	a.(lahja.AttachedConn).Attached("nobody wants to know")
}

// An attempt to attach that is cut after any byte of its handshake fails with an error and leaves
// nothing behind; the next one succeeds.
func TestCutHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, bus, place := t.Context(), lahja.NewBus(), memory.New()
		defer bus.Close()
		l, err := place.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go bus.ServeListener(ctx, l)
		out, in := handshake(t, ctx, place)
		t.Logf("the handshake is %d bytes out and %d in", out, in)
		for d, length := range map[faulty.Direction]uint64{faulty.Out: out, faulty.In: in} {
			for at := range int64(length) {
				for _, how := range []faulty.Ending{faulty.Reset, faulty.Hangup} {
					cutHandshake(t, ctx, place, faulty.CutAt(d, at, how))
				}
			}
		}
	})
}

// handshake says how many bytes it takes to attach.
func handshake(t *testing.T, ctx context.Context, place lahja.Transport) (out, in uint64) {
	t.Helper()
	wire := faulty.New(place, 1, nil)
	ep, err := lahja.Connect(ctx, "worker", wire)
	if err != nil {
		t.Fatal(err)
	}
	stats := wire.Stats()
	ep.Close()
	return stats.Out, stats.In
}

func cutHandshake(t *testing.T, ctx context.Context, place lahja.Transport, cut faulty.Fault) {
	t.Helper()
	wire := faulty.New(place, 1, func(n int, _ *rand.Rand) []faulty.Fault {
		if n == 1 {
			return []faulty.Fault{cut}
		}
		return nil
	})
	if ep, err := lahja.Connect(ctx, "worker", wire); err == nil {
		ep.Close()
		t.Fatalf("attached in spite of: %v", cut)
	}
	synctest.Wait()
	ep, err := lahja.Connect(ctx, "worker", wire)
	if err != nil {
		t.Fatalf("after %v: %v\n%v", cut, err, wire)
	}
	ep.Close()
}
