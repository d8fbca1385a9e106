package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// false42 is the payload of an answer that nobody should get, and true42 of the one that is due.
var false42, true42 = []byte("\xa1\x61N\x18\x29"), []byte("\xa1\x61N\x18\x2a")

// ask has an endpoint of the side under attack ask for the answer to other, and receives the number
// of what it got.
func (x *attack) ask(ep *lahja.Endpoint, opts ...lahja.BroadcastOption) <-chan int {
	ctx, stop := context.WithCancel(x.ctx)
	x.others = append(x.others, closer(stop))
	return beside(x.stage, func() int {
		got, err := lahja.Request[other, answer](ctx, ep, other{1}, opts...)
		if err != nil {
			return -1
		}
		return got.N
	})
}

// asked waits for a request, and returns its number.
func (x *attack) asked() uint64 {
	x.Helper()
	for {
		var e wire.Event
		x.must(wire.ParseEvent(x.await(wire.TypeEvent).Body, &e))
		if e.Flags&wire.FlagRequest != 0 {
			return e.Call
		}
	}
}

// wantAnswer checks that a request was not answered yet, lets it be, and checks by what it is.
func (x *attack) wantAnswer(got <-chan int, release func()) {
	x.Helper()
	x.alive()
	if len(got) > 0 {
		x.Errorf("the request was answered with %d", <-got)
		return
	}
	release()
	if n := take(x.stage, got); n != 42 {
		x.Errorf("the request was answered with %d", n)
	}
}

// falsely are an answer to a request, a refusal and a withdrawal, by somebody's name.
func falsely(call uint64, by string) []byte {
	frames := wire.AppendReply(nil, &wire.Reply{
		Call: call, Final: true, Origin: by, Name: lahja.EventName[answer](), Payload: false42,
	})
	frames = wire.AppendReply(frames, &wire.Reply{
		Call: call, Final: true, Origin: by, Code: "x: y",
	})
	frames = wire.AppendEnd(frames, wire.End{Call: call, Origin: by, Code: "x: y"})
	return append(frames, numbers(wire.TypeCancel, call)...)
}

// intrude answers a request that is open, of which it has learnt the number and is not asked: it
// only observes. It tries the numbers around, too: those of others' requests.
func intrude(x *attack) {
	honest := x.connect("honest " + x.name)
	take(x.stage, x.accepted)
	defer honest.Close()
	released := make(chan struct{})
	_, err := lahja.Handle(x.ctx, honest,
		func(context.Context, lahja.Event[other]) (answer, error) {
			select {
			case <-released:
			case <-x.ctx.Done():
			}
			return answer{42}, nil
		})
	x.must(err)
	x.record(control(wire.TypeSubscribe,
		wire.Subscribe{ID: 1, Event: lahja.EventName[other](), Observe: true}))
	x.await(wire.TypeSubscribed)
	got := x.ask(x.own)
	call := x.asked()
	var frames []byte
	for n := call - min(call, 50); n < call+50; n++ {
		frames = append(frames, falsely(n, honest.Name())...)
	}
	x.record(frames)
	x.wantAnswer(got, func() { close(released) })
}

// asker is who can ask x for an answer to that event: against the bus x subscribes to it first.
func (x *attack) asker(event string) *lahja.Endpoint {
	if x.against != "bus" {
		return x.victim
	}
	x.record(control(wire.TypeSubscribe, wire.Subscribe{ID: 1, Event: event}))
	x.await(wire.TypeSubscribed)
	return x.own
}

// repeat answers a request that it was asked twice, after answers to others that nobody has asked.
func repeat(x *attack) {
	got := x.ask(x.asker(lahja.EventName[other]()))
	call := x.asked()
	for n := call - min(call, 50); n < call+50; n++ {
		if n != call {
			x.record(falsely(n, "far"))
		}
	}
	x.wantAnswer(got, func() {
		x.record(wire.AppendReply(nil, &wire.Reply{
			Call: call, Final: true, Name: lahja.EventName[answer](), Payload: true42,
		}))
		x.record(falsely(call, ""))
	})
}

// answerNothing answers a request that it was asked with no bytes at all.
func answerNothing(x *attack) {
	got := x.ask(x.asker(lahja.EventName[other]()))
	x.record(wire.AppendReply(nil, &wire.Reply{
		Call: x.asked(), Final: true, Name: lahja.EventName[answer](),
	}))
	if n := take(x.stage, got); n != -1 {
		x.Errorf("the request was answered with %d", n)
	}
}

// race resumes a session by two connections at once, over and over: one has it in the end, the one
// with the higher attempt if they differ, and it is the session that it was.
func race(first, second uint64) func(*attack) {
	return func(x *attack) {
		for rounds := 5 * min(scale(), 10); rounds > 0; {
			x.attacks++
			x.name = fmt.Sprint("raced ", x.attacks)
			h := x.session()
			h.Attempt = first
			one := x.resume(h)
			h.Attempt = second
			two := x.resume(h)
			if winner := raced(x, one, two); winner != nil {
				if winner == one && second > first {
					x.Errorf("attempt %d has the session, and not %d", first, second)
				}
				rounds--
			} // else the session's time was over before
			one.over()
			two.over()
		}
		x.write([]byte("and now something else"))
	}
}

// resume makes a connection that has said a Hello but for its last byte, so that two can at once.
func (x *attack) resume(h wire.Hello) *attack {
	y := x.begin("bus", fresh)
	frame := wire.AppendControl(nil, wire.TypeHello, h)
	whole := append(y.start(), recordOf(frame, 0)...)
	y.write(whole[:len(whole)-1])
	y.rest = whole[len(whole)-1:]
	return y
}

// raced lets two go, and returns the one that has the session in the end; nil: it is too late.
func raced(x *attack, both ...*attack) (winner *attack) {
	start, gone := make(chan struct{}), make(chan bool)
	for _, y := range both {
		x.group.Go(func() {
			<-start
			y.write(y.rest)
			gone <- true
		})
	}
	close(start)
	<-gone
	<-gone
	var welcomed []*attack
	for _, y := range both {
		f, more := <-y.heard
		var w wire.Welcome
		switch {
		case !more:
			x.Error("one of them gets no answer")
		case f.Type != wire.TypeWelcome:
			if err := y.end(); !errors.Is(err, severed) {
				x.Errorf("one of them is refused with %v", err)
			}
		case wire.ParseControl(f.Body, &w) != nil || !w.Resumed:
			x.Errorf("one of them is welcomed to another session: %+v", w)
		default:
			welcomed = append(welcomed, y)
		}
	}
	// Of two that are welcomed the lower attempt is, and then has to go.
	for i, y := range welcomed {
		if i+1 < len(welcomed) {
			if err := y.end(); err != nil {
				x.Errorf("the one that has to go ends with %v", err)
			}
			continue
		}
		y.alive()
		winner = y
	}
	return winner
}

// lots is how often something is done very often.
func lots() uint64 {
	if scale() > 1 {
		return 1_000_000
	}
	return 2000
}

// taken waits until so many events were reported as taken, or some more, and returns how many.
func (x *attack) taken(wanted int) (n int) {
	x.Helper()
	for n < wanted {
		x.must(wire.ParseTaken(x.await(wire.TypeTaken).Body, 1<<20, func(uint64) error {
			n++
			return nil
		}))
	}
	return n
}

// wantedAs is the number for the name of the answer that is wanted.
const wantedAs = 92

// cancelAll makes very many requests and cancels each at once; meanwhile no more handlers run than
// may, and afterwards there is room for as many requests as in the beginning.
func cancelAll(x *attack) {
	const atOnce, together = 3, 100
	var running, most atomic.Int64
	ctx, stop := context.WithCancel(x.ctx)
	x.others = append(x.others, closer(stop))
	handle := func(ctx context.Context, _ lahja.Event[other]) (answer, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-ctx.Done()
		return answer{}, ctx.Err()
	}
	x.must(whileSubscribing[other](x, func(ep *lahja.Endpoint) error {
		_, err := lahja.Handle(ctx, ep, handle, lahja.Concurrency(atOnce))
		return err
	}))
	x.record(wire.AppendName(nil, wire.Name{Number: wantedAs, Name: lahja.EventName[answer]()}))
	request := func(n uint64) []byte {
		return x.event(wire.Event{
			Name: heardAs, Flags: wire.FlagRequest, Call: n, Wanted: wantedAs, Slot: n,
			Payload: unset,
		})
	}
	for round := range lots() / together {
		var asks, cancels []byte
		for n := range uint64(together) {
			asks = append(asks, request(n)...)
			cancels = append(cancels, numbers(wire.TypeCancel, n)...)
		}
		left := together
		if round%10 == 0 { // else they are cancelled before handlers can begin
			x.record(asks)
			left -= x.taken(atOnce)
			asks = nil
		}
		x.record(append(asks, cancels...))
		x.taken(left)
	}
	if n := most.Load(); n != atOnce {
		x.Errorf("%d handlers have run at once, where %d may", n, atOnce)
	}
	for n := range uint64(arenaRequests) {
		x.record(request(n))
	}
	x.record(wire.Append(nil, wire.TypePing, nil))
	for f := range x.heard {
		if f.Type == wire.TypeEnd {
			x.Error("requests that were cancelled count")
		}
		if f.Type == wire.TypePong {
			return
		}
	}
	x.Error("the connection has ended")
}

// comeAndGo subscribes and ends that at once, very often.
func comeAndGo(x *attack) {
	const together = 50
	for id := uint64(0); id < lots(); id += together {
		var frames []byte
		for n := id; n < id+together; n++ {
			frames = append(frames,
				control(wire.TypeSubscribe, wire.Subscribe{ID: n, Event: "tock"})...)
			frames = append(frames, control(wire.TypeLeave, wire.Leave{ID: n})...)
		}
		x.record(frames)
		for range together {
			var m wire.Subscribed
			x.must(wire.ParseControl(x.await(wire.TypeSubscribed).Body, &m))
			if m.Code != "" {
				x.Fatalf("subscription %d is refused: %s", m.ID, m.Message)
			}
		}
	}
}
