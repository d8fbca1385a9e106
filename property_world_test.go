package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lahja-go/lahja"
)

const errRefused lahja.Code = "property: refused"

var errCancelled = errors.New("property: cancelled")

// patience is how long a case may take before it counts as stuck. In a bubble it costs nothing.
const patience = 20 * time.Second

// world runs a script and records its history.
type world struct {
	bus      *lahja.Bus
	place    lahja.Transport // nil: all endpoints are in the bus's process
	listener lahja.Listener
	slots    []slot
	ctx      context.Context // of all calls; its end is a failure
	tamper   func(*sub, arrival) []arrival
	group    sync.WaitGroup // the goroutines of all subscriptions and connections

	mu       sync.Mutex // guards what follows, and all that history holds
	h        history
	clock    int64
	current  []*endpoint // by slot
	all      []*endpoint
	attempts []*life // also those that the name was refused
	handles  map[*sub]*handle
	marks    int
	failure  error
	changed  chan struct{} // closed when a subscription has got something or ended
}

type endpoint struct {
	*life
	ep     *lahja.Endpoint
	marked <-chan lahja.Event[mark]
	peers  lahja.Peers // as it was told last
}

// handle is how a subscription is ended.
type handle struct {
	cancel func()
	sub    *lahja.Subscription
}

func newWorld(ctx context.Context, bus *lahja.Bus, s *script) *world {
	return &world{
		bus: bus, slots: s.Slots, ctx: ctx,
		tamper:  func(_ *sub, a arrival) []arrival { return []arrival{a} },
		current: make([]*endpoint, len(s.Slots)), handles: map[*sub]*handle{},
		changed: make(chan struct{}),
	}
}

// now is the next moment. The world is locked.
func (w *world) now() int64 {
	w.clock++
	return w.clock
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
	}
}

// serve serves what dials l. A connection that ends for another reason than that an endpoint or
// the bus has closed, or was refused its name, is a failure.
func (w *world) serve(l lahja.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		w.group.Go(func() {
			err := w.bus.ServeConn(w.ctx, conn)
			if err != nil && !errors.Is(err, lahja.ErrNameTaken) {
				w.fail("a connection has ended: %w", err)
			}
		})
	}
}

// close ends everything, also after a failure.
func (w *world) close() {
	w.bus.Close()
	for _, e := range w.all {
		e.ep.Close()
	}
	if l := w.listener; l != nil {
		l.Close()
	}
	w.group.Wait()
}

// run executes the script and returns what happened, and the first failure.
func (w *world) run(s *script) (*history, error) {
	for i := range s.Slots {
		opening{i}.do(w)
	}
	for i, r := range s.Rounds {
		var threads sync.WaitGroup
		for _, th := range r {
			threads.Go(func() {
				for _, a := range th {
					a.do(w)
				}
			})
		}
		threads.Wait()
		err := w.stuck()
		if err == nil {
			err = w.settle()
		}
		w.mu.Lock()
		w.h.round++
		err = errors.Join(err, w.failure)
		w.mu.Unlock()
		if err != nil {
			return &w.h, fmt.Errorf("round %d: %w", i, err)
		}
	}
	if err := w.end(); err != nil {
		return &w.h, err
	}
	return &w.h, w.h.check()
}

// stuck returns an error if the time is over, and says which calls have waited for its end.
func (w *world) stuck() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		return nil
	}
	err := errors.New("the time is over")
	for _, b := range w.h.sents {
		if errors.Is(b.err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w\nit has ended %v", err, b)
		}
	}
	for _, s := range w.h.subs {
		if errors.Is(s.failed, context.DeadlineExceeded) {
			err = fmt.Errorf("%w\nit has ended %v", err, s)
		}
	}
	return err
}

// settle waits until all that must arrive has arrived and all that may come is through, and
// checks what the endpoints are told of each other.
func (w *world) settle() error {
	var open []*endpoint
	for _, e := range w.all {
		if e.ending == 0 {
			open = append(open, e)
		}
	}
	if err := w.mark(open); err != nil {
		return err
	}
	if err := w.arrived(); err != nil {
		return err
	}
	through := w.through() // one that ends from now on may be seen or not
	for range 2 {          // the first tells the bus what has ended, for it is asked in order
		for _, e := range open {
			peers, err := e.ep.Peers(w.ctx)
			if err != nil {
				return fmt.Errorf("Peers of %q: %w", e.name, err)
			}
			e.peers = peers
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.h.subs {
		// One that is cancelled while its last event arrives may finish before it is unsubscribed.
		late := s.plan.Limit > 0 && s.plan.Cancel && s.endRound == w.h.round
		if slices.Contains(through, s) && s.gone == 0 && !late {
			s.gone = w.now()
			s.ended = first(s.ended, s.gone)
		}
	}
	for _, e := range open {
		if err := w.h.checkPeers(e.life, w.now(), e.peers); err != nil {
			return err
		}
	}
	return w.failure
}

// through returns the subscriptions that get no more.
func (w *world) through() (subs []*sub) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.h.subs {
		if s.finished {
			subs = append(subs, s)
		}
	}
	return subs
}

// mark sends a mark from each endpoint to each. All that was on its way before it has then been
// handed to the subscriptions.
func (w *world) mark(open []*endpoint) error {
	w.marks++
	for _, e := range open {
		if err := lahja.Broadcast(w.ctx, e.ep, mark{e.name, w.marks}); err != nil {
			return fmt.Errorf("marking by %q: %w", e.name, err)
		}
	}
	for _, e := range open {
		for range open {
			select {
			case m, ok := <-e.marked:
				if !ok || m.Value.N != w.marks || m.Value.Sender != m.Origin {
					return fmt.Errorf("%q gets mark %+v, where %d is due", e.name, m, w.marks)
				}
			case <-w.ctx.Done():
				return fmt.Errorf("%q does not get all marks", e.name)
			}
		}
	}
	return nil
}

// arrived waits until every subscription has got what it must, and has finished if it must.
func (w *world) arrived() error {
	for i := range w.h.subs {
		s := w.h.subs[i]
		for {
			w.mu.Lock()
			ok := s.finished || s.lifetime().ending == 0 && w.h.satisfied(s)
			changed := w.changed
			w.mu.Unlock()
			if ok {
				break
			}
			select {
			case <-changed:
			case <-w.ctx.Done():
				w.mu.Lock()
				defer w.mu.Unlock()
				err := w.h.complete(s, w.h.sentsOf(s))
				return fmt.Errorf("%v waits for good: %w\ngot %+v", s, err, s.got)
			}
		}
	}
	return nil
}

// end closes half of the endpoints, then the bus, and waits for all that belongs to them.
func (w *world) end() error {
	for i := range w.current {
		if i%2 == 0 {
			closing{i}.do(w)
		}
	}
	w.mu.Lock()
	for _, e := range w.all {
		e.end(w.now(), w.h.round)
	}
	w.mu.Unlock()
	began := time.Now()
	if err := w.bus.Close(); err != nil {
		return fmt.Errorf("closing the bus: %w", err)
	}
	for _, e := range w.all {
		select {
		case <-e.ep.Done():
		case <-w.ctx.Done():
			return fmt.Errorf("endpoint %q is not done", e.name)
		}
		if err := e.ep.Err(); !errors.Is(err, lahja.ErrClosed) {
			return fmt.Errorf("endpoint %q has ended, %v after the bus began to, for the reason %v",
				e.name, time.Since(began), err)
		}
		e.ep.Close()
	}
	return w.finish()
}

func (w *world) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.h.subs {
		for !(s.finished && s.toldWhy()) && w.ctx.Err() == nil {
			changed := w.changed
			w.mu.Unlock()
			select {
			case <-changed:
			case <-w.ctx.Done():
			}
			w.mu.Lock()
		}
	}
	return w.failure
}

// end notes that the endpoint begins to end.
func (l *life) end(now int64, round int) {
	if l.ending == 0 {
		l.ending, l.endRound = now, round
	}
}

// sentsOf returns the broadcasts that s has got.
func (h *history) sentsOf(s *sub) (got []*sent) {
	for _, a := range s.got {
		if b, err := h.admissible(s, a); err == nil {
			got = append(got, b)
		}
	}
	return got
}
