package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// Bounded memory: a subscription that does not read costs no more than the limit, in the process
// of the bus and in its own, however many publishers there are and also when they come and go.
// What was not accepted is delivered to nobody.
func TestBounded(t *testing.T) {
	for _, c := range []struct {
		lag     int64
		allowed float64 // MiB
		push    pushing
	}{
		{1 << 20, 8, pushing{publishers: 1}},
		{1 << 20, 8, pushing{publishers: 64}},
		{1 << 20, 8, pushing{publishers: 8, leave: true}},
		{32 << 20, 32 + 16, pushing{publishers: 1}},
		{32 << 20, 32 + 16, pushing{publishers: 64}},
		{32 << 20, 32 + 16, pushing{publishers: 8, leave: true}},
	} {
		if scale() == 1 && c.lag > 1<<20 {
			continue
		}
		name := fmt.Sprintf("%d MiB, %v", c.lag>>20, c.push)
		limits := lahja.Limits{Lag: c.lag, Stall: -1, Resume: -1}
		everywhereOnceWith(t, []behaviour{{name, func(s *stage) {
			s.bounded(c.push, c.allowed)
		}}}, limits)
	}
}

func (s *stage) bounded(push pushing, allowed float64) {
	boss := s.own("boss")
	remote := s.hire("holder", boss) != nil
	s.tell(boss, "holder", "subscribe", 0)
	here, there := heap(), s.tell(boss, "holder", "heap", 0).Heap
	push.time = 400 * time.Millisecond * time.Duration(scale())
	if push.leave {
		push.time *= 2
	}
	accepted := 0
	var most, mostThere float64
	samples, pushed := 0, beside(s, func() int { return push.run(s) })
	for over := false; !over; samples++ {
		select {
		case accepted = <-pushed:
			over = true
		case <-time.After(push.time / 8):
		}
		most = max(most, heap()-here)
		mostThere = max(mostThere, s.tell(boss, "holder", "heap", 0).Heap-there)
	}
	here, there = most, mostThere
	s.Logf("%d events of 1 KiB accepted; live heap of the bus's process %+.1f MiB at most, "+
		"of the subscriber's %+.1f MiB, in %d samples", accepted, here, there, samples)
	if here > allowed || there > allowed {
		s.Errorf("more than %.0f MiB", allowed)
	}
	r, err := s.order(boss, "holder", "read", accepted)
	if push.leave && errors.Is(err, lahja.ErrStalled) {
		s.Logf("each that came had one event accepted, until twice the limit was reached: %v", err)
		return
	}
	if s.must(err); r.N != accepted {
		s.Errorf("%d events were delivered, where %d were accepted", r.N, accepted)
	}
	if remote && there < 0.5 {
		s.Error("the subscriber holds nothing")
	}
	say(s, s.connect("last"), load{})
	if r := s.tell(boss, "holder", "read", 1); r.Last != "last" {
		s.Errorf("an event of %s has come that was refused", r.Last)
	}
}

// pushing is how publishers push as fast as they may.
type pushing struct {
	publishers int
	leave      bool // each goes when it has waited in vain for a while, and another one comes
	time       time.Duration
}

func (p pushing) String() string {
	if p.leave {
		return "publishers that come and go"
	}
	return fmt.Sprint(p.publishers, " publishers")
}

// run returns how many events were accepted.
func (p pushing) run(s *stage) int {
	ctx, cancel := context.WithTimeout(s.ctx, p.time)
	defer cancel()
	var accepted, came atomic.Int64
	var all sync.WaitGroup
	for range p.publishers {
		all.Go(func() {
			for {
				ep, err := s.attach(fmt.Sprint("publisher", came.Add(1)))
				if err != nil {
					s.Error(err)
					return
				}
				accepted.Add(p.publish(ctx, s, ep))
				if p.leave {
					ep.Close()
				} else {
					s.Cleanup(func() { ep.Close() })
				}
				if !p.leave || ctx.Err() != nil {
					return
				}
			}
		})
	}
	all.Wait()
	if p.leave {
		s.Logf("%d publishers have come", came.Load())
	}
	return int(accepted.Load())
}

// publish broadcasts until it has waited in vain.
func (p pushing) publish(ctx context.Context, s *stage, ep *lahja.Endpoint) (n int64) {
	for {
		patience, cancel := ctx, context.CancelFunc(func() {})
		if p.leave {
			patience, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		}
		err := lahja.Broadcast(patience, ep, load{N: int(n), Data: make([]byte, 1<<10)})
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return n
		case err != nil:
			s.Error(err)
			return n
		}
		n++
	}
}
