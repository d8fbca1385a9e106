package lahja_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// errEnough is why the contexts of these tests end.
const errEnough lahja.Code = "test: enough"

// wantEnded checks that err is that ctx has ended, and why.
func (s *stage) wantEnded(what string, ctx context.Context, err error) {
	s.Helper()
	if !errors.Is(err, ctx.Err()) || !errors.Is(err, errEnough) {
		s.Errorf("%s: the error is %v, and not both %q and %q", what, err, ctx.Err(), errEnough)
	}
}

// soon returns a context that ends with a cause before anything else happens, and one that ends
// while a call waits.
func (s *stage) soon() map[string]context.Context {
	canceled, cancel := context.WithCancelCause(s.ctx)
	cancel(errEnough)
	late, stop := context.WithTimeoutCause(s.ctx, 20*time.Millisecond, errEnough)
	s.Cleanup(stop)
	return map[string]context.Context{"at once": canceled, "waiting": late}
}

// What fails because its context has ended is, for errors.Is, the context's error and its cause;
// and so is why a subscription has ended.
func TestWhyAContextHasEndedIsTold(t *testing.T) {
	everywhereOnceWith(t, []behaviour{
		{"calls that wait", (*stage).waitsInVain},
		{"calls that do not wait", (*stage).callsTooLate},
		{"shutdown", (*stage).shutdownInVain},
		{"transports", (*stage).transportTooLate},
	}, lahja.Limits{Lag: 200})
}

func (s *stage) waitsInVain() {
	ep, quiet := s.connect("ep"), s.connect("quiet")
	lahja.Stream[heavy](s.ctx, quiet, lahja.Buffer(0))
	lahja.Stream[silent](s.ctx, quiet)
	var err error
	for err == nil {
		err = lahja.Broadcast(s.ctx, ep, heavy{}, lahja.NoWait())
	}
	s.wantErr(err, lahja.ErrWouldBlock)
	for when, ctx := range s.soon() {
		for _, w := range waits {
			if w.name == "WatchPeers" || w.name == "WatchState" {
				continue // they have no error
			}
			e := &stay{ctx: ctx, bus: s.bus, ep: ep}
			s.wantEnded(w.name+" "+when, ctx, w.call(e))
		}
	}
}

func (s *stage) callsTooLate() {
	a, b := s.pair()
	asked := lahja.Stream[question](s.ctx, b)
	beside(s, func() error {
		_, err := lahja.Request[question, answer](s.ctx, a, question{1})
		return err
	})
	ev := take(s, asked)
	ctx := s.soon()["at once"]
	_, err := lahja.Handle(ctx, a, func(context.Context, lahja.Event[other]) (answer, error) {
		return answer{}, nil
	})
	s.wantEnded("Handle", ctx, err)
	_, err = a.Peers(ctx)
	s.wantEnded("Peers", ctx, err)
	s.wantEnded("Forget", ctx, lahja.Forget[other](ctx, a, ""))
	s.wantEnded("Fail", ctx, lahja.Fail(ctx, ev, errors.New("no")))
	s.wantEnded("Reply", ctx, lahja.Reply(ctx, ev, answer{1}))
	s.must(lahja.Reply(s.ctx, ev, answer{1})) // which it did not
}

func (s *stage) shutdownInVain() {
	for when, ctx := range s.soon() {
		// The bus may see only later that b was cut off, and keep its name until then.
		a, b := s.connect("a "+when), s.connect("b "+when)
		release, busy := make(chan struct{}), make(chan struct{})
		_, err := lahja.Subscribe(s.ctx, b, func(context.Context, lahja.Event[other]) {
			close(busy)
			<-release
		})
		s.must(err)
		lahja.Stream[question](s.ctx, b, lahja.Buffer(0)) // and nobody reads it
		say(s, a, other{})
		say(s, a, question{})
		<-busy
		s.wantEnded("Shutdown of the subscriber "+when, ctx, b.Shutdown(ctx))
		close(release)
	}
}

func (s *stage) transportTooLate() {
	ctx := s.soon()["at once"]
	child, err := pipe.Spawn(ctx, s.bus, exec.Command("nothing-of-that-name"))
	if child != nil || !errors.Is(err, errors.ErrUnsupported) {
		s.wantEnded("Spawn", ctx, err)
	}
	if s.place == nil {
		return
	}
	_, err = lahja.Connect(ctx, "late", s.place)
	s.wantEnded("Connect", ctx, err)
	_, err = s.place.Dial(ctx)
	s.wantEnded("Dial", ctx, err)
	_, err = s.place.Listen(ctx)
	s.wantEnded("Listen", ctx, err)
	s.wantEnded("Serve", ctx, s.bus.Serve(ctx, s.place))
}

// Gather tells that its context has ended, for whatever cause.
func TestGatherTellsOfItsContext(t *testing.T) {
	everywhereOnce(t, []behaviour{{"for the error that ends it silently", func(s *stage) {
		ep, quiet := s.connect("ep"), s.connect("quiet")
		lahja.Stream[silent](s.ctx, quiet)
		ctx, cancel := context.WithTimeoutCause(s.ctx, 20*time.Millisecond, lahja.ErrResponderGone)
		defer cancel()
		var last error
		for _, last = range lahja.Gather[silent, reply](ctx, ep, silent{}) {
		}
		s.wantErr(last, context.DeadlineExceeded)
	}}})
}
