package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// Endings: Shutdown of the bus delivers what was accepted, from and to everyone, however slow.
func TestShutdownDelivers(t *testing.T) {
	const each = 60
	everywhereInPairs(t, []behaviour{{"what was accepted arrives", func(s *stage) {
		a, b := s.pair()
		count := func(ep *lahja.Endpoint) <-chan int {
			events := lahja.Stream[load](s.ctx, ep, lahja.From("a", "b"))
			return beside(s, func() (n int) {
				for range events {
					time.Sleep(100 * time.Microsecond) // it is slow
					n++
				}
				return n
			})
		}
		gotA, gotB := count(a), count(b)
		for n := range each {
			say(s, a, load{N: n})
			say(s, b, load{N: n})
		}
		s.must(s.bus.Shutdown(s.ctx))
		if x, y := take(s, gotA), take(s, gotB); x != 2*each || y != 2*each {
			s.Errorf("%d and %d of %d events have arrived", x, y, 2*each)
		}
	}}})
}

// Endings: so it does with what waits at the bus for a member that has room, and for one elsewhere
// that has sent its last, which does not say any more that it has.
func TestShutdownDeliversWhatWaits(t *testing.T) {
	wait := func(name string, all int64, opts ...lahja.SubscribeOption) behaviour {
		return behaviour{name, func(s *stage) {
			a, b := s.pair()
			var got atomic.Int64
			onItem(s, b, func(context.Context, int) {
				time.Sleep(100 * time.Microsecond) // it is slow
				got.Add(1)
			}, opts...)
			for n := range all {
				say(s, a, item{int(n)})
			}
			s.must(s.bus.Shutdown(s.ctx))
			takeEnd(s, b.Done())
			if n := got.Load(); n != all {
				s.Errorf("%d of %d events have arrived", n, all)
			}
		}}
	}
	everywhereInPairs(t, []behaviour{
		wait("for a group", 40, lahja.Group("g")),
		// More than are on their way to one subscription at once.
		wait("for who wants what is kept", 600, lahja.WithRetained()),
	})
}

// Endings: Shutdown ends with its context, and names what it could not deliver.
func TestShutdownNamesWhatIsLeft(t *testing.T) {
	for _, name := range []string{"the publisher", "the subscriber", "the bus"} {
		everywhereInPairs(t, []behaviour{{name + " ends", func(s *stage) {
			a, b := s.pair()
			lahja.Stream[load](s.ctx, b) // nobody reads it
			for n := range 100 {
				say(s, a, load{N: n})
			}
			event := lahja.EventName[load]()
			// Until more has come than a channel holds.
			for statOf(s, b.Stats(), "b", event).Lag == 0 {
				runtime.Gosched()
			}
			if name == "the bus" && s.pairs == [2]bool{true, true} {
				s.must(s.bus.Shutdown(s.ctx)) // all arrives elsewhere, where it can still be read
				return
			}
			ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			shutdown := map[string]func(context.Context) error{
				"the publisher": a.Shutdown, "the subscriber": b.Shutdown,
				"the bus": s.bus.Shutdown,
			}
			err := shutdown[name](ctx)
			if took := time.Since(start); took > 2*time.Second {
				s.Errorf("Shutdown has taken %v", took)
			}
			s.wantErr(err, context.DeadlineExceeded)
			if !strings.Contains(err.Error(), event) {
				s.Errorf("it does not say what is left: %v", err)
			}
		}}})
	}
}

// Endings: a process that broadcasts, closes and exits loses nothing.
func TestExitLosesNothing(t *testing.T) {
	betweenProcesses(t, []behaviour{{"a process leaves", func(s *stage) {
		events := lahja.Stream[item](s.ctx, s.own("main"))
		for i := range 3 * scale() {
			s.start("leaves", fmt.Sprint("child", i))
			for n := range leaving {
				hear(s, events, item{n})
			}
		}
		s.Logf("%d processes have left, after %d events each", 3*scale(), leaving)
	}}})
}

// Endings: a Stream ends after its context although nobody reads it, and keeps what it had taken.
func TestUnreadStreamEnds(t *testing.T) {
	everywhereOnce(t, []behaviour{{"nobody reads", func(s *stage) {
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan error, 1)
		ep, pub := s.connect("sub"), s.connect("pub")
		events := lahja.Stream[load](ctx, ep, lahja.OnEnd(func(err error) { ended <- err }))
		for n := range 100 {
			say(s, pub, load{N: n})
		}
		// Until the channel is full.
		for statOf(s, ep.Stats(), "sub", lahja.EventName[load]()).Lag == 0 {
			runtime.Gosched()
		}
		cancel()
		s.wantErr(take(s, ended), context.Canceled)
		n := 0
		for ev := range events {
			if ev.Value.N != n {
				s.Errorf("event %d is in the channel, where %d was due", ev.Value.N, n)
			}
			n++
		}
		if n != cap(events) {
			s.Errorf("%d events were in the channel", n)
		}
	}}})
}

// finale is an endpoint that is busy, and what becomes of its calls.
type finale struct {
	stay
	subs []*lahja.Subscription
	gate chan struct{} // opens when all close
}

// Endings: a hundred at once close and shut down the bus, its endpoints and subscriptions, from
// handlers too. No Close takes more than a second, no Shutdown much more than its context allows,
// every call that waits ends, and nothing is left.
func TestHundredEndAtOnce(t *testing.T) {
	for _, v := range venues {
		t.Run(v.name, func(t *testing.T) {
			var longest atomic.Int64
			for round := range 3 * scale() {
				before := runtime.NumGoroutine()
				t.Run(fmt.Sprint(round), func(t *testing.T) {
					newStage(t, &v, [2]bool{true, true}, lahja.Limits{Lag: 2000}).endAtOnce(
						round, &longest)
				})
				for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
					if time.Now().After(end) {
						t.Fatalf("%d goroutines are left", runtime.NumGoroutine()-before)
					}
					time.Sleep(time.Millisecond)
				}
			}
			t.Logf("the longest Close took %v", time.Duration(longest.Load()))
		})
	}
}

func (s *stage) endAtOnce(round int, longest *atomic.Int64) {
	random := rand.New(rand.NewPCG(uint64(round), 2))
	quiet := s.own("quiet")
	lahja.Stream[heavy](s.ctx, quiet, lahja.Buffer(0))
	lahja.Stream[silent](s.ctx, quiet)
	gate, release := make(chan struct{}), make(chan struct{})
	var eps []*finale
	for i := range 4 {
		ep := s.own
		if i > 0 {
			ep = s.connect
		}
		e := &finale{
			stay: stay{ctx: s.ctx, bus: s.bus, ep: ep(fmt.Sprint("e", i)), release: release},
			gate: gate,
		}
		e.occupy(s, longest)
		eps = append(eps, e)
	}
	var all sync.WaitGroup
	for range 100 {
		way := random.IntN(20)
		if way < 2 && round%2 == 1 {
			way = 2 // not the bus
		}
		f := eps[random.IntN(len(eps))].closer(s, way, longest)
		all.Go(func() {
			<-gate
			f()
		})
	}
	close(gate)
	all.Wait()
	for _, e := range eps {
		e.ep.Close()
		e.calls.Wait()
	}
	close(release)
	for _, e := range eps {
		<-e.ep.Done()
	}
}

// occupy makes calls of all kinds that wait, and starts a handler that closes the endpoint.
func (e *finale) occupy(s *stage, longest *atomic.Int64) {
	for {
		err := lahja.Broadcast(s.ctx, e.ep, heavy{}, lahja.NoWait())
		if errors.Is(err, lahja.ErrWouldBlock) {
			break
		}
		s.must(err)
	}
	for _, w := range waits {
		e.calls.Go(func() { e.check(s, w.name, w.call(&e.stay)) })
	}
	busy := make(chan struct{})
	sub, err := lahja.Subscribe(s.ctx, e.ep, func(context.Context, lahja.Event[red]) {
		close(busy)
		<-e.gate
		within(s, "Close in a handler", time.Second, longest, e.ep.Close)
		<-e.release
	}, lahja.From(e.ep.Name()))
	s.must(err)
	e.subs = append(e.subs, sub)
	for range 4 {
		sub, err := lahja.Subscribe(s.ctx, e.ep, func(context.Context, lahja.Event[green]) {})
		s.must(err)
		e.subs = append(e.subs, sub)
	}
	say(s, e.ep, red{})
	<-busy
}

// closer is one of the ways to end something. The bus ends by one of twenty.
func (e *finale) closer(s *stage, way int, longest *atomic.Int64) func() {
	const patience = 300 * time.Millisecond
	shutdown := func(f func(context.Context) error) func() {
		return func() {
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			defer cancel()
			within(s, "Shutdown", patience+time.Second, nil, func() error {
				if err := f(ctx); err != nil && !errors.Is(err, lahja.ErrClosed) {
					return err
				}
				return nil
			})
		}
	}
	switch {
	case way == 0:
		return func() { within(s, "Close of the bus", time.Second, longest, e.bus.Close) }
	case way == 1:
		return shutdown(e.bus.Shutdown)
	case way < 8:
		return func() { within(s, "Close", time.Second, longest, e.ep.Close) }
	case way < 14:
		return shutdown(e.ep.Shutdown)
	}
	return e.subs[way%len(e.subs)].Unsubscribe
}

// within checks that f takes no more than a time.
func within(s *stage, what string, limit time.Duration, longest *atomic.Int64, f func() error) {
	start := time.Now()
	if err := f(); err != nil {
		s.Errorf("%s: %v", what, err)
	}
	took := time.Since(start)
	if took > limit+slack()/3 {
		s.Errorf("%s took %v", what, took)
	}
	for longest != nil {
		before := longest.Load()
		if int64(took) <= before || longest.CompareAndSwap(before, int64(took)) {
			return
		}
	}
}

// check checks what a call has ended with: others may have ended before, and so made room, or be
// gone as those who could answer.
func (e *finale) check(s *stage, what string, err error) {
	room := what == "Broadcast" && err == nil
	gone := what == "Gather" && err == nil || errors.Is(err, lahja.ErrResponderGone) ||
		errors.Is(err, lahja.ErrNoSubscribers)
	if !room && !gone && !errors.Is(err, lahja.ErrClosed) {
		s.Errorf("%s of %q ended with %v", what, e.ep.Name(), err)
	}
}
