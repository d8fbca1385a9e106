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

// The events are of one shape, so that one generic function deals with all of them.
type (
	note struct {
		Sender string
		N      int
	}
	red   note
	green note
	gold  note
	query note // is answered with a reply
	mark  note // ends a round
	reply struct {
		From string
		N    int
	}
	otherReply reply
)

type noted interface {
	~struct {
		Sender string
		N      int
	}
}

const errRefused lahja.Code = "property: refused"

var errCancelled = errors.New("property: cancelled")

// color is what can be done with one event type.
type color struct {
	event     string
	broadcast func(context.Context, *lahja.Endpoint, note, ...lahja.BroadcastOption) error
	start     func(context.Context, *world, *sub) error
	nothing   func(context.Context, *lahja.Endpoint) (*lahja.Subscription, error) // subscribes
}

func colorOf[T noted]() color {
	return color{
		event: lahja.EventName[T](),
		broadcast: func(
			ctx context.Context, ep *lahja.Endpoint, n note, o ...lahja.BroadcastOption,
		) error {
			return lahja.Broadcast(ctx, ep, T(n), o...)
		},
		start: start[T],
		nothing: func(ctx context.Context, ep *lahja.Endpoint) (*lahja.Subscription, error) {
			return lahja.Subscribe(ctx, ep, func(context.Context, lahja.Event[T]) {})
		},
	}
}

var colors = []color{colorOf[red](), colorOf[green](), colorOf[gold](), colorOf[query]()}

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
			return fmt.Errorf("endpoint %q has ended for the reason %v", e.name, err)
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

// do attaches an endpoint. It must fail while another has the name, and only then.
func (o opening) do(w *world) {
	sl := w.slots[o.Slot]
	w.mu.Lock()
	l := &life{name: sl.Name, remote: sl.Remote && w.place != nil}
	l.began = w.now()
	w.attempts = append(w.attempts, l)
	w.mu.Unlock()
	ep, err := w.attach(l)
	var marked <-chan lahja.Event[mark]
	if err == nil {
		marked = lahja.Stream[mark](w.ctx, ep)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.returned = w.now()
	may, must := false, false // the name is taken
	for _, other := range w.attempts {
		if other != l && other.name == l.name {
			may = may || other.ended == 0 || other.ended > l.began
			must = must || other.ending == 0 && other.returned != 0 && other.returned < l.began
		}
	}
	switch {
	case err == nil && !must:
		e := &endpoint{life: l, ep: ep, marked: marked}
		w.current[o.Slot] = e
		w.all = append(w.all, e)
		w.h.lives = append(w.h.lives, l)
	case errors.Is(err, lahja.ErrNameTaken) && may:
		l.ended = w.now() // it never was
		l.ending = l.ended
	case w.failure == nil:
		w.failure = fmt.Errorf("attaching %q returned %v", l.name, err)
	}
}

func (w *world) attach(l *life) (*lahja.Endpoint, error) {
	if l.remote {
		return lahja.Connect(w.ctx, l.name, w.place)
	}
	return w.bus.Endpoint(l.name)
}

// do closes an endpoint, from two places at once.
func (c closing) do(w *world) {
	w.mu.Lock()
	e := w.current[c.Slot]
	e.end(w.now(), w.h.round)
	w.mu.Unlock()
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := e.ep.Close(); err != nil {
				w.fail("closing %q: %w", e.name, err)
			}
		})
	}
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.ended == 0 {
		e.ended = w.now()
	}
}

func (s sending) do(w *world) {
	w.mu.Lock()
	e := w.current[s.Slot]
	b := &sent{n: len(w.h.sents), life: e.life, color: s.Color, how: s.How, round: w.h.round}
	b.began = w.now()
	w.h.sents = append(w.h.sents, b)
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	if s.How.Dead {
		cancel()
	}
	n := note{e.name, b.n}
	var err error
	var answer reply
	if s.Color == queryColor {
		answer, err = lahja.Request[query, reply](ctx, e.ep, query(n), s.How.list()...)
	} else {
		err = colors[s.Color].broadcast(ctx, e.ep, n, s.How.list()...)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	b.err, b.answer = err, answer
	b.returned = w.now()
}

func (s subscribing) do(w *world) {
	w.mu.Lock()
	e := w.current[s.Slot]
	sb := &sub{id: s.ID, plan: s.Plan, life: e.life, round: w.h.round}
	sb.began = w.now()
	w.h.subs = append(w.h.subs, sb)
	ctx, cancel := context.WithCancelCause(w.ctx)
	w.handles[sb] = &handle{cancel: func() { cancel(errCancelled) }}
	w.mu.Unlock()
	err := colors[s.Plan.Color].start(ctx, w, sb)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		sb.failed = err
		return
	}
	sb.returned = w.now()
}

func (en ending) do(w *world) {
	w.mu.Lock()
	i := slices.IndexFunc(w.h.subs, func(s *sub) bool { return s.id == en.ID })
	if i < 0 || w.h.subs[i].returned == 0 || w.h.subs[i].ending != 0 {
		w.mu.Unlock()
		return
	}
	s := w.h.subs[i]
	s.ending, s.endRound = w.now(), w.h.round
	h := w.handles[s]
	unsubscribe := h.sub != nil && !s.plan.Cancel
	s.plan.Cancel = !unsubscribe
	w.mu.Unlock()
	if !unsubscribe {
		h.cancel()
		return
	}
	h.sub.Unsubscribe()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.ended = first(s.ended, w.now())
}
