package lahja_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
)

// flaws are what a broken wire must not cause.
type flaws struct {
	Lost, Doubled, Reordered int
	Wrong                    int // events that nobody sent like that
	Gaps                     int // subscriptions that were told of a gap
	Failed                   int // calls
}

func (f *flaws) add(other flaws) {
	f.Lost += other.Lost
	f.Doubled += other.Doubled
	f.Reordered += other.Reordered
	f.Wrong += other.Wrong
	f.Gaps += other.Gaps
	f.Failed += other.Failed
}

// compare compares what has come with what was sent, in that order.
func compare(sent, got []int) (f flaws) {
	place := make(map[int]int, len(sent))
	for i, n := range sent {
		place[n] = i
	}
	seen := make(map[int]bool, len(got))
	last := -1
	for _, n := range got {
		at, known := place[n]
		switch {
		case !known:
			f.Wrong++
		case seen[n]:
			f.Doubled++
		case at < last:
			f.Reordered++
		}
		if known {
			seen[n], last = true, max(last, at)
		}
	}
	f.Lost = len(sent) - len(seen)
	return f
}

// The events of a recital, beside load, question and answer.
type (
	chore struct{ N int } // for one of a group
	drip  struct{ N int } // of which the oldest may be dropped
	sign  struct{ N int } // retained
)

// recital is a session of a fixed content, with every kind of traffic in both directions.
type recital struct {
	*crossing
	far    *lahja.Endpoint
	rounds int

	mu      sync.Mutex // guards what follows
	flaws   flaws
	streams map[string]*[]int
	missed  int            // ticks
	handled map[string]int // requests, by who has handled them
	reading sync.WaitGroup
}

// recite has a session of that many rounds and returns what was wrong with it, and the errors of
// the endpoint's connections.
func (c *crossing) recite(rounds int, door lahja.Transport) (f flaws, errs []error) {
	r := &recital{
		crossing: c, rounds: rounds, streams: map[string]*[]int{}, handled: map[string]int{},
	}
	r.far, errs = c.reach("far", door)
	ctx, cancel := context.WithCancel(c.ctx)
	states := r.far.WatchState(ctx)
	r.reading.Go(func() {
		for s := range states {
			if s.Err != nil {
				errs = append(errs, s.Err)
			}
		}
	})
	r.attend(ctx)
	for n := range rounds {
		r.round(n)
	}
	time.Sleep(time.Second) // in the bubble: nothing is on its way any more
	cancel()
	r.reading.Wait()
	return r.judge(), errs
}

// reach connects. What breaks a handshake is told, and it is tried again.
func (c *crossing) reach(name string, door lahja.Transport) (ep *lahja.Endpoint, errs []error) {
	for range 10 {
		ep, err := lahja.Connect(c.ctx, name, door)
		if err == nil {
			c.Cleanup(func() { ep.Close() })
			return ep, errs
		}
		errs = append(errs, err)
	}
	c.Fatalf("%q cannot connect: %v", name, errs)
	return nil, nil
}

const verse = 40 // bytes of an event

func verseOf(n int) []byte { return bytes.Repeat([]byte{byte(n)}, verse) }

// attend subscribes to everything at both ends.
func (r *recital) attend(ctx context.Context) {
	for _, from := range []string{"own", "far"} {
		for _, ep := range []*lahja.Endpoint{r.own, r.far} {
			listen(r, ctx, from+" at "+ep.Name(), func(ev lahja.Event[load]) (int, bool) {
				return ev.Value.N, ev.Origin == from &&
					bytes.Equal(ev.Value.Data, verseOf(ev.Value.N))
			}, lahja.Stream[load](ctx, ep, lahja.From(from)))
		}
	}
	for _, ep := range []*lahja.Endpoint{r.own, r.far} {
		listen(r, ctx, "jobs at "+ep.Name(), func(ev lahja.Event[chore]) (int, bool) {
			return ev.Value.N, ev.Origin == "own" || ev.Origin == "far"
		}, lahja.Stream[chore](ctx, ep, lahja.Group("workers")))
		_, err := lahja.Handle(ctx, ep,
			func(_ context.Context, ev lahja.Event[question]) (answer, error) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.handled[fmt.Sprintf("%d by %s", ev.Value.N, ep.Name())]++
				return answer{2 * ev.Value.N}, nil
			})
		if err != nil {
			r.Fatal(err)
		}
	}
	listen(r, ctx, "ticks", func(ev lahja.Event[drip]) (int, bool) {
		r.missed += int(ev.Missed)
		return ev.Value.N, ev.Origin == "own"
	}, lahja.Stream[drip](ctx, r.far, lahja.DropOldest(), lahja.Buffer(4)))
	listen(r, ctx, "signs", func(ev lahja.Event[sign]) (int, bool) {
		return ev.Value.N, ev.Origin == "own" && ev.Key == fmt.Sprint(ev.Value.N%3)
	}, lahja.Stream[sign](ctx, r.far, lahja.WithRetained()))
}

// listen writes down what comes. read is called with r locked.
func listen[T any](
	r *recital, ctx context.Context, name string,
	read func(lahja.Event[T]) (n int, right bool), events <-chan lahja.Event[T],
) {
	got := new([]int)
	r.streams[name] = got
	r.reading.Go(func() {
		for ev := range events {
			r.mu.Lock()
			n, right := read(ev)
			*got = append(*got, n)
			if !right {
				r.flaws.Wrong++
			}
			if ev.Gap() {
				r.flaws.Gaps++
			}
			r.mu.Unlock()
		}
		if ctx.Err() == nil {
			r.Errorf("%s: the channel is closed", name)
		}
	})
}

// round does everything once, at both ends at the same time.
func (r *recital) round(n int) {
	guest, err := r.bus.Endpoint("guest")
	r.do(err)
	var acting sync.WaitGroup
	acting.Go(func() {
		for i := range 2 {
			r.do(lahja.Broadcast(r.ctx, r.own, load{N: 2*n + i, Data: verseOf(2*n + i)}))
			r.do(lahja.Broadcast(r.ctx, r.own, drip{2*n + i}))
		}
		r.do(lahja.Broadcast(r.ctx, r.own, sign{n}, lahja.RetainKey(fmt.Sprint(n%3))))
		r.do(lahja.Broadcast(r.ctx, r.own, chore{2 * n}))
		r.ask(r.own, n, "far")
	})
	acting.Go(func() {
		for i := range 2 {
			r.do(lahja.Broadcast(r.ctx, r.far, load{N: 2*n + i, Data: verseOf(2*n + i)}))
		}
		r.do(lahja.Broadcast(r.ctx, r.far, chore{2*n + 1}))
		r.ask(r.far, n, "own")
		r.do(r.far.WaitUntil(r.ctx, lahja.Present("guest")))
	})
	acting.Wait()
	r.do(guest.Close())
	r.do(r.far.WaitUntil(r.ctx, not(lahja.Present("guest"))))
}

func (r *recital) ask(from *lahja.Endpoint, n int, who string) {
	a, err := lahja.Request[question, answer](r.ctx, from, question{n}, lahja.To(who))
	if err == nil && a.N != 2*n {
		err = fmt.Errorf("the answer to %d is %d", n, a.N)
	}
	r.do(err)
}

func (r *recital) do(err error) {
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flaws.Failed++
		r.Error(err)
	}
}

// judge says what was wrong.
func (r *recital) judge() flaws {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	once, twice := upTo(r.rounds), upTo(2*r.rounds)
	jobs := slices.Concat(*r.streams["jobs at own"], *r.streams["jobs at far"])
	slices.Sort(jobs) // a group keeps no order
	r.flaws.add(compare(twice, jobs))
	r.flaws.add(compare(once, *r.streams["signs"]))
	ticks := compare(twice, *r.streams["ticks"])
	ticks.Lost -= r.missed
	r.flaws.add(ticks)
	for name, got := range r.streams {
		if strings.Contains(name, " at ") && !strings.HasPrefix(name, "jobs") {
			r.flaws.add(compare(twice, *got))
		}
	}
	for _, times := range r.handled {
		r.flaws.Doubled += times - 1
	}
	r.flaws.Lost += 2*r.rounds - len(r.handled)
	return r.flaws
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
