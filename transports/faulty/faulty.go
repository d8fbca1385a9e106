// Package faulty makes any transport break, to test what a program does then.
//
//	wire := faulty.New(memory.New(), seed, func(n int, random *rand.Rand) []faulty.Fault {
//		if n > 3 {
//			return nil // no faults from the fourth connection on
//		}
//		return []faulty.Fault{faulty.CutAt(faulty.Out, random.Int64N(32<<10), faulty.Reset)}
//	})
//	go bus.Serve(ctx, wire)
//	ep, err := lahja.Connect(ctx, "worker", wire)
//
// A plan says what happens to each connection, by its number and at which byte of it; so a fault
// can be put inside the handshake of the first connection or inside the resume of the second. A
// test that wants a fault at a moment of its own calls [Transport.Cut], [Transport.Stall],
// [Transport.Swallow] or [Transport.Refuse].
//
// # Where the faults are
//
// Connections get their faults at the end that dials: both directions pass there. Listen returns
// the Listener of the wrapped transport as it is, so one Transport serves both ends, and each
// connection has its faults once. Where only the accepting end can be reached, [Transport.Listener]
// and [Transport.Conn] put them there. [Out] always is the direction away from the end that has
// the faults.
//
// # Repeating a run
//
// What a plan draws from its random numbers depends on the seed and the connection's number alone,
// and what it plans happens at the bytes that it names. A failing test prints the Transport, which
// tells the seed and what was injected:
//
//	t.Cleanup(func() {
//		if t.Failed() {
//			t.Log(wire)
//		}
//	})
//
// # Without an operating system
//
// Over package memory everything works inside a [testing/synctest] bubble. Each connection has one
// goroutine, which has ended when Close returns, with the one exception that Swallow names.
package faulty

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/lahja-go/lahja"
)

// Plan says which faults the n-th connection has; the first is 1. The numbers of random depend on
// the seed and n alone. Calls are not concurrent.
type Plan func(n int, random *rand.Rand) []Fault

// Transport is a transport with faults. It implements [lahja.Transport]; all its methods may be
// called concurrently.
type Transport struct {
	inner lahja.Transport
	seed  uint64

	planning sync.Mutex // held while plan is called; before mu
	plan     Plan       // nil: no faults
	made     int        // how many connections there were

	mu       sync.Mutex // guards what follows
	conns    map[*conn]struct{}
	stalled  Direction // of connections made from now on
	swallows Direction // the same
	refuses  bool
	journal

	// Counted where a lock for the sake of a figure would cost too much, or is another one.
	out, in, swallowed, stalls atomic.Uint64
}

var _ lahja.Redialer = (*Transport)(nil)

// New returns a transport that connects as inner does, with the faults that plan says; none if plan
// is nil. Any seed is as good as another; the same one repeats a run.
func New(inner lahja.Transport, seed uint64, plan Plan) *Transport {
	return &Transport{inner: inner, seed: seed, plan: plan, conns: map[*conn]struct{}{}}
}

// Dial connects by the wrapped transport. The connection has the faults that the plan says.
func (t *Transport) Dial(ctx context.Context) (lahja.Conn, error) {
	t.mu.Lock()
	refuses := t.refuses
	if refuses {
		t.stats.Refused++
	}
	t.mu.Unlock()
	if refuses {
		return nil, errRefused
	}
	c, err := t.inner.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return t.Conn(c), nil
}

// Listen listens by the wrapped transport. Its connections are as they come: they have their
// faults where they are dialled.
func (t *Transport) Listen(ctx context.Context) (lahja.Listener, error) {
	return t.inner.Listen(ctx)
}

// Redials reports whether the wrapped transport says that a connection that broke can be dialled
// again.
func (t *Transport) Redials() bool {
	inner, ok := t.inner.(interface{ Redials() bool })
	return ok && inner.Redials()
}

// Listener returns l with faults in each connection that it accepts. It is for diallers that are
// out of reach, in another process for instance; Out is then towards them.
func (t *Transport) Listener(l lahja.Listener) lahja.Listener {
	return &listener{l, t}
}

type listener struct {
	lahja.Listener
	place *Transport
}

// Accept implements [lahja.Listener].
func (l *listener) Accept() (lahja.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.place.Conn(c), nil
}

// Conn returns c with the faults that the plan says of the next connection. c is closed with it.
func (t *Transport) Conn(c lahja.Conn) lahja.Conn {
	t.planning.Lock()
	t.made++
	number := t.made
	var faults []Fault
	if t.plan != nil {
		faults = t.plan(number, t.random(number, 0))
	}
	t.planning.Unlock()
	made := newConn(t, number, c, faults)
	t.mu.Lock()
	t.stats.Connections++
	t.conns[made] = struct{}{}
	made.mu.Lock()
	made.out.holdLocked(t.stalled, t.swallows)
	made.in.holdLocked(t.stalled, t.swallows)
	made.mu.Unlock()
	t.mu.Unlock()
	made.out.reach()
	made.in.reach()
	go made.pump()
	return made
}

// random returns numbers of a connection, for one of several uses.
func (t *Transport) random(number int, use uint64) *rand.Rand {
	return rand.New(rand.NewPCG(t.seed, uint64(number)<<8|use))
}

// Cut ends all connections that are open now, and returns how many that were. With [Reset] both
// ends get an error at once and what was under way is lost. With [Hangup] each end still reads
// what had reached it and then io.EOF.
func (t *Transport) Cut(how Ending) int {
	cut := 0
	for _, c := range t.live() {
		if c.cut(how) {
			t.record("connection %d: %v by Cut, after %v", c.number, how, c.passed())
			cut++
		}
	}
	return cut
}

// Stall holds up everything in the direction, of the connections there are and of those to come,
// until Resume is called. Nothing is lost; Read or Write waits, until Resume or Close.
func (t *Transport) Stall(d Direction) {
	check("Stall", d, 0)
	t.hold(d, 0)
}

// Swallow makes everything vanish in the direction, of the connections there are and of those to
// come, until Resume is called: Write succeeds, and nothing arrives. Not even a Close does. While
// Out is swallowed, the other end of a connection that was closed here is told nothing: what it
// sends is read by a goroutine and thrown away, until it closes, or Resume or Cut is called.
func (t *Transport) Swallow(d Direction) {
	check("Swallow", d, 0)
	t.hold(0, d)
}

func (t *Transport) hold(stalled, swallows Direction) {
	t.mu.Lock()
	t.stalled |= stalled
	t.swallows |= swallows
	t.mu.Unlock()
	t.record("Stall %v, Swallow %v, with %d connections", stalled, swallows, len(t.live()))
	for _, c := range t.live() {
		c.mu.Lock()
		c.out.holdLocked(stalled, swallows)
		c.in.holdLocked(stalled, swallows)
		c.mu.Unlock()
	}
}

// Resume ends what Stall and Swallow, and the plan's stalls, have begun, and closes the connections
// whose Close was swallowed. Only where bytes were swallowed on a connection it stays as it is: no
// wire loses some and delivers the next.
func (t *Transport) Resume() {
	t.mu.Lock()
	t.stalled, t.swallows = 0, 0
	t.mu.Unlock()
	t.record("Resume")
	for _, c := range t.live() {
		c.resume(Both)
		c.release()
	}
}

// Refuse makes every Dial fail, with an error that matches [syscall.ECONNREFUSED], until it is
// called again with false. Connections that there are go on.
func (t *Transport) Refuse(on bool) {
	t.mu.Lock()
	t.refuses = on
	t.mu.Unlock()
	t.record("Refuse %v", on)
}

// live returns the connections that are not closed, and those whose end the other side does not
// know of.
func (t *Transport) live() []*conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*conn, 0, len(t.conns))
	for c := range t.conns {
		list = append(list, c)
	}
	return list
}

func (t *Transport) forget(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
}

var errRefused = fmt.Errorf("faulty: dial: refused, as Refuse was told: %w", syscall.ECONNREFUSED)
