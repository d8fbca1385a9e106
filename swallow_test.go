package lahja_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// Behind a wire that swallows bytes whoever hears nothing finds out within twice the heartbeat, and
// when the wire is whole again the session goes on, with nothing lost. An endpoint that is no
// longer heard, and hears, finds out because the bus gives the connection up.
func TestSwallowed(t *testing.T) {
	limits := lahja.Limits{Heartbeat: time.Second, Resume: 20 * time.Second}
	for _, way := range []faulty.Direction{faulty.Both, faulty.In, faulty.Out} {
		for name, events := range map[string]int{"idle": 0, "busy": 10, "busy for long": 200} {
			t.Run(way.String()+", "+name, func(t *testing.T) {
				cross(t, limits, nil, func(c *crossing) { c.swallow(way, events, limits) })
			})
		}
	}
}

func (c *crossing) swallow(way faulty.Direction, events int, limits lahja.Limits) {
	log := logRecords(c)
	ep := c.connect("far")
	up := lahja.Stream[item](c.ctx, c.own, lahja.From("far"))
	down := lahja.Stream[item](c.ctx, ep, lahja.From("own"))
	c.broadcast(ep, 0)
	c.broadcast(c.own, 0, lahja.To("far"))
	time.Sleep(10*time.Second + 300*time.Millisecond) // heartbeats go to and fro
	begin := time.Now()
	c.wire.Swallow(way)
	var talking sync.WaitGroup
	talking.Go(func() { // also long after the bus has found out
		for n := 1; n < events; n++ {
			c.broadcast(ep, n, lahja.To("own"))
			c.broadcast(c.own, n, lahja.To("far"))
			time.Sleep(100 * time.Millisecond)
		}
	})
	c.state(ep, broken)
	atEndpoint, atBus := time.Since(begin), time.Duration(0)
	time.Sleep(2*limits.Heartbeat - atEndpoint) // the bus may find out a moment later
	synctest.Wait()
	for len(log) > 0 {
		if r := <-log; r.Message == "lahja: an endpoint has fallen silent" && atBus == 0 {
			atBus = r.Time.Sub(begin)
		}
	}
	c.Logf("found by the endpoint after %v, by the bus after %v", atEndpoint, atBus)
	if atEndpoint > 2*limits.Heartbeat {
		c.Errorf("the endpoint has found out after %v", atEndpoint)
	}
	if way != faulty.In && (atBus == 0 || atBus > 2*limits.Heartbeat) {
		c.Errorf("the bus has found out after %v", atBus)
	}
	time.Sleep(3 * time.Second)
	c.wire.Resume()
	c.state(ep, func(st lahja.State) bool { return st.Connected })
	if st := <-ep.WatchState(c.ctx); st.Restarts != 0 || st.Resumes == 0 {
		c.Errorf("the state is %+v", st)
	}
	for n := range max(1, events) {
		for _, events := range []<-chan lahja.Event[item]{up, down} {
			if ev := next(c, events); ev.Value.N != n || ev.Gap() {
				c.Fatalf("%+v comes, where %d was due", ev, n)
			}
		}
	}
	talking.Wait()
	nothing(c, up)
	nothing(c, down)
}

// Where a connection cannot be made again, a side that hears nothing says so within twice the
// heartbeat, once, and goes on when something comes.
func TestSilenceIsNamed(t *testing.T) {
	limits := lahja.Limits{Heartbeat: time.Second}
	for way, want := range map[faulty.Direction]string{
		faulty.In:  "lahja: the bus has fallen silent",
		faulty.Out: "lahja: an endpoint has fallen silent",
	} {
		cross(t, limits, nil, func(c *crossing) {
			log := logRecords(c)
			ep, err := lahja.Connect(c.ctx, "far", once{c.wire})
			if err != nil {
				c.Fatal(err)
			}
			defer ep.Close()
			time.Sleep(10*time.Second + 300*time.Millisecond)
			begin := time.Now()
			c.wire.Stall(way)
			time.Sleep(time.Minute)
			if len(log) != 1 {
				c.Fatalf("%v: %d things are logged", way, len(log))
			}
			r := <-log
			if found := r.Time.Sub(begin); r.Message != want || found > 2*limits.Heartbeat ||
				attribute(r, "endpoint").String() != "far" {
				c.Errorf("%v: %q is logged after %v", way, r.Message, found)
			}
			c.wire.Resume()
			events := lahja.Stream[item](c.ctx, c.own)
			c.broadcast(ep, 1)
			next(c, events)
		})
	}
}

// sluggish has both directions of a connection carry 5,000 bytes at a time, with pauses between.
func sluggish(longest time.Duration) faulty.Plan {
	return func(int, *rand.Rand) []faulty.Fault {
		return []faulty.Fault{faulty.Delay(faulty.Both, longest), faulty.Split(faulty.Both, 5000)}
	}
}

// A frame may be on its way for many heartbeats: its sender cannot ask for signs of life meanwhile,
// and gets them.
func TestSlowWire(t *testing.T) {
	limits := lahja.Limits{Heartbeat: time.Second}
	for _, up := range []bool{true, false} {
		cross(t, limits, sluggish(200*time.Millisecond), func(c *crossing) {
			far := c.connect("far")
			from, to := far, c.own
			if !up {
				from, to = to, from
			}
			loads := lahja.Stream[load](c.ctx, to, lahja.From(from.Name()))
			begin := time.Now()
			if err := lahja.Broadcast(c.ctx, from, load{Data: make([]byte, 900_000)}); err != nil {
				c.Fatal(err)
			}
			next(c, loads)
			s := <-far.WatchState(c.ctx)
			if took := time.Since(begin); took < 5*limits.Heartbeat || s.Resumes > 0 {
				c.Errorf("up: %v: it has taken %v, and the state is %+v", up, took, s)
			}
		})
	}
}

// A bus that waits for a handler, while it closes, is not silent: who has asked for it gets the
// answer.
func TestShutdownIsNotSilence(t *testing.T) {
	cross(t, lahja.Limits{Heartbeat: time.Second}, nil, func(c *crossing) {
		const work = 10 * time.Second
		far, handling := c.connect("far"), make(chan struct{})
		_, err := lahja.Handle(c.ctx, c.own,
			func(_ context.Context, ev lahja.Event[question]) (answer, error) {
				close(handling)
				time.Sleep(work)
				return double(c.ctx, ev.Value.N)
			})
		if err != nil {
			c.Fatal(err)
		}
		asked := make(chan error, 1)
		go func() {
			_, err := lahja.Request[question, answer](c.ctx, far, question{1})
			asked <- err
		}()
		<-handling
		begin := time.Now()
		if err := c.bus.Shutdown(c.ctx); err != nil || time.Since(begin) != work {
			c.Errorf("Shutdown takes %v: %v", time.Since(begin), err)
		}
		if err := <-asked; err != nil {
			c.Error(err)
		}
	})
}

// hanging is a transport of which a Dial may take for ever, as by a network that swallows it.
type hanging struct {
	lahja.Transport
	hangs atomic.Bool
}

func (h *hanging) Redials() bool { return true }

func (h *hanging) Dial(ctx context.Context) (lahja.Conn, error) {
	if h.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Transport.Dial(ctx)
}

// A Dial that is begun while the network swallows everything is given up in time for another.
func TestDialThatHangs(t *testing.T) {
	cross(t, lahja.Limits{Resume: 10 * time.Second}, nil, func(c *crossing) {
		wire := &hanging{Transport: c.wire}
		ep, err := lahja.Connect(c.ctx, "far", wire)
		if err != nil {
			c.Fatal(err)
		}
		defer ep.Close()
		wire.hangs.Store(true)
		c.wire.Cut(faulty.Reset)
		c.state(ep, broken)
		time.Sleep(5 * time.Second)
		wire.hangs.Store(false)
		if s := c.state(ep, resumed(1)); s.Restarts != 0 {
			c.Errorf("the state is %+v", s)
		}
	})
}
