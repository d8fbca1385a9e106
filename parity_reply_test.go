package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
)

// errNotFound is a code that a user of the package declares.
const errNotFound lahja.Code = "chain: not found"

func TestParityReplies(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"a handler's error arrives with its endpoint, text and code", (*stage).errorArrives},
		{"errors.Is finds what the handler returned", (*stage).errorStaysItself},
		{"errors.As tells what the other side said from what was found out here",
			(*stage).errorOrigin},
		{"a panic that is recovered is the requester's error and is logged",
			(*stage).panicIsAnswered},
		{"a second reply has no effect", (*stage).secondReply},
		{"a late reply has no effect", (*stage).lateReply},
		{"a reply to a broadcast is an error", (*stage).replyToBroadcast},
		{"a reply to an answer is one, too", (*stage).replyToAnswer},
		{"a tap is not asked", (*stage).tapIsNotAsked},
		{"a tap sees all requests, also those that were answered before its turn",
			(*stage).tapSeesAll},
		{"a tap beside the handler cannot answer", (*stage).tapCannotAnswer},
		{"what a stream has taken can be answered after its end", (*stage).replyAfterStream},
		{"what WaitFor has taken can be answered", (*stage).replyAfterWaitFor},
	})
}

func (s *stage) errorArrives() {
	a, b := s.pair()
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		return answer{}, fmt.Errorf("block %d: %w", n, errNotFound)
	})
	_, err := request(s, a, 7)
	var remote *lahja.RemoteError
	if !errors.As(err, &remote) {
		s.Fatalf("%T: %v", err, err)
	}
	want := lahja.RemoteError{Endpoint: "b", Code: errNotFound,
		Message: "block 7: chain: not found"}
	if *remote != want {
		s.Fatalf("%+v, and not %+v", *remote, want)
	}
	for _, part := range []string{want.Endpoint, want.Message} {
		if !strings.Contains(err.Error(), part) {
			s.Errorf("the error's text does not say %q: %v", part, err)
		}
	}

	_, err = lahja.Handle(s.ctx, b, func(context.Context, lahja.Event[item]) (answer, error) {
		return answer{}, errors.New("no code")
	})
	s.must(err)
	_, err = lahja.Request[item, answer](s.ctx, a, item{1})
	if !errors.As(err, &remote) || remote.Code != "" || errors.Unwrap(remote) != nil {
		s.Fatalf("%#v", err)
	}

	_, err = lahja.Handle(s.ctx, b, func(context.Context, lahja.Event[other]) (answer, error) {
		return answer{}, fmt.Errorf("%w%s", errNotFound, strings.Repeat(" and so on", 300_000))
	})
	s.must(err)
	_, err = lahja.Request[other, answer](s.ctx, a, other{1}) // its text is cut
	s.wantErr(err, errNotFound)
}

// said are errors that a handler returns.
var said = []error{
	errNotFound,
	fmt.Errorf("wrapped: %w", errNotFound),
	context.Canceled,
	context.DeadlineExceeded,
	fmt.Errorf("wrapped: %w", context.DeadlineExceeded),
	lahja.ErrClosed, lahja.ErrNoSubscribers, lahja.ErrResponderGone, lahja.ErrUnexpectedResponse,
	lahja.ErrNotRequest, lahja.ErrWouldBlock, lahja.ErrStalled, lahja.ErrSessionLost,
	lahja.ErrNameTaken, lahja.ErrDenied, lahja.ErrTooLarge, lahja.ErrProtocol,
}

func (s *stage) errorStaysItself() {
	a, b := s.pair()
	answerWith(s, b, func(_ context.Context, n int) (answer, error) { return answer{}, said[n] })
	for n, want := range said {
		if inner := errors.Unwrap(want); inner != nil {
			want = inner
		}
		_, err := request(s, a, n)
		var remote *lahja.RemoteError
		if !errors.Is(err, want) || !errors.As(err, &remote) || remote.Endpoint != "b" {
			s.Errorf("%q arrives as %#v", said[n], err)
		}
		for _, other := range said {
			if errors.Unwrap(other) == nil && other != want && errors.Is(err, other) {
				s.Errorf("%q arrives as %q as well", said[n], other)
			}
		}
	}
}

func (s *stage) errorOrigin() {
	a, b := s.pair()
	_ = lahja.Stream[question](s.ctx, b) // nobody answers
	remotely := func(err error) bool {
		var remote *lahja.RemoteError
		return errors.As(err, &remote)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 1)
	defer cancel()
	<-ctx.Done()
	_, err := lahja.Request[question, answer](ctx, a, question{1})
	if s.wantErr(err, context.DeadlineExceeded); remotely(err) {
		s.Errorf("a deadline of this side: %#v", err)
	}
	_, err = lahja.Request[item, answer](s.ctx, a, item{1})
	if s.wantErr(err, lahja.ErrNoSubscribers); remotely(err) {
		s.Errorf("that nobody subscribes: %#v", err)
	}
	_, err = lahja.Handle(s.ctx, b, func(context.Context, lahja.Event[item]) (answer, error) {
		return answer{}, context.DeadlineExceeded
	})
	s.must(err)
	_, err = lahja.Request[item, answer](s.ctx, a, item{1})
	if s.wantErr(err, context.DeadlineExceeded); !remotely(err) {
		s.Errorf("a deadline of the other side: %#v", err)
	}
}

func (s *stage) panicIsAnswered() {
	a, b := s.pair()
	log := s.captureLog()
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		if n == 1 {
			panic("one is too few")
		}
		return answer{n}, nil
	}, lahja.RecoverPanics())
	_, err := request(s, a, 1)
	var remote *lahja.RemoteError
	if !errors.As(err, &remote) || remote.Endpoint != "b" ||
		!strings.Contains(remote.Message, "one is too few") {
		s.Fatalf("%#v", err)
	}
	s.wantAnswer(a, 2, 2)
	for _, part := range []string{"level=ERROR", "one is too few", "stack=",
		"parity_reply_test.go"} {
		if !strings.Contains(log.String(), part) {
			s.Errorf("the log does not say %q: %s", part, log)
		}
	}
}

func (s *stage) secondReply() {
	a, b := s.pair()
	second, third := make(chan error, 1), make(chan error, 1)
	_, err := lahja.Handle(s.ctx, b, func(
		ctx context.Context, ev lahja.Event[question],
	) (answer, error) {
		if err := lahja.Reply(ctx, ev, answer{1}); err != nil {
			s.Error(err)
		}
		second <- lahja.Reply(s.ctx, ev, answer{2})
		third <- lahja.Fail(s.ctx, ev, errNotFound)
		return answer{4}, nil
	})
	s.must(err)
	for range 3 {
		s.wantAnswer(a, 0, 1)
		s.wantErr(take(s, second), lahja.ErrUnexpectedResponse)
		s.wantErr(take(s, third), lahja.ErrUnexpectedResponse)
	}
}

func (s *stage) lateReply() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	ctx, cancel := context.WithCancel(s.ctx)
	asked := beside(s, func() error {
		_, err := lahja.Request[question, answer](ctx, a, question{1})
		return err
	})
	late := take(s, questions)
	cancel()
	s.wantErr(take(s, asked), context.Canceled)
	answered := beside(s, func() answer {
		got, err := request(s, a, 2)
		if err != nil {
			s.Error(err)
		}
		return got
	})
	current := take(s, questions)
	if err := lahja.Reply(s.ctx, late, answer{-1}); err != nil {
		s.wantErr(err, lahja.ErrUnexpectedResponse) // unless the end is still on its way
	}
	s.wantErr(lahja.Reply(s.ctx, late, answer{-1}), lahja.ErrUnexpectedResponse)
	s.must(lahja.Reply(s.ctx, current, answer{2}))
	if got := take(s, answered); got.N != 2 {
		s.Fatalf("%+v has come, the answer to another request", got)
	}
}

func (s *stage) replyToBroadcast() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	say(s, a, question{1})
	ev := take(s, questions)
	s.wantErr(lahja.Reply(s.ctx, ev, answer{1}), lahja.ErrNotRequest)
	s.wantErr(lahja.Fail(s.ctx, ev, errNotFound), lahja.ErrNotRequest)

	answerWith(s, b, double) // what it returns is dropped
	say(s, a, question{2})
	s.wantAnswer(a, 3, 6)
}

func (s *stage) replyToAnswer() {
	a, b := s.pair()
	_, err := lahja.Handle(s.ctx, b, func(context.Context, lahja.Event[question]) (string, error) {
		return "an answer", nil
	})
	s.must(err)
	for ev, err := range lahja.Gather[question, string](s.ctx, a, question{1}) {
		s.must(err)
		s.wantErr(lahja.Reply(s.ctx, ev, answer{1}), lahja.ErrNotRequest)
		s.wantErr(lahja.Fail(s.ctx, ev, errNotFound), lahja.ErrNotRequest)
	}
}

func (s *stage) tapIsNotAsked() {
	a, b := s.pair()
	_ = lahja.Stream[question](s.ctx, b, lahja.Observe())
	_, err := request(s, a, 1)
	s.wantErr(err, lahja.ErrNoSubscribers)
	err = lahja.Broadcast(s.ctx, a, question{2}, lahja.RequireSubscriber())
	s.wantErr(err, lahja.ErrNoSubscribers)
	peers, err := a.Peers(s.ctx)
	if s.must(err); lahja.SubscribedBy[question]("b")(peers) {
		s.Fatal("a tap counts as a subscriber")
	}
}

func (s *stage) tapSeesAll() {
	a, b := s.pair()
	kinds := map[string][]lahja.SubscribeOption{
		"plain": {lahja.Observe()},
		"drops": {lahja.Observe(), lahja.DropOldest(), lahja.Buffer(100)},
	}
	seen := map[string]chan int{}
	release := make(chan struct{})
	for kind, opts := range kinds {
		got := make(chan int, 100)
		seen[kind] = got
		_, err := lahja.Subscribe(s.ctx, b, func(ctx context.Context, ev lahja.Event[question]) {
			<-release // it sees the requests when they have been answered
			err := lahja.Reply(s.ctx, ev, answer{-1})
			if !errors.Is(err, lahja.ErrUnexpectedResponse) {
				s.Errorf("%s: a tap answers: %v", kind, err)
			}
			if ctx.Err() != nil {
				s.Errorf("%s: the tap's context has ended: %v", kind, ctx.Err())
			}
			got <- ev.Value.N
		}, opts...)
		s.must(err)
	}
	answerWith(s, b, double)
	for n := range 50 {
		s.wantAnswer(a, n, 2*n)
	}
	close(release)
	for kind, got := range seen {
		for n := range 50 {
			if saw := take(s, got); saw != n {
				s.Fatalf("%s: the tap sees %d, and not %d", kind, saw, n)
			}
		}
	}
}

func (s *stage) tapCannotAnswer() {
	a, b := s.pair()
	tap := lahja.Stream[question](s.ctx, b, lahja.Observe())
	tapped := make(chan struct{})
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		<-tapped
		return answer{n}, nil
	})
	answered := beside(s, func() error {
		got, err := request(s, a, 1)
		if got.N != 1 {
			s.Errorf("the answer is %+v", got)
		}
		return err
	})
	ev := take(s, tap)
	s.wantErr(lahja.Reply(s.ctx, ev, answer{-1}), lahja.ErrUnexpectedResponse)
	s.wantErr(lahja.Fail(s.ctx, ev, errNotFound), lahja.ErrUnexpectedResponse)
	close(tapped)
	s.must(take(s, answered))
}

func (s *stage) replyAfterStream() {
	a, b := s.pair()
	ctx, end := context.WithCancel(s.ctx)
	questions := lahja.Stream[question](ctx, b)
	answered := beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	ev := take(s, questions)
	end()
	takeEnd(s, questions)
	s.must(lahja.Reply(s.ctx, ev, answer{1}))
	s.must(take(s, answered))
}

func (s *stage) replyAfterWaitFor() {
	a, b := s.pair()
	waited := beside(s, func() lahja.Event[question] {
		ev, err := lahja.WaitFor[question](s.ctx, b)
		if err != nil {
			s.Error(err)
		}
		return ev
	})
	s.until(a, lahja.SubscribedBy[question]("b"))
	answered := beside(s, func() error {
		_, err := request(s, a, 1)
		return err
	})
	s.must(lahja.Reply(s.ctx, take(s, waited), answer{1}))
	s.must(take(s, answered))
}
