package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// A model of groups: whoever joins and leaves, each event is one member's.

// tally is how often each number was seen, and whether all that must be has been.
type tally struct {
	mu      sync.Mutex // guards what follows
	seen    map[int]int
	changed chan struct{}
}

func newTally() *tally { return &tally{seen: map[int]int{}, changed: make(chan struct{})} }

func (y *tally) add(n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.seen[n]++
	close(y.changed)
	y.changed = make(chan struct{})
}

// await waits until each of ns was seen.
func (y *tally) await(ctx context.Context, ns []int) error {
	for _, n := range ns {
		for {
			y.mu.Lock()
			seen, changed := y.seen[n], y.changed
			y.mu.Unlock()
			if seen > 0 {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return fmt.Errorf("%d reaches nobody", n)
			}
		}
	}
	return nil
}

// check holds that each of must was seen once, each of may at most once, and nothing else.
func (y *tally) check(must, may []int) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	limit := map[int]bool{}
	for _, n := range must {
		if limit[n] = true; y.seen[n] != 1 {
			return fmt.Errorf("%d was seen %d times", n, y.seen[n])
		}
	}
	for _, n := range may {
		limit[n] = true
	}
	for n, times := range y.seen {
		if times > 1 || !limit[n] {
			return fmt.Errorf("%d was seen %d times, and may be: %v", n, times, limit[n])
		}
	}
	return nil
}

// shift is what happens to a group: threads of acts that run at the same time.
type shift struct {
	Slots   []slot
	Threads [][]shiftAct
}

// shiftAct is one act at an endpoint.
type shiftAct struct {
	Do     string // send, ask, join, stream, leave or close
	Slot   int
	Buffer int // of who joins
	At     int // who leaves, of those who have joined
}

func shifts() *rapid.Generator[shift] {
	act := rapid.Custom(func(t *rapid.T) shiftAct {
		return shiftAct{
			Do: rapid.SampledFrom([]string{"send", "send", "send", "send", "ask", "ask", "join",
				"stream", "leave", "leave", "close"}).Draw(t, "do"),
			Slot:   rapid.IntRange(1, 3).Draw(t, "slot"),
			Buffer: rapid.IntRange(0, 3).Draw(t, "buffer"),
			At:     rapid.IntRange(0, 5).Draw(t, "at"),
		}
	})
	return rapid.Custom(func(t *rapid.T) (s shift) {
		for i := range 4 {
			remote := rapid.Bool().Draw(t, "remote")
			s.Slots = append(s.Slots, slot{string(rune('a' + i)), remote})
		}
		acts := rapid.SliceOfN(act, 1, 12)
		s.Threads = rapid.SliceOfN(acts, 1, 3).Draw(t, "threads")
		return s
	})
}

// works runs a shift.
type works struct {
	w            *world
	events, asks *tally
	readers      sync.WaitGroup

	mu          sync.Mutex // guards what follows
	next        int
	sent        []int // events
	asked, lost []int // requests that were answered, and others
	leave       []func()
	closed      bool
	failure     error
}

func (k *works) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil {
		k.failure = err
	}
}

// join makes an endpoint a member of both groups; one that streams takes no requests.
func (k *works) join(ep *lahja.Endpoint, buffer int, stream bool) {
	opts := []lahja.SubscribeOption{lahja.Group("g"), lahja.Buffer(buffer)}
	ctx, cancel := context.WithCancel(k.w.ctx)
	if stream {
		ch := lahja.Stream[red](ctx, ep, opts...)
		k.readers.Go(func() {
			for ev := range ch {
				k.events.add(ev.Value.N)
			}
		})
		k.left(cancel)
		return
	}
	sub, err := lahja.Subscribe(ctx, ep, func(_ context.Context, ev lahja.Event[red]) {
		k.events.add(ev.Value.N)
	}, opts...)
	if err == nil {
		k.left(sub.Unsubscribe)
		sub, err = lahja.Handle(ctx, ep,
			func(_ context.Context, ev lahja.Event[query]) (reply, error) {
				k.asks.add(ev.Value.N)
				return reply{ep.Name(), ev.Value.N}, nil
			}, opts...)
	}
	if err == nil {
		k.left(sub.Unsubscribe)
	} else if !errors.Is(err, lahja.ErrClosed) {
		k.fail(fmt.Errorf("joining: %w", err))
	}
	context.AfterFunc(k.w.ctx, cancel)
}

func (k *works) left(leave func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leave = append(k.leave, leave)
}

func (k *works) number() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	return k.next
}

func (k *works) do(a shiftAct) {
	ep := k.w.current[a.Slot].ep
	switch a.Do {
	case "send":
		k.send(ep)
	case "ask":
		k.ask(ep)
	case "join", "stream":
		k.join(ep, a.Buffer, a.Do == "stream")
	case "leave":
		k.mu.Lock()
		leave := func() {}
		if a.At < len(k.leave) {
			leave = k.leave[a.At]
		}
		k.mu.Unlock()
		leave()
	case "close":
		k.mu.Lock()
		k.closed = true
		k.mu.Unlock()
		ep.Close()
	}
}

func (k *works) send(ep *lahja.Endpoint) {
	n := k.number()
	err := lahja.Broadcast(k.w.ctx, ep, red{ep.Name(), n})
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.sent = append(k.sent, n)
	} else if !errors.Is(err, lahja.ErrClosed) || !k.closed {
		k.failure = fmt.Errorf("event %d: %w", n, err)
	}
}

func (k *works) ask(ep *lahja.Endpoint) {
	n := k.number()
	answer, err := lahja.Request[query, reply](k.w.ctx, ep, query{ep.Name(), n})
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil && answer.N == n:
		k.asked = append(k.asked, n)
	case k.closed && (errors.Is(err, lahja.ErrClosed) || errors.Is(err, lahja.ErrResponderGone)):
		k.lost = append(k.lost, n) // who asked or who had begun has closed
	default:
		k.failure = fmt.Errorf("request %d got %+v: %w", n, answer, err)
	}
}

// run runs a shift, with a member that stays.
func (k *works) run(s shift) error {
	for i := range s.Slots {
		opening{i}.do(k.w)
	}
	k.join(k.w.current[0].ep, 0, false)
	k.leave = nil
	var threads sync.WaitGroup
	for _, acts := range s.Threads {
		threads.Go(func() {
			for _, a := range acts {
				k.do(a)
			}
		})
	}
	threads.Wait()
	if k.failure != nil {
		return k.failure
	}
	err := k.events.await(k.w.ctx, k.sent)
	k.w.bus.Close()
	for _, e := range k.w.current {
		e.ep.Close()
		<-e.ep.Done()
	}
	k.readers.Wait()
	return errors.Join(err, k.events.check(k.sent, nil), k.asks.check(k.asked, k.lost))
}

// Groups: each event and each request goes to one member, whoever joins, unsubscribes and closes
// meanwhile: nothing is lost as long as one member stays, and nothing is run twice.
func TestPropertyGroups(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := shifts().Draw(t, "shift")
		for range 2 {
			if err := p.group(dir, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// group runs a shift at p.
func (p *place) group(dir string, s shift) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := p.open(ctx, dir, &script{Slots: s.Slots})
	if err != nil {
		return err
	}
	defer w.close()
	k := &works{w: w, events: newTally(), asks: newTally()}
	err = k.run(s)
	if w.failure != nil {
		return w.failure
	}
	return err
}
