package lahja_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// asking is requests that wait for answers, and endpoints that answer when they are told to. Each
// gets requests by a Stream or by handlers that wait.
type asking struct {
	t       *rapid.T
	ctx     context.Context
	ends    []*answering
	pending []*pending
	calls   sync.WaitGroup

	mu      sync.Mutex // guards what follows, and what answering has got
	changed chan struct{}
}

// answering is an endpoint, and the requests that it has got.
type answering struct {
	*endpoint
	handles bool
	events  map[int]lahja.Event[silent]
	tell    map[int]chan reply // to the handlers that wait
	over    map[int]bool       // the handlers whose context has ended
	closed  bool
}

// pending is a request, and who may still answer it.
type pending struct {
	from   *answering
	left   []*answering
	asked  []*answering
	cancel context.CancelFunc
	result chan result // takes one
	done   bool
}

type result struct {
	answer reply
	err    error
}

// Routing and Endings, for requests that wait: each gets the first answer and no other's, fails as
// soon as nobody is left who could answer, or its endpoint or its context has ended; and then the
// handlers that have it are told.
func TestPropertyRequests(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		var s script
		for i := range rapid.IntRange(2, 4).Draw(t, "endpoints") {
			s.Slots = append(s.Slots, slot{string(rune('a' + i)), rapid.Bool().Draw(t, "remote")})
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w, err := p.open(ctx, dir, &s)
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		a := &asking{t: t, ctx: ctx, changed: make(chan struct{})}
		defer a.calls.Wait()
		defer cancel()
		for i := range s.Slots {
			opening{i}.do(w)
			a.attend(w.current[i], rapid.Bool().Draw(t, "handles"))
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			a.step()
			if p.bubble {
				synctest.Wait()
			}
			a.check()
		}
		w.bus.Close()
		for n, q := range a.pending {
			if !q.done {
				a.expect(n, lahja.ErrClosed, lahja.ErrResponderGone) // the others may end first
			}
		}
	})
}

// attend subscribes to requests at e.
func (a *asking) attend(e *endpoint, handles bool) {
	r := &answering{endpoint: e, handles: handles, events: map[int]lahja.Event[silent]{},
		tell: map[int]chan reply{}, over: map[int]bool{}}
	a.ends = append(a.ends, r)
	if !handles {
		requests := lahja.Stream[silent](a.ctx, e.ep)
		a.calls.Go(func() {
			for ev := range requests {
				a.note(func() { r.events[ev.Value.N] = ev })
			}
		})
		return
	}
	wait := func(ctx context.Context, ev lahja.Event[silent]) (reply, error) {
		tell := make(chan reply, 1)
		a.note(func() { r.events[ev.Value.N], r.tell[ev.Value.N] = ev, tell })
		select {
		case answer := <-tell:
			if answer.From == "" {
				return answer, errRefused
			}
			return answer, nil
		case <-ctx.Done():
			a.note(func() { r.over[ev.Value.N] = true })
			return reply{}, ctx.Err()
		}
	}
	if _, err := lahja.Handle(a.ctx, e.ep, wait, lahja.Concurrency(32)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *asking) note(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// await waits until what is true.
func (a *asking) await(why string, what func() bool) {
	for {
		a.mu.Lock()
		ok, changed := what(), a.changed
		a.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-a.ctx.Done():
			a.t.Fatalf("it does not happen that %s", why)
		}
	}
}

func (a *asking) step() {
	r := rapid.SampledFrom(a.ends).Draw(a.t, "endpoint")
	n := -1
	if len(a.pending) > 0 {
		n = rapid.IntRange(0, len(a.pending)-1).Draw(a.t, "request")
	}
	switch kind := rapid.IntRange(-1, 9).Draw(a.t, "step"); {
	case kind < 0:
		a.askBriefly(r)
	case kind < 4 || n < 0:
		a.ask(r)
	case kind < 7:
		a.answer(r, n)
	case kind < 8:
		a.answerOther(r, n)
	case kind < 9:
		a.pending[n].cancel()
		a.end(n, context.Canceled)
	default:
		a.close(r)
	}
}

// ask requests at r, of all or of some.
func (a *asking) ask(r *answering) {
	if r.closed {
		return
	}
	n := len(a.pending)
	ctx, cancel := context.WithCancel(a.ctx)
	q := &pending{from: r, cancel: cancel, result: make(chan result, 1)}
	a.pending = append(a.pending, q)
	var opts []lahja.BroadcastOption
	var to []string
	some := rapid.Bool().Draw(a.t, "some")
	for _, e := range a.ends {
		if !some || rapid.Bool().Draw(a.t, "to") {
			to = append(to, e.name)
			if !e.closed {
				q.left = append(q.left, e)
			}
		}
	}
	if some {
		opts = append(opts, lahja.To(to...))
	}
	q.asked = slices.Clone(q.left)
	a.calls.Go(func() {
		answer, err := lahja.Request[silent, reply](ctx, r.ep, silent{n}, opts...)
		q.result <- result{answer, err}
	})
	if len(q.left) == 0 {
		a.end(n, lahja.ErrNoSubscribers)
		return
	}
	for _, e := range q.left {
		a.await("a request arrives", func() bool { _, got := e.events[n]; return got })
	}
}

// answer lets r answer request n, which may be over.
func (a *asking) answer(r *answering, n int) {
	a.mu.Lock()
	ev, got := r.events[n]
	tell := r.tell[n]
	a.mu.Unlock()
	q := a.pending[n]
	if !got || r.closed {
		return
	}
	refused := rapid.IntRange(0, 3).Draw(a.t, "refused") == 3
	said := result{answer: reply{r.name, n}}
	if refused {
		said = result{err: errRefused}
	}
	if r.handles {
		if !q.done {
			tell <- said.answer
		}
	} else {
		err := said.say(a.ctx, ev)
		if err != nil && !(q.done && errors.Is(err, lahja.ErrUnexpectedResponse)) {
			a.t.Fatalf("Reply to %d, done: %v: %v", n, q.done, err)
		}
	}
	if q.done {
		return
	}
	o := a.result(n)
	if o.answer != said.answer || !errors.Is(o.err, said.err) || !refused && o.err != nil {
		a.t.Fatalf("request %d got %+v, answered by %q with %+v", n, o, r.name, said)
	}
	var remote *lahja.RemoteError
	if refused && (!errors.As(o.err, &remote) || remote.Endpoint != r.name) {
		a.t.Fatalf("request %d ended with %v, refused by %q", n, o.err, r.name)
	}
	a.over(n, r)
}

// say answers a request so.
func (s result) say(ctx context.Context, to lahja.Event[silent]) error {
	if s.err != nil {
		return lahja.Fail(ctx, to, s.err)
	}
	return lahja.Reply(ctx, to, s.answer)
}

// askBriefly requests at r of all, and is not answered in time.
func (a *asking) askBriefly(r *answering) {
	if r.closed {
		return
	}
	n := len(a.pending)
	ctx, cancel := context.WithTimeout(a.ctx, time.Millisecond)
	q := &pending{from: r, cancel: cancel, result: make(chan result, 1), done: true}
	for _, e := range a.ends {
		if !e.closed {
			q.asked = append(q.asked, e)
		}
	}
	a.pending = append(a.pending, q)
	_, err := lahja.Request[silent, reply](ctx, r.ep, silent{n})
	if cancel(); !errors.Is(err, context.DeadlineExceeded) {
		a.t.Fatalf("request %d ended with %v, where its time is over", n, err)
	}
	for _, e := range q.asked {
		if e.handles { // it may have begun, and is then told
			a.await("a handler is told that the time is over", func() bool {
				_, begun := e.events[n]
				return !begun || e.over[n]
			})
		}
	}
}

// answerOther tries to answer with what is not wanted, which leaves the request as it was.
func (a *asking) answerOther(r *answering, n int) {
	a.mu.Lock()
	ev, got := r.events[n]
	a.mu.Unlock()
	if !got || r.handles || r.closed {
		return
	}
	err := lahja.Reply(a.ctx, ev, otherReply{})
	if !errors.Is(err, lahja.ErrUnexpectedResponse) {
		a.t.Fatalf("Reply with another type: %v", err)
	}
}

// close closes r. What it has asked fails, and what it alone could have answered.
func (a *asking) close(r *answering) {
	r.closed = true
	r.ep.Close()
	for n, q := range a.pending {
		q.left = slices.DeleteFunc(q.left, func(e *answering) bool { return e == r })
		switch {
		case q.done:
		case q.from == r:
			a.end(n, lahja.ErrClosed)
		case len(q.left) == 0:
			a.end(n, lahja.ErrResponderGone)
		}
	}
}

func (a *asking) result(n int) result {
	select {
	case o := <-a.pending[n].result:
		return o
	case <-a.ctx.Done():
		a.t.Fatalf("request %d does not end", n)
	}
	panic("unreachable")
}

// end waits until request n has failed.
func (a *asking) end(n int, reason error) {
	if !a.pending[n].done {
		a.expect(n, reason)
		a.over(n, nil)
	}
}

func (a *asking) expect(n int, reasons ...error) {
	o := a.result(n)
	if !slices.ContainsFunc(reasons, func(r error) bool { return errors.Is(o.err, r) }) {
		a.t.Fatalf("request %d ended with %+v, where %v is due", n, o, reasons)
	}
}

// over waits until the handlers that have request n, but for the one that answered, are told.
func (a *asking) over(n int, by *answering) {
	q := a.pending[n]
	q.done = true
	q.cancel()
	for _, e := range q.asked {
		if e.handles && e != by {
			a.await("a handler is told", func() bool { return e.over[n] })
		}
	}
}

// check checks that nothing has ended that must not, and that nobody has got what is not for him.
func (a *asking) check() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, q := range a.pending {
		if !q.done && len(q.result) > 0 {
			a.t.Fatalf("request %d has ended: %+v", n, <-q.result)
		}
		for _, e := range a.ends {
			if _, got := e.events[n]; got && !slices.Contains(q.asked, e) {
				a.t.Fatalf("request %d has come to %q", n, e.name)
			}
		}
	}
}
