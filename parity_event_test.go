package lahja_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityEvents(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"P4 P5 an event goes from one endpoint to another", (*stage).eventArrives},
		{"P6 a broadcast that needs a subscriber fails when there is none",
			(*stage).needsSubscriber},
		{"P7 one that does not is no failure", (*stage).needsNoSubscriber},
		{"P12 L8 break out of a loop unsubscribes, after exactly 2 of 5",
			(*stage).breakUnsubscribes},
		{"that is why it has ended, whatever ends after it", (*stage).breakIsTheReason},
		{"P13 P54 Take(2) gets exactly the first 2 of 3 and unsubscribes", (*stage).takesTwo},
		{"P14 a stream that is ended from another goroutine closes", (*stage).streamIsEnded},
		{"P15 the end of the consumer's context ends its stream", (*stage).consumerIsCancelled},
		{"P16 P55 wait for one event", (*stage).waitForOne},
		{"the names in an option are those of the call", (*stage).namesAreCopied},
		{"P17 a wait that times out unsubscribes", (*stage).waitTimesOut},
		{"P22 P51 only the exact type arrives", (*stage).exactType},
		{"P52 nothing arrives after an unsubscribe", (*stage).nothingAfterUnsubscribe},
		{"P53 a stream without a limit gets all, in order", (*stage).allInOrder},
	})
	everywhereOnce(t, []behaviour{
		{"P18 a handler that panics is logged and the next event handled", (*stage).panicIsLogged},
		{"P19 an endpoint cannot be sent", (*stage).endpointCannotBeSent},
		{"P29 an event goes to all endpoints", (*stage).toAll},
		{"P30 To reaches only its target", (*stage).onlyTarget},
		{"P32 P61 L5 an internal event reaches only its own endpoint", (*stage).internalStays},
		{"P37 an endpoint gets its own events", (*stage).ownEvents},
		{"P38 an endpoint waits for its own event", (*stage).ownWaitFor},
		{"what an endpoint sends to itself is also for its member of a group", (*stage).ownGroup},
		{"P39 an endpoint streams three events of its own", (*stage).ownStream},
	})
}

func (s *stage) eventArrives() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b)
	say(s, a, item{7})
	if ev := hear(s, items, item{7}); ev.Origin != "a" {
		s.Fatalf("its origin is %q", ev.Origin)
	}
}

func (s *stage) needsSubscriber() {
	a, b := s.pair()
	others := lahja.Stream[other](s.ctx, b)
	err := lahja.Broadcast(s.ctx, a, item{1}, lahja.RequireSubscriber())
	s.wantErr(err, lahja.ErrNoSubscribers)
	say(s, a, other{1}, lahja.RequireSubscriber())
	hear(s, others, other{1})
}

func (s *stage) needsNoSubscriber() {
	a, _ := s.pair()
	say(s, a, item{1})
}

func (s *stage) breakUnsubscribes() {
	a, b := s.pair()
	events := lahja.Events[item](s.ctx, b)
	s.until(a, lahja.SubscribedBy[item]("b"))
	for i := range 5 {
		say(s, a, item{i})
	}
	got := 0
	for ev, err := range events {
		s.must(err)
		if ev.Value.N != got {
			s.Fatalf("%+v is number %d", ev, got)
		}
		if got++; got == 2 {
			break
		}
	}
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) breakIsTheReason() {
	a, b := s.pair()
	ctx, cancel := context.WithCancel(s.ctx)
	why := make(chan error, 1)
	events := lahja.Events[item](ctx, b, lahja.Buffer(1),
		lahja.OnEnd(func(err error) { why <- err }))
	for i := range 1000 { // it takes some time to discard them
		say(s, a, item{i})
	}
	for range events {
		break
	}
	cancel()
	s.must(take(s, why))
}

func (s *stage) takesTwo() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b, lahja.Take(2))
	for i := range 3 {
		say(s, a, item{i})
	}
	hear(s, items, item{0}, item{1})
	takeEnd(s, items)
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) streamIsEnded() {
	a, b := s.pair()
	ctx, end := context.WithCancel(s.ctx)
	started := make(chan struct{})
	consumed := beside(s, func() (n int) {
		items := lahja.Stream[item](ctx, b)
		close(started)
		for range items {
			n++
		}
		return n
	})
	takeEnd(s, started)
	s.until(a, lahja.SubscribedBy[item]("b"))
	end()
	if n := take(s, consumed); n != 0 {
		s.Fatalf("%d events came", n)
	}
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) consumerIsCancelled() {
	a, b := s.pair()
	errEnough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(s.ctx)
	why := make(chan error, 1)
	got := make(chan item)
	consumed := beside(s, func() error {
		for ev := range lahja.Stream[item](ctx, b, lahja.OnEnd(func(err error) { why <- err })) {
			got <- ev.Value
		}
		return context.Cause(ctx)
	})
	s.until(a, lahja.SubscribedBy[item]("b"))
	say(s, a, item{1})
	take(s, got)
	cancel(errEnough)
	s.wantErr(take(s, consumed), errEnough)
	s.wantErr(take(s, why), errEnough)
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) waitForOne() {
	a, b := s.pair()
	got := beside(s, func() item {
		ev, err := lahja.WaitFor[item](s.ctx, b)
		if err != nil || ev.Origin != "a" {
			s.Errorf("%+v, %v", ev, err)
		}
		return ev.Value
	})
	s.until(a, lahja.SubscribedBy[item]("b"))
	say(s, a, item{1})
	if v := take(s, got); v.N != 1 {
		s.Fatalf("%+v has come", v)
	}
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) waitTimesOut() {
	a, b := s.pair()
	ctx, cancel := context.WithTimeout(s.ctx, 1)
	defer cancel()
	_, err := lahja.WaitFor[item](ctx, b)
	s.wantErr(err, context.DeadlineExceeded)
	s.until(a, not(lahja.SubscribedBy[item]("b")))

	ctx, cancel = context.WithCancel(s.ctx)
	waited := beside(s, func() error {
		_, err := lahja.WaitFor[item](ctx, b)
		return err
	})
	s.until(a, lahja.SubscribedBy[item]("b"))
	cancel()
	s.wantErr(take(s, waited), context.Canceled)
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) exactType() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b)
	ranks := lahja.Stream[derived](s.ctx, b)
	say(s, a, derived{1})
	say(s, a, item{2})
	hear(s, ranks, derived{1})
	hear(s, items, item{2})
	say(s, a, derived{3})
	hear(s, ranks, derived{3})
}

// derived has the same fields as item and is another event.
type derived item

func (s *stage) nothingAfterUnsubscribe() {
	a, b := s.pair()
	got := make(chan item, 8)
	sub, err := lahja.Subscribe(s.ctx, b, func(_ context.Context, ev lahja.Event[item]) {
		got <- ev.Value
	})
	s.must(err)
	rest := lahja.Stream[item](s.ctx, b)
	say(s, a, item{1})
	take(s, got)
	sub.Unsubscribe()
	takeEnd(s, sub.Done())
	say(s, a, item{2})
	hear(s, rest, item{1}, item{2})
	if s.must(sub.Err()); len(got) != 0 {
		s.Fatalf("%+v has come", <-got)
	}
}

func (s *stage) allInOrder() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b)
	for i := range 100 {
		say(s, a, item{i})
	}
	for i := range 100 {
		hear(s, items, item{i})
	}
}

// logged is what log/slog has written while a test ran.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureLog has the log written to memory until the test ends.
func (s *stage) captureLog() *logged {
	l, before := &logged{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(l, nil)))
	s.Cleanup(func() { slog.SetDefault(before) })
	return l
}

func (s *stage) panicIsLogged() {
	a, b := s.own("a"), s.connect("b")
	log := s.captureLog()
	handled := make(chan int, 1)
	_, err := lahja.Subscribe(s.ctx, b, func(_ context.Context, ev lahja.Event[item]) {
		if ev.Value.N == 1 {
			panic("one is too few")
		}
		handled <- ev.Value.N
	}, lahja.RecoverPanics())
	s.must(err)
	say(s, a, item{1})
	say(s, a, item{2})
	if n := take(s, handled); n != 2 {
		s.Fatalf("%d was handled", n)
	}
	for _, part := range []string{"one is too few", "stack=", "panicIsLogged", "origin=a", "item"} {
		if !strings.Contains(log.String(), part) {
			s.Errorf("the log does not say %q: %s", part, log)
		}
	}
}

func (s *stage) endpointCannotBeSent() {
	type holder struct{ Endpoint *lahja.Endpoint }
	ep := s.connect("worker")
	_, err := lahja.Request[item, holder](s.ctx, ep, item{1})
	if err == nil || !strings.Contains(err.Error(), "Endpoint") {
		s.Fatal("the error does not name the field:", err)
	}
}

func (s *stage) toAll() {
	from := s.own("from")
	all := []*lahja.Endpoint{from, s.own("main"), s.connect("w1"), s.connect("w2")}
	var streams []<-chan lahja.Event[item]
	for _, ep := range all {
		streams = append(streams, lahja.Stream[item](s.ctx, ep))
	}
	for i, ep := range all {
		say(s, ep, item{i})
		for _, items := range streams {
			hear(s, items, item{i})
		}
	}
}

func (s *stage) onlyTarget() {
	a, b, c := s.connect("a"), s.connect("b"), s.own("c")
	inB, inC := lahja.Stream[item](s.ctx, b), lahja.Stream[item](s.ctx, c)
	own := lahja.Stream[item](s.ctx, a)
	say(s, a, item{1}, lahja.To("b"))
	say(s, a, item{2}, lahja.To("c"))
	say(s, a, item{3}, lahja.To("a"))
	say(s, a, item{4}, lahja.To("b"), lahja.To("c"))
	say(s, a, item{5}, lahja.To())
	say(s, a, item{6}, lahja.To("b", "nobody"))
	say(s, a, item{7}, lahja.Except("b"))
	say(s, a, item{8})
	hear(s, inB, item{1}, item{4}, item{6}, item{8})
	hear(s, inC, item{2}, item{4}, item{7}, item{8})
	hear(s, own, item{3}, item{7}, item{8})
}

func (s *stage) namesAreCopied() {
	a, b := s.pair()
	from, to, except := []string{"a"}, []string{"b"}, []string{"a"}
	items := lahja.Stream[item](s.ctx, b, lahja.From(from...))
	from[0] = "b"
	member := lahja.Stream[other](s.ctx, b, lahja.Group("g"))
	for n := range 5 { // they wait for it
		say(s, a, other{2 * n}, lahja.To(to...))
		say(s, a, other{2*n + 1}, lahja.Except(except...))
	}
	to[0], except[0] = "a", "b"
	for n := range 10 {
		hear(s, member, other{n})
	}
	say(s, b, item{1})
	say(s, a, item{2}, lahja.RequireSubscriber())
	hear(s, items, item{2})
}

func (s *stage) internalStays() {
	a, b, c := s.connect("a"), s.connect("b"), s.own("c")
	inA := lahja.Stream[item](s.ctx, a)
	elsewhere := []<-chan lahja.Event[item]{
		lahja.Stream[item](s.ctx, b), lahja.Stream[item](s.ctx, c),
	}
	say(s, a, item{1}, lahja.Internal())
	say(s, a, item{2})
	hear(s, inA, item{1}, item{2})
	for _, items := range elsewhere {
		hear(s, items, item{2})
	}
	err := lahja.Broadcast(s.ctx, a, item{3}, lahja.Internal(), lahja.To("a"))
	s.wantErr(err, lahja.ErrDenied)
}

func (s *stage) ownEvents() {
	for _, ep := range []*lahja.Endpoint{s.own("main"), s.connect("worker")} {
		got := make(chan item, 1)
		_, err := lahja.Subscribe(s.ctx, ep, func(_ context.Context, ev lahja.Event[item]) {
			if ev.Origin == ep.Name() {
				got <- ev.Value
			}
		})
		s.must(err)
		say(s, ep, item{1})
		take(s, got)
	}
}

func (s *stage) ownWaitFor() {
	for _, ep := range []*lahja.Endpoint{s.own("main"), s.connect("worker")} {
		got := beside(s, func() error {
			_, err := lahja.WaitFor[item](s.ctx, ep, lahja.From(ep.Name()))
			return err
		})
		s.until(ep, lahja.SubscribedBy[item](ep.Name()))
		say(s, ep, item{1})
		s.must(take(s, got))
	}
}

func (s *stage) ownGroup() {
	a, b := s.connect("a"), s.connect("b")
	items := lahja.Stream[item](s.ctx, a, lahja.Group("g"))
	lahja.Stream[item](s.ctx, b, lahja.Group("g"))
	say(s, a, item{1}, lahja.To("a"))
	say(s, a, item{2}, lahja.To("a"), lahja.RequireSubscriber())
	err := lahja.Broadcast(s.ctx, a, item{3}, lahja.To(), lahja.RequireSubscriber())
	s.wantErr(err, lahja.ErrNoSubscribers)
	hear(s, items, item{1}, item{2})
	answerWith(s, b, double, lahja.Group("g"))
	_, err = request(s, a, 1, lahja.To("a"))
	s.wantErr(err, lahja.ErrNoSubscribers)
	answerWith(s, a, double, lahja.Group("g"))
	s.wantAnswer(a, 1, 2, lahja.To("a"))
}

func (s *stage) ownStream() {
	for _, ep := range []*lahja.Endpoint{s.own("main"), s.connect("worker")} {
		items := lahja.Stream[item](s.ctx, ep, lahja.Take(3), lahja.From(ep.Name()))
		for i := range 3 {
			say(s, ep, item{i})
		}
		hear(s, items, item{0}, item{1}, item{2})
		takeEnd(s, items)
	}
}
