package lahja_test

import (
	"context"
	"errors"

	"github.com/lahja-go/lahja"
)

// start makes a subscription as its plan says.
func start[T noted](ctx context.Context, w *world, s *sub) error {
	ep := w.endpointOf(s.life)
	opts := w.options(s)
	if s.plan.Way.handles() {
		return startHandler[T](ctx, w, s, ep, opts)
	}
	switch s.plan.Way {
	case byEvents:
		events := lahja.Events[T](ctx, ep, opts...)
		w.group.Go(func() { loop(w, s, events) })
	case byWaitFor:
		return startWaitFor[T](ctx, w, s, ep, opts)
	default:
		ch := lahja.Stream[T](ctx, ep, opts...)
		w.group.Go(func() {
			for ev := range ch {
				w.record(s, ev.Origin, note(ev.Value))
				w.respond(s, any(ev))
			}
			w.finished(s)
		})
	}
	return nil
}

func loop[T noted](w *world, s *sub, events func(func(lahja.Event[T], error) bool)) {
	for ev, err := range events {
		if err != nil {
			if !errors.Is(err, errCancelled) && !errors.Is(err, lahja.ErrClosed) {
				w.fail("a loop ended with %w", err)
			}
			continue // it is the last
		}
		w.record(s, ev.Origin, note(ev.Value))
		if s.full() { // nobody else writes what it reads
			break
		}
	}
	w.finished(s)
}

func startHandler[T noted](
	ctx context.Context, w *world, s *sub, ep *lahja.Endpoint, opts []lahja.SubscribeOption,
) (err error) {
	var handle *lahja.Subscription
	answer := func(_ context.Context, ev lahja.Event[T]) (reply, error) {
		w.record(s, ev.Origin, note(ev.Value))
		if s.plan.Way == byFailing {
			return reply{}, errRefused
		}
		return reply{ep.Name(), note(ev.Value).N}, nil
	}
	switch s.plan.Way {
	case byHandleOther:
		handle, err = lahja.Handle(ctx, ep,
			func(context.Context, lahja.Event[T]) (otherReply, error) {
				w.fail("%v is called for a request that wants another response", s)
				return otherReply{}, nil
			}, opts...)
	case bySubscribe:
		handle, err = lahja.Subscribe(ctx, ep,
			func(ctx context.Context, ev lahja.Event[T]) { answer(ctx, ev) }, opts...)
	default:
		handle, err = lahja.Handle(ctx, ep, answer, opts...)
	}
	if err != nil {
		w.finished(s)
		return err
	}
	w.mu.Lock()
	w.handles[s].sub = handle
	w.mu.Unlock()
	w.group.Go(func() {
		<-handle.Done()
		w.finished(s)
	})
	return nil
}

// startWaitFor calls WaitFor and returns when others see that it has subscribed, or it is through.
func startWaitFor[T noted](
	ctx context.Context, w *world, s *sub, ep *lahja.Endpoint, opts []lahja.SubscribeOption,
) error {
	waiting, through := context.WithCancel(w.ctx)
	var failed error
	w.group.Go(func() {
		defer w.finished(s)
		ev, err := lahja.WaitFor[T](ctx, ep, opts...)
		if failed = err; err == nil {
			w.record(s, ev.Origin, note(ev.Value))
		} else if !errors.Is(err, errCancelled) && !errors.Is(err, lahja.ErrClosed) {
			w.fail("WaitFor returned %w", err)
		}
		through()
	})
	err := ep.WaitUntil(waiting, lahja.SubscribedBy[T](ep.Name()))
	if waiting.Err() != nil {
		return failed
	}
	return err
}

// respond answers a request that a Stream has got.
func (w *world) respond(s *sub, ev any) {
	request, ok := ev.(lahja.Event[query])
	if !ok {
		return
	}
	var err error
	if s.plan.Way == byReply {
		err = lahja.Reply(w.ctx, request, reply{s.life.name, request.Value.N})
	} else {
		err = lahja.Fail(w.ctx, request, errRefused)
	}
	if err != nil && !errors.Is(err, lahja.ErrUnexpectedResponse) &&
		!errors.Is(err, lahja.ErrClosed) {
		w.fail("%v cannot answer %d: %w", s, request.Value.N, err)
	}
}

func (w *world) options(s *sub) (opts []lahja.SubscribeOption) {
	if s.plan.From != nil {
		opts = append(opts, lahja.From(s.plan.From...))
	}
	if s.plan.Buffer >= 0 {
		opts = append(opts, lahja.Buffer(s.plan.Buffer))
	}
	if s.plan.Limit > 0 && s.plan.Way != byEvents && s.plan.Way != byWaitFor {
		opts = append(opts, lahja.Take(s.plan.Limit))
	}
	if s.plan.Observe {
		opts = append(opts, lahja.Observe())
	}
	return append(opts, lahja.OnEnd(func(reason error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		s.reasons = append(s.reasons, reason)
		w.changedLocked()
	}))
}

func (w *world) endpointOf(l *life) *lahja.Endpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.all {
		if e.life == l {
			return e.ep
		}
	}
	panic("no such endpoint")
}

func (w *world) record(s *sub, origin string, n note) {
	a := arrival{s.plan.Color, origin, n}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.finished {
		w.failure = errors.New("an event came after the end")
	}
	s.got = append(s.got, w.tamper(s, a)...)
	w.changedLocked()
}

func (w *world) finished(s *sub) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.finished = true
	w.changedLocked()
}

func (w *world) changedLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}
