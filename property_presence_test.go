package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// meets checks that a view shows who is there and what each subscribes to, and nothing else; self
// comes first. It returns what is wrong.
func meets(view lahja.Peers, self string, there map[string][]string) error {
	if len(view) == 0 || view[0].Name != self {
		return fmt.Errorf("%q does not come first in %v", self, view)
	}
	for _, p := range view {
		events, known := there[p.Name]
		if !known || !slices.Equal(p.Events, events) {
			return fmt.Errorf("%q has %v in %v, where %v is right", p.Name, p.Events, view, there)
		}
	}
	if len(view) != len(there) {
		return fmt.Errorf("%v is not all of %v", view, there)
	}
	return nil
}

// watching is what one endpoint was last told by WatchPeers, and all that WatchState told it.
type watching struct {
	mu      sync.Mutex // guards what follows
	last    lahja.Peers
	changed chan struct{}
	states  []lahja.State
	readers sync.WaitGroup
}

func (v *watching) run(w *world, ep *lahja.Endpoint) {
	peers, states := ep.WatchPeers(w.ctx), ep.WatchState(w.ctx)
	v.readers.Go(func() {
		for view := range peers {
			v.mu.Lock()
			v.last = view
			close(v.changed)
			v.changed = make(chan struct{})
			v.mu.Unlock()
		}
	})
	v.readers.Go(func() {
		for s := range states {
			v.mu.Lock()
			v.states = append(v.states, s)
			v.mu.Unlock()
		}
	})
}

// await waits until the view is right.
func (v *watching) await(ctx context.Context, self string, there map[string][]string) error {
	for {
		v.mu.Lock()
		last, changed := v.last, v.changed
		v.mu.Unlock()
		err := meets(last, self, there)
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// checkStates holds that an endpoint was connected, which may have been out of date before it was
// told, and then was not, because it closed.
func checkStates(states []lahja.State) error {
	rest := states
	if len(rest) > 0 && rest[0].Connected && rest[0].Err == nil {
		rest = rest[1:]
	}
	if len(rest) != 1 || rest[0].Connected || !errors.Is(rest[0].Err, lahja.ErrClosed) {
		return fmt.Errorf("the states were %+v", states)
	}
	return nil
}

// tenant is what one endpoint does: it subscribes to some of the colors, ends some of that again,
// and may close.
type tenant struct {
	Subscribes, Ends []int
	Closes           bool
}

// events are what it subscribes to in the end, the world's own marks included.
func (n *tenant) events() []string {
	events := []string{lahja.EventName[mark]()}
	for _, c := range n.Subscribes {
		if !slices.Contains(n.Ends, c) {
			events = append(events, colors[c].event)
		}
	}
	slices.Sort(events)
	return events
}

func (n *tenant) live(w *world, ep *lahja.Endpoint) {
	ends := map[int]func(){}
	for _, c := range n.Subscribes {
		sub, err := colors[c].nothing(w.ctx, ep)
		if err != nil {
			w.fail("subscribing: %w", err)
			return
		}
		ends[c] = sub.Unsubscribe
	}
	for _, c := range n.Ends {
		if end := ends[c]; end != nil {
			end()
		}
	}
	if n.Closes {
		ep.Close()
	}
}

// Presence: whatever endpoints do at the same time, everyone's view becomes what is, without
// anything being sent, and each knows of its own link until its end.
func TestPropertyPresence(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		w, done := opened(t, p, dir, script{Slots: someSlots(t, 5)})
		defer done()
		some := rapid.SliceOfNDistinct(rapid.IntRange(0, len(colors)-1), 0, len(colors),
			rapid.ID[int])
		there := map[string][]string{}
		var living sync.WaitGroup
		views := make([]*watching, len(w.current))
		for i, e := range w.current {
			n := &tenant{Subscribes: some.Draw(t, "subscribes"), Ends: some.Draw(t, "ends")}
			n.Closes = i > 0 && rapid.Bool().Draw(t, "closes")
			if !n.Closes {
				there[e.name] = n.events()
			}
			views[i] = &watching{changed: make(chan struct{})}
			views[i].run(w, e.ep)
			living.Go(func() { n.live(w, e.ep) })
		}
		living.Wait()
		for i, e := range w.current {
			if _, stays := there[e.name]; !stays {
				continue
			}
			err := views[i].await(w.ctx, e.name, there)
			if err == nil {
				err = e.ep.WaitUntil(w.ctx, func(p lahja.Peers) bool {
					return meets(p, e.name, there) == nil
				})
			}
			if err != nil {
				t.Fatalf("%q: %v", e.name, err)
			}
		}
		for _, e := range w.current {
			e.ep.Close()
		}
		w.bus.Close()
		for _, v := range views {
			v.readers.Wait()
			if err := checkStates(v.states); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What WaitUntil saw holds for what is broadcast afterwards: the subscription that it saw gets it.
func TestPropertySeenIsReached(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		w, done := opened(t, p, dir, script{Slots: someSlots(t, 4)})
		defer done()
		speaker := w.current[rapid.IntRange(0, len(w.current)-1).Draw(t, "speaker")].ep
		listener := w.current[rapid.IntRange(0, len(w.current)-1).Draw(t, "listener")].ep
		rounds := rapid.IntRange(1, 4).Draw(t, "rounds")
		opts := rapid.SampledFrom([][]lahja.SubscribeOption{
			nil, {lahja.Group("g")}, {lahja.WithRetained()}, {lahja.DropOldest(), lahja.Buffer(5)},
			{lahja.From(speaker.Name())},
		}).Draw(t, "options")
		var listening sync.WaitGroup
		heard, again := make(chan int, 1), make(chan struct{}, 1)
		listening.Go(func() {
			for range rounds {
				ctx, cancel := context.WithCancel(w.ctx)
				ev, ok := <-lahja.Stream[red](ctx, listener, opts...)
				if !ok {
					w.fail("the subscription has ended")
				}
				cancel()
				heard <- ev.Value.N
				<-again
			}
		})
		defer listening.Wait()
		seen := lahja.SubscribedBy[red](listener.Name())
		for n := range rounds {
			if err := speaker.WaitUntil(w.ctx, seen); err != nil {
				t.Fatal(err)
			}
			if err := lahja.Broadcast(w.ctx, speaker, red{N: n}); err != nil {
				t.Fatal(err)
			}
			if got := <-heard; got != n {
				t.Fatalf("%d was heard, where %d was said", got, n)
			}
			ended := func(p lahja.Peers) bool { return !seen(p) }
			if err := speaker.WaitUntil(w.ctx, ended); err != nil {
				t.Fatal(err)
			}
			again <- struct{}{}
		}
	})
}
