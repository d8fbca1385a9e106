package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// storm is a bus and endpoints that live through faults of every kind, in a bubble, and a record of
// what they said and heard, from which a model tells what is wrong. It goes from one calm to the
// next: at each everything has arrived and is compared.
type storm struct {
	ctx     context.Context
	limits  lahja.Limits
	place   *memory.Transport
	bus     *lahja.Bus
	serving sync.WaitGroup
	reading sync.WaitGroup
	tamper  func(*hearing, heard) []heard // falsifies what is heard; nil: nothing
	unlog   func()                        // gives the log back

	mu     sync.Mutex // guards what follows, and what all records hold
	clock  int64
	crews  []*crew
	said   []*saying
	base   int // the number of said[0]
	heard  []*hearing
	runs   map[int]int    // of handlers, by the number of the question
	losses map[string]int // of sessions, by the name of the endpoint that has logged them
	errs   []error
	totals totals
}

// totals are figures of all that was compared.
type totals struct {
	said, heard, lost, gaps, refused int
	resumes, restarts                uint64
}

// crew is an endpoint with its wire, for as long as it lives.
type crew struct {
	name  string
	wire  *faulty.Transport // nil: it is in the bus's process
	ep    *lahja.Endpoint
	turn  chan struct{} // one slot: whose turn it is to broadcast, so that there is an order
	ended bool
	state lahja.State      // at the last calm
	delta lahja.State      // since then
	lost  map[*hearing]int // events that did not arrive there, and no gap says so
	kept  map[string]int   // numbers of what it has retained, by key
}

// kindOfWords says which event type a saying is of.
type kindOfWords int

const (
	words kindOfWords = iota // to everyone, or to some
	tasks                    // to one of a group
	signs                    // retained
	pleas                    // a question to one
)

// The events of a storm. N is the number of the saying.
type (
	word     struct{ N int }
	task     struct{ N int }
	flag     struct{ N int }
	plea     struct{ N int }
	response struct{ N int }
)

// saying is a broadcast or a request.
type saying struct {
	n        int
	by       *crew
	kind     kindOfWords
	to       string // alone; empty: everyone
	key      string
	began    int64
	returned int64 // 0: not yet
	err      error
	marker   bool // of a calm
}

func (s *saying) String() string {
	return fmt.Sprintf("%d (kind %d) by %s to %q", s.n, s.kind, s.by.name, s.to)
}

// hearing is a subscription.
type hearing struct {
	at       *crew
	kind     kindOfWords
	began    int64
	returned int64 // 0: not yet
	ending   int64
	calms    int // that it has lived through
	got      []heard
	view     map[string]int // of what is retained: the number by origin and key
	cancel   context.CancelFunc
}

type heard struct {
	n      int
	origin string
	key    string
	gap    bool
	gone   bool
}

func newStorm(ctx context.Context, limits lahja.Limits) *storm {
	s := &storm{
		ctx: ctx, limits: limits, place: memory.New(),
		runs: map[int]int{}, losses: map[string]int{},
	}
	s.unlog = setLog(lossLog{slog.DiscardHandler, s})
	return s
}

// lossLog counts the sessions that are lost.
type lossLog struct {
	slog.Handler
	storm *storm
}

func (lossLog) Enabled(context.Context, slog.Level) bool { return true }

func (l lossLog) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "lahja: the session with the bus is lost, and perhaps events" {
		l.storm.mu.Lock()
		defer l.storm.mu.Unlock()
		l.storm.losses[attribute(r, "endpoint").String()]++
	}
	return nil
}

// attribute is what a record says under a key.
func attribute(r slog.Record, key string) (value slog.Value) {
	r.Attrs(func(a slog.Attr) bool {
		value = a.Value
		return a.Key != key
	})
	return value
}

// fail notes something that must not be.
func (s *storm) fail(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(format, args...)
}

func (s *storm) failLocked(format string, args ...any) {
	if len(s.errs) < 10 {
		s.errs = append(s.errs, fmt.Errorf(format, args...))
	}
}

func (s *storm) nowLocked() int64 {
	s.clock++
	return s.clock
}

// start starts a bus with an endpoint of its process.
func (s *storm) start() {
	l, err := s.place.Listen(s.ctx)
	if err != nil {
		s.fail("listening: %w", err)
		return
	}
	bus := lahja.NewBus(s.limits)
	s.bus = bus
	s.serving.Go(func() {
		if err := bus.ServeListener(s.ctx, l); err != nil {
			s.fail("serving: %w", err)
		}
	})
	ep, err := bus.Endpoint("own")
	if err != nil {
		s.fail("the bus's own endpoint: %w", err)
		return
	}
	s.enlist(&crew{name: "own", ep: ep})
}

// board connects an endpoint by a wire of its own.
func (s *storm) board(name string, seed uint64, plan faulty.Plan) *crew {
	c := &crew{name: name, wire: faulty.New(s.place, seed, plan)}
	for {
		ep, err := lahja.Connect(s.ctx, name, c.wire)
		if err == nil {
			c.ep = ep
			break
		}
		if s.ctx.Err() != nil {
			s.fail("%q: %w", name, err)
			return c
		}
	}
	s.enlist(c)
	return c
}

// enlist has a crew hear what concerns everyone.
func (s *storm) enlist(c *crew) {
	c.lost, c.turn = map[*hearing]int{}, make(chan struct{}, 1)
	s.mu.Lock()
	s.crews = append(s.crews, c)
	s.mu.Unlock()
	for _, k := range []kindOfWords{words, tasks, signs} {
		s.hear(c, k)
	}
	_, err := lahja.Handle(s.ctx, c.ep,
		func(_ context.Context, ev lahja.Event[plea]) (response, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.runs[ev.Value.N]++
			return response(ev.Value), nil
		}, lahja.Concurrency(8))
	if err != nil && !errors.Is(err, lahja.ErrClosed) {
		s.fail("%q: %w", c.name, err)
	}
}

// hear subscribes.
func (s *storm) hear(c *crew, k kindOfWords) *hearing {
	ctx, cancel := context.WithCancel(s.ctx)
	h := &hearing{at: c, kind: k, view: map[string]int{}, cancel: cancel}
	s.mu.Lock()
	h.began = s.nowLocked()
	if c.ended { // the bus has crashed since c was chosen
		h.ending = h.began
	}
	s.heard = append(s.heard, h)
	s.mu.Unlock()
	switch k {
	case words:
		follow(s, h, lahja.Stream[word](ctx, c.ep), func(v word) int { return v.N })
	case tasks:
		follow(s, h, lahja.Stream[task](ctx, c.ep, lahja.Group("g")),
			func(v task) int { return v.N })
	case signs:
		follow(s, h, lahja.Stream[flag](ctx, c.ep, lahja.WithRetained()),
			func(v flag) int { return v.N })
	}
	s.mu.Lock()
	h.returned = s.nowLocked()
	s.mu.Unlock()
	return h
}

// hush ends a subscription.
func (s *storm) hush(h *hearing) {
	s.mu.Lock()
	h.ending = s.nowLocked()
	s.mu.Unlock()
	h.cancel()
}

// follow writes down what comes.
func follow[T any](s *storm, h *hearing, events <-chan lahja.Event[T], number func(T) int) {
	s.reading.Go(func() {
		for ev := range events {
			got := []heard{{number(ev.Value), ev.Origin, ev.Key, ev.Gap(), ev.Gone}}
			s.mu.Lock()
			if s.tamper != nil {
				got = s.tamper(h, got[0])
			}
			for _, g := range got {
				h.noteLocked(g)
			}
			s.mu.Unlock()
		}
	})
}

func (h *hearing) noteLocked(g heard) {
	h.got = append(h.got, g)
	if h.kind != signs {
		return
	}
	if g.gap { // all that is kept elsewhere comes again
		for at := range h.view {
			if at[:len(h.at.name)] != h.at.name {
				delete(h.view, at)
			}
		}
	}
	if at := g.origin + "/" + g.key; g.gone {
		delete(h.view, at)
	} else {
		h.view[at] = g.n
	}
}

// longest is how long a call may take before it counts as stuck: no outage is as long.
const longest = 10 * time.Minute

// say broadcasts or pleas.
func (s *storm) say(c *crew, k kindOfWords, to, key string, marker bool) {
	if k != pleas {
		c.turn <- struct{}{}
		defer func() { <-c.turn }()
	}
	s.mu.Lock()
	m := &saying{n: s.base + len(s.said), by: c, kind: k, to: to, key: key, marker: marker}
	m.began = s.nowLocked()
	s.said = append(s.said, m)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.ctx, longest)
	defer cancel()
	var opts []lahja.BroadcastOption
	if to != "" {
		opts = append(opts, lahja.To(to))
	}
	var err error
	switch k {
	case words:
		err = lahja.Broadcast(ctx, c.ep, word{m.n}, opts...)
	case tasks:
		err = lahja.Broadcast(ctx, c.ep, task{m.n}, opts...)
	case signs:
		err = lahja.Broadcast(ctx, c.ep, flag{m.n}, lahja.RetainKey(key))
	case pleas:
		var a response
		a, err = lahja.Request[plea, response](ctx, c.ep, plea{m.n}, opts...)
		if err == nil && a.N != m.n {
			err = fmt.Errorf("the answer is %d", a.N)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.returned, m.err = s.nowLocked(), err
	if !s.acceptable(m) {
		s.failLocked("%v: %w", m, err)
	}
}

// acceptable reports whether a call may end as it did: in a storm requests can fail, but not
// without a reason that is named, and nothing takes for ever.
func (s *storm) acceptable(m *saying) bool {
	switch {
	case m.err == nil:
		return true
	case m.by.ended && errors.Is(m.err, lahja.ErrClosed):
		return true
	case m.kind != pleas:
		return false
	}
	for _, code := range []error{
		lahja.ErrSessionLost, lahja.ErrResponderGone, lahja.ErrNoSubscribers,
	} {
		if errors.Is(m.err, code) {
			return true
		}
	}
	return false
}

// crash ends the bus without a word to the endpoints, and starts another one after a while.
func (s *storm) crash(pause time.Duration) {
	if own := s.own(); own != nil {
		s.dismiss(own)
	}
	s.eachWire(func(w *faulty.Transport) { w.Stall(faulty.In) })
	s.bus.Close()
	s.serving.Wait()
	s.eachWire(func(w *faulty.Transport) { w.Cut(faulty.Reset); w.Resume() })
	time.Sleep(pause)
	s.start()
}

// dismiss notes that an endpoint and its subscriptions are about to end.
func (s *storm) dismiss(c *crew) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended = true
	for _, h := range s.heard {
		if h.at == c && h.ending == 0 {
			h.ending = s.nowLocked()
		}
	}
}

func (s *storm) eachWire(f func(*faulty.Transport)) {
	s.mu.Lock()
	crews := s.crews
	s.mu.Unlock()
	for _, c := range crews {
		if c.wire != nil {
			f(c.wire)
		}
	}
}

// own is the endpoint of the bus's process.
func (s *storm) own() *crew {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.crews {
		if c.wire == nil && !c.ended {
			return c
		}
	}
	return nil
}

// finish ends everything.
func (s *storm) finish() {
	s.mu.Lock()
	crews := s.crews
	s.mu.Unlock()
	s.eachWire(func(w *faulty.Transport) { w.Refuse(false); w.Resume() })
	for _, c := range crews {
		c.ep.Close()
	}
	s.bus.Close()
	s.serving.Wait()
	for _, h := range s.heard {
		h.cancel()
	}
	s.reading.Wait()
	s.unlog()
}

// calm ends all faults, waits until everything has arrived, and compares. Whoever says something
// must have said it.
func (s *storm) calm() error {
	s.eachWire(func(w *faulty.Transport) { w.Refuse(false); w.Resume() })
	time.Sleep(4*s.limits.Heartbeat + s.limits.Resume)
	s.mu.Lock()
	crews := s.crews
	s.mu.Unlock()
	for _, c := range crews {
		if c.ended {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, longest)
		for st := range c.ep.WatchState(ctx) {
			if st.Connected {
				break
			}
		}
		cancel()
		for k := range pleas {
			s.say(c, k, "", "m", true)
		}
	}
	time.Sleep(s.limits.Heartbeat)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compareLocked()
	return errors.Join(s.errs...)
}
