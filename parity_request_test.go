package lahja_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

func TestParityRequests(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"P8 a request is answered by the other endpoint's handler", (*stage).requestIsAnswered},
		{"P9 a request that nobody subscribes to fails", (*stage).nobodyToAsk},
		{"P10 a request that timed out leaves nothing behind", (*stage).timedOutRequest},
		{"P11 an answer of another type is an error on both sides", (*stage).wrongResponseType},
		{"L1 no subscriber is told at once, whatever the options", (*stage).nobodyWithOptions},
		{"all recipients gone: their handlers return without an answer", (*stage).allReturn},
		{"L3 all recipients gone: they close", (*stage).allClose},
		{"all recipients gone: they drop the request", (*stage).allDrop},
		{"all recipients gone: they end the subscription before it is their turn",
			(*stage).allLeave},
		{"a cancelled request never reaches a busy handler", (*stage).queuedIsWithdrawn},
		{"one that has timed out neither", (*stage).queuedTimesOut},
		{"the requester's cancellation reaches the handler", (*stage).cancelReachesHandler},
		{"the requester's deadline reaches the handler", (*stage).deadlineReachesHandler},
		{"a handler whose requester has closed is cancelled", (*stage).requesterCloses},
		{"the first answer wins and the others are cancelled", (*stage).firstAnswerWins},
	})
	everywhereOnce(t, []behaviour{
		{"P31 P50 a request goes to the one that To names", (*stage).requestByName},
		{"P40 an endpoint answers itself", (*stage).answersItself},
		{"all recipients gone, each in another way", (*stage).allGoneSomehow},
		{"a handler whose requester was cut off is cancelled", (*stage).requesterIsCut},
	})
}

// That nobody is asked is told at once also where events of the type have to wait.
func TestNobodyToAskBesideThoseWhoLag(t *testing.T) {
	for _, v := range venues {
		t.Run(v.name, func(t *testing.T) {
			s := newStage(t, &v, [2]bool{}, lahja.Limits{Lag: 1, Stall: -1})
			for _, ep := range []*lahja.Endpoint{s.connect("a"), s.own("own")} {
				lags, stop := context.WithCancel(s.ctx)
				_ = lahja.Stream[question](lags, s.connect("lags behind "+ep.Name()),
					lahja.Buffer(0))
				for lahja.Broadcast(s.ctx, ep, question{1}, lahja.NoWait()) == nil {
				}
				_, err := request(s, ep, 2, lahja.To("typo"))
				s.wantErr(err, lahja.ErrNoSubscribers)
				got := gathered(s, ep, 2, lahja.To("typo"))
				s.wantErr(got[""].err, lahja.ErrNoSubscribers)
				_, err = request(s, ep, 2, lahja.NoWait())
				s.wantErr(err, lahja.ErrWouldBlock)
				stop()
			}
		})
	}
}

// request requests an answer of ep's peers.
func request(
	s *stage, ep *lahja.Endpoint, n int, opts ...lahja.BroadcastOption,
) (answer, error) {
	return lahja.Request[question, answer](s.ctx, ep, question{n}, opts...)
}

// answerWith has the questions to ep answered by f.
func answerWith(
	s *stage, ep *lahja.Endpoint, f func(context.Context, int) (answer, error),
	opts ...lahja.SubscribeOption,
) *lahja.Subscription {
	s.Helper()
	sub, err := lahja.Handle(s.ctx, ep,
		func(ctx context.Context, ev lahja.Event[question]) (answer, error) {
			return f(ctx, ev.Value.N)
		}, opts...)
	s.must(err)
	return sub
}

// double is a handler.
func double(_ context.Context, n int) (answer, error) { return answer{2 * n}, nil }

func (s *stage) wantAnswer(ep *lahja.Endpoint, n, want int, opts ...lahja.BroadcastOption) {
	s.Helper()
	if got, err := request(s, ep, n, opts...); err != nil || got.N != want {
		s.Fatalf("the answer to %d is %+v, %v, and not %d", n, got, err, want)
	}
}

func (s *stage) requestIsAnswered() {
	a, b := s.pair()
	origins := make(chan string, 1)
	_, err := lahja.Handle(s.ctx, b, func(
		_ context.Context, ev lahja.Event[question],
	) (answer, error) {
		origins <- ev.Origin
		return answer{2 * ev.Value.N}, nil
	})
	s.must(err)
	s.wantAnswer(a, 21, 42)
	if origin := take(s, origins); origin != "a" {
		s.Fatalf("its origin is %q", origin)
	}
}

func (s *stage) nobodyToAsk() {
	a, b := s.pair()
	_ = lahja.Stream[item](s.ctx, b) // of another type
	_, err := request(s, a, 1)
	s.wantErr(err, lahja.ErrNoSubscribers)
}

func (s *stage) timedOutRequest() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	ctx, cancel := context.WithCancel(s.ctx)
	asked := beside(s, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err := lahja.Request[question, answer](ctx, a, question{1})
		return err
	})
	s.wantErr(take(s, asked), context.DeadlineExceeded)
	cancel()
	late := take(s, questions)
	if err := lahja.Reply(s.ctx, late, answer{1}); err != nil {
		s.wantErr(err, lahja.ErrUnexpectedResponse) // unless its withdrawal is still on its way
	}
	next := beside(s, func() answer {
		got, err := request(s, a, 2)
		if err != nil {
			s.Error(err)
		}
		return got
	})
	s.must(lahja.Reply(s.ctx, take(s, questions), answer{2}))
	if got := take(s, next); got.N != 2 {
		s.Fatalf("%+v has come, the answer to another request", got)
	}
	s.wantErr(lahja.Reply(s.ctx, late, answer{1}), lahja.ErrUnexpectedResponse)
}

func (s *stage) wrongResponseType() {
	a, b := s.pair()
	answerWith(s, b, double)
	_, err := lahja.Request[question, other](s.ctx, a, question{1})
	s.wantErr(err, lahja.ErrUnexpectedResponse)

	items := lahja.Stream[item](s.ctx, b)
	asked := beside(s, func() error {
		_, err := lahja.Request[item, answer](s.ctx, a, item{1})
		return err
	})
	ev := take(s, items)
	s.wantErr(lahja.Reply(s.ctx, ev, other{1}), lahja.ErrUnexpectedResponse)
	s.must(lahja.Reply(s.ctx, ev, answer{1})) // the right one still counts
	s.must(take(s, asked))
}

func (s *stage) nobodyWithOptions() {
	a, b := s.pair()
	answerWith(s, b, double)
	for name, opts := range map[string][]lahja.BroadcastOption{
		"a misspelt name":       {lahja.To("bb")},
		"and it must be there":  {lahja.To("bb"), lahja.RequireSubscriber()},
		"and it must not wait":  {lahja.To("bb"), lahja.NoWait()},
		"and not another":       {lahja.To("bb"), lahja.Except("b")},
		"nobody":                {lahja.To()},
		"the one that may not":  {lahja.To("b"), lahja.Except("b")},
		"one that has no such":  {lahja.To("a")},
		"all but the one":       {lahja.Except("b")},
		"internal":              {lahja.Internal()},
		"internal and required": {lahja.Internal(), lahja.RequireSubscriber()},
	} {
		if _, err := request(s, a, 1, opts...); !errors.Is(err, lahja.ErrNoSubscribers) {
			s.Errorf("%s: %v", name, err)
		}
	}
	for name, opts := range map[string][]lahja.BroadcastOption{
		"a misspelt name": {lahja.To("bb"), lahja.RequireSubscriber()},
		"internal":        {lahja.Internal(), lahja.RequireSubscriber()},
	} {
		err := lahja.Broadcast(s.ctx, a, question{1}, opts...)
		if !errors.Is(err, lahja.ErrNoSubscribers) {
			s.Errorf("a broadcast to %s: %v", name, err)
		}
	}
}

func (s *stage) allReturn() {
	a, b := s.pair()
	for _, ep := range []*lahja.Endpoint{b, b, a} {
		_, err := lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[question]) {})
		s.must(err)
	}
	_, err := request(s, a, 1)
	s.wantErr(err, lahja.ErrResponderGone)
}

func (s *stage) allClose() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	asked := beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	late := take(s, questions)
	s.must(b.Close())
	s.wantErr(take(s, asked), lahja.ErrResponderGone)
	s.wantErr(lahja.Reply(s.ctx, late, answer{1}), lahja.ErrClosed)
}

func (s *stage) allDrop() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b, lahja.DropOldest(), lahja.Buffer(1))
	asked := beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	sent := 1
	for waiting := true; waiting; sent++ {
		say(s, a, question{2})
		select {
		case err := <-asked:
			s.wantErr(err, lahja.ErrResponderGone)
			waiting = false
		case <-s.ctx.Done():
			s.Fatal("the request that was dropped does not fail")
		default:
		}
	}
	say(s, a, question{3})
	for left := sent + 1; left > 0; { // the dropped request is counted like all that is dropped
		ev := take(s, questions)
		if left -= 1 + int(ev.Missed); (ev.Value.N == 3) != (left == 0) {
			s.Fatalf("with %+v, %d of %d events are left to come", ev, left, sent+1)
		}
	}
}

func (s *stage) allLeave() {
	a, b := s.pair()
	busy, release := make(chan struct{}), make(chan struct{})
	sub := answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		close(busy)
		<-release
		return answer{n}, nil
	})
	first := beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	takeEnd(s, busy)
	// b itself has the second request as soon as it can see it.
	seen := lahja.Stream[question](s.ctx, b, lahja.Observe())
	second := beside(s, func() error {
		_, err := request(s, a, 2)
		return err
	})
	hear(s, seen, question{2})
	sub.Unsubscribe()
	close(release)
	s.wantErr(take(s, second), lahja.ErrResponderGone)
	s.must(take(s, first)) // its handler had begun
}

// busy is an endpoint with two handlers of questions: one that is busy with question 1, and one
// that shows when the end of another has come to the endpoint.
type busy struct {
	handled      chan int // by the busy one
	begun, ended chan int // by the other one
	release      chan struct{}
	first        <-chan error // what became of question 1
}

func (s *stage) keepBusy(a, b *lahja.Endpoint) *busy {
	s.Helper()
	h := &busy{make(chan int, 9), make(chan int, 9), make(chan int, 9), make(chan struct{}), nil}
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		if n >= 0 {
			h.handled <- n
			<-h.release
		}
		return answer{n}, nil
	})
	h.first = beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	take(s, h.handled)
	_, err := lahja.Subscribe(s.ctx, b, func(ctx context.Context, ev lahja.Event[question]) {
		if ev.Value.N <= 0 {
			h.begun <- ev.Value.N
			<-ctx.Done()
			h.ended <- ev.Value.N
		}
	}, lahja.Concurrency(2))
	s.must(err)
	return h
}

// neverHandled checks that the busy handler, when it is not any more, gets question 2 alone.
func (s *stage) neverHandled(a *lahja.Endpoint, h *busy) {
	s.Helper()
	close(h.release)
	s.must(take(s, h.first))
	s.wantAnswer(a, 2, 2)
	if n := take(s, h.handled); n != 2 {
		s.Fatalf("the busy handler got %d next", n)
	}
}

func (s *stage) queuedIsWithdrawn() {
	a, b := s.pair()
	h := s.keepBusy(a, b)
	ctx, cancel := context.WithCancel(s.ctx)
	asked := beside(s, func() error {
		_, err := lahja.Request[question, answer](ctx, a, question{0})
		return err
	})
	take(s, h.begun)
	cancel()
	s.wantErr(take(s, asked), context.Canceled)
	take(s, h.ended)
	s.neverHandled(a, h)
}

func (s *stage) queuedTimesOut() {
	a, b := s.pair()
	h := s.keepBusy(a, b)
	ctx, cancel := context.WithTimeout(s.ctx, 30*time.Millisecond)
	defer cancel()
	_, err := lahja.Request[question, answer](ctx, a, question{0})
	s.wantErr(err, context.DeadlineExceeded)
	say(s, a, question{-1}) // what it was has come before this, if it has come at all
	for n := -2; n != -1; {
		n = take(s, h.begun)
	}
	s.neverHandled(a, h)
}

func (s *stage) cancelReachesHandler() {
	a, b := s.pair()
	s.handlerEnds(a, b, func(ctx context.Context, cancel func()) { cancel() }, context.Canceled)
}

func (s *stage) deadlineReachesHandler() {
	a, b := s.pair()
	const soon = 50 * time.Millisecond
	began := time.Now()
	left := make(chan time.Duration, 1)
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		deadline, known := ctx.Deadline()
		if !known {
			s.Error("the handler's context has no deadline")
		}
		left <- deadline.Sub(began)
		<-ctx.Done()
		return answer{}, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(s.ctx, soon)
	defer cancel()
	_, err := lahja.Request[question, answer](ctx, a, question{1})
	s.wantErr(err, context.DeadlineExceeded)
	if d := take(s, left); d < soon/2 || d > soon+time.Second*time.Duration(scale()) {
		s.Fatalf("the handler's deadline is %v after the request, where %v was given", d, soon)
	}
}

// handlerEnds checks that the context of b's handler ends when a's request is ended by end, with
// an error for a's request if it still waits.
func (s *stage) handlerEnds(a, b *lahja.Endpoint, end func(context.Context, func()), want error) {
	s.Helper()
	begun, ended := make(chan struct{}), make(chan struct{})
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return answer{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	asked := beside(s, func() error {
		_, err := lahja.Request[question, answer](ctx, a, question{1})
		return err
	})
	takeEnd(s, begun)
	end(ctx, cancel)
	takeEnd(s, ended)
	s.wantErr(take(s, asked), want)
}

func (s *stage) requesterCloses() {
	a, b := s.pair()
	s.handlerEnds(a, b, func(context.Context, func()) { a.Close() }, lahja.ErrClosed)
}

func (s *stage) requesterIsCut() {
	s.mortal = true
	b := s.own("b")
	a := s.connect("a")
	if s.place == nil {
		s.Skip("there is no connection")
	}
	s.handlerEnds(a, b, func(context.Context, func()) { s.wires.cutLast() }, lahja.ErrSessionLost)
}

func (s *stage) firstAnswerWins() {
	a, b := s.pair()
	c := s.own("c")
	begun, ended := make(chan struct{}), make(chan struct{})
	answerWith(s, c, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return answer{-1}, nil
	})
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		<-begun
		return answer{n}, nil
	})
	s.wantAnswer(a, 1, 1)
	takeEnd(s, ended)
}

func (s *stage) requestByName() {
	asking := s.own("asking")
	for i, name := range []string{"a", "b", "c"} {
		answerWith(s, s.connect(name), func(_ context.Context, n int) (answer, error) {
			return answer{10*n + i}, nil
		})
	}
	for _, ep := range []*lahja.Endpoint{asking, s.connect("asking too")} {
		for n := range 3 {
			s.wantAnswer(ep, n, 10*n, lahja.To("a"))
			s.wantAnswer(ep, n, 10*n+1, lahja.To("b"))
			s.wantAnswer(ep, n, 10*n+2, lahja.Except("a", "b"))
		}
	}
}

func (s *stage) answersItself() {
	for _, ep := range []*lahja.Endpoint{s.own("main"), s.connect("worker")} {
		sub := answerWith(s, ep, double)
		s.wantAnswer(ep, 1, 2)
		s.wantAnswer(ep, 2, 4, lahja.Internal())
		s.wantAnswer(ep, 3, 6, lahja.To(ep.Name()))
		sub.Unsubscribe()
	}
}

func (s *stage) allGoneSomehow() {
	s.mortal = true
	asking, closes, cut := s.connect("asking"), s.own("closes"), s.connect("cut")
	returns := s.own("returns")
	inClosing := lahja.Stream[question](s.ctx, closes)
	inCut := lahja.Stream[question](s.ctx, cut)
	returned := make(chan struct{})
	_, err := lahja.Subscribe(s.ctx, returns, func(context.Context, lahja.Event[question]) {
		close(returned)
	})
	s.must(err)
	asked := beside(s, func() error {
		_, err := request(s, asking, 1)
		return err
	})
	takeEnd(s, returned)
	take(s, inClosing)
	take(s, inCut)
	s.must(closes.Close())
	if s.place == nil {
		cut.Close()
	} else {
		s.wires.cutLast()
	}
	s.wantErr(take(s, asked), lahja.ErrResponderGone)
}
