package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/memory"
)

// What exceeds a limit of the bus is refused with ErrDenied, and does no harm to what is there.
func TestLimits(t *testing.T) {
	limits := lahja.Limits{Endpoints: 2, Subscriptions: 3, Requests: 4}
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, limits)
		a, b := s.connect("a"), s.connect("b")
		own := s.own("own") // does not count
		_, err := s.attach("c")
		s.wantErr(err, lahja.ErrDenied)
		b.Close()
		s.until(own, not(lahja.Present("b")))
		s.connect("c")

		for range limits.Subscriptions - 1 {
			lahja.Stream[item](s.ctx, a)
		}
		last, stop := context.WithCancel(s.ctx)
		lahja.Stream[item](last, a)
		_, err = lahja.WaitFor[item](s.ctx, a)
		s.wantErr(err, lahja.ErrDenied)
		stop()

		asked := lahja.Stream[question](s.ctx, own)
		failed := make(chan error, limits.Requests)
		waiting, cancel := context.WithCancel(s.ctx)
		for range limits.Requests {
			s.group.Go(func() {
				_, err := lahja.Request[question, answer](waiting, a, question{})
				failed <- err
			})
			take(s, asked)
		}
		_, err = lahja.Request[question, answer](s.ctx, a, question{})
		s.wantErr(err, lahja.ErrDenied)
		say(s, a, question{7})
		if ev := take(s, asked); ev.Value.N != 7 {
			t.Errorf("the request too many was delivered: %+v", ev)
		}
		cancel()
		for range limits.Requests {
			s.wantErr(take(s, failed), context.Canceled)
		}
		for err = lahja.ErrDenied; errors.Is(err, lahja.ErrDenied); { // until the bus knows
			ctx, cancel := context.WithTimeout(s.ctx, 50*time.Millisecond)
			_, err = lahja.Request[question, answer](ctx, a, question{8})
			cancel()
		}
		s.wantErr(err, context.DeadlineExceeded)
	})
}

// Names that fill a frame are refused to who gives them, and do no harm to the endpoint.
func TestNamesThatFillAFrame(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, lahja.Limits{Frame: 8 << 10})
		a, own := s.connect("a"), s.own("own")
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprintf("%0100d", i))
		}
		_, err := lahja.WaitFor[item](s.ctx, a, lahja.From(names...))
		s.wantErr(err, lahja.ErrTooLarge)
		for _, opts := range [][]lahja.BroadcastOption{
			{lahja.To(names...)}, {lahja.To(names...), lahja.RequireSubscriber()},
			{lahja.Except(names...), lahja.RequireSubscriber()},
		} {
			s.wantErr(lahja.Broadcast(s.ctx, a, item{1}, opts...), lahja.ErrTooLarge)
		}
		items := lahja.Stream[item](s.ctx, own)
		say(s, a, item{2}, lahja.To(append(names[:20], "own")...), lahja.RequireSubscriber())
		hear(s, items, item{2})
	})
}

// What a handler says of its failure fits also the smallest frames.
func TestLongErrorInSmallFrames(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, lahja.Limits{Frame: 8 << 10})
		a, own := s.connect("a"), s.own("own")
		for _, pair := range [][2]*lahja.Endpoint{{a, own}, {own, a}} {
			ctx, stop := context.WithCancel(s.ctx)
			_, err := lahja.Handle(ctx, pair[0],
				func(context.Context, lahja.Event[question]) (answer, error) {
					no := strings.Repeat("no", 5000)
					return answer{}, fmt.Errorf("%w: %s", lahja.ErrDenied, no)
				})
			s.wantErr(err, nil)
			_, err = lahja.Request[question, answer](s.ctx, pair[1], question{})
			s.wantErr(err, lahja.ErrDenied)
			var said *lahja.RemoteError
			if !errors.As(err, &said) {
				t.Errorf("the answer is %.200v", err)
			}
			stop()
		}
	})
}

// A limit that is meant to be none leaves endpoints in other processes as they are.
func TestHugeLimits(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, lahja.Limits{
			Lag: math.MaxInt64, Frame: math.MaxInt, Stall: math.MaxInt64, Resume: math.MaxInt64,
			Heartbeat: math.MaxInt64, Handshake: math.MaxInt64, Handshakes: math.MaxInt,
			Endpoints: math.MaxInt, Subscriptions: math.MaxInt, Requests: math.MaxInt,
			Answers: math.MaxInt, AnswerBytes: math.MaxInt64, Names: math.MaxInt,
			RetainedKeys: math.MaxInt, RetainedBytes: math.MaxInt64, Retained: math.MaxInt64,
		})
		a, own := s.connect("a"), s.own("own")
		items := lahja.Stream[item](s.ctx, own)
		for i := range 3 {
			say(s, a, item{i}, lahja.RequireSubscriber(), lahja.Retain())
			hear(s, items, item{i})
		}
		back := lahja.Stream[item](s.ctx, a)
		for i := range 3 {
			say(s, own, item{i}, lahja.RequireSubscriber())
			hear(s, back, item{i})
		}
	})
}

// A limit of less than a millisecond, in which an endpoint is told of it, is not no limit.
func TestTinyLimits(t *testing.T) {
	bus := lahja.NewBus(lahja.Limits{Stall: 1, Resume: 1, Heartbeat: time.Millisecond + 1})
	defer bus.Close()
	place := memory.New()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go bus.ServeListener(t.Context(), l)
	conn, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w, err := session.Greet(conn, &wire.Hello{
		MinVersion: 1, MaxVersion: 1, Name: "a", Features: []string{"resume"},
	})
	if err != nil || w.Stall != 1 || w.ResumeWindow != 1 || w.Heartbeat != 2 {
		t.Errorf("%+v, %v", w, err)
	}
}

// Of the connections that say nothing no more than so many are there: the oldest has to go. An
// honest endpoint attaches at any time.
func TestHandshakesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 4
		bus := lahja.NewBus(lahja.Limits{Handshakes: limit})
		defer bus.Close()
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go bus.ServeListener(t.Context(), l)
		const silent = 20
		closed := make(chan int, silent)
		began := time.Now()
		for i := range silent {
			c, err := place.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = io.ReadAll(c)
				closed <- i
			}()
			synctest.Wait() // it waits before the next one dials
		}
		for i := range silent - limit {
			if got := <-closed; got/limit != i/limit { // those of one moment in any order
				t.Errorf("connection %d was closed where %d was due", got, i)
			}
		}
		took := time.Since(began)
		if want := 20 * time.Millisecond * (silent - limit) / limit; took != want {
			t.Errorf("they are there for %v, where %v is fair", took, want)
		}
		ep, err := lahja.Connect(t.Context(), "honest", place)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began) - took; waited > 20*time.Millisecond {
			t.Errorf("an honest endpoint has waited for %v", waited)
		}
		for range limit {
			<-closed
		}
		if total := time.Since(began); total > 4*time.Second {
			t.Errorf("the last silent one was there for %v", total)
		}
		ep.Close()
	})
}

// An endpoint that makes the bus answer and does not read is ended: what waits for it is bounded.
func TestFloodWithoutReading(t *testing.T) {
	floods := map[string]func(n uint64) []byte{
		"Subscribe": func(n uint64) []byte {
			return control(wire.TypeSubscribe, wire.Subscribe{ID: n, Event: "tick"})
		},
		"Ask": func(n uint64) []byte {
			return control(wire.TypeAsk, wire.Ask{ID: n, Event: "tick"})
		},
		"requests": func(n uint64) []byte {
			return wire.AppendEvent(nil, &wire.Event{
				Flags: wire.FlagRequest, Name: tick, Slot: 2 * n, Call: n, Wanted: tick,
			})
		},
		"events": func(n uint64) []byte {
			return wire.AppendEvent(nil, &wire.Event{Name: tick, Slot: 2 * n})
		},
		"subscriptions that end": func(n uint64) []byte {
			frames := control(wire.TypeSubscribe, wire.Subscribe{ID: n, Event: "tick"})
			return append(frames, control(wire.TypeLeave, wire.Leave{ID: n})...)
		},
	}
	for name, frames := range floods {
		t.Run(name, func(t *testing.T) {
			flood(t, frames, lahja.Limits{Lag: 1 << 16, Frame: 8 << 10, Subscriptions: 10})
			if answers := 1000; name != "events" { // which are reported, and not answered
				n := flood(t, frames, lahja.Limits{Answers: answers})
				// What the connection and the writer hold is no part of it.
				if n > uint64(answers)+30_000 {
					t.Errorf("it is ended after %d", n)
				}
			}
		})
	}
}

// flood sends frames until the bus ends the session, and returns how many.
func flood(t *testing.T, frames func(n uint64) []byte, limits lahja.Limits) (n uint64) {
	bus := lahja.NewBus(limits)
	defer bus.Close()
	place := memory.New()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = bus.ServeConn(t.Context(), c)
		}
		served <- err
	}()
	conn, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{TB: t, conn: conn}
	s.preface(wire.TypeHello, wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "flood"})
	s.record(wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"}))
	before, most := footprint(), int64(0)
	for ; len(served) == 0 && n < 10_000_000; n++ {
		s.record(frames(n + 1))
		if n%10_000 == 0 {
			most = max(most, footprint()-before)
		}
	}
	err = <-served
	t.Logf("after %d: %v; %d KiB at most", n, err, most>>10)
	if !errors.Is(err, lahja.ErrStalled) {
		t.Errorf("it is ended with %v", err)
	}
	if most > 4<<20 {
		t.Errorf("it has cost %d bytes", most)
	}
	return n
}

// A length that a peer states costs nothing until the bytes arrive, before and after it is
// admitted.
func TestLengthsCostNothing(t *testing.T) {
	const n = 200
	head := func(length int) []byte {
		record := make([]byte, wire.HeaderSize, wire.HeaderSize+length)
		wire.PutHeader(record, make([]byte, length), 0)
		return record
	}
	for name, says := range map[string]func(s *stranger, i int){
		"handshake": func(s *stranger, _ int) {
			_, _ = s.conn.Write(append([]byte(wire.Preface), head(wire.MaxHandshake)...))
		},
		"session": func(s *stranger, i int) {
			hello := wire.Hello{MinVersion: 1, MaxVersion: 1, Name: fmt.Sprint("stranger ", i)}
			s.preface(wire.TypeHello, hello)
			// It is admitted:
			_, _ = io.ReadFull(s.conn, make([]byte, len(wire.Preface)+wire.HeaderSize))
			_, _ = s.conn.Write(head(wire.RecordBody + 1<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &venues[1], [2]bool{}, lahja.Limits{Handshakes: n, Handshake: tooLong})
			before := footprint()
			for i := range n {
				c, err := s.place.Dial(s.ctx)
				s.must(err)
				defer c.Close()
				says(&stranger{TB: t, conn: c}, i)
			}
			each := (footprint() - before) / n
			t.Logf("%d bytes each", each)
			if limit := int64(32 << 10); each > limit {
				t.Errorf("each takes %d bytes, where %d are allowed", each, limit)
			}
		})
	}
}

// hoard is another big event.
type hoard struct{ Data string }

// What an endpoint may have retained is in Limits, of the bus, which endpoints elsewhere learn.
func TestRetainedLimits(t *testing.T) {
	limits := lahja.Limits{RetainedKeys: 2, RetainedBytes: 4 << 10, Retained: 6 << 10}
	for i := range venues {
		t.Run(venues[i].name, func(t *testing.T) {
			s := newStage(t, &venues[i], [2]bool{true, true}, limits)
			a := s.connect("a")
			key := func(n int) lahja.BroadcastOption { return lahja.RetainKey(fmt.Sprint(n)) }
			big := blob{strings.Repeat("x", 3<<10)}
			for n := range 2 {
				say(s, a, item{n}, key(n))
			}
			s.wantErr(lahja.Broadcast(s.ctx, a, item{2}, key(2)), lahja.ErrTooLarge)
			say(s, a, big, key(0))
			s.wantErr(lahja.Broadcast(s.ctx, a, big, key(1)), lahja.ErrTooLarge) // of one type
			all := hoard{strings.Repeat("x", 3<<10)}
			s.wantErr(lahja.Broadcast(s.ctx, a, all, key(0)), lahja.ErrTooLarge) // of all types
			s.must(lahja.Forget[blob](s.ctx, a, "0"))
			say(s, a, all, key(0))
			s.settle(a)
		})
	}
}
