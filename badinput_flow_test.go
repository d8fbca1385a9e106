package lahja_test

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

var flowRows = []row{
	{number: 36, throws: "a window of 2^64-1 bytes", at: open, only: "endpoint", ends: fouled,
		throw: func(x *attack) { x.body(numbers(wire.TypeWindow, x.theirs, 1, 1<<64-1)) }},
	{number: 36, throws: "windows of no bytes, and of an event that was never broadcast", at: open,
		only: "endpoint", ends: fouled, throw: func(x *attack) {
			x.record(numbers(wire.TypeWindow, x.theirs, 1, 0))
			x.record(numbers(wire.TypeWindow, x.theirs, 2, 0))
			x.body(numbers(wire.TypeWindow, 1<<40, 1, 5))
		}},
	{number: 36, throws: "a window that is acknowledged and was never granted", at: open,
		only: "bus",
		ends: fouled, throw: frames(numbers(wire.TypeWindowAck, 77, 1))},
	{number: 36, throws: "more events than the window allows", at: open, only: "bus", ends: fouled,
		throw: func(x *attack) {
			subscribed[other](x, lahja.Buffer(0)) // which nobody receives
			for slot := range uint64(1000) {
				x.record(x.event(wire.Event{Name: heardAs, Slot: slot, Payload: padded(1000)}))
			}
		}},
	{number: 36, throws: "room in a group, which is said by reports", at: open, ends: fouled,
		throw: frames(numbers(wire.TypeRoom, 1, 1<<64-1))},
	{number: 37, throws: "requests that are cancelled at once, very many", at: open,
		throw: cancelAll},
	{number: 37, throws: "subscriptions that end at once, very many", at: open, only: "bus",
		throw: comeAndGo},
	{number: 37, throws: "more requests at a time than an endpoint may have", at: open, only: "bus",
		throw: func(x *attack) {
			subscribed[other](x, lahja.DropOldest(), lahja.Buffer(1000))
			for call := range uint64(2 * arenaRequests) {
				x.record(x.request(call))
			}
			x.await(wire.TypeEnd) // refused
		}},
	{number: 38, throws: "a report of an event that was never sent", at: open, ends: fouled,
		throw: frames(numbers(wire.TypeTaken, 1<<20, 1))},
	{number: 38, throws: "an event that is returned and was never sent", at: open, ends: fouled,
		throw: frames(numbers(wire.TypeReturn, 1<<20))},
	{number: 38, throws: "an event that was taken twice", at: open, only: "endpoint", ends: fouled,
		throw: frames(numbers(wire.TypeTaken, 0, 1, 0, 1))},
	{number: 38, throws: "a subscription with a number that another has", at: open, only: "bus",
		ends: fouled,
		throw: frames(control(wire.TypeSubscribe, wire.Subscribe{ID: 5, Event: "tock"}),
			control(wire.TypeSubscribe, wire.Subscribe{ID: 5, Event: "tick"}))},
	{number: 38, throws: "the end of subscriptions and requests that are not there", at: open,
		throw: func(x *attack) {
			if x.against == "bus" {
				x.record(control(wire.TypeLeave, wire.Leave{ID: 99}))
			}
			x.record(numbers(wire.TypeCancel, 99))
			x.record(wire.AppendEnd(nil, wire.End{Call: 99}))
		}},
	{number: 38, throws: "a second name for a number", at: open, ends: fouled,
		throw: frames(wire.AppendName(nil, wire.Name{Number: tick, Name: "again"}))},
	{number: 38, throws: "an event of a number without a name", at: open, ends: fouled,
		throw: events(wire.Event{Name: 999})},
	{number: 39, throws: "more subscriptions than an endpoint may have", at: open, only: "bus",
		throw: func(x *attack) {
			for id := range uint64(arenaSubs + 1) {
				x.record(control(wire.TypeSubscribe,
					wire.Subscribe{ID: id, Event: fmt.Sprint("tock ", id%9)}))
				var m wire.Subscribed
				x.must(wire.ParseControl(x.await(wire.TypeSubscribed).Body, &m))
				if denied := m.Code == string(lahja.ErrDenied); denied != (id == arenaSubs) {
					x.Errorf("subscription %d is answered with %+v", id, m)
				}
			}
		}},
	{number: 39, throws: "more names of events than an endpoint may use", at: open, only: "bus",
		ends: fouled,
		throw: func(x *attack) {
			for n := range uint64(arenaNames + 1) {
				x.record(wire.AppendName(nil,
					wire.Name{Number: 100 + n, Name: fmt.Sprint("name ", n)}))
			}
		}},
	{number: 39, throws: "a number of an event that is retired, for another window", at: open,
		only: "bus", ends: fouled,
		throw: func(x *attack) {
			x.record(wire.AppendEvent(wire.AppendName(nil, wire.Name{Number: 99, Name: "tick"}),
				&wire.Event{Name: 99, Payload: unset}))
			x.record(wire.AppendName(nil, wire.Name{Number: 99}))
		}},
	{number: 39, throws: "a subscription to more origins than one may name, and to too long ones",
		at: open, only: "bus",
		throw: func(x *attack) {
			for id, from := range [][]string{make([]string, 1025),
				{strings.Repeat("n", mebibyte/2)}} {
				x.refused(wire.Subscribe{ID: uint64(id), Event: "tock", From: from})
			}
		}},
	{number: 39, throws: "an event for more endpoints than one may name", at: open, only: "bus",
		ends: fouled,
		throw: events(wire.Event{
			Flags: wire.FlagTo, To: make([]string, 1025), Payload: unset,
		})},
	{number: 39, at: open,
		throws: "names of events that are too long to be told to who watches, all together",
		only:   "bus", throw: tooMuchToTell},
	{number: 39, throws: "an event with a name of a mebibyte", at: open, ends: fouled,
		throw: frames(wire.AppendName(nil,
			wire.Name{Number: 9, Name: strings.Repeat("n", mebibyte-20)}))},
	{number: 39, throws: "a subscription to an event with a name of a mebibyte", at: open,
		only: "bus", ends: fouled,
		throw: frames(control(wire.TypeSubscribe,
			wire.Subscribe{ID: 1, Event: strings.Repeat("n", mebibyte-20)}))},
	{number: 39, throws: "an event whose name has 10^5 segments", at: open, ends: fouled,
		throw: frames(wire.AppendName(nil,
			wire.Name{Number: 9, Name: strings.Repeat("a.", 100_000)}))},
	{number: 39, throws: "a retained event under a key of half a mebibyte", at: open, only: "bus",
		ends: fouled,
		throw: events(wire.Event{
			Flags: wire.FlagRetain | wire.FlagKey, Key: strings.Repeat("k", mebibyte/2),
			Payload: unset,
		})},
	{number: 39, throws: "an event that fills its frame, and has no room for who it is from",
		at:   open,
		only: "bus", ends: fouled, throw: func(x *attack) {
			heard := lahja.Stream[load](x.ctx, x.own)
			defer func() { x.others = append(x.others, closer(func() { _ = heard })) }()
			x.record(wire.AppendName(nil,
				wire.Name{Number: heardAs, Name: lahja.EventName[load]()}))
			x.body(x.event(wire.Event{Name: heardAs, Payload: padded(wire.MaxFrame - 20)}))
		}},
	{number: 39, throws: "a refusal of a request that fills its frame", at: open, ends: fouled,
		throw: frames(wire.AppendEnd(nil,
			wire.End{Call: 1, Code: "x: y", Message: strings.Repeat("m", wire.MaxFrame-20)}))},
	{number: 40, throws: "pings while nobody takes what an endpoint has subscribed to", at: open,
		throw: func(x *attack) {
			subscribed[other](x, lahja.Buffer(0))
			for slot := range uint64(50) {
				x.record(x.event(wire.Event{Name: heardAs, Slot: slot, Payload: unset}))
				x.alive()
			}
		}},
}

// padded is the payload of a load of about that many bytes.
func padded(n int) []byte {
	head := []byte("\xa2\x61N\x01\x64Data\x5a")
	n -= len(head) + 4
	head = append(head, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(head, make([]byte, n)...)
}

// tooMuchToTell subscribes, as often as a bus with small frames lets it, while somebody watches who
// is there: the watcher's connection stays.
func tooMuchToTell(x *attack) {
	bus := lahja.NewBus(lahja.Limits{Frame: 8 << 10})
	defer bus.Close()
	l, place, err := x.venue.listen(x.stage)
	x.must(err)
	x.group.Go(func() { _ = bus.ServeListener(x.ctx, l) })
	watcher, err := lahja.Connect(x.ctx, "watcher", place, lahja.Limits{Resume: -1})
	x.must(err)
	defer watcher.Close()
	watching, stop := context.WithCancel(x.ctx)
	defer stop()
	watcher.WatchPeers(watching)
	conn, err := place.Dial(x.ctx)
	x.must(err)
	greedy := &attack{arena: x.arena, ctx: x.ctx, stranger: &stranger{TB: x.TB, conn: conn}}
	greedy.listen()
	greedy.preface(wire.TypeHello, helloOf("greedy"))
	var m wire.Subscribed
	for n := uint64(0); n < 100 && m.Code == ""; n++ {
		event := fmt.Sprintf("%0255d", n)
		greedy.record(control(wire.TypeSubscribe, wire.Subscribe{ID: n, Event: event}))
		x.must(wire.ParseControl(greedy.await(wire.TypeSubscribed).Body, &m))
	}
	if m.Code != string(lahja.ErrDenied) {
		x.Errorf("the last subscription is answered with %+v", m)
	}
	if err := watcher.WaitUntil(x.ctx,
		lahja.Present("greedy")); err != nil || watcher.Err() != nil {
		x.Errorf("the watcher: %v, %v", err, watcher.Err())
	}
	conn.Close()
	for range greedy.heard {
	}
}

var systemRows = []row{
	{number: 59, throws: "an end in the middle of a frame, as by a process that dies", at: open,
		ends:  severed,
		throw: then(func(x *attack) { x.write(headOf(1000, x.position)); x.write(noise(500)) })},
	{number: 62, throws: "panics of handlers, each an error of its requester alone", at: open,
		throw: func(x *attack) {
			panicking(x)
		}},
	{number: 62, throws: "a close of an endpoint, from a hundred places at once", at: open,
		only: "endpoint", ends: lahja.ErrClosed, throw: func(x *attack) {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() { x.victim.Close() })
			}
			x.await(wire.TypeGoodbye)
			x.record(control(wire.TypeGoodbye, wire.Goodbye{}))
			all.Wait()
		}},
}

// panicking has the side under attack handle requests by a handler that panics.
func panicking(x *attack) {
	ctx, stop := context.WithCancel(x.ctx)
	defer stop()
	handler := func(context.Context,
		lahja.Event[other]) (answer, error) {
		panic("as the stranger wants it")
	}
	x.record(wire.AppendName(nil, wire.Name{Number: heardAs, Name: lahja.EventName[other]()}))
	x.record(wire.AppendName(nil, wire.Name{Number: 92, Name: lahja.EventName[answer]()}))
	if x.victim == nil {
		_, err := lahja.Handle(ctx, x.own, handler, lahja.RecoverPanics())
		x.must(err)
	} else {
		made := beside(x.stage, func() error {
			_, err := lahja.Handle(ctx, x.victim, handler, lahja.RecoverPanics())
			return err
		})
		var m wire.Subscribe
		x.must(wire.ParseControl(x.await(wire.TypeSubscribe).Body, &m))
		x.record(control(wire.TypeSubscribed, wire.Subscribed{ID: m.ID}))
		x.must(take(x.stage, made))
	}
	for call := range uint64(10) {
		x.record(x.event(wire.Event{
			Name: heardAs, Flags: wire.FlagRequest, Call: call, Wanted: 92, Slot: call,
			Payload: unset,
		}))
		var r wire.Reply
		x.must(wire.ParseReply(x.await(wire.TypeReply).Body, &r))
		if !strings.Contains(r.Message, "as the stranger wants it") {
			x.Errorf("the answer to a request that makes the handler panic is %+v", r)
		}
	}
}

// refused subscribes, and is denied it.
func (x *attack) refused(m wire.Subscribe) {
	x.Helper()
	x.record(control(wire.TypeSubscribe, m))
	var answer wire.Subscribed
	x.must(wire.ParseControl(x.await(wire.TypeSubscribed).Body, &answer))
	if answer.Code != string(lahja.ErrDenied) {
		x.Errorf("subscription %d is answered with %+v", m.ID, answer)
	}
}
