package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lahja-go/lahja"
)

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
