package lahja_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// hello says a Hello to a bus.
func hello(change func(h *wire.Hello)) func(*attack) {
	return func(x *attack) {
		h := helloOf(x.name)
		change(&h)
		x.said = true
		x.preface(wire.TypeHello, h)
	}
}

// named says hello to a bus by a name.
func named(name string) func(*attack) { return hello(func(h *wire.Hello) { h.Name = name }) }

// welcoming says a Welcome to an endpoint.
func welcoming(change func(w *wire.Welcome)) func(*attack) {
	return func(x *attack) {
		w := welcome()
		change(&w)
		x.said = true
		x.preface(wire.TypeWelcome, w)
	}
}

var handshakeRows = []row{
	{number: 13, throws: "nothing at all", at: fresh, hurry: true, throw: func(*attack) {},
		ends: fouled, endpointEnds: context.DeadlineExceeded},
	{number: 13, throws: "nothing at all, and the end", at: fresh, throw: then(func(*attack) {}),
		ends: fouled, endpointEnds: severed},
	{number: 14, throws: "fifty connections that say nothing, while honest endpoints attach",
		at:   fresh,
		only: "bus", hurry: true, ends: fouled, throw: throng},
	{number: 15, throws: "half a handshake, and the end of one direction", at: fresh, ends: fouled,
		endpointEnds: severed, throw: func(x *attack) {
			x.write(x.handshake()[:x.short(9)])
			if half, can := x.conn.(interface{ CloseWrite() error }); can {
				x.must(half.CloseWrite())
				return
			}
			x.conn.Close()
		}},
	{number: 17, throws: "an empty name", at: fresh, only: "bus", throw: named(""),
		ends: lahja.ErrDenied},
	{number: 17, throws: "a name of 256 bytes", at: fresh, only: "bus", ends: lahja.ErrDenied,
		throw: named(strings.Repeat("n", 256))},
	{number: 17, throws: "a name with a zero byte", at: fresh, only: "bus", throw: named("a\x00b"),
		ends: lahja.ErrDenied},
	{number: 17, throws: "a name with an end of line", at: fresh, only: "bus",
		throw: named("a\r\nb"), ends: lahja.ErrDenied},
	{number: 17, throws: "a name that is not UTF-8", at: fresh, only: "bus", throw: named("a\xffb"),
		ends: fouled},
	{number: 17, throws: "a name in overlong UTF-8", at: fresh, only: "bus",
		throw: named("\xc0\xaf"), ends: fouled},
	{number: 17, throws: "a token of a mebibyte", at: fresh, only: "bus", ends: fouled,
		throw: hello(func(h *wire.Hello) { h.Token = make([]byte, mebibyte) })},
	{number: 17, throws: "a session and a token of no bytes", at: fresh, only: "bus", ends: severed,
		throw: hello(func(h *wire.Hello) { h.Session, h.Attempt = []byte{0}, 1 })},
	{number: 18, throws: "sessions and tokens of every length", at: fresh, only: "bus",
		ends: fouled,
		throw: func(x *attack) {
			for n := 1; n <= 128; n += max(1, 9/scale()) {
				x.once(hello(func(h *wire.Hello) {
					h.Session, h.Token, h.Attempt = make([]byte, n), make([]byte, n), 1
				}), severed)
			}
			x.write([]byte("done, and now something else"))
		}},
	{number: 19, throws: "the same hello as one who is there", at: open, only: "bus",
		throw: func(x *attack) {
			x.once(named(x.name), lahja.ErrNameTaken)
		}},
	{number: 19, throws: "the handshake that a bus has had with another", at: fresh,
		only: "endpoint",
		ends: severed, throw: then(func(x *attack) {
			x.write(x.handshake())
			ep := take(x.stage, x.dials).ep
			x.victim = ep
			x.write(x.handshake()) // a second one, in the session
		}), endpointEnds: fouled},
	{number: 20, throws: "what the other side says, said back", at: fresh, throw: func(x *attack) {
		if x.against == "bus" {
			x.write(x.handshake())
			f := x.await(wire.TypeWelcome)
			x.write(recordOf(wire.Append(nil, f.Type, f.Body), 0))
			return
		}
		f := x.await(wire.TypeHello)
		x.body(wire.Append(nil, f.Type, f.Body))
	}, ends: fouled},
	{number: 21, throws: "only a version that never was", at: fresh, throw: func(x *attack) {
		h, w := helloOf(x.name), welcome()
		h.MinVersion, h.MaxVersion, w.Version = 0, 0, 0
		x.introduce(h, w)
	}, ends: fouled},
	{number: 21, throws: "a highest version below the lowest", at: fresh, only: "bus", ends: fouled,
		throw: hello(func(h *wire.Hello) { h.MinVersion, h.MaxVersion = 2, 0 })},
	{number: 24, throws: "frames of no bytes as a wish", at: fresh, only: "bus", throw: agreed(0)},
	{number: 24, throws: "frames and a heartbeat of 2^64-1 as a wish", at: fresh, only: "bus",
		throw: agreed(1<<64 - 1)},
	{number: 24, throws: "a limit of no bytes for frames", at: fresh, only: "endpoint",
		ends:  fouled,
		throw: welcoming(func(w *wire.Welcome) { w.MaxFrame = 0 })},
	{number: 24, throws: "a limit of 2^64-1 bytes for frames", at: fresh, only: "endpoint",
		ends:  fouled,
		throw: welcoming(func(w *wire.Welcome) { w.MaxFrame = 1<<64 - 1 })},
	{number: 24, throws: "a lag of 2^64-1 bytes", at: fresh, only: "endpoint", ends: fouled,
		throw: welcoming(func(w *wire.Welcome) { w.Lag = 1<<64 - 1 })},
	{number: 24, throws: "no lag, and endless times", at: fresh, only: "endpoint",
		throw: func(x *attack) {
			welcoming(func(w *wire.Welcome) {
				w.Lag, w.Heartbeat, w.ResumeWindow, w.Stall = 0, 1<<64-1, 1<<64-1, 1<<64-1
			})(x)
			x.victim = take(x.stage, x.dials).ep
			x.must(lahja.Broadcast(x.ctx, x.victim, item{1}))
			x.await(wire.TypeEvent)
		}},
	{number: 24, throws: "a refusal with a text as long as a handshake may be", at: fresh,
		only: "endpoint",
		throw: func(x *attack) {
			x.said = true
			x.preface(wire.TypeRefusal,
				wire.Refusal{Code: "x: y", Message: strings.Repeat("m", 4000)})
			x.outcome()
		}},
}

// once throws something over a connection of its own, and checks with what that ends.
func (x *attack) once(throw func(*attack), ends error) {
	x.Helper()
	y := x.begin(x.against, fresh)
	throw(y)
	if err := y.end(); !errors.Is(err, ends) {
		x.Errorf("it ends with %v, and not %q", err, ends)
	}
	y.over()
}

// agreed attaches with a wish for the longest frame and the heartbeat.
func agreed(wish uint64) func(*attack) {
	return func(x *attack) {
		hello(func(h *wire.Hello) { h.MaxFrame, h.Heartbeat = wish, wish })(x)
		x.await(wire.TypeWelcome)
		x.alive()
	}
}

// throng makes connections that say nothing; meanwhile others attach.
func throng(x *attack) {
	ended := []chan error{}
	for range 50 {
		s, end := x.dial()
		x.others, ended = append(x.others, s.conn), append(ended, end)
	}
	for n := range 3 {
		x.hurries.Store(false)
		ep := x.connect(fmt.Sprint("honest ", n))
		take(x.stage, x.accepted)
		ep.Close()
	}
	for _, end := range ended {
		if err := take(x.stage, end); !errors.Is(err, fouled) {
			x.Errorf("a silent one ends with %v", err)
		}
	}
}

// event is an event that x may send, with flags, of a slot.
func (x *attack) event(e wire.Event) []byte {
	if e.Name == 0 {
		e.Name = tick
	}
	if x.against == "endpoint" {
		e.Flags |= wire.FlagOrigin
		e.Origin = teller
	}
	return wire.AppendEvent(nil, &e)
}

// events throws frames that depend on who is attacked.
func events(list ...wire.Event) func(*attack) {
	return func(x *attack) {
		var body []byte
		for _, e := range list {
			body = append(body, x.event(e)...)
		}
		x.body(body)
	}
}

var identityRows = []row{
	{number: 26, throws: "an event that says who it is from", at: open, only: "bus", ends: fouled,
		throw: events(wire.Event{Flags: wire.FlagOrigin, Origin: tick})},
	{number: 26, throws: "an event for one subscription of its choice", at: open, only: "bus",
		ends:  fouled,
		throw: events(wire.Event{Flags: wire.FlagTarget, Target: 1})},
	{number: 26, throws: "an event without an origin", at: open, only: "endpoint", ends: fouled,
		throw: frames(wire.AppendEvent(nil, &wire.Event{Name: tick}))},
	{number: 26, throws: "an event of an origin without a name", at: open, only: "endpoint",
		ends: fouled,
		throw: frames(wire.AppendEvent(nil,
			&wire.Event{Name: tick, Flags: wire.FlagOrigin, Origin: 99}))},
	{number: 26, throws: "an event for others than this endpoint", at: open, only: "endpoint",
		ends:  fouled,
		throw: events(wire.Event{Flags: wire.FlagTo, To: []string{"other"}})},
	{number: 26, throws: "answers to requests of others, by every likely number, twice", at: open,
		throw: func(x *attack) {
			var body []byte
			for call := range uint64(500) {
				r := wire.Reply{Call: call, Final: true, Origin: "far",
					Name: lahja.EventName[answer](), Payload: []byte{0xa0}}
				body = wire.AppendReply(wire.AppendReply(body, &r), &r)
				body = wire.AppendEnd(body, wire.End{Call: call, Origin: "far"})
			}
			for range 20 {
				x.record(body)
			}
			x.alive()
			x.undisturbed()
		}},
	{number: 26, throws: "answers to an open request that it only observes, and to others",
		at: open, only: "bus", throw: intrude},
	{number: 26, throws: "answers to an open request, by every number near it, and then twice",
		at: open, throw: repeat},
	{number: 26, throws: "an answer without a payload", at: open, throw: answerNothing},
	{number: 26, throws: "two requests with one number", at: open, ends: fouled,
		throw: func(x *attack) {
			subscribed[other](x)
			x.body(append(x.request(7), x.request(7)...))
		}},
	{number: 26, throws: "a request for a response without a name", at: open, ends: fouled,
		throw: events(wire.Event{Flags: wire.FlagRequest, Call: 1, Wanted: 99})},
	{number: 27, throws: "the name of one who is there", at: fresh, only: "bus",
		throw: named("far"),
		ends:  lahja.ErrNameTaken},
	{number: 27, throws: "names that look like those of others, and get nothing that is theirs",
		at:   open,
		only: "bus", throw: lookalikes},
	{number: 29, throws: "an event whose name has control characters", at: open,
		throw: func(x *attack) {
			x.record(wire.AppendName(nil, wire.Name{Number: 90, Name: "a\r\nb\x1b[2J"}))
			x.record(x.event(wire.Event{Name: 90, Slot: 2}))
		}},
	{number: 29, throws: "an event whose name is not UTF-8", at: open, throw: func(x *attack) {
		x.record(wire.AppendName(nil, wire.Name{Number: 90, Name: "a\xff\xfe"}))
		x.record(x.event(wire.Event{Name: 90, Slot: 2}))
	}},
	{number: 29, throws: "an answer whose type has a name of a mebibyte that is not UTF-8",
		at:    open,
		throw: oddAnswer, ends: fouled},
	{number: 29, throws: "a subscription to an event whose name is not UTF-8", at: open,
		only: "bus", ends: fouled,
		throw: frames(wire.AppendControl(nil, wire.TypeSubscribe,
			wire.Subscribe{ID: 1, Event: "\xff"}))},
}

// unset is the payload of an event that has no fields set.
var unset = []byte{0xa0}

// request is a request with a number, which nobody answers.
func (x *attack) request(call uint64) []byte {
	return x.event(wire.Event{
		Name: heardAs, Flags: wire.FlagRequest, Call: call, Wanted: tick, Slot: 2 * call,
		Payload: unset,
	})
}

// heardAs is the number for the name of what the side under attack subscribes to.
const heardAs = 91

// subscribed has the side under attack subscribe to T.
func subscribed[T any](x *attack, opts ...lahja.SubscribeOption) <-chan lahja.Event[T] {
	x.Helper()
	ctx, stop := context.WithCancel(x.ctx)
	x.others = append(x.others, closer(stop))
	return whileSubscribing[T](x, func(ep *lahja.Endpoint) <-chan lahja.Event[T] {
		return lahja.Stream[T](ctx, ep, opts...)
	})
}

// whileSubscribing has the side under attack call what makes a subscription to T.
func whileSubscribing[T, R any](x *attack, call func(*lahja.Endpoint) R) R {
	x.Helper()
	x.record(wire.AppendName(nil, wire.Name{Number: heardAs, Name: lahja.EventName[T]()}))
	if x.victim == nil {
		return call(x.own)
	}
	victim := x.victim
	made := beside(x.stage, func() R { return call(victim) })
	var m wire.Subscribe
	x.must(wire.ParseControl(x.await(wire.TypeSubscribe).Body, &m))
	x.record(control(wire.TypeSubscribed, wire.Subscribed{ID: m.ID}))
	return take(x.stage, made)
}

// closer is a function as something to close.
type closer func()

func (f closer) Close() error {
	f()
	return nil
}

// lookalikes attach by names that are nearly that of far, and hear nothing that is for far alone.
func lookalikes(x *attack) {
	for _, name := range []string{"Far", "far.", "far/", "/far", " far", "ｆａｒ", "fa\u0072\u0301"} {
		y := x.begin("bus", fresh)
		named(name)(y)
		y.await(wire.TypeWelcome)
		y.record(control(wire.TypeSubscribe,
			wire.Subscribe{ID: 1, Event: lahja.EventName[other]()}))
		y.await(wire.TypeSubscribed)
		x.must(lahja.Broadcast(x.ctx, x.own, other{1}, lahja.To("far")))
		x.must(lahja.Broadcast(x.ctx, x.own, other{2}, lahja.To(name)))
		var e wire.Event
		x.must(wire.ParseEvent(y.await(wire.TypeEvent).Body, &e))
		if !bytes.HasSuffix(e.Payload, []byte{2}) {
			x.Errorf("%q gets what is for another", name)
		}
		y.over()
	}
}

// oddAnswer answers a request by a type that nobody knows, of an impossible name.
func oddAnswer(x *attack) {
	name := strings.Repeat("\xff", 900<<10)
	asks := x.asker(lahja.EventName[question]())
	ctx, stop := context.WithCancel(x.ctx)
	x.group.Go(func() {
		_, _ = lahja.Request[question, answer](ctx, asks, question{1}, lahja.Except("far"))
	})
	x.others = append(x.others, closer(stop))
	var e wire.Event
	for e.Flags&wire.FlagRequest == 0 {
		x.must(wire.ParseEvent(x.await(wire.TypeEvent).Body, &e))
	}
	x.body(wire.AppendReply(nil, &wire.Reply{Call: e.Call, Final: true, Name: name}))
}

// session is a Hello for a session that can be resumed.
func (x *attack) session() (s wire.Hello) {
	y := x.begin("bus", fresh)
	hello(func(h *wire.Hello) { h.Name, h.Features = x.name, []string{"resume"} })(y)
	var w wire.Welcome
	x.must(wire.ParseControl(y.await(wire.TypeWelcome).Body, &w))
	y.over()
	s = helloOf(x.name)
	s.Session, s.Token, s.Attempt, s.Features = w.Session, w.Token, 1, []string{"resume"}
	return s
}

// claiming resumes a session, not quite as one may.
func claiming(change func(h *wire.Hello)) func(*attack) {
	return func(x *attack) {
		h := x.session()
		change(&h)
		x.said = true
		x.preface(wire.TypeHello, h)
	}
}

var resumeRows = []row{
	{number: 30, throws: "a session that nobody has", at: fresh, only: "bus", ends: severed,
		throw: hello(func(h *wire.Hello) {
			h.Session, h.Token, h.Attempt = make([]byte, 16), make([]byte, 16), 1
		})},
	{number: 30, throws: "a wrong token", at: fresh, only: "bus", ends: severed,
		throw: claiming(func(h *wire.Hello) { h.Token[0] ^= 1 })},
	{number: 30, throws: "the session of another", at: fresh, only: "bus", ends: severed,
		throw: claiming(func(h *wire.Hello) { h.Name = "far" })},
	{number: 30, throws: "a session whose time is over", at: fresh, only: "bus", ends: severed,
		throw: claiming(func(*wire.Hello) { time.Sleep(2 * arenaResume) })},
	{number: 30, throws: "one session resumed twice with one attempt", at: fresh, only: "bus",
		ends: severed,
		throw: func(x *attack) {
			h := x.session()
			x.once(func(y *attack) {
				y.said = true
				y.preface(wire.TypeHello, h)
				y.await(wire.TypeWelcome)
				y.conn.Close()
			}, io.EOF)
			x.said = true
			x.preface(wire.TypeHello, h)
		}},
	{number: 30, throws: "one session resumed by two at a time with one attempt", at: fresh,
		only: "bus", ends: fouled, throw: race(1, 1)},
	{number: 30, throws: "one session resumed by two at the same moment, one of them later",
		at: fresh, only: "bus", ends: fouled, throw: race(1, 2)},
	{number: 30, throws: "a session that was never resumed, welcomed as resumed", at: fresh,
		only: "endpoint",
		throw: func(x *attack) {
			welcoming(func(w *wire.Welcome) { w.Resumed, w.Received = true, 1<<64-1 })(x)
			x.victim = take(x.stage, x.dials).ep
		}},
	{number: 31, throws: "a position ahead of what was sent", at: fresh, only: "bus", ends: severed,
		throw: claiming(func(h *wire.Hello) { h.Received = 1 })},
	{number: 31, throws: "a position of 2^64-1", at: fresh, only: "bus", ends: severed,
		throw: claiming(func(h *wire.Hello) { h.Received = 1<<64 - 1 })},
	{number: 31, throws: "a record from further on", at: open, ends: fouled,
		throw: func(x *attack) {
			x.write(recordOf(wire.Append(nil,
				wire.TypePing, nil), x.position+1))
		}},
	{number: 31, throws: "a record of position 2^64-1", at: open, ends: fouled,
		throw: func(x *attack) {
			x.write(recordOf(wire.Append(nil,
				wire.TypePing, nil), 1<<64-1))
		}},
	{number: 31, throws: "a record again", at: open, ends: fouled, throw: func(x *attack) {
		x.write(recordOf(wire.Append(nil, wire.TypePing, nil), 0))
	}},
	{number: 32, throws: "a confirmation of more than was sent", at: open, ends: fouled,
		throw: frames(numbers(wire.TypeConfirm, 1000))},
	{number: 32, throws: "a confirmation of 2^64-1 frames", at: open, ends: fouled,
		throw: frames(numbers(wire.TypeConfirm, 1<<64-1))},
	{number: 32, throws: "confirmations that go back, and very many", at: open,
		throw: func(x *attack) {
			x.flood(bytes.Repeat(numbers(wire.TypeConfirm, 0), 1000), 50)
		}},
	{number: 33, throws: "sessions that are begun and abandoned, one after the other", at: fresh,
		only: "bus",
		ends: fouled, throw: func(x *attack) {
			for range 25 * min(scale()*scale(), 80) {
				x.attacks++
				x.name = fmt.Sprint("abandoned ", x.attacks)
				x.session()
			}
			time.Sleep(2 * arenaResume) // so long they are kept
			x.write([]byte("and now something else"))
		}},
	{number: 34, throws: "a subscription that never reports what it was sent", at: open,
		only: "bus",
		throw: func(x *attack) {
			x.record(control(wire.TypeSubscribe,
				wire.Subscribe{ID: 1, Event: lahja.EventName[item]()}))
			x.await(wire.TypeSubscribed)
			for range 20 {
				x.undisturbed()
			}
		}},
}
