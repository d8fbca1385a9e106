package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"pgregory.net/rapid"
)

// hop goes from handler to handler as long as it has hops left.
type hop struct{ Left int }

// leap is a hop that is answered when all that it has caused is done.
type leap struct{ Left int }

// landed answers a leap.
type landed struct{ Hops int }

// topology is endpoints whose handlers broadcast to each other and ask each other, in circles.
type topology struct {
	venue   *venue
	own     []bool  // which endpoint is in the bus's process
	next    [][]int // to whom its handlers turn
	asks    []bool  // whether by a request, or else by a broadcast
	buffers []int
	workers []int
	lag     int64

	leaving atomic.Bool // the bus is about to close
	ended   *turns
}

// turns counts how the calls of all topologies have ended.
type turns struct{ well, late, cut atomic.Int64 }

func drawTopology(t *rapid.T) *topology {
	n := rapid.IntRange(1, 4).Draw(t, "endpoints")
	top := &topology{
		venue: &venues[rapid.IntRange(0, 1).Draw(t, "venue")],
		lag:   rapid.SampledFrom([]int64{1, 200, 1000}).Draw(t, "lag"),
	}
	for range n {
		top.own = append(top.own, rapid.Bool().Draw(t, "own"))
		top.next = append(top.next,
			rapid.SliceOfN(rapid.IntRange(0, n-1), 1, 2).Draw(t, "next"))
		top.asks = append(top.asks, rapid.Bool().Draw(t, "asks"))
		top.buffers = append(top.buffers, rapid.IntRange(0, 1).Draw(t, "buffer"))
		top.workers = append(top.workers, rapid.IntRange(1, 2).Draw(t, "workers"))
	}
	return top
}

// No self-deadlock: handlers that broadcast and request in circles, with the smallest buffers and
// windows. Each call ends, by success or by its deadline; a deadlock fails the bubble.
func TestPropertyNoSelfDeadlock(t *testing.T) {
	captureLog(t)
	ended := &turns{}
	rapid.Check(t, func(rt *rapid.T) {
		top := drawTopology(rt)
		top.ended = ended
		synctest.Test(t, func(t *testing.T) { top.run(t) })
	})
	t.Logf("%d calls have ended with success, %d by their deadline, and %d with the bus",
		ended.well.Load(), ended.late.Load(), ended.cut.Load())
}

func (top *topology) run(t *testing.T) {
	s := newStage(t, top.venue, [2]bool{}, lahja.Limits{Lag: top.lag})
	eps := make([]*lahja.Endpoint, len(top.next))
	for i := range eps {
		if name := fmt.Sprint("e", i); top.own[i] {
			eps[i] = s.own(name)
		} else {
			eps[i] = s.connect(name)
		}
	}
	for i := range eps {
		top.serve(s, eps, i)
	}
	for i := range eps {
		s.group.Go(func() { top.turn(s, eps, i, 4) })
	}
	s.group.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		defer cancel()
		top.check(s, lahja.Broadcast(ctx, eps[0], hop{4}))
	})
	time.Sleep(25 * time.Second) // of the bubble: what handlers cause goes on after these calls
	top.leaving.Store(true)
}

// serve subscribes endpoint i to both kinds of event.
func (top *topology) serve(s *stage, eps []*lahja.Endpoint, i int) {
	opts := []lahja.SubscribeOption{
		lahja.Buffer(top.buffers[i]), lahja.Concurrency(top.workers[i]),
	}
	_, err := lahja.Subscribe(s.ctx, eps[i], func(_ context.Context, ev lahja.Event[hop]) {
		top.turn(s, eps, i, ev.Value.Left)
	}, opts...)
	s.must(err)
	_, err = lahja.Handle(s.ctx, eps[i],
		func(_ context.Context, ev lahja.Event[leap]) (landed, error) {
			top.turn(s, eps, i, ev.Value.Left)
			return landed{ev.Value.Left}, nil
		}, opts...)
	s.must(err)
}

// turn turns from endpoint i to those it turns to.
func (top *topology) turn(s *stage, eps []*lahja.Endpoint, i, left int) {
	if left == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	for _, next := range top.next[i] {
		if to := lahja.To(eps[next].Name()); top.asks[i] {
			_, err := lahja.Request[leap, landed](ctx, eps[i], leap{left - 1}, to)
			top.check(s, err)
		} else {
			top.check(s, lahja.Broadcast(ctx, eps[i], hop{left - 1}, to))
		}
	}
}

// check lets pass what a call in a circle may end with.
func (top *topology) check(s *stage, err error) {
	switch {
	case err == nil:
		top.ended.well.Add(1)
	case errors.Is(err, context.DeadlineExceeded):
		top.ended.late.Add(1)
	case top.leaving.Load(): // some handlers still turn
		top.ended.cut.Add(1)
	default:
		s.Errorf("a call has ended with %v", err)
	}
}
