package lahja_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// Behind a wire that swallows bytes whoever hears nothing finds out within twice the heartbeat, and
// when the wire is whole again the session goes on, with nothing lost. An endpoint that is no longer
// heard, and hears, finds out because the bus gives the connection up.
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
