package lahja_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

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
