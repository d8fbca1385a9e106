package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// scale is how much longer the tests of this file are under `make soak` than in CI.
func scale() int {
	if os.Getenv("LAHJA_SOAK") != "" {
		return 50
	}
	return 1
}

// slack is how much longer than it should something may take: a second until all that have to know
// are told who waits, and what a busy machine needs, on which the short form has to pass, too.
func slack() time.Duration {
	if scale() > 1 {
		return 3 * time.Second
	}
	return 8 * time.Second
}

// load is an event of one of several publishers.
type load struct {
	Publisher, N int
	Data         []byte
}

// Delivery and Order under load: publishers that push as fast as they may, and subscribers of
// random speeds, of which each gets every event exactly once and in order.
func TestLossless(t *testing.T) {
	const publishers, subscribers = 8, 4
	each := 2500 * scale()
	everywhereOnce(t, []behaviour{{"every event to everyone", func(s *stage) {
		var reading, pushing sync.WaitGroup
		for i := range subscribers {
			events := lahja.Stream[load](s.ctx, s.connect(fmt.Sprint("sub", i)))
			reading.Go(func() { readAll(s, events, publishers, each, uint64(i)) })
		}
		start := time.Now()
		for i := range publishers {
			ep := s.connect(fmt.Sprint("pub", i))
			pushing.Go(func() {
				for n := range each {
					if err := lahja.Broadcast(s.ctx, ep, load{i, n, make([]byte, 64)}); err != nil {
						s.Error(err)
						return
					}
				}
			})
		}
		pushing.Wait()
		reading.Wait()
		s.Logf("%d events to %d subscribers, %v an event", publishers*each, subscribers,
			time.Since(start)/time.Duration(publishers*each))
	}}})
}

// readAll checks that each publisher's events come once and in order. It rests at times.
func readAll(s *stage, events <-chan lahja.Event[load], publishers, each int, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	next := make([]int, publishers)
	for range publishers * each {
		ev := take(s, events)
		if want := next[ev.Value.Publisher]; ev.Value.N != want ||
			ev.Origin != fmt.Sprint("pub", ev.Value.Publisher) {
			s.Errorf("%s: event %d has come, where %d was due", ev.Origin, ev.Value.N, want)
			return
		}
		next[ev.Value.Publisher]++
		if random.IntN(1000) == 0 {
			runtime.Gosched()
		}
	}
}

// Isolation: two endpoints that push to each other and do not read for a while do not jam: no
// connection waits for a subscription.
func TestBothPush(t *testing.T) {
	limits, size, pause := lahja.Limits{Lag: 1 << 20, Resume: -1}, 8<<20, 200*time.Millisecond
	if scale() > 1 {
		limits, size, pause = lahja.Limits{Stall: 10 * time.Second,
			Resume: -1}, 1<<30, 5*time.Second
	}
	everywhereOnceWith(t, []behaviour{{fmt.Sprint(size>>20, " MiB"), func(s *stage) {
		boss := s.connect("boss")
		s.hire("worker", boss)
		s.tell(boss, "worker", "subscribe", 0)
		events := lahja.Stream[load](s.ctx, boss)
		count := size / pushed
		start := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			if err := push(s.ctx, boss, "worker", count); err != nil {
				s.Error(err)
			}
		})
		all.Go(func() { s.tell(boss, "worker", "push", count) })
		time.Sleep(pause) // it is the test's pause, during which both come to wait
		for statOf(s, boss.Stats(), "boss", lahja.EventName[load]()).Waiting == 0 {
			time.Sleep(time.Millisecond)
		}
		all.Go(func() { s.tell(boss, "worker", "read", count) })
		for n := range count {
			if ev := take(s, events); ev.Value.N != n {
				s.Fatalf("event %d has come, where %d was due", ev.Value.N, n)
			}
		}
		all.Wait()
		s.Logf("%d MiB each way in %v, with a pause of %v before the first was read",
			size>>20, time.Since(start), pause)
	}}}, limits)
}

// heap is the live heap in MiB. What is garbage already counts as well, in the one figure what came
// while the collection marked and in the other what came after it; the live heap is below both. How
// much that is depends on the moment, so there are a few.
func heap() float64 {
	least := uint64(math.MaxUint64)
	for range 4 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		marked := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(marked)
		least = min(least, m.HeapAlloc, marked[0].Value.Uint64())
	}
	return float64(least) / (1 << 20)
}

// Isolation: a subscription that does not read holds up nobody who broadcasts another type, nor
// requests between the same two endpoints.
func TestStalledSubscriptionHoldsUpItsOwnTypeAlone(t *testing.T) {
	everywhereOnceWith(t, []behaviour{{"one type is full", func(s *stage) {
		ep, pub := s.connect("sub"), s.connect("pub")
		lahja.Stream[load](s.ctx, ep) // nobody reads it
		items := lahja.Stream[item](s.ctx, ep)
		_, err := lahja.Handle(s.ctx, ep,
			func(_ context.Context, ev lahja.Event[question]) (answer, error) {
				return answer(ev.Value), nil
			})
		s.must(err)
		fill(s, pub)
		for n := range 1000 {
			say(s, pub, item{n})
			hear(s, items, item{n})
		}
		for n := range 100 {
			got, err := lahja.Request[question, answer](s.ctx, pub, question{n})
			s.must(err)
			if got.N != n {
				s.Fatalf("the answer is %d, and not %d", got.N, n)
			}
		}
	}}}, lahja.Limits{Lag: 64 << 10})
}

// fill broadcasts until it would have to wait. A first refusal may mean no more than that the bus
// has not granted a window yet.
func fill(s *stage, ep *lahja.Endpoint) {
	for {
		ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
		err := lahja.Broadcast(ctx, ep, load{Data: make([]byte, 1<<10)})
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		s.must(err)
	}
}

// everywhereOnceWith is everywhereOnce with options for the bus.
func everywhereOnceWith(t *testing.T, all []behaviour, opts ...lahja.BusOption) {
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			for _, v := range venues {
				t.Run(v.name, func(t *testing.T) {
					b.show(newStage(t, &v, [2]bool{true, true}, opts...))
				})
			}
		})
	}
}

// Stats say who holds up whom.
func TestStats(t *testing.T) {
	everywhereOnceWith(t, []behaviour{{"one waits for another", func(s *stage) {
		ep, pub := s.connect("sub"), s.connect("pub")
		lahja.Stream[load](s.ctx, ep) // nobody reads it
		fill(s, pub)
		waiting := beside(s, func() error { // more than the limit, so that it has to wait
			for range 100 {
				err := lahja.Broadcast(s.ctx, pub, load{Data: make([]byte, 1<<10)})
				if err != nil {
					return err
				}
			}
			return nil
		})
		event := lahja.EventName[load]()
		bus := func(name string) lahja.Stat { return statOf(s, s.bus.Stats(), name, event) }
		// Until the call that waits has got as far as it will, and the bus was told.
		own, seen, lag := lahja.Stat{}, lahja.Stat{}, int64(0)
		for own.Waiting == 0 || seen.Waiting == 0 || seen.Waited == 0 ||
			seen.Broadcast != own.Broadcast || lag < 32<<10 {
			if s.ctx.Err() != nil {
				s.Fatalf("the publisher says %+v, the bus %+v and a lag of %d", own, seen, lag)
			}
			runtime.Gosched()
			own, seen, lag = statOf(s, pub.Stats(), "pub", event), bus("pub"), bus("sub").Lag
		}
		if own.Broadcast == 0 || own.Outstanding < 32<<10 || own.Waited == 0 ||
			seen.Broadcast != own.Broadcast || seen.Outstanding < 32<<10 ||
			!slices.Equal(seen.WaitsFor, []string{"sub"}) {
			s.Errorf("the publisher says %+v, the bus %+v", own, seen)
		}
		ep.Close() // frees the publisher
		s.must(take(s, waiting))
	}}}, lahja.Limits{Lag: 64 << 10})
}

// Stats count what was delivered and dropped, also of endpoints elsewhere.
func TestStatsOfSubscriptions(t *testing.T) {
	const sent = 100
	everywhereOnce(t, []behaviour{{"what was delivered and dropped", func(s *stage) {
		ep, pub := s.connect("sub"), s.connect("pub")
		items := lahja.Stream[item](s.ctx, ep)
		lossy := lahja.Stream[other](s.ctx, ep, lahja.DropOldest(), lahja.Buffer(8))
		for n := range sent {
			say(s, pub, item{n})
			say(s, pub, other{n})
			hear(s, items, item{n})
		}
		event := lahja.EventName[item]()
		for statOf(s, s.bus.Stats(), "sub", event).Delivered < sent { // until it is reported
			runtime.Gosched()
		}
		if n := statOf(s, ep.Stats(), "sub", event).Delivered; n != sent {
			s.Errorf("%d of %d events were delivered", n, sent)
		}
		var heard, missed uint64
		for heard+missed < sent {
			ev := take(s, lossy)
			heard, missed = heard+1, missed+ev.Missed
		}
		st := statOf(s, ep.Stats(), "sub", lahja.EventName[other]())
		if heard+missed != sent || st.Delivered != heard || st.Missed != missed {
			s.Errorf("%d and %d dropped, where %+v is told", heard, missed, st)
		}
	}}})
}

func statOf(s *stage, stats []lahja.Stat, endpoint, event string) lahja.Stat {
	for _, st := range stats {
		if st.Endpoint == endpoint && st.Event == event {
			return st
		}
	}
	s.Fatalf("no Stat of %s and %s in %+v", endpoint, event, stats)
	return lahja.Stat{}
}
