package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// The tests of this file and of its neighbours break connections, and processes.

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
