package lahja_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityHandlers(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"handlers of a subscription run one at a time, in order", (*stage).handlersInOrder},
		{"Concurrency(n) runs n handlers at once and no more", (*stage).handlersAtOnce},
		{"requests of one subscription are answered one at a time", (*stage).answersInOrder},
		{"requests with Concurrency(n) are answered at once", (*stage).answersAtOnce},
		{"L4 a handler makes requests, of its own endpoint too", (*stage).handlerRequests},
		{"a handler broadcasts, to its own subscription too", (*stage).handlerBroadcasts},
		{"a handler subscribes", (*stage).handlerSubscribes},
		{"a handler ends its own subscription", (*stage).handlerUnsubscribes},
		{"a handler closes its endpoint", (*stage).handlerCloses},
		{"a handler's context ends with its subscription", (*stage).handlerOutlivesSubscription},
	})
	everywhereOnce(t, []behaviour{
		{"a handler closes the bus", (*stage).handlerClosesBus},
	})
}

// onItem calls f with the items that ep gets.
func onItem(
	s *stage, ep *lahja.Endpoint, f func(context.Context, int), opts ...lahja.SubscribeOption,
) *lahja.Subscription {
	s.Helper()
	sub, err := lahja.Subscribe(s.ctx, ep, func(ctx context.Context, ev lahja.Event[item]) {
		f(ctx, ev.Value.N)
	}, opts...)
	s.must(err)
	return sub
}

func (s *stage) handlersInOrder() {
	a, b := s.pair()
	var running atomic.Int32
	handled := make(chan int, 100)
	onItem(s, b, func(_ context.Context, n int) {
		if running.Add(1) != 1 {
			s.Error("two handlers run at once")
		}
		handled <- n
		running.Add(-1)
	})
	for i := range 100 {
		say(s, a, item{i})
	}
	for i := range 100 {
		if n := take(s, handled); n != i {
			s.Fatalf("%d is handled, and not %d", n, i)
		}
	}
}

func (s *stage) handlersAtOnce() {
	a, b := s.pair()
	var running atomic.Int32
	begun, release := make(chan int, 9), make(chan struct{})
	onItem(s, b, func(_ context.Context, n int) {
		if running.Add(1) > 3 {
			s.Error("more than 3 handlers run at once")
		}
		begun <- n
		<-release
		running.Add(-1)
	}, lahja.Concurrency(3))
	for i := range 9 {
		say(s, a, item{i})
	}
	for range 3 {
		take(s, begun)
	}
	close(release)
	for range 6 {
		take(s, begun)
	}
}

func (s *stage) answersInOrder() {
	a, b := s.pair()
	var running atomic.Int32
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		if running.Add(1) != 1 {
			s.Error("two handlers run at once")
		}
		defer running.Add(-1)
		return answer{n}, nil
	})
	var answered []<-chan answer
	for n := range 8 {
		answered = append(answered, beside(s, func() answer {
			got, err := request(s, a, n)
			if err != nil {
				s.Error(err)
			}
			return got
		}))
	}
	for n, c := range answered {
		if got := take(s, c); got.N != n {
			s.Errorf("the answer to %d is %+v", n, got)
		}
	}
}

func (s *stage) answersAtOnce() {
	a, b := s.pair()
	var running atomic.Int32
	all := make(chan struct{})
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		if running.Add(1) == 4 {
			close(all)
		}
		<-all
		return answer{n}, nil
	}, lahja.Concurrency(4))
	var answered []<-chan error
	for n := range 4 {
		answered = append(answered, beside(s, func() error {
			_, err := request(s, a, n)
			return err
		}))
	}
	for _, c := range answered {
		s.must(take(s, c))
	}
}

func (s *stage) handlerRequests() {
	a, b := s.pair()
	for _, ep := range []*lahja.Endpoint{a, b} {
		answerWith(s, ep, double)
	}
	results := make(chan error, 2)
	onItem(s, b, func(ctx context.Context, n int) {
		for _, to := range []string{"a", "b"} {
			got, err := lahja.Request[question, answer](ctx, b, question{n}, lahja.To(to))
			if err == nil && got.N != 2*n {
				s.Errorf("%q answers %+v", to, got)
			}
			results <- err
		}
	})
	say(s, a, item{3})
	s.must(take(s, results))
	s.must(take(s, results))
}

func (s *stage) handlerBroadcasts() {
	a, b := s.pair()
	heard := lahja.Stream[item](s.ctx, a)
	onItem(s, b, func(ctx context.Context, n int) {
		if n == 0 {
			return
		}
		if err := lahja.Broadcast(ctx, b, item{n - 1}); err != nil {
			s.Error(err)
		}
	})
	say(s, a, item{5})
	got := map[string][]int{} // each in its order: b may be quicker than a's own way
	for range 6 {
		ev := take(s, heard)
		got[ev.Origin] = append(got[ev.Origin], ev.Value.N)
	}
	if want := "map[a:[5] b:[4 3 2 1 0]]"; fmt.Sprint(got) != want {
		s.Errorf("%v has come, and not %v", got, want)
	}
}

func (s *stage) handlerSubscribes() {
	a, b := s.pair()
	streams := make(chan (<-chan lahja.Event[other]), 1)
	onItem(s, b, func(ctx context.Context, n int) { streams <- lahja.Stream[other](s.ctx, b) })
	say(s, a, item{1})
	others := take(s, streams)
	say(s, a, other{2})
	hear(s, others, other{2})
}

func (s *stage) handlerUnsubscribes() {
	a, b := s.pair()
	rest := lahja.Stream[item](s.ctx, b)
	subs := make(chan *lahja.Subscription, 1)
	handled := make(chan int, 10)
	sub := onItem(s, b, func(ctx context.Context, n int) {
		own := <-subs
		own.Unsubscribe()
		if ctx.Err() == nil {
			s.Error("the handler's context has not ended with its subscription")
		}
		subs <- own
		handled <- n
	})
	subs <- sub
	for i := range 3 {
		say(s, a, item{i})
	}
	takeEnd(s, sub.Done())
	hear(s, rest, item{0}, item{1}, item{2})
	if n := len(handled); n != 1 {
		s.Fatalf("%d events were handled", n)
	}
	s.until(a, lahja.SubscribedBy[item]("b")) // the stream's
}

func (s *stage) handlerCloses() {
	a, b := s.pair()
	handled := make(chan int, 10)
	onItem(s, b, func(_ context.Context, n int) {
		if err := b.Close(); err != nil {
			s.Error(err)
		}
		handled <- n
	})
	say(s, a, item{1})
	takeEnd(s, b.Done())
	if n := len(handled); n != 1 {
		s.Fatalf("%d events were handled", n)
	}
	s.wantErr(b.Err(), lahja.ErrClosed)
	s.until(a, not(lahja.Present("b")))
}

func (s *stage) handlerOutlivesSubscription() {
	a, b := s.pair()
	begun, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	sub := onItem(s, b, func(ctx context.Context, n int) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		<-release
	})
	say(s, a, item{1})
	takeEnd(s, begun)
	sub.Unsubscribe() // does not wait for the handler
	s.wantErr(take(s, ended), context.Canceled)
	select {
	case <-sub.Done():
		s.Fatal("it is done while its handler runs")
	default:
	}
	s.must(b.Close()) // nor does this
	select {
	case <-b.Done():
		s.Fatal("its endpoint is done while its handler runs")
	default:
	}
	close(release)
	takeEnd(s, sub.Done())
	takeEnd(s, b.Done())
}

func (s *stage) handlerClosesBus() {
	main := s.own("main")
	onItem(s, main, func(context.Context, int) {
		if err := s.bus.Close(); err != nil {
			s.Error(err)
		}
	})
	worker := s.connect("worker")
	say(s, worker, item{1})
	takeEnd(s, worker.Done())
	takeEnd(s, main.Done())
	s.wantErr(worker.Err(), lahja.ErrClosed)
	s.wantErr(main.Err(), lahja.ErrClosed)
}
