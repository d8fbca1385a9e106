package lahja_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// Requests: who asks for more than the windows of events could explain, all at once, gets all of
// it, and neither who asks nor who answers counts as one that does not read.
func TestLargeAnswersAtOnce(t *testing.T) {
	limits, asked, size := lahja.Limits{Lag: 64 << 10, Frame: 64 << 10}, 100, 60_000
	if scale() > 1 {
		limits, size = lahja.Limits{}, 1_000_000
	}
	everywhereInPairsWith(t, []behaviour{{"all are answered", func(s *stage) {
		a, b := s.pair()
		var here sync.WaitGroup
		here.Add(asked)
		_, err := lahja.Handle(s.ctx, b,
			func(_ context.Context, ev lahja.Event[question]) (blob, error) {
				here.Done()
				here.Wait() // all answer at once
				return blob{fmt.Sprint(ev.Value.N) + strings.Repeat(" ", size)}, nil
			}, lahja.Concurrency(asked))
		s.must(err)
		failed := make(chan error, asked)
		for n := range asked {
			s.group.Go(func() {
				got, err := lahja.Request[question, blob](s.ctx, a, question{n})
				if want := fmt.Sprint(n); err == nil && strings.TrimRight(got.Data, " ") != want {
					err = fmt.Errorf("the answer to %s is %.10q", want, got.Data)
				}
				failed <- err
			})
		}
		for range asked {
			s.must(take(s, failed))
		}
		s.Logf("%d answers of %d bytes, where %d may wait of events", asked, size, limits.Lag)
		for _, ep := range []*lahja.Endpoint{a, b} {
			s.must(ep.Err())
		}
	}}}, limits)
}

// Bounded memory: of the answers to an endpoint that does not read as many bytes wait as may. In
// place of each of the others it gets an error; its session goes on.
func TestUnreadAnswersAreBounded(t *testing.T) {
	const asked, size, limit = 100, 60_000, 1 << 20
	s := newStage(t, &venues[1], [2]bool{}, lahja.Limits{AnswerBytes: limit, Resume: -1})
	handled := make(chan int, asked)
	_, err := lahja.Handle(s.ctx, s.own("b"),
		func(_ context.Context, ev lahja.Event[question]) (blob, error) {
			handled <- ev.Value.N
			return blob{strings.Repeat(" ", size)}, nil
		})
	s.must(err)
	conn, err := s.place.Dial(s.ctx)
	s.must(err)
	defer conn.Close()
	a := &stranger{TB: t, conn: conn}
	a.preface(wire.TypeHello, wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "a"})
	a.record(wire.AppendName(nil, wire.Name{Number: 1, Name: lahja.EventName[question]()}))
	a.record(wire.AppendName(nil, wire.Name{Number: 2, Name: lahja.EventName[blob]()}))
	before := heap()
	for n := range uint64(asked) { // the window is one event: each is taken before the next
		a.record(wire.AppendEvent(nil, &wire.Event{
			Flags: wire.FlagRequest, Name: 1, Slot: n, Call: n + 1, Wanted: 2,
			Payload: []byte{0xa0},
		}))
		take(s, handled)
	}
	grown := heap() - before
	if grown > 4*limit/(1<<20) {
		t.Errorf("they take %.1f MiB", grown)
	}
	answers, denied := 0, 0
	a.listen()
	for answers+denied < asked {
		var r wire.Reply
		s.must(wire.ParseReply(a.until(wire.TypeReply).Body, &r))
		switch {
		case len(r.Payload) > size:
			answers++
		case r.Code == string(lahja.ErrDenied):
			denied++
		default:
			t.Fatalf("the answer is %+.200v", r)
		}
	}
	t.Logf("%d answers of %d bytes have come and %d errors; %.1f MiB of heap", answers, size,
		denied, grown)
	if answers < limit/size || answers > 2*limit/size {
		t.Errorf("%d answers have come, where %d bytes may wait", answers, limit)
	}
}
