package lahja_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lahja-go/lahja"
)

// handback is a subscription of "b" that has an event in hand and many that wait.
type handback struct {
	*stage
	b     *lahja.Endpoint
	ctx   context.Context // of the subscription
	end   context.CancelFunc
	taken chan struct{} // gets one for each event that a handler has in hand
	goOn  chan struct{} // closed when they return
}

func (h *handback) handler(context.Context, lahja.Event[load]) {
	select {
	case h.taken <- struct{}{}:
	default:
	}
	<-h.goOn
}

func (h *handback) subscribe(opts ...lahja.SubscribeOption) *lahja.Subscription {
	sub, err := lahja.Subscribe(h.ctx, h.b, h.handler, opts...)
	h.must(err)
	return sub
}

// handbacks are the ways in which subscriptions end. Each subscribes and returns what ends it.
var handbacks = map[string]func(*handback) (end func()){
	"Unsubscribe": func(h *handback) func() { return h.subscribe().Unsubscribe },
	"Unsubscribe of several handlers": func(h *handback) func() {
		return h.subscribe(lahja.Concurrency(3)).Unsubscribe
	},
	"ctx of a handler": func(h *handback) func() {
		h.subscribe()
		return h.end
	},
	"Take of a handler": func(h *handback) func() {
		h.subscribe(lahja.Take(20))
		return func() {}
	},
	"Goexit": func(h *handback) func() {
		_, err := lahja.Subscribe(h.ctx, h.b, func(ctx context.Context, ev lahja.Event[load]) {
			h.handler(ctx, ev)
			runtime.Goexit()
		})
		h.must(err)
		return func() {}
	},
	"a panic": func(h *handback) func() {
		captureLog(h)
		var calls atomic.Int64
		sub, err := lahja.Subscribe(h.ctx, h.b, func(ctx context.Context, ev lahja.Event[load]) {
			h.handler(ctx, ev)
			if calls.Add(1)%5 == 0 {
				panic("in a handler")
			}
		}, lahja.RecoverPanics())
		h.must(err)
		return func() {
			h.Cleanup(func() { // before the log is what it was
				sub.Unsubscribe()
				<-sub.Done()
			})
		}
	},
	"ctx of a Stream": func(h *handback) func() {
		events := lahja.Stream[load](h.ctx, h.b, lahja.Buffer(1))
		h.group.Go(func() {
			<-events
			h.taken <- struct{}{}
		})
		return h.end
	},
	"Take of a Stream": func(h *handback) func() {
		events := lahja.Stream[load](h.ctx, h.b, lahja.Buffer(1), lahja.Take(20))
		h.group.Go(func() {
			for range events {
				h.handler(h.ctx, lahja.Event[load]{})
			}
		})
		return func() {}
	},
	"break": func(h *handback) func() {
		events := lahja.Events[load](h.ctx, h.b, lahja.Buffer(1))
		h.group.Go(func() {
			for ev := range events {
				h.handler(h.ctx, ev)
				break
			}
		})
		return func() {}
	},
	"DropOldest": func(h *handback) func() {
		return h.subscribe(lahja.DropOldest(), lahja.Buffer(3)).Unsubscribe
	},
	"Close": func(h *handback) func() {
		h.subscribe()
		return func() { h.must(h.b.Close()) }
	},
	"Shutdown": func(h *handback) func() {
		h.subscribe()
		return func() {
			shut := beside(h.stage, func() error { return h.b.Shutdown(h.stage.ctx) })
			h.Cleanup(func() { h.must(take(h.stage, shut)) })
		}
	},
	"a cut": func(h *handback) func() {
		sub := h.subscribe()
		return func() {
			if again, ok := h.place.(lahja.Redialer); ok && again.Redials() {
				h.wires.cutLast()
			}
			sub.Unsubscribe()
		}
	},
	"an illegible event": func(h *handback) func() {
		h.subscribe()
		return func() {}
	},
}

// Bounded memory: of what waits for a subscription, and of what it has in hand, all is given back
// to the publisher once, however the subscription ends.
func TestWhatWaitsIsGivenBack(t *testing.T) {
	var all []behaviour
	for name, subscribe := range handbacks {
		all = append(all, behaviour{name, func(s *stage) { s.givesBack(name, subscribe) }})
	}
	everywhereInPairs(t, all)
}

func (s *stage) givesBack(name string, subscribe func(*handback) func()) {
	a, b := s.pair()
	h := &handback{stage: s, b: b, taken: make(chan struct{}, 1), goOn: make(chan struct{})}
	h.ctx, h.end = context.WithCancel(s.ctx)
	defer h.end()
	goOn := sync.OnceFunc(func() { close(h.goOn) })
	defer goOn()
	end := subscribe(h)
	for n := range 150 {
		say(s, a, load{N: n})
	}
	take(s, h.taken)
	if name == "an illegible event" {
		say(s, a, illegibleLoad{"x"})
	}
	end()
	goOn()
	event := lahja.EventName[load]()
	for statOf(s, a.Stats(), "a", event).Outstanding != 0 ||
		statOf(s, s.bus.Stats(), "a", event).Outstanding != 0 {
		if s.ctx.Err() != nil {
			s.Fatalf("there is still %+v, and at the bus %+v", a.Stats(), s.bus.Stats())
		}
		runtime.Gosched()
	}
	// No report was one too many: that would have ended a session.
	c := s.own("c")
	items := lahja.Stream[item](s.ctx, c)
	for _, ep := range []*lahja.Endpoint{a, b} {
		if name == "Close" || name == "Shutdown" {
			ep = a
		}
		say(s, ep, item{1})
		hear(s, items, item{1})
		if state := take(s, ep.WatchState(s.ctx)); state.Restarts > 0 || state.Lost > 0 {
			s.Errorf("the link of %q: %+v", ep.Name(), state)
		}
	}
}

// illegibleLoad cannot be read as a load.
type illegibleLoad struct{ N string }

func (illegibleLoad) EventName() string { return lahja.EventName[load]() }
