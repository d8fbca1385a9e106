package lahja_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A Shutdown that returns nil has delivered what was accepted, wherever the connection breaks
// meanwhile, and one that has not says so. Close delivers it as well where it can dial.
func TestShutdownUnderCuts(t *testing.T) {
	delivered, told := 0, 0
	for seed := range uint64(150 * scale()) {
		random := rand.New(rand.NewPCG(seed, 1))
		kind, refuses := random.IntN(3), random.IntN(4) == 0
		plan := func(n int, random *rand.Rand) []faulty.Fault {
			if n > 6 {
				return nil
			}
			return []faulty.Fault{faulty.CutAt(faulty.Direction(1+random.IntN(2)),
				200+random.Int64N(3000), faulty.Ending(random.IntN(2)))}
		}
		cross(t, lahja.Limits{Resume: 2 * time.Second}, plan, func(c *crossing) {
			ep, err := lahja.Connect(c.ctx, "far", c.wire)
			if err != nil {
				return // it was cut too early
			}
			defer ep.Close()
			from, to, shutdown := ep, c.own, ep.Shutdown
			switch {
			case kind == 0:
				from, to, shutdown = to, from, c.bus.Shutdown
			case kind == 1 && !refuses:
				shutdown = func(context.Context) error { return ep.Close() }
			}
			var mu sync.Mutex
			var got []int
			_, err = lahja.Subscribe(c.ctx, to, func(_ context.Context, ev lahja.Event[item]) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, ev.Value.N)
			})
			if err != nil {
				c.Fatal(err)
			}
			sent := random.IntN(100)
			for n := range sent {
				c.broadcast(from, n)
			}
			if refuses {
				c.wire.Refuse(true)
			}
			ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
			defer cancel()
			before := (<-ep.WatchState(c.ctx)).Lost
			err = shutdown(ctx)
			c.wire.Refuse(false)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			all := slices.Equal(got, count(sent))
			switch {
			case err == nil && !all && before == 0:
				c.Errorf("seed %d, kind %d: of %d events came %v", seed, kind, sent, got)
			case err == nil:
				delivered++
			default:
				told++
			}
			if !slices.IsSorted(got) || len(slices.Compact(got)) != len(got) {
				c.Errorf("seed %d, kind %d: %v came", seed, kind, got)
			}
		})
	}
	t.Logf("%d delivered all, %d said what they had not", delivered, told)
	if delivered == 0 || told == 0 {
		t.Error("that is not what this test is about")
	}
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

// count is 0, 1 and so on, so many.
func count(n int) []int {
	list := []int{}
	for i := range n {
		list = append(list, i)
	}
	return list
}
