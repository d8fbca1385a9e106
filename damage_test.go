package lahja_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// damageRounds make a session that is long enough to have everything in it.
const damageRounds = 6

// damages are sessions of which a byte was changed, and what came of that.
type damages struct {
	*testing.T
	flaws             flaws
	sessions, changed int
	slowest           time.Duration // until a change was found
	begun             time.Time
	random            *rand.Rand
}

func newDamages(t *testing.T) *damages {
	return &damages{T: t, begun: time.Now(), random: rand.New(rand.NewPCG(1, 2))}
}

// tenWays are what a byte is changed by: each of its bits, all of them, and some of them.
func (s *damages) tenWays() (masks []byte) {
	for bit := range 8 {
		masks = append(masks, 1<<bit)
	}
	masks = append(masks, 0xff)
	for {
		if other := byte(1 + s.random.IntN(255)); !slices.Contains(masks, other) {
			return append(masks, other)
		}
	}
}

// change has sessions of which a byte of a connection is changed, in ten ways each.
func (s *damages) change(
	size int64, step int64, d faulty.Direction, connection int, before ...faulty.Fault,
) {
	for at := int64(0); at < size && !s.Failed(); at += step {
		for _, mask := range s.tenWays() {
			s.run(faulty.FlipAt(d, at, mask), connection, before, &observed{dir: d, at: at})
		}
	}
}

// run has a session with a fault of one of its connections; that before has others.
func (s *damages) run(
	fault faulty.Fault, connection int, before []faulty.Fault, door *observed,
) {
	plan := func(n int, _ *rand.Rand) []faulty.Fault {
		switch {
		case n == connection:
			return []faulty.Fault{fault}
		case n < connection:
			return before
		}
		return nil
	}
	limits := lahja.Limits{Heartbeat: 2 * time.Second}
	cross(s.T, limits, plan, func(c *crossing) {
		served := c.listenAlone()
		door.Transport, door.connection = c.wire, connection
		f, errs := c.recite(damageRounds, door)
		s.sessions++
		s.flaws.add(f)
		if f != (flaws{}) {
			c.Errorf("%v: %+v", fault, f)
		}
		if c.wire.Stats().Flipped == 0 {
			return // the session was shorter this time
		}
		s.changed++
		if door.dir == faulty.Out {
			errs = served()
		}
		if !slices.ContainsFunc(errs, isDamage) {
			c.Errorf("%v: no error says so: %q", fault, errs)
		}
		took := door.ended.Sub(door.changed)
		s.slowest = max(s.slowest, took)
		if door.ended.IsZero() || took > limits.Heartbeat {
			c.Errorf("%v: found after %v (%v, %v)", fault, took, door.changed, door.ended)
		}
	})
}

func isDamage(err error) bool { return errors.Is(err, lahja.ErrProtocol) }

func (s *damages) report() {
	s.Helper()
	s.Logf("%d of %d sessions with a changed byte, the latest found after %v, in %v: %+v",
		s.changed, s.sessions, s.slowest, time.Since(s.begun).Round(time.Millisecond), s.flaws)
	if s.changed < s.sessions*9/10 {
		s.Errorf("only %d of %d sessions were damaged", s.changed, s.sessions)
	}
}

// Whatever byte of a session is changed in whatever way: no event is wrong or missing, the change
// is found within a heartbeat, and the side that finds it closes the connection and says why.
func TestEveryByteChanged(t *testing.T) {
	out, in := recitalSize(t, damageRounds)
	t.Logf("a session of %d bytes out and %d in", out, in)
	s := newDamages(t)
	s.change(out, every(1, 499), faulty.Out, 1)
	s.change(in, every(1, 499), faulty.In, 1)
	s.report()
}

// The same of the handshake in which a session is resumed, and of what follows it.
func TestEveryByteOfAResumeChanged(t *testing.T) {
	const size = 300
	s := newDamages(t)
	cut := faulty.CutAt(faulty.Both, 1000, faulty.Reset)
	s.change(size, every(1, 37), faulty.Out, 2, cut)
	s.change(size, every(1, 37), faulty.In, 2, cut)
	s.report()
}

// Where connections are not resumed a changed byte ends the session, with an error that says so at
// the side which finds it; what has come before is as it should be.
func TestByteChangedWithoutResume(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
		changed := 0
		for at := int64(60); at < 1500; at += every(1, 41) {
			fault := faulty.FlipAt(d, at, byte(1+random.IntN(255)))
			plan := func(int, *rand.Rand) []faulty.Fault { return []faulty.Fault{fault} }
			cross(t, lahja.Limits{Resume: -1}, plan, func(c *crossing) {
				changed += c.ends(fault, d)
			})
		}
		t.Logf("%v: %d sessions with a changed byte", d, changed)
		if changed < 10 {
			t.Errorf("%v: only %d sessions were damaged", d, changed)
		}
	}
}

// ends talks until the endpoint has ended because of the fault, and returns how many bytes were
// changed.
func (c *crossing) ends(fault faulty.Fault, d faulty.Direction) (changed int) {
	served := c.listenAlone()
	ep, err := lahja.Connect(c.ctx, "far", c.wire)
	if err != nil { // the handshake was damaged
		if !isDamage(err) && !errors.Is(err, lahja.ErrSessionLost) {
			c.Errorf("%v: %v", fault, err)
		}
		return int(c.wire.Stats().Flipped)
	}
	up := lahja.Stream[item](c.ctx, c.own, lahja.From("far"))
	down := lahja.Stream[item](c.ctx, ep, lahja.From("own"))
	for n := range 30 {
		for _, from := range []*lahja.Endpoint{ep, c.own} {
			if err := lahja.Broadcast(c.ctx, from, item{n}); err != nil && from == c.own {
				c.Errorf("%v: %v", fault, err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case <-ep.Done():
	case <-time.After(time.Minute):
		c.Fatalf("%v: the endpoint lives on: %v", fault, c.wire)
	}
	synctest.Wait()
	errs := []error{ep.Err()}
	if d == faulty.Out {
		errs = served()
	}
	if !slices.ContainsFunc(errs, isDamage) {
		c.Errorf("%v: no error says so: %q", fault, errs)
	}
	c.stopBus()
	for _, events := range []<-chan lahja.Event[item]{up, down} {
		n := 0
		for ev := range events {
			if ev.Value.N != n {
				c.Errorf("%v: %d comes, where %d was due", fault, ev.Value.N, n)
			}
			n++
		}
	}
	return int(c.wire.Stats().Flipped)
}

// listenAlone has the bus serve each connection by itself; served returns how they ended.
func (c *crossing) listenAlone() (served func() []error) {
	c.stopBus()
	var mu sync.Mutex
	var errs []error
	c.serve = func(b *lahja.Bus, l lahja.Listener) error {
		var conns sync.WaitGroup
		defer conns.Wait()
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err != nil {
				return err
			}
			conns.Go(func() {
				if err := b.ServeConn(c.ctx, conn); err != nil {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
				}
			})
		}
	}
	c.startBus()
	return func() []error {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(errs)
	}
}

// observed notes when a byte of a connection passes, and when that connection ends.
type observed struct {
	lahja.Transport
	connection int // the first is 1
	dir        faulty.Direction
	at         int64

	mu             sync.Mutex // guards what follows
	dialled        int
	changed, ended time.Time
}

func (o *observed) Redials() bool { return true }

func (o *observed) Dial(ctx context.Context) (lahja.Conn, error) {
	o.mu.Lock()
	o.dialled++
	number := o.dialled
	o.mu.Unlock()
	if number > 1 {
		time.Sleep(time.Millisecond) // in the bubble: the state is seen
	}
	c, err := o.Transport.Dial(ctx)
	if err != nil || number != o.connection {
		return c, err
	}
	return &observedConn{Conn: c, to: o}, nil
}

type observedConn struct {
	lahja.Conn
	to      *observed
	out, in int64
}

func (c *observedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in += int64(n)
	c.to.note(faulty.In, c.in, err)
	return n, err
}

func (c *observedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out += int64(n)
	c.to.note(faulty.Out, c.out, nil)
	return n, err
}

func (c *observedConn) Close() error {
	c.to.note(0, 0, net.ErrClosed)
	return c.Conn.Close()
}

func (o *observed) note(d faulty.Direction, position int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d == o.dir && position > o.at && o.changed.IsZero() {
		o.changed = time.Now()
	}
	if err != nil && o.ended.IsZero() {
		o.ended = time.Now()
	}
}
