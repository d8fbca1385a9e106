package lahja_test

import (
	"context"
	"fmt"
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

// verdict returns what the bus says when it ends the session for what it was sent; empty: it goes on.
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

// An endpoint has one window for an event, whatever numbers it gives to the name: with more it could
// send more than may lag, which ends the subscriptions of others.
func TestOneWindowForEachEvent(t *testing.T) {
	for name, retires := range map[string]bool{"many numbers": false, "numbers retired": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &venues[1], [2]bool{})
			own, victim := s.own("own"), s.connect("victim")
			loads := lahja.Stream[load](s.ctx, victim)
			g := s.attachStranger("mallory")
			for i := range uint64(100) {
				frames := wire.AppendName(nil, wire.Name{Number: i, Name: lahja.EventName[load]()})
				frames = wire.AppendEvent(frames, &wire.Event{Name: i, Slot: i, Payload: padded(1000 << 10)})
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

// What a subscription says in From is bounded, for one and for all of an endpoint: the bus keeps it,
// and looks into it for the events of others.
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
