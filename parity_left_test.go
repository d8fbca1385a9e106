package lahja_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/lahja-go/lahja"
)

// Requests that nobody will answer any more, although their recipient lives on: none hangs.
func TestParityLeftRequests(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"who leaves a loop over Events answers nothing more", (*stage).loopIsLeft},
		{"what waits for a busy handler ends with its subscription", (*stage).waitsForBusyHandler},
		{"a handler that ends its goroutine answers nothing", (*stage).handlerExits},
		{"an answer ends the other handlers of its endpoint", (*stage).otherHandlerIsTold},
		{"a tap that would answer otherwise refuses nothing", (*stage).tapRefusesNothing},
		{"a requester that closes while it gathers ends the handlers",
			(*stage).closesWhileGathering},
	})
}

// ask requests beside the test, and waits until the request has arrived, which tap tells.
func ask(s *stage, from *lahja.Endpoint, n int, tap <-chan lahja.Event[question]) <-chan error {
	s.Helper()
	asked := beside(s, func() error {
		_, err := request(s, from, n)
		return err
	})
	take(s, tap)
	return asked
}

func (s *stage) loopIsLeft() {
	a, b := s.pair()
	events := lahja.Events[question](s.ctx, b)
	tap := lahja.Stream[question](s.ctx, b, lahja.Observe())
	answered, left1, left2 := ask(s, a, 0, tap), ask(s, a, 1, tap), ask(s, a, 2, tap)
	for ev, err := range events {
		s.must(err)
		s.must(lahja.Reply(s.ctx, ev, answer{ev.Value.N}))
		break
	}
	s.must(take(s, answered))
	s.wantErr(take(s, left1), lahja.ErrResponderGone)
	s.wantErr(take(s, left2), lahja.ErrResponderGone)
}

func (s *stage) waitsForBusyHandler() {
	a, b := s.pair()
	begun, release := make(chan int), make(chan struct{})
	sub := answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		begun <- n
		<-release
		return answer{n}, nil
	})
	tap := lahja.Stream[question](s.ctx, b, lahja.Observe())
	asked := []<-chan error{ask(s, a, 0, tap)}
	take(s, begun)
	asked = append(asked, ask(s, a, 1, tap), ask(s, a, 2, tap))
	release <- struct{}{}
	take(s, begun) // it is busy with the next, and may have taken more
	sub.Unsubscribe()
	s.wantErr(take(s, asked[2]), lahja.ErrResponderGone)
	close(release)
	s.must(take(s, asked[0]))
	take(s, asked[1]) // it may still be answered
}

func (s *stage) handlerExits() {
	a, b := s.pair()
	sub := answerWith(s, b, func(context.Context, int) (answer, error) {
		runtime.Goexit() // as testing.T.FailNow does
		return answer{}, nil
	})
	_, err := request(s, a, 1)
	s.wantErr(err, lahja.ErrResponderGone)
	takeEnd(s, sub.Done())
	s.wantErr(sub.Err(), lahja.ErrClosed)
}

func (s *stage) otherHandlerIsTold() {
	a, b := s.pair()
	begun, told := make(chan struct{}), make(chan error, 1)
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		told <- ctx.Err()
		return answer{-1}, nil
	})
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		<-begun
		return answer{n}, nil
	})
	s.wantAnswer(a, 1, 1)
	s.wantErr(take(s, told), context.Canceled)
}

func (s *stage) tapRefusesNothing() {
	a, b := s.pair()
	seen := make(chan int, 2)
	_, err := lahja.Handle(s.ctx, b,
		func(_ context.Context, ev lahja.Event[question]) (other, error) {
			seen <- ev.Value.N
			return other{}, nil
		}, lahja.Observe())
	s.must(err)
	_, err = request(s, a, 1)
	s.wantErr(err, lahja.ErrNoSubscribers)
	answerWith(s, b, func(_ context.Context, n int) (answer, error) { return answer{n}, nil })
	s.wantAnswer(a, 2, 2)
	for n := take(s, seen); n != 2; n = take(s, seen) {
		if n != 1 {
			s.Fatalf("the tap sees %d", n)
		}
	}
}

func (s *stage) closesWhileGathering() {
	a, b := s.pair()
	c := s.own("c")
	begun, told := make(chan struct{}), make(chan error, 1)
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		told <- ctx.Err()
		return answer{}, ctx.Err()
	})
	answerWith(s, c, func(_ context.Context, n int) (answer, error) {
		<-begun
		return answer{n}, nil
	})
	s.until(a, lahja.SubscribedBy[question]("b", "c"))
	for _, err := range lahja.Gather[question, answer](s.ctx, a, question{1}) {
		if err != nil && !errors.Is(err, lahja.ErrClosed) {
			s.Error(err)
		}
		s.must(a.Close())
		s.wantErr(take(s, told), context.Canceled)
		break
	}
}
