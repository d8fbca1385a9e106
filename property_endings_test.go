package lahja_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// heavy is broadcast to a subscription that does not take it; silent is a request that nobody
// answers.
type (
	heavy  struct{ N int }
	silent struct{ N int }
)

// stay is an endpoint at which calls wait, on a bus where another endpoint takes and answers
// nothing.
type stay struct {
	t       *rapid.T
	ctx     context.Context
	bus     *lahja.Bus
	ep      *lahja.Endpoint
	calls   sync.WaitGroup
	over    atomic.Bool // Close has returned, and what it left has come to rest
	release chan struct{}
	busy    chan struct{} // closed when the handler that does not return runs
}

// Endings: whoever closes an endpoint or its bus, and however often, each call that waits fails
// with ErrClosed, each channel closes, no handler starts once Close has returned, which waits for
// no handler, and Done does.
func TestPropertyEndings(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := script{Lag: 200, Slots: []slot{{Name: "quiet"}, {Name: "here", Remote: true}}}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w, err := p.open(ctx, dir, &s)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		for i := range s.Slots {
			opening{i}.do(w)
		}
		if w.failure != nil {
			t.Fatal(w.failure)
		}
		e := &stay{t: t, ctx: ctx, bus: w.bus, ep: w.current[1].ep,
			release: make(chan struct{}), busy: make(chan struct{})}
		released := sync.OnceFunc(func() { close(e.release) })
		defer released()
		e.mute(w.current[0].ep)
		e.occupy()
		bus := rapid.Bool().Draw(t, "bus")
		expect := e.expect
		if bus {
			expect = e.expectFirst
		}
		kinds := rapid.SliceOfN(rapid.IntRange(0, len(waits)-1), 1, 12).Draw(t, "calls")
		for _, i := range kinds {
			e.calls.Go(func() { expect(waits[i].name, waits[i].call(e)) })
		}
		if p.bubble && rapid.Bool().Draw(t, "wait") {
			synctest.Wait()
		}
		e.close(rapid.IntRange(1, 3).Draw(t, "closers"), bus)
		e.calls.Wait()
		if p.bubble {
			synctest.Wait()
			e.over.Store(true)
		}
		select {
		case <-e.ep.Done():
			t.Error("the endpoint is done while a handler runs")
		default:
		}
		released()
		select {
		case <-e.ep.Done():
		case <-ctx.Done():
			t.Error("the endpoint is not done")
		}
		e.afterwards()
	})
}

// mute subscribes at ep to what is never taken and never answered, until nothing more fits: of a
// lag of 200 bytes one event takes more than half: no window that is granted later has room for
// two.
func (e *stay) mute(ep *lahja.Endpoint) {
	lahja.Stream[heavy](e.ctx, ep, lahja.Buffer(0))
	lahja.Stream[silent](e.ctx, ep)
	for {
		err := lahja.Broadcast(e.ctx, e.ep, heavy{}, lahja.NoWait())
		if errors.Is(err, lahja.ErrWouldBlock) {
			return
		}
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

// occupy starts a handler that does not return before release, and one that must not start late.
func (e *stay) occupy() {
	var once sync.Once
	_, err := lahja.Subscribe(e.ctx, e.ep, func(context.Context, lahja.Event[red]) {
		once.Do(func() { close(e.busy) })
		<-e.release
	})
	if err == nil {
		_, err = lahja.Subscribe(e.ctx, e.ep, func(_ context.Context, ev lahja.Event[green]) {
			if e.over.Load() {
				e.t.Error("a handler starts after Close")
			}
			time.Sleep(time.Microsecond)
		}, lahja.Buffer(0))
	}
	for range 5 {
		if err == nil {
			err = lahja.Broadcast(e.ctx, e.ep, green{}, lahja.Internal())
		}
	}
	if err == nil {
		err = lahja.Broadcast(e.ctx, e.ep, red{})
	}
	if err != nil {
		e.t.Fatal(err)
	}
	<-e.busy
}

// close closes from several places at once.
func (e *stay) close(closers int, bus bool) {
	var all sync.WaitGroup
	for i := range closers {
		all.Go(func() {
			err := error(nil)
			if bus && i == 0 {
				err = e.bus.Close()
			} else {
				err = e.ep.Close()
			}
			if err != nil {
				e.t.Errorf("Close: %v", err)
			}
		})
	}
	all.Wait()
	if bus {
		e.ep.Close() // that of a bus elsewhere waits for none of ours
	}
}

func (e *stay) expect(what string, err error) {
	if !errors.Is(err, lahja.ErrClosed) {
		e.t.Errorf("%s ended with %v", what, err)
	}
}

// expectFirst is expect while the whole bus closes: the endpoint that takes and answers nothing may
// end first, and so make room, or be gone as the one who could answer.
func (e *stay) expectFirst(what string, err error) {
	room := what == "Broadcast" && err == nil
	gone := what == "Gather" && err == nil || errors.Is(err, lahja.ErrResponderGone) ||
		errors.Is(err, lahja.ErrNoSubscribers)
	if !room && !gone {
		e.expect(what, err)
	}
}

// waits are the calls that wait, each with what it ended with.
var waits = []struct {
	name string
	call func(e *stay) error
}{
	{"Broadcast", func(e *stay) error { return lahja.Broadcast(e.ctx, e.ep, heavy{}) }},
	{"Request", func(e *stay) error {
		_, err := lahja.Request[silent, reply](e.ctx, e.ep, silent{})
		return err
	}},
	{"Gather", func(e *stay) (last error) {
		for _, err := range lahja.Gather[silent, reply](e.ctx, e.ep, silent{}) {
			last = err
		}
		return last
	}},
	{"WaitFor", func(e *stay) error {
		_, err := lahja.WaitFor[gold](e.ctx, e.ep)
		return err
	}},
	{"Stream", func(e *stay) (reason error) {
		for range lahja.Stream[gold](e.ctx, e.ep, lahja.OnEnd(func(err error) { reason = err })) {
		}
		return reason
	}},
	{"Events", func(e *stay) (last error) {
		for _, err := range lahja.Events[gold](e.ctx, e.ep) {
			last = err
		}
		return last
	}},
	{"Subscribe", func(e *stay) error {
		s, err := lahja.Subscribe(e.ctx, e.ep, func(context.Context, lahja.Event[gold]) {})
		if err != nil {
			return err
		}
		<-s.Done()
		return s.Err()
	}},
	{"WaitUntil", func(e *stay) error { return e.ep.WaitUntil(e.ctx, lahja.Present("nobody")) }},
	{"WatchPeers", func(e *stay) error {
		for range e.ep.WatchPeers(e.ctx) {
		}
		return e.ep.Err()
	}},
	{"WatchState", func(e *stay) error {
		for range e.ep.WatchState(e.ctx) {
		}
		return e.ep.Err()
	}},
}

// afterwards makes the calls again, which fail at once.
func (e *stay) afterwards() {
	for _, w := range waits {
		e.expect(w.name+" afterwards", w.call(e))
	}
	_, err := e.ep.Peers(e.ctx)
	e.expect("Peers afterwards", err)
	e.expect("Err", e.ep.Err())
	e.ep.Close()
}

// crowd is publishers and subscriptions that do not take anything before the gate opens.
type crowd struct {
	ctx  context.Context
	gate chan struct{}

	readers sync.WaitGroup

	mu   sync.Mutex // guards what follows
	sent map[string][]int
	got  []map[string][]int // by subscription and origin
}

// All or nothing: while subscriptions take nothing, broadcasts fail for want of room, at once or
// when their context ends. Those that failed arrive nowhere, those that did not arrive everywhere,
// in order.
func TestPropertyAllOrNothing(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := script{
			Lag:   rapid.SampledFrom([]int64{1, 300, 1000}).Draw(t, "lag"),
			Slots: []slot{{Name: "a", Remote: true}, {Name: "b"}, {Name: "c", Remote: true}},
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w, err := p.open(ctx, dir, &s)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		for i := range s.Slots {
			opening{i}.do(w)
		}
		c := &crowd{ctx: ctx, gate: make(chan struct{}), sent: map[string][]int{}}
		for range rapid.IntRange(1, 3).Draw(t, "subscriptions") {
			e := w.current[rapid.IntRange(0, 2).Draw(t, "subscriber")]
			c.subscribe(e.ep, rapid.IntRange(0, 3).Draw(t, "buffer"))
		}
		var publishing sync.WaitGroup
		for _, e := range w.current {
			how := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 8).Draw(t, "how")
			publishing.Go(func() { c.publish(e.ep, how) })
		}
		publishing.Wait()
		close(c.gate)
		for _, e := range w.current {
			if err := lahja.Broadcast(ctx, e.ep, red{e.name, -1}); err != nil {
				t.Fatalf("after all is taken: %v", err)
			}
		}
		c.readers.Wait()
		for i, got := range c.got {
			for _, e := range w.current {
				if want := append(c.sent[e.name], -1); !slices.Equal(got[e.name], want) {
					t.Fatalf("subscription %d got %v of %q, where %v is due", i, got[e.name],
						e.name, want)
				}
			}
		}
	})
}

// subscribe reads, once the gate is open, until each publisher has said its last.
func (c *crowd) subscribe(ep *lahja.Endpoint, buffer int) {
	ch := lahja.Stream[red](c.ctx, ep, lahja.Buffer(buffer))
	got := map[string][]int{}
	c.got = append(c.got, got)
	c.readers.Go(func() {
		<-c.gate
		for last := 0; last < 3; {
			ev, ok := <-ch
			if !ok {
				return
			}
			got[ev.Origin] = append(got[ev.Origin], ev.Value.N)
			if ev.Value.N < 0 {
				last++
			}
		}
	})
}

// publish broadcasts in one of three ways, none of which waits for long.
func (c *crowd) publish(ep *lahja.Endpoint, how []int) {
	for n, way := range how {
		ctx, cancel := c.ctx, context.CancelFunc(func() {})
		var opts []lahja.BroadcastOption
		switch way {
		case 0:
			opts = append(opts, lahja.NoWait())
		case 1:
			ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
		case 2:
			ctx, cancel = context.WithCancel(ctx)
			go cancel()
		}
		err := lahja.Broadcast(ctx, ep, red{ep.Name(), n}, opts...)
		cancel()
		if err == nil {
			c.mu.Lock()
			c.sent[ep.Name()] = append(c.sent[ep.Name()], n)
			c.mu.Unlock()
		}
	}
}
