package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// The tests of this file and of its neighbours break connections, and processes.

// crossing is a bus and endpoints that reach it over a wire that breaks, in a bubble.
type crossing struct {
	testing.TB
	ctx      context.Context
	wire     *faulty.Transport
	calm     lahja.Transport // to the same bus, without faults
	opts     []lahja.BusOption
	serve    func(*lahja.Bus, lahja.Listener) error
	bus      *lahja.Bus
	listener lahja.Listener
	own      *lahja.Endpoint // in the bus's process
	serving  sync.WaitGroup
}

// cross calls test in a bubble with a bus of these limits.
func cross(t *testing.T, limits lahja.Limits, plan faulty.Plan, test func(*crossing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		calm := memory.New()
		c := &crossing{
			TB: t, ctx: t.Context(), wire: faulty.New(calm, 1, plan), calm: calm,
			opts: []lahja.BusOption{limits},
		}
		c.serve = func(b *lahja.Bus, l lahja.Listener) error { return b.ServeListener(c.ctx, l) }
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(c.wire)
			}
		})
		c.startBus()
		defer c.stopBus()
		test(c)
	})
}

func (c *crossing) startBus() {
	c.Helper()
	l, err := c.wire.Listen(c.ctx)
	if err != nil {
		c.Fatal(err)
	}
	c.bus, c.listener = lahja.NewBus(c.opts...), l
	if c.own, err = c.bus.Endpoint("own"); err != nil {
		c.Fatal(err)
	}
	bus := c.bus
	c.serving.Go(func() {
		if err := c.serve(bus, l); err != nil {
			c.Error(err)
		}
	})
}

func (c *crossing) stopBus() {
	c.bus.Close()
	c.listener.Close()
	c.serving.Wait()
}

// crashBus ends the bus without a word to the endpoints.
func (c *crossing) crashBus() {
	c.wire.Stall(faulty.In)
	c.stopBus()
	c.wire.Cut(faulty.Reset)
	c.wire.Resume()
}

func (c *crossing) connect(name string) *lahja.Endpoint {
	c.Helper()
	ep, err := lahja.Connect(c.ctx, name, c.wire)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { ep.Close() })
	return ep
}

// state waits for a state of ep that f accepts.
func (c *crossing) state(ep *lahja.Endpoint, f func(lahja.State) bool) (s lahja.State) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	for s = range ep.WatchState(ctx) {
		if f(s) {
			return s
		}
	}
	c.Fatalf("the state is %+v", s)
	return s
}

func broken(s lahja.State) bool { return !s.Connected }

func restarted(n uint64) func(lahja.State) bool {
	return func(s lahja.State) bool { return s.Connected && s.Restarts == n }
}

func resumed(n uint64) func(lahja.State) bool {
	return func(s lahja.State) bool { return s.Connected && s.Resumes == n }
}

// next takes an event.
func next[T any](c *crossing, events <-chan lahja.Event[T]) lahja.Event[T] {
	c.Helper()
	select {
	case ev, open := <-events:
		if !open {
			c.Fatalf("the channel of %s is closed", lahja.EventName[T]())
		}
		return ev
	case <-time.After(time.Minute):
		c.Fatalf("no %s comes", lahja.EventName[T]())
	}
	panic("unreachable")
}

func nothing[T any](c *crossing, events <-chan lahja.Event[T]) {
	c.Helper()
	synctest.Wait()
	select {
	case ev, open := <-events:
		c.Fatalf("%+v comes, %v", ev, open)
	default:
	}
}

// toldOnce checks that both sides have logged the loss of an endpoint's session once, and how many
// events each has perhaps lost with it.
func (c *crossing) toldOnce(log records, endpoint string, atEndpoint, atBus int64) {
	c.Helper()
	synctest.Wait()
	told := map[string][]int64{}
	for len(log) > 0 {
		if r := <-log; attribute(r, "endpoint").String() == endpoint {
			told[r.Message] = append(told[r.Message], attribute(r, "events").Int64())
		}
	}
	for message, want := range map[string]int64{
		"lahja: the session with the bus is lost, and perhaps events":          atEndpoint,
		"lahja: an endpoint's session was lost; events for it may be lost too": atBus,
	} {
		if got := told[message]; !slices.Equal(got, []int64{want}) {
			c.Errorf("%q is logged with %d events, where %d is due", message, got, want)
		}
	}
}

func (c *crossing) broadcast(ep *lahja.Endpoint, n int, opts ...lahja.BroadcastOption) {
	c.Helper()
	if err := lahja.Broadcast(c.ctx, ep, item{n}, opts...); err != nil {
		c.Fatal(err)
	}
}

// What is broadcast while a connection is broken arrives in order, once, when it is resumed; and so
// does what was on its way. Nothing shows that there was anything.
func TestCutIsResumed(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		ep := c.connect("far")
		down := lahja.Stream[item](c.ctx, ep, lahja.From("far"))
		fromOwn := lahja.Stream[item](c.ctx, ep, lahja.From("own"))
		up := lahja.Stream[item](c.ctx, c.own, lahja.From("far"))
		sent := 0
		for cut := range uint64(20) {
			c.wire.Refuse(true)
			c.broadcast(ep, sent)
			c.wire.Cut(faulty.Ending(cut % 2))
			if s := c.state(ep, broken); s.Err == nil {
				c.Errorf("the state is %+v", s)
			}
			var sending sync.WaitGroup
			sending.Go(func() { c.broadcast(ep, sent+1) }) // waits for a window, perhaps
			c.broadcast(c.own, sent+1, lahja.To("far"))
			synctest.Wait()
			c.wire.Refuse(false)
			c.state(ep, resumed(cut+1))
			for n := range 2 {
				for _, events := range []<-chan lahja.Event[item]{up, down} {
					ev := next(c, events)
					if ev.Value.N != sent+n || ev.Origin != "far" || ev.Gap() {
						c.Fatalf("cut %d: got %+v, where %d was due", cut, ev, sent+n)
					}
				}
			}
			if ev := next(c, fromOwn); ev.Value.N != sent+1 || ev.Gap() {
				c.Fatalf("cut %d: got %+v", cut, ev)
			}
			sending.Wait()
			sent += 2
		}
		nothing(c, up)
		nothing(c, down)
		nothing(c, fromOwn)
	})
}

// A request that is under way when the connection breaks is answered once, by one handler call.
func TestRequestOverACut(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		asks, answers := c.connect("asks"), c.connect("answers")
		var handled sync.Map
		_, err := lahja.Handle(c.ctx, answers,
			func(ctx context.Context, ev lahja.Event[question]) (answer, error) {
				if _, twice := handled.LoadOrStore(ev.Value.N, true); twice {
					c.Errorf("question %d is handled twice", ev.Value.N)
				}
				time.Sleep(50 * time.Millisecond) // in the bubble
				return answer{2 * ev.Value.N}, ctx.Err()
			}, lahja.Concurrency(100))
		if err != nil {
			c.Fatal(err)
		}
		var asking sync.WaitGroup
		for n := range 100 {
			asking.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond)
				a, err := lahja.Request[question, answer](c.ctx, asks, question{n})
				if err != nil || a.N != 2*n {
					c.Errorf("question %d: %v, %v", n, a, err)
				}
			})
		}
		for range 15 {
			time.Sleep(10 * time.Millisecond)
			c.wire.Cut(faulty.Reset)
		}
		asking.Wait()
	})
}

// When the bus has been restarted its endpoints come back by themselves, with what they subscribe
// to and retain; what is lost is told, once.
func TestBusRestarts(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		far, other := c.connect("far"), c.connect("other")
		items := lahja.Stream[item](c.ctx, far)
		grouped := lahja.Stream[question](c.ctx, far, lahja.Group("g"))
		c.broadcast(other, 1)
		c.broadcast(other, 2, lahja.RetainKey("a"))
		c.broadcast(other, 3, lahja.RetainKey("b"))
		for n := range 3 {
			if ev := next(c, items); ev.Value.N != n+1 || ev.Gap() {
				c.Fatalf("got %+v", ev)
			}
		}
		time.Sleep(time.Second) // all is confirmed
		c.crashBus()
		c.state(far, broken)
		c.state(other, broken)
		c.broadcast(other, 4) // the session takes it, and is lost
		c.startBus()
		for ep, lost := range map[*lahja.Endpoint]uint64{far: 0, other: 1} {
			if s := c.state(ep, restarted(1)); s.Resumes != 0 || s.Lost != lost || s.Err != nil {
				c.Errorf("the state of %q is %+v", ep.Name(), s)
			}
		}
		late := make(chan error, 1)
		kept := map[string]int{}
		for ev := range lahja.Stream[item](c.ctx, c.own, lahja.WithRetained(), lahja.Take(2)) {
			kept[ev.Key] = ev.Value.N
		}
		if fmt.Sprint(kept) != "map[a:2 b:3]" {
			c.Errorf("retained: %v", kept)
		}
		c.broadcast(c.own, 5)
		for gap := true; ; gap = false {
			ev := next(c, items)
			if ev.Gap() != gap {
				c.Errorf("got %+v, gap: %v", ev, ev.Gap())
			}
			if ev.Value.N == 5 {
				break
			}
		}
		go func() {
			_, err := lahja.Request[question, answer](c.ctx, other, question{7})
			late <- err
		}()
		if ev := next(c, grouped); ev.Value.N != 7 || !ev.Gap() {
			c.Errorf("got %+v", ev)
		} else if err := lahja.Reply(c.ctx, ev, answer{1}); err != nil {
			c.Error(err)
		}
		if err := <-late; err != nil {
			c.Error(err)
		}
	})
}

// A session that is not resumed within its window is lost: both ends learn it once, and the
// endpoint begins another.
func TestWindowIsOver(t *testing.T) {
	limits := lahja.Limits{Resume: 3 * time.Second}
	cross(t, limits, nil, func(c *crossing) {
		log := logRecords(c)
		ep := c.connect("far")
		items := lahja.Stream[item](c.ctx, ep)
		time.Sleep(time.Second) // all is confirmed
		c.wire.Refuse(true)
		c.wire.Cut(faulty.Reset)
		c.state(ep, broken)
		asked := make(chan error, 1)
		go func() {
			_, err := lahja.Request[question, answer](c.ctx, ep, question{1})
			asked <- err
		}()
		synctest.Wait()
		c.broadcast(ep, 1)
		c.broadcast(c.own, 2)
		begin := time.Now()
		if err := <-asked; !errors.Is(err, lahja.ErrSessionLost) {
			c.Errorf("the request ends with %v", err)
		}
		if took := time.Since(begin); took > limits.Resume {
			c.Errorf("that took %v", took)
		}
		err := c.own.WaitUntil(c.ctx, func(p lahja.Peers) bool { return !lahja.Present("far")(p) })
		if err != nil || time.Since(begin) > limits.Resume {
			c.Errorf("after %v it is gone: %v", time.Since(begin), err)
		}
		waits, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if err := lahja.Broadcast(waits, ep, item{3}); !errors.Is(err, context.DeadlineExceeded) {
			c.Errorf("a broadcast without a session: %v", err)
		}
		err = lahja.Broadcast(c.ctx, ep, item{3}, lahja.NoWait())
		if !errors.Is(err, lahja.ErrWouldBlock) {
			c.Errorf("one that does not wait: %v", err)
		}
		c.wire.Refuse(false)
		// The request and the broadcast were accepted, and have not arrived.
		if s := c.state(ep, restarted(1)); s.Lost != 2 || s.Resumes != 0 {
			c.Errorf("the state is %+v", s)
		}
		if ev := next(c, items); ev.Value.N != 1 || ev.Gap() { // its own, before
			c.Errorf("got %+v", ev)
		}
		c.broadcast(c.own, 5)
		c.broadcast(c.own, 6)
		for n := 5; n <= 6; n++ {
			if ev := next(c, items); ev.Value.N != n || ev.Gap() != (n == 5) {
				c.Errorf("got %+v, gap: %v", ev, ev.Gap())
			}
		}
		c.toldOnce(log, "far", 2, 1)
	})
}

// What is retained is said again in each session: one that ends before the bus has it has lost
// nothing of it.
func TestRetainedIsNotLost(t *testing.T) {
	var wire *faulty.Transport
	unlucky := false // is the next connection
	plan := func(int, *rand.Rand) []faulty.Fault {
		if !unlucky {
			return nil
		}
		unlucky = false
		wire.Refuse(true)
		return []faulty.Fault{faulty.CutAt(faulty.Out, 250, faulty.Reset)}
	}
	cross(t, lahja.Limits{Resume: time.Second}, plan, func(c *crossing) {
		wire = c.wire
		far := c.connect("far")
		for i := range 10 {
			c.broadcast(far, i, lahja.RetainKey(fmt.Sprint(i)))
		}
		time.Sleep(time.Second) // all is confirmed
		c.wire.Refuse(true)
		c.crashBus()
		lost := func(s lahja.State) bool { return errors.Is(s.Err, lahja.ErrSessionLost) }
		c.state(far, lost)
		c.startBus()
		unlucky = true
		c.wire.Refuse(false)
		time.Sleep(10 * time.Second) // the second session is begun, and lost
		c.wire.Refuse(false)
		s := c.state(far, restarted(2))
		if cuts := c.wire.Stats().Cut; cuts != 2 || s.Lost != 0 {
			c.Errorf("after %d cuts: %+v", cuts, s)
		}
		for range lahja.Stream[item](c.ctx, c.own, lahja.WithRetained(), lahja.Take(10)) {
		}
	})
}

// slowToClose is a transport whose connections take some time to close.
type slowToClose struct{ lahja.Transport }

func (slowToClose) Redials() bool { return true }

func (s slowToClose) Dial(ctx context.Context) (lahja.Conn, error) {
	conn, err := s.Transport.Dial(ctx)
	return slowConn{conn}, err
}

type slowConn struct{ lahja.Conn }

func (c slowConn) Close() error {
	defer time.Sleep(10 * time.Millisecond)
	return c.Conn.Close()
}

// slowLog is a log that takes some time to write.
type slowLog struct{ slog.Handler }

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (slowLog) Handle(context.Context, slog.Record) error {
	time.Sleep(20 * time.Millisecond) // more than the window, and less than Close waits for it
	return nil
}

// A window that is over before the connection is closed, and a log that is slow to take note of it,
// do not keep the endpoint from beginning another session.
func TestWindowIsOverAtOnce(t *testing.T) {
	limits := lahja.Limits{Resume: time.Millisecond, Heartbeat: time.Second}
	logTo(t, slowLog{slog.DiscardHandler})
	cross(t, limits, nil, func(c *crossing) {
		ep, err := lahja.Connect(c.ctx, "far", slowToClose{c.wire})
		if err != nil {
			c.Fatal(err)
		}
		defer ep.Close()
		c.wire.Swallow(faulty.In) // so that it is the endpoint that gives the connection up
		c.state(ep, broken)
		c.wire.Resume()
		c.state(ep, restarted(1))
	})
}

// An endpoint that is not connected closes within a second, whatever its state.
func TestCloseWhileBroken(t *testing.T) {
	for _, lost := range []bool{false, true} {
		cross(t, lahja.Limits{Resume: 3 * time.Second}, nil, func(c *crossing) {
			ep := c.connect("far")
			items := lahja.Stream[item](c.ctx, ep)
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			c.state(ep, broken)
			c.broadcast(ep, 1)
			if lost {
				time.Sleep(5 * time.Second)
			}
			waiting := make(chan error, 1)
			go func() {
				_, err := lahja.Request[question, answer](c.ctx, ep, question{1})
				waiting <- err
			}()
			synctest.Wait()
			begin := time.Now()
			ep.Close()
			if took := time.Since(begin); took > time.Second {
				c.Errorf("lost: %v: Close takes %v", lost, took)
			}
			if err := <-waiting; !errors.Is(err, lahja.ErrClosed) {
				c.Errorf("lost: %v: the request ends with %v", lost, err)
			}
			for range items {
			}
			<-ep.Done()
		})
	}
}

// A crashed process that starts again gets its name at once; one that lives keeps it.
func TestNameOfACrashed(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		first := c.connect("far")
		if _, err := lahja.Connect(c.ctx, "far", c.wire); !errors.Is(err, lahja.ErrNameTaken) {
			c.Fatalf("a live endpoint's name: %v", err)
		}
		c.wire.Stall(faulty.Both) // the first one hangs from here on
		second, err := lahja.Connect(c.ctx, "far", c.calm)
		if err != nil {
			c.Fatal(err)
		}
		defer second.Close()
		items := lahja.Stream[item](c.ctx, second)
		c.broadcast(c.own, 1)
		next(c, items)
		c.wire.Resume()
		s := c.state(first, broken)
		if second.Err() != nil {
			c.Errorf("the second one has ended with %v; the first: %+v", second.Err(), s)
		}
	})
}

// A bus that closes does not wait for endpoints without a connection, and Shutdown says what they
// have not got.
func TestCloseWithoutConnections(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		cross(t, lahja.Limits{Resume: time.Hour}, nil, func(c *crossing) {
			ep := c.connect("far")
			_ = lahja.Stream[item](c.ctx, ep)
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			c.state(ep, broken)
			synctest.Wait() // the bus has noticed as well
			c.broadcast(c.own, 1)
			begin := time.Now()
			var err error
			if shutdown {
				ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
				defer cancel()
				err = c.bus.Shutdown(ctx)
			}
			c.stopBus()
			if took := time.Since(begin); took > 0 {
				c.Errorf("shutdown: %v: it takes %v", shutdown, took)
			}
			if shutdown &&
				(!errors.Is(err, lahja.ErrClosed) || !strings.Contains(err.Error(), `"far"`)) {
				c.Errorf("Shutdown returns %v", err)
			}
		})
	}
}

// An endpoint that has left keeps nobody waiting, also when its connection breaks before it has
// heard the bus's own goodbye.
func TestCloseAfterALostGoodbye(t *testing.T) {
	cross(t, lahja.Limits{Resume: time.Hour}, nil, func(c *crossing) {
		log := logRecords(c)
		ep := c.connect("far")
		_ = lahja.Stream[load](c.ctx, ep)
		time.Sleep(time.Second)
		c.wire.Stall(faulty.In) // so that the bus's goodbye waits behind a load
		err := lahja.Broadcast(c.ctx, c.own, load{Data: make([]byte, 500_000)})
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Second)
		var closing sync.WaitGroup
		closing.Go(func() { ep.Close() })
		synctest.Wait()
		if peers, err := c.own.Peers(c.ctx); len(peers) != 1 || err != nil {
			c.Errorf("when it has left there are %v: %v", peers, err)
		}
		c.wire.Cut(faulty.Reset)
		begin := time.Now()
		c.stopBus()
		if took := time.Since(begin); took > 0 {
			c.Errorf("the bus closes after %v", took)
		}
		closing.Wait()
		for len(log) > 0 {
			c.Errorf("logged: %v", (<-log).Message)
		}
	})
}

// once is a transport whose connections cannot be made again.
type once struct{ lahja.Transport }

// Where nothing is resumed an endpoint ends with its connection, and its last state tells how many
// events have perhaps been lost with it.
func TestLostWithoutResume(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		ep, err := lahja.Connect(c.ctx, "far", once{c.wire})
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Second)
		c.wire.Stall(faulty.Out)
		c.broadcast(ep, 1)
		states := ep.WatchState(c.ctx)
		c.wire.Cut(faulty.Reset)
		<-ep.Done()
		var last lahja.State
		for last = range states {
		}
		if last.Connected || last.Lost != 1 || !errors.Is(last.Err, lahja.ErrSessionLost) {
			c.Errorf("the last state is %+v", last)
		}
	})
}

// Shutdown does not say that all is delivered when a session that it waits for is lost.
func TestShutdownTellsOfALostSession(t *testing.T) {
	for way := range 4 {
		ofBus, redials := way%2 == 1, way/2 == 1
		cross(t, lahja.Limits{Resume: 3 * time.Second}, nil, func(c *crossing) {
			place := lahja.Transport(c.wire)
			if !redials {
				place = once{place}
			}
			ep, err := lahja.Connect(c.ctx, "far", place)
			if err != nil {
				c.Fatal(err)
			}
			defer ep.Close()
			from, to, out := ep, c.own, faulty.Out
			shutdown, want := ep.Shutdown, lahja.ErrSessionLost
			if ofBus {
				from, to, out = to, from, faulty.In
				shutdown, want = c.bus.Shutdown, lahja.ErrClosed
			}
			_, err = lahja.Subscribe(c.ctx, to, func(context.Context, lahja.Event[item]) {})
			if err != nil {
				c.Fatal(err)
			}
			time.Sleep(time.Second)
			c.wire.Stall(out)
			c.broadcast(from, 1)
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
				defer cancel()
				done <- shutdown(ctx)
			}()
			time.Sleep(time.Second)
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			if err := <-done; !errors.Is(err, want) || !strings.Contains(err.Error(), `"far"`) ||
				!strings.Contains(err.Error(), "1 events") {
				c.Errorf("of the bus: %v, redials: %v: Shutdown returns %v", ofBus, redials, err)
			}
		})
	}
}

// A connection that breaks at once each time is not made again at once each time.
func TestBackoff(t *testing.T) {
	every := func(int, *rand.Rand) []faulty.Fault {
		return []faulty.Fault{faulty.CutAt(faulty.Out, 300, faulty.Reset)}
	}
	cross(t, lahja.Limits{Resume: time.Hour}, every, func(c *crossing) {
		ep := c.connect("far")
		err := lahja.Broadcast(c.ctx, ep, load{Data: make([]byte, 1000)}) // never arrives
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := c.wire.Stats().Connections; n < 200 || n > 700 {
			c.Errorf("%d connections in ten minutes", n)
		}
	})
}
