package lahja_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// maker makes frames that can be read, and of which most have no business where they come.
type maker struct {
	pick  func(n int) int // a number from 0 to n-1
	toBus bool
	used  uint64 // numbers for names, beside those known
}

// frame makes one of any kind that may come in a session.
func (m *maker) frame() []byte {
	if m.rare() {
		mistakes := []func() []byte{
			m.plain(wire.TypeTaken, 2), m.plain(wire.TypeReturn, 1), m.plain(wire.TypeConfirm, 1),
			m.plain(wire.TypeWindow, 3), m.plain(wire.TypeWindowAck, 2), m.plain(wire.TypeRoom, 2),
		}
		return mistakes[m.pick(len(mistakes))]()
	}
	kinds := m.kinds()
	return kinds[m.pick(len(kinds))]()
}

// rare is for what is likely to end the session.
func (m *maker) rare() bool { return m.pick(50) == 0 }

// kinds are those that both sides send, and those of one.
func (m *maker) kinds() []func() []byte {
	both := []func() []byte{
		m.event, m.event, m.event, m.reply, m.end, m.held, m.goodbye, m.plain(wire.TypeCancel, 1),
		func() []byte { return wire.AppendName(nil, wire.Name{Number: m.fresh(), Name: m.name()}) },
		func() []byte { return wire.Append(nil, wire.Type(0x80+m.pick(0x80)), m.payload()) },
		func() []byte { return numbers(wire.TypeConfirm, 0) },
	}
	if m.toBus {
		return append(both, m.subscribe, m.subscribe, m.ask,
			func() []byte { return control(wire.TypeLeave, wire.Leave{ID: m.number()}) },
			func() []byte { return numbers(wire.TypeWatch, uint64(m.pick(2)), m.number()) },
			func() []byte {
				return control(wire.TypeForget, wire.Forget{Event: m.name(), Key: m.name()})
			})
	}
	return append(both, m.subscribed, m.subscribed, m.peer,
		func() []byte { return numbers(wire.TypePeers, m.number(), uint64(m.pick(2))) },
		func() []byte {
			return control(wire.TypeAnswer, wire.Answer{ID: m.number(), Count: m.number()})
		})
}

// fresh is mostly a number that was not used before.
func (m *maker) fresh() uint64 {
	if m.rare() {
		return m.number()
	}
	m.used++
	return known + m.used
}

// named is mostly the number of a name.
func (m *maker) named() uint64 {
	if m.rare() {
		return m.number()
	}
	return uint64(m.pick(known))
}

// known is how many numbers have names in the beginning: those below.
const known = 24

// number is likely one that means something.
func (m *maker) number() uint64 {
	switch m.pick(16) {
	case 0:
		return 1<<64 - 1 - uint64(m.pick(2))
	case 1:
		return 1 << m.pick(64)
	case 2:
		return uint64(m.pick(1 << 20))
	}
	return uint64(m.pick(known))
}

func (m *maker) name() string {
	names := []string{
		lahja.EventName[other](), lahja.EventName[other](), lahja.EventName[answer](), "own",
		"near", "far", "mallory", "victim", "k",
	}
	if very := m.rare(); very && m.rare() {
		return []string{"", "b\xff"}[m.pick(2)]
	}
	return names[m.pick(len(names))]
}

func (m *maker) list() (names []string) {
	for range m.pick(3) {
		names = append(names, m.name())
	}
	return names
}

func (m *maker) yes() bool { return m.pick(3) == 0 }

func (m *maker) payload() []byte {
	all := [][]byte{unset, nil, {0xa1, 0x61, 'N', 5}, {0xff}, {0x9b, 0, 0, 0x42}}
	return all[m.pick(len(all))]
}

// plain makes frames of so many numbers.
func (m *maker) plain(t wire.Type, n int) func() []byte {
	return func() []byte {
		all := make([]uint64, n)
		for i := range all {
			all[i] = m.number()
		}
		return numbers(t, all...)
	}
}

func (m *maker) event() []byte {
	e := wire.Event{
		Name: m.named(), Slot: m.number(), Origin: m.named(), To: m.list(), Except: m.list(),
		Call: m.number(), Remaining: m.number(), Wanted: m.named(), Target: m.number(),
		Missed: m.number(), Key: m.name(), Payload: m.payload(),
	}
	flags := []wire.EventFlags{
		wire.FlagPrompt, wire.FlagTo, wire.FlagExcept, wire.FlagRequest, wire.FlagRetain,
		wire.FlagRetain | wire.FlagKey, wire.FlagRequest | wire.FlagGather,
	}
	if !m.toBus {
		e.Flags = wire.FlagOrigin
		flags = []wire.EventFlags{
			wire.FlagPrompt, wire.FlagTarget, wire.FlagMissed, wire.FlagRequest, wire.FlagRetained,
			wire.FlagGone, wire.FlagKey, wire.FlagTarget | wire.FlagRequest,
		}
	}
	for range m.pick(3) {
		e.Flags |= flags[m.pick(len(flags))]
	}
	if m.rare() {
		e.Flags = wire.EventFlags(m.pick(1 << 15))
	}
	return wire.AppendEvent(nil, &e)
}

func (m *maker) reply() []byte {
	r := wire.Reply{Call: m.number(), Final: m.yes(), Origin: m.name(), Payload: m.payload()}
	if r.Name = m.name(); m.yes() {
		r.Name, r.Gone, r.Code, r.Message = "", m.yes(), m.name(), m.name()
	}
	return wire.AppendReply(nil, &r)
}

func (m *maker) end() []byte {
	return wire.AppendEnd(nil,
		wire.End{Call: m.number(), Origin: m.name(), Code: m.name(), Message: m.name()})
}

func (m *maker) held() []byte {
	return control(wire.TypeHeld, wire.Held{
		Number: m.number(), Publishers: m.list(), Alone: []uint64{m.number(), m.number()},
	})
}

// goodbye is seldom one: it ends the session.
func (m *maker) goodbye() []byte {
	if !m.rare() {
		return wire.Append(nil, wire.TypeVoid, m.payload())
	}
	return control(wire.TypeGoodbye, wire.Goodbye{Code: m.name(), Message: m.name()})
}

func (m *maker) subscribe() []byte {
	return control(wire.TypeSubscribe, wire.Subscribe{
		ID: m.fresh(), Event: m.name(), From: m.list(), Observe: m.yes(), DropOldest: m.yes(),
		Retained: m.yes(), Group: []string{"", "g"}[m.pick(2)], Room: m.number(),
		Response: m.name(),
	})
}

func (m *maker) subscribed() []byte {
	return control(wire.TypeSubscribed,
		wire.Subscribed{ID: m.number(), Code: []string{"", string(lahja.ErrDenied)}[m.pick(2)]})
}

func (m *maker) ask() []byte {
	return control(wire.TypeAsk, wire.Ask{
		ID: m.number(), Event: m.name(), HasTo: m.yes(), To: m.list(), Except: m.list(),
	})
}

func (m *maker) peer() []byte {
	return control(wire.TypePeer, wire.Peer{Name: m.name(), Events: m.list(), Gone: m.yes()})
}

// barrage throws such frames, at a bus and at endpoints.
type barrage struct {
	*stage
	*maker
	most     int // batches of frames in a session
	sent     int // frames, while their session lived
	sessions int
}

// throw sends frames until one of them has ended the session, or there were enough for one.
func (b *barrage) throw(s *stranger) {
	defer func() {
		s.conn.Close()
		for range s.heard {
		}
	}()
	b.sessions++
	for number := range uint64(known) {
		s.record(wire.AppendName(nil, wire.Name{Number: number, Name: b.name()}))
	}
	for range b.most {
		batch := 0
		for range 1 + b.pick(4) {
			var record []byte
			for range 1 + b.pick(3) {
				record = append(record, b.frame()...)
				batch++
			}
			s.record(record)
		}
		if !b.alive(s) {
			b.sent++ // the one that ended it, at least
			return
		}
		b.sent += batch
	}
}

// alive reports whether the session goes on, once all that was sent has been read.
func (b *barrage) alive(s *stranger) bool {
	s.record(wire.Append(nil, wire.TypePing, nil))
	for {
		select {
		case f, more := <-s.heard:
			if !more || f.Type == wire.TypePong {
				return more
			}
		case <-b.ctx.Done():
			b.Fatal("the session neither ends nor goes on")
		}
	}
}

// atBus is one session with a bus, which says when it has ended.
func (b *barrage) atBus(s *stranger, ended <-chan error) {
	s.listen()
	s.preface(wire.TypeHello, helloOf("mallory"))
	s.until(wire.TypeWelcome)
	b.throw(s)
	take(b.stage, ended)
}

// atEndpoint is one session with an endpoint, which connects to a place where the test listens.
func (b *barrage) atEndpoint(place lahja.Transport, l lahja.Listener) {
	connected := beside(b.stage, func() *lahja.Endpoint {
		ep, err := lahja.Connect(b.ctx, "victim", place, lahja.Limits{Resume: -1})
		b.must(err)
		return ep
	})
	conn, err := l.Accept()
	b.must(err)
	s := &stranger{TB: b.TB, conn: conn}
	s.listen()
	s.until(wire.TypeHello)
	s.preface(wire.TypeWelcome, welcome())
	victim := take(b.stage, connected)
	stop := b.busy(victim)
	b.throw(s)
	victim.Close()
	stop()
}

// busy has an endpoint do all that there is with other, until it is closed or told to stop.
func (b *barrage) busy(ep *lahja.Endpoint) (stop func()) {
	ctx, cancel := context.WithCancel(b.ctx)
	var all sync.WaitGroup
	hear := func(context.Context, lahja.Event[other]) {}
	reply := func(context.Context, lahja.Event[other]) (answer, error) { return answer{1}, nil }
	for _, do := range []func(){
		func() { _, _ = lahja.Subscribe(ctx, ep, hear, lahja.WithRetained()) },
		func() { _, _ = lahja.Subscribe(ctx, ep, hear, lahja.Group("g")) },
		func() { _, _ = lahja.Handle(ctx, ep, reply) },
		func() { _, _ = ep.Peers(ctx) },
		func() {
			for n := 0; ctx.Err() == nil && ep.Err() == nil; n++ {
				b.talk(ctx, ep, n)
			}
		},
	} {
		all.Go(do)
	}
	return func() { cancel(); all.Wait() }
}

// talk broadcasts and asks, whatever comes of it.
func (b *barrage) talk(ctx context.Context, ep *lahja.Endpoint, n int) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_ = lahja.Broadcast(ctx, ep, other{n}, lahja.RetainKey("k"))
	_, _ = lahja.Request[other, answer](ctx, ep, other{n})
	for range lahja.Gather[other, answer](ctx, ep, other{n}) {
	}
	<-ctx.Done() // a hundred rounds a second
}

// Frames that can be read and have no business where they come, at a bus and at endpoints that are
// busy: nothing ends but their session, nothing is left, and the pair beside does not notice.
func TestBadFrames(t *testing.T) {
	logTo(t, slog.DiscardHandler)
	for _, against := range []string{"bus", "endpoint"} {
		t.Run(against, func(t *testing.T) {
			seed := rand.Uint64()
			a := newArena(t, &strangersVenues[2])
			b := &barrage{stage: a.stage, most: 100, maker: &maker{
				pick: rand.New(rand.NewPCG(seed, 0)).IntN, toBus: against == "bus",
			}}
			b.against(a, 2000) // until what is made once, or kept for the next, is there
			a.settle()
			b.sent, b.sessions = 0, 0
			began := time.Now()
			b.against(a, 10_000*scale())
			a.undisturbed()
			took := time.Since(began)
			if what := a.left(true); what != "" {
				t.Errorf("there are %s", what)
			}
			grown := a.weigh()
			t.Logf("%d frames in %d sessions in %v; %d KiB more in use than before; seed %d",
				b.sent, b.sessions, took.Round(time.Millisecond), grown>>10, seed)
			if grown > mebibyte {
				t.Errorf("there are %d bytes more in use than before", grown)
			}
		})
	}
}

// against throws so many frames, in one session after the other.
func (b *barrage) against(a *arena, frames int) {
	if b.toBus {
		defer b.busy(a.own)()
	}
	for b.sent < frames {
		if b.toBus {
			b.atBus(a.dial())
		} else {
			b.atEndpoint(a.fakeAt, a.fake)
		}
	}
}
