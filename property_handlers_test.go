package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// opened is a bus with endpoints at a place, for one case of a property.
func opened(t *rapid.T, p *place, dir string, s script) (*world, func()) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w, err := p.open(ctx, dir, &s)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	for i := range s.Slots {
		opening{i}.do(w)
	}
	return w, func() {
		w.close()
		cancel()
		if w.failure != nil && !t.Failed() {
			t.Error(w.failure)
		}
	}
}

// someSlots draws from two to most endpoints.
func someSlots(t *rapid.T, most int) (slots []slot) {
	for i := range rapid.IntRange(2, most).Draw(t, "endpoints") {
		slots = append(slots, slot{string(rune('a' + i)), rapid.Bool().Draw(t, "remote")})
	}
	return slots
}

// account adds up what a subscription that drops has got and was told to have missed.
type account struct {
	total, sum int
	last       map[string]int
}

// add checks an event against what came before: no origin's events change places, and never is
// more accounted for than was sent.
func (a *account) add(origin string, n int, missed uint64) error {
	if n <= a.last[origin] {
		return fmt.Errorf("%d of %q comes after %d", n, origin, a.last[origin])
	}
	a.last[origin] = n
	if a.sum += 1 + int(missed); a.sum > a.total {
		return fmt.Errorf("%d events are accounted for, of %d", a.sum, a.total)
	}
	return nil
}

// No silent loss: what a subscription has got and what it was told to have missed add up to what
// was sent, whoever sent it and whenever it was read, and nobody waits for it.
func TestPropertyDropOldest(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := script{Lag: rapid.SampledFrom([]int64{0, 1, 500}).Draw(t, "lag"),
			Slots: someSlots(t, 4)}
		w, done := opened(t, p, dir, s)
		defer done()
		at := rapid.IntRange(0, len(s.Slots)-1).Draw(t, "subscriber")
		buffer := rapid.IntRange(1, 4).Draw(t, "buffer")
		a := &account{last: map[string]int{}}
		var counts []int
		for range s.Slots {
			counts = append(counts, rapid.IntRange(1, 30).Draw(t, "events"))
			a.total += counts[len(counts)-1]
		}
		ch := lahja.Stream[red](w.ctx, w.current[at].ep, lahja.DropOldest(), lahja.Buffer(buffer))
		var sending sync.WaitGroup
		for i, e := range w.current {
			sending.Go(func() {
				for n := range counts[i] {
					if err := lahja.Broadcast(w.ctx, e.ep, red{e.name, n + 1}); err != nil {
						w.fail("broadcasting: %w", err)
					}
				}
			})
		}
		if rapid.Bool().Draw(t, "late") {
			sending.Wait()
		}
		for a.sum < a.total {
			select {
			case ev := <-ch:
				if err := a.add(ev.Origin, ev.Value.N, ev.Missed); err != nil {
					t.Fatal(err)
				}
			case <-w.ctx.Done():
				t.Fatalf("%d of %d are accounted for", a.sum, a.total)
			}
		}
		sending.Wait()
	})
}

// Concurrency: as many handlers run at once as there may and no more, and each event has one call.
func TestPropertyConcurrency(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		w, done := opened(t, p, dir, script{Slots: someSlots(t, 3)})
		defer done()
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		events := rapid.IntRange(1, 12).Draw(t, "events")
		calls, release := make(chan int, events), make(chan struct{})
		var mu sync.Mutex
		running, most := 0, 0
		_, err := lahja.Subscribe(w.ctx, w.current[0].ep,
			func(_ context.Context, ev lahja.Event[red]) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				calls <- ev.Value.N
				<-release
				mu.Lock()
				running--
				mu.Unlock()
			}, lahja.Concurrency(limit))
		if err != nil {
			t.Fatal(err)
		}
		for n := range events {
			err := lahja.Broadcast(w.ctx, w.current[n%len(w.current)].ep, red{N: n})
			if err != nil {
				t.Fatal(err)
			}
		}
		var got []int
		for range min(limit, events) {
			got = append(got, <-calls)
		}
		if p.bubble {
			synctest.Wait()
		}
		close(release)
		for len(got) < events {
			got = append(got, <-calls)
		}
		slices.Sort(got)
		for n := range events {
			if got[n] != n {
				t.Fatalf("the calls are %v", got)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if most != min(limit, events) {
			t.Fatalf("%d handlers ran at once, where %d may, and there are %d events", most, limit,
				events)
		}
	})
}

// manner is how a subscription treats a request that is gathered.
type manner int

const (
	answers manner = iota
	refuses
	isSilent
	answersOther
	observes
	waitsOn // until its context ends
)

// survey is a request to all, and what each endpoint does about it.
type survey struct {
	w       *world
	manners [][]manner // by endpoint
	begun   chan struct{}
	ended   chan struct{} // one for each that waits
}

func (g *survey) attend(i int, m manner) (err error) {
	ep := g.w.current[i].ep
	switch m {
	case answersOther:
		_, err = lahja.Handle(g.w.ctx, ep,
			func(context.Context, lahja.Event[silent]) (otherReply, error) {
				g.w.fail("a handler is called for a request that wants another response")
				return otherReply{}, nil
			})
	case isSilent, observes:
		opts := []lahja.SubscribeOption{}
		if m == observes {
			opts = append(opts, lahja.Observe())
		}
		_, err = lahja.Subscribe(g.w.ctx, ep, func(context.Context, lahja.Event[silent]) {},
			opts...)
	default:
		_, err = lahja.Handle(g.w.ctx, ep,
			func(ctx context.Context, ev lahja.Event[silent]) (reply, error) {
				switch m {
				case refuses:
					return reply{}, errRefused
				case waitsOn:
					g.begun <- struct{}{}
					<-ctx.Done()
					g.ended <- struct{}{}
					return reply{}, ctx.Err()
				}
				return reply{ep.Name(), ev.Value.N}, nil
			})
	}
	return err
}

// ofManner checks what an endpoint of these manners is said to have done.
func ofManner(all []manner, value reply, err error) error {
	has := func(m manner) bool { return slices.Contains(all, m) }
	said := has(answers) || has(refuses)
	var remote *lahja.RemoteError
	switch {
	case err == nil && has(answers) && value.N == 7:
	case errors.Is(err, errRefused) && has(refuses) && errors.As(err, &remote):
	case errors.Is(err, lahja.ErrResponderGone) && has(isSilent) && !said:
	case errors.Is(err, lahja.ErrUnexpectedResponse) && has(answersOther) && !said:
	default:
		return fmt.Errorf("one of the manners %v yields %+v, %w", all, value, err)
	}
	return nil
}

// askedBy reports whether an endpoint of these manners is a recipient, and whether it may wait.
func askedBy(all []manner) (asked, waits bool) {
	for _, m := range all {
		asked, waits = asked || m != observes, waits || m == waitsOn
	}
	return asked, waits
}

// gather ranges over the answers until all have come but those that are waited for in vain, and
// returns the error that came last without an origin.
func (g *survey) gather(ctx context.Context, leave bool, give func()) (last error) {
	due, waiting, seen := 0, 0, map[string]bool{}
	for _, all := range g.manners {
		if ok, waits := askedBy(all); waits {
			waiting++
		} else if ok {
			due++
		}
	}
	stop := func() bool { return waiting > 0 && len(seen) == due }
	begun := func() { // only a handler that has begun is told
		for range waiting {
			<-g.begun
		}
	}
	if stop() {
		g.w.group.Go(func() { begun(); give() })
	}
	for ev, err := range lahja.Gather[silent, reply](ctx, g.w.current[0].ep, silent{7}) {
		if ev.Origin == "" {
			if last != nil || err == nil {
				g.w.fail("a second end, or one without a reason: %w", err)
			}
			last = err
			continue
		}
		if seen[ev.Origin] || last != nil {
			g.w.fail("%q comes twice, or after the end", ev.Origin)
		}
		seen[ev.Origin] = true
		i := slices.IndexFunc(g.w.slots, func(s slot) bool { return s.Name == ev.Origin })
		if err := ofManner(g.manners[i], ev.Value, err); err != nil {
			g.w.fail("%q: %w", ev.Origin, err)
		}
		if !stop() {
			continue
		}
		if begun(); leave {
			return nil
		}
		give()
	}
	if len(seen) != due {
		g.w.fail("%d of %d endpoints have an outcome: %v", len(seen), due, seen)
	}
	return last
}

// Gather: one outcome of each endpoint that is asked, its own; the end when all have one; and who
// still has the request is told when it is not waited for any more.
func TestPropertyGather(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		w, done := opened(t, p, dir, script{Slots: someSlots(t, 5)})
		defer done()
		g := &survey{w: w, begun: make(chan struct{}, 9), ended: make(chan struct{}, 9)}
		waiting, recipients := 0, 0
		manners := []manner{answers, refuses, isSilent, observes, answersOther}
		some := rapid.Bool().Draw(t, "some wait")
		if some {
			manners = manners[:4] // that a handler answers otherwise is told at the end
		}
		for i := range w.current {
			all := rapid.SliceOfN(rapid.SampledFrom(manners), 0, 3).Draw(t, "manners")
			if some && rapid.IntRange(0, 2).Draw(t, "waits") == 2 {
				all = []manner{waitsOn}
				waiting++
			}
			g.manners = append(g.manners, all)
			if ok, _ := askedBy(all); ok {
				recipients++
			}
			for _, m := range all {
				if err := g.attend(i, m); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		leave := rapid.Bool().Draw(t, "leave")
		err := g.gather(ctx, leave, cancel)
		switch {
		case recipients == 0 && !errors.Is(err, lahja.ErrNoSubscribers),
			waiting == 0 && recipients > 0 && err != nil,
			waiting > 0 && err != nil && !errors.Is(err, context.Canceled):
			t.Fatalf("it ends with %v", err)
		}
		for range waiting {
			select {
			case <-g.ended:
			case <-w.ctx.Done():
				t.Fatal("a handler is not told that nobody waits")
			}
		}
	})
}
