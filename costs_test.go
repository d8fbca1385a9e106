package lahja_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// attachStranger has a stranger attach that speaks the protocol by hand.
func (s *stage) attachStranger(name string) *stranger {
	conn, err := s.place.Dial(s.ctx)
	s.must(err)
	s.Cleanup(func() { conn.Close() })
	g := &stranger{TB: s.TB, conn: conn}
	g.preface(wire.TypeHello, wire.Hello{MinVersion: 1, MaxVersion: 1, Name: name})
	g.listen()
	g.until(wire.TypeWelcome)
	return g
}

// verdict returns what the bus says when it ends the session for what it was sent; empty: it goes
// on.
func (s *stranger) verdict() lahja.Code {
	s.record(wire.Append(nil, wire.TypePing, nil))
	for f := range s.heard {
		var g wire.Goodbye
		switch f.Type {
		case wire.TypePong:
			return ""
		case wire.TypeGoodbye:
			if err := wire.ParseControl(f.Body, &g); err != nil {
				s.Fatal(err)
			}
			return lahja.Code(g.Code)
		}
	}
	s.Fatal("the connection ends without a word")
	return ""
}

// An endpoint has one window for an event, whatever numbers it gives to the name: with more it
// could send more than may lag, which ends the subscriptions of others.
func TestOneWindowForEachEvent(t *testing.T) {
	for name, retires := range map[string]bool{"many numbers": false, "numbers retired": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &venues[1], [2]bool{})
			own, victim := s.own("own"), s.connect("victim")
			loads := lahja.Stream[load](s.ctx, victim)
			g := s.attachStranger("mallory")
			for i := range uint64(100) {
				frames := wire.AppendName(nil, wire.Name{Number: i, Name: lahja.EventName[load]()})
				frames = wire.AppendEvent(frames,
					&wire.Event{Name: i, Slot: i, Payload: padded(1000 << 10)})
				if retires {
					frames = wire.AppendName(frames, wire.Name{Number: i})
				}
				g.record(frames)
			}
			if code := g.verdict(); code != lahja.ErrProtocol {
				t.Errorf("its session ends with %q", code)
			}
			say(s, own, load{N: 7})
			for n := range 2 { // the first window of mallory was its right
				if ev := take(s, loads); n == 1 && ev.Value.N != 7 {
					t.Errorf("event %d of %q has come, where 7 was due", ev.Value.N, ev.Origin)
				}
			}
		})
	}
}

// What a subscription says in From is bounded, for one and for all of an endpoint: the bus keeps
// it, and looks into it for the events of others.
func TestFromIsBounded(t *testing.T) {
	names := func(count, length int) (list []string) {
		for i := range count {
			list = append(list, fmt.Sprintf("%0*d", length, i))
		}
		return list
	}
	s := newStage(t, &venues[1], [2]bool{})
	g := s.attachStranger("mallory")
	last := uint64(0)
	subscribe := func(from []string) lahja.Code {
		last++
		g.record(control(wire.TypeSubscribe, wire.Subscribe{ID: last, Event: "tick", From: from}))
		var answer wire.Subscribed
		s.must(wire.ParseControl(g.until(wire.TypeSubscribed).Body, &answer))
		return lahja.Code(answer.Code)
	}
	for _, c := range []struct {
		from []string
		want lahja.Code
	}{
		{names(1024, 255), ""},
		{names(1025, 4), lahja.ErrDenied},
		{names(1, 256), lahja.ErrDenied},
	} {
		if code := subscribe(c.from); code != c.want {
			t.Errorf("%d names of %d bytes are answered with %q", len(c.from), len(c.from[0]), code)
		}
	}
	took := 1024 * (255 + 16)
	for long := names(1024, 100); subscribe(long) == ""; took += 1024 * (100 + 16) {
		if last > 100 {
			t.Fatal("there is no end to it")
		}
	}
	if took > mebibyte || took < mebibyte/2 {
		t.Errorf("it has %d bytes of names in From", took)
	}
	g.record(control(wire.TypeLeave, wire.Leave{ID: 1}))
	if code := subscribe(names(1024, 200)); code != "" {
		t.Errorf("what has ended counts: %q", code)
	}

	own := s.own("own") // to which the same applies
	for i := 0; ; i++ {
		_, err := lahja.Subscribe(s.ctx, own, func(context.Context, lahja.Event[item]) {},
			lahja.From(names(1024, 255)...))
		if err != nil {
			s.wantErr(err, lahja.ErrDenied)
			break
		}
		if i == 100 {
			t.Fatal("there is no end to it in the bus's own process")
		}
	}
}

// Lists of names that an event or a question has are bounded, and nothing of them stays with a
// connection that falls idle.
func TestNamesOfAnEventAreBounded(t *testing.T) {
	names := func(n int) []string { return slices.Repeat([]string{strings.Repeat("n", 255)}, n) }
	long := names(1024)
	name := wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"})
	for what, frames := range map[string][]byte{
		"To": wire.AppendEvent(name, &wire.Event{
			Name: tick, Flags: wire.FlagTo, To: names(1025)}),
		"Except": wire.AppendEvent(name, &wire.Event{
			Name: tick, Flags: wire.FlagExcept, Except: names(1025)}),
		"To of a question": control(wire.TypeAsk, wire.Ask{
			Event: "tick", HasTo: true, To: names(1025)}),
		"Except of a question": control(wire.TypeAsk, wire.Ask{Event: "tick", Except: names(1025)}),
	} {
		if blamed, _ := toBus(t, "open", false, frames); !blamed {
			t.Errorf("too many names in %s pass", what)
		}
	}

	s := newStage(t, &venues[1], [2]bool{}, lahja.Limits{Requests: 1})
	const n = 10
	for what, flags := range map[string]wire.EventFlags{
		"events": 0, "requests, the second of which is refused": wire.FlagRequest,
	} {
		var all []*stranger
		for i := range n {
			g := s.attachStranger(fmt.Sprint(what, i))
			g.record(name)
			all = append(all, g)
		}
		holds := func(e wire.Event) int64 { // each, after two such events
			for _, g := range all {
				for range 2 {
					g.record(wire.AppendEvent(nil, &e))
					e.Slot++
					e.Call++
				}
				if code := g.verdict(); code != "" {
					t.Fatalf("its session ends with %q", code)
				}
			}
			return footprint() / n
		}
		// From here on the buffers are there.
		before := holds(wire.Event{Name: tick, Payload: make([]byte, 600<<10)})
		after := holds(wire.Event{Name: tick, Flags: flags | wire.FlagTo | wire.FlagExcept,
			To: long, Except: long, Wanted: tick})
		if each := after - before; each > 64<<10 {
			t.Errorf("after %s an idle connection holds %d bytes", what, each)
		}
	}
}

// The names that an event has count for its window, on both sides of a connection: they are there
// for as long as it waits for a member of a group.
func TestNamesOfAnEventCount(t *testing.T) {
	others := slices.Repeat([]string{strings.Repeat("n", 255)}, 1000)
	to := lahja.To(append(others, "own")...)
	everywhereOnceWith(t, []behaviour{{"they count", func(s *stage) {
		own, a := s.own("own"), s.connect("a")
		member := lahja.Stream[item](s.ctx, own, lahja.Group("g"))
		lag := 0
		for err := error(nil); err == nil; lag++ {
			if err = lahja.Broadcast(s.ctx, own, item{lag}, to, lahja.NoWait()); err != nil {
				s.wantErr(err, lahja.ErrWouldBlock)
			}
			if lag > 100 {
				s.Fatal("there is no end to what may lag")
			}
		}
		s.group.Go(func() {
			for i := range 50 {
				if err := lahja.Broadcast(s.ctx, a, item{lag + i}, to); err != nil {
					s.Error(err)
				}
			}
		})
		for seen := map[int]bool{}; len(seen) < lag-1+50; {
			seen[take(s, member).Value.N] = true
		}
		s.must(a.Err())
	}}}, lahja.Limits{Lag: mebibyte})
}
