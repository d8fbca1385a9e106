package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func TestParityGather(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"Gather gets one answer of each endpoint", (*stage).gatherOneEach},
		{"Gather gets the answer of one that is asked in several ways", (*stage).gatherSeveralWays},
		{"Gather tells each failure with the name of its endpoint", (*stage).gatherFailures},
		{"Gather ends when the last one has answered, not before", (*stage).gatherWaitsForLast},
		{"Gather ends when the last one has gone", (*stage).gatherWithoutLast},
		{"Gather from nobody is one error without an origin", (*stage).gatherNobody},
		{"leaving the loop of a Gather cancels the rest", (*stage).gatherBreak},
		{"Gather ends with its context", (*stage).gatherCancelled},
		{"Gather ends with its endpoint", (*stage).gatherClosed},
		{"Gather asks those that the options leave", (*stage).gatherSome},
	})
}

// outcome is what Gather has told of one endpoint.
type outcome struct {
	n   int
	err error
}

// gathered returns what a Gather of ep tells, by origin.
func gathered(
	s *stage, ep *lahja.Endpoint, n int, opts ...lahja.BroadcastOption,
) map[string]outcome {
	s.Helper()
	all := map[string]outcome{}
	for ev, err := range lahja.Gather[question, answer](s.ctx, ep, question{n}, opts...) {
		if _, twice := all[ev.Origin]; twice {
			s.Errorf("%q is told twice", ev.Origin)
		}
		all[ev.Origin] = outcome{ev.Value.N, err}
	}
	return all
}

// others attaches two endpoints beside a pair: one in the bus's process and one that connects.
func (s *stage) others() []*lahja.Endpoint {
	return []*lahja.Endpoint{s.own("c"), s.connect("d")}
}

func (s *stage) gatherOneEach() {
	a, b := s.pair()
	want := map[string]outcome{"b": {n: 10}}
	for i, ep := range append(s.others(), a) {
		answerWith(s, ep, func(_ context.Context, n int) (answer, error) {
			return answer{n + i}, nil
		})
		want[ep.Name()] = outcome{n: 10 + i}
	}
	// One has several subscriptions, of which some do not answer or not as is wanted, and a tap.
	for range 3 {
		_, err := lahja.Subscribe(s.ctx, b, func(context.Context, lahja.Event[question]) {})
		s.must(err)
		answerWith(s, b, func(_ context.Context, n int) (answer, error) { return answer{n}, nil })
		_, err = lahja.Handle(s.ctx, b,
			func(context.Context, lahja.Event[question]) (other, error) { return other{}, nil })
		s.must(err)
	}
	_ = lahja.Stream[question](s.ctx, b, lahja.Observe())
	for range 20 {
		if got := gathered(s, a, 10); !maps.Equal(got, want) {
			s.Fatalf("%v is told, and not %v", got, want)
		}
	}
}

func (s *stage) gatherSeveralWays() {
	a, b := s.pair()
	ways := [][]lahja.SubscribeOption{
		nil, {lahja.Group("g")}, {lahja.DropOldest()}, {lahja.WithRetained()},
	}
	for i, silent := range ways {
		for j, answers := range ways {
			if i == 1 && j == 1 {
				continue // of one group only one is asked
			}
			mute, err := lahja.Subscribe(s.ctx, b, func(context.Context, lahja.Event[question]) {},
				append(silent, lahja.Take(1))...)
			s.must(err)
			sub := answerWith(s, b, func(_ context.Context, n int) (answer, error) {
				<-mute.Done()
				// This asks the bus, which knows by then that the other is silent.
				_, err := b.Peers(s.ctx)
				return answer{n}, err
			}, answers...)
			if got := gathered(s, a, 5); len(got) != 1 || got["b"] != (outcome{n: 5}) {
				s.Errorf("with %d silent and %d that answers, %v is told", i, j, got)
			}
			sub.Unsubscribe()
			<-sub.Done()
		}
	}
}

func (s *stage) gatherFailures() {
	a, b := s.pair()
	both := s.others()
	answerWith(s, a, double)
	answerWith(s, b, func(context.Context, int) (answer, error) {
		return answer{}, fmt.Errorf("b: %w", errNotFound)
	})
	_, err := lahja.Subscribe(s.ctx, both[0], func(context.Context, lahja.Event[question]) {})
	s.must(err)
	_, err = lahja.Handle(s.ctx, both[1],
		func(context.Context, lahja.Event[question]) (other, error) {
			s.Error("a handler runs whose response nobody wants")
			return other{}, nil
		})
	s.must(err)
	closing := s.connect("e")
	_, err = lahja.Subscribe(s.ctx, closing, func(context.Context, lahja.Event[question]) {
		closing.Close()
	})
	s.must(err)
	got := gathered(s, a, 1)
	if got["a"] != (outcome{n: 2}) || len(got) != 5 {
		s.Fatalf("%v is told", got)
	}
	for name, want := range map[string]error{
		"b": errNotFound, "c": lahja.ErrResponderGone, "d": lahja.ErrUnexpectedResponse,
		"e": lahja.ErrResponderGone,
	} {
		if err := got[name].err; !errors.Is(err, want) {
			s.Errorf("of %q it tells %v, and not %q", name, err, want)
		}
	}
	var remote *lahja.RemoteError
	if !errors.As(got["b"].err, &remote) || remote.Endpoint != "b" || remote.Code != errNotFound {
		s.Errorf("b's error is %#v", got["b"].err)
	}
}

// A request that is dropped while it waits for an endpoint elsewhere is told with its name.
func TestGatherNamesWhoHasDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := lahja.NewBus()
		defer bus.Close()
		place := &gated{memory.New(), make(chan struct{}, 1)}
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go bus.ServeListener(t.Context(), l)
		s := &stage{TB: t, ctx: t.Context(), bus: bus, place: place}
		a, b := s.own("a"), s.connect("b")
		_ = lahja.Stream[question](s.ctx, b, lahja.DropOldest(), lahja.Buffer(1))
		place.gate <- struct{}{} // b does not say any more what it has taken
		for range 1000 {         // more than may be on their way to it
			say(s, a, question{1})
		}
		told := gathering(s, s.ctx, a)
		synctest.Wait()
		say(s, a, question{2})
		if line := take(s, told); line != "b gone" {
			t.Errorf("%q is told", line)
		}
		takeEnd(s, told)
		<-place.gate
	})
}

// gathering runs a Gather beside the test and passes on what it tells; the channel closes with the
// loop.
func gathering(s *stage, ctx context.Context, ep *lahja.Endpoint) <-chan string {
	told := make(chan string)
	s.group.Go(func() {
		defer close(told)
		for ev, err := range lahja.Gather[question, answer](ctx, ep, question{1}) {
			line := fmt.Sprint(ev.Origin, " ", ev.Value.N)
			switch {
			case errors.Is(err, lahja.ErrResponderGone):
				line = ev.Origin + " gone"
			case err != nil:
				line = fmt.Sprintf("%s failed: %v", ev.Origin, err)
			}
			select {
			case told <- line:
			case <-s.ctx.Done():
			}
		}
	})
	return told
}

func (s *stage) gatherWaitsForLast() {
	a, b := s.pair()
	c := s.own("c")
	answerWith(s, c, double)
	questions := lahja.Stream[question](s.ctx, b)
	told := gathering(s, s.ctx, a)
	if line := take(s, told); line != "c 2" {
		s.Fatalf("%q is told first", line)
	}
	ev := take(s, questions)
	select {
	case line, open := <-told:
		s.Fatalf("%q, %v: it does not wait", line, open)
	default:
	}
	s.must(lahja.Reply(s.ctx, ev, answer{3}))
	if line := take(s, told); line != "b 3" {
		s.Fatalf("%q is told last", line)
	}
	takeEnd(s, told)
}

func (s *stage) gatherWithoutLast() {
	a, b := s.pair()
	c := s.own("c")
	answerWith(s, c, double)
	questions := lahja.Stream[question](s.ctx, b)
	told := gathering(s, s.ctx, a)
	take(s, questions)
	if line := take(s, told); line != "c 2" {
		s.Fatalf("%q is told first", line)
	}
	s.must(b.Close())
	if line := take(s, told); line != "b gone" {
		s.Fatalf("%q is told last", line)
	}
	takeEnd(s, told)
}

func (s *stage) gatherNobody() {
	a, _ := s.pair()
	for _, opts := range [][]lahja.BroadcastOption{nil, {lahja.To("nobody")}, {lahja.Internal()}} {
		got := gathered(s, a, 1, opts...)
		if len(got) != 1 || !errors.Is(got[""].err, lahja.ErrNoSubscribers) {
			s.Fatalf("%v is told", got)
		}
	}
	_ = lahja.Stream[question](s.ctx, a, lahja.Observe())
	if got := gathered(s, a, 1); !errors.Is(got[""].err, lahja.ErrNoSubscribers) {
		s.Fatalf("with a tap %v is told", got)
	}
}

func (s *stage) gatherBreak() {
	a, b := s.pair()
	c := s.own("c")
	begun, ended := make(chan struct{}), make(chan struct{})
	answerWith(s, b, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return answer{}, nil
	})
	answerWith(s, c, func(_ context.Context, n int) (answer, error) {
		<-begun
		return answer{n}, nil
	})
	for ev, err := range lahja.Gather[question, answer](s.ctx, a, question{1}) {
		if s.must(err); ev.Origin != "c" {
			s.Fatalf("%+v", ev)
		}
		break
	}
	takeEnd(s, ended)
}

func (s *stage) gatherCancelled() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	ctx, cancel := context.WithCancel(s.ctx)
	told := gathering(s, ctx, a)
	late := take(s, questions)
	cancel()
	why := `endpoint "a" waited for an answer to ` + lahja.EventName[question]()
	if line := take(s, told); line != " failed: lahja: "+why+": context canceled" {
		s.Fatalf("%q is told", line)
	}
	takeEnd(s, told)
	if err := lahja.Reply(s.ctx, late, answer{1}); err != nil {
		s.wantErr(err, lahja.ErrUnexpectedResponse) // unless the end is still on its way
	}
	if line := take(s, gathering(s, ctx, a)); line != " failed: context canceled" {
		s.Fatalf("%q is told after the end", line)
	}
}

func (s *stage) gatherClosed() {
	a, b := s.pair()
	questions := lahja.Stream[question](s.ctx, b)
	told := beside(s, func() (all []error) {
		for ev, err := range lahja.Gather[question, answer](s.ctx, a, question{1}) {
			if all = append(all, err); ev.Origin != "" {
				s.Errorf("%+v is told", ev)
			}
		}
		return all
	})
	take(s, questions)
	s.must(a.Close())
	if all := take(s, told); len(all) != 1 || !errors.Is(all[0], lahja.ErrClosed) {
		s.Fatalf("%v is told", all)
	}
}

func (s *stage) gatherSome() {
	a, b := s.pair()
	for _, ep := range append(s.others(), a, b) {
		answerWith(s, ep, double)
	}
	for _, c := range []struct {
		opts []lahja.BroadcastOption
		want []string
	}{
		{[]lahja.BroadcastOption{lahja.To("b", "d", "nobody")}, []string{"b", "d"}},
		{[]lahja.BroadcastOption{lahja.Except("b", "d")}, []string{"a", "c"}},
		{[]lahja.BroadcastOption{lahja.Internal()}, []string{"a"}},
	} {
		want := map[string]outcome{}
		for _, name := range c.want {
			want[name] = outcome{n: 6}
		}
		if got := gathered(s, a, 3, c.opts...); !maps.Equal(got, want) {
			s.Errorf("%v is told, and not %v", got, want)
		}
	}
}
