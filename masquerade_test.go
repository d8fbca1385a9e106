package lahja_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// claim is an event, and an answer, that says who has sent it.
type (
	claim struct{ Of string }
	asked struct{ N int }
)

// truth is a claim as mallory encodes it.
var truth = append([]byte{0xa1, 0x62, 'O', 'f', 0x67}, "mallory"...)

// masquerade is a bus with the endpoint "victim", and one that looks at all that is delivered.
type masquerade struct {
	*stage
	own    *lahja.Endpoint
	claims <-chan lahja.Event[claim]
	tried  attempts
	heard  int // claims that were delivered
	lies   []string
}

// attempts are how often each kind was tried.
type attempts struct{ events, answers, handshakes int }

func (a attempts) all() int { return a.events + a.answers + a.handshakes }

// judge looks at a claim.
func (m *masquerade) judge(ev lahja.Event[claim]) {
	m.heard++
	if ev.Origin != ev.Value.Of {
		m.lies = append(m.lies, fmt.Sprintf("%+v", ev))
	}
}

// attach has mallory attach, say what she may say, and subscribe to what she may be asked.
func (m *masquerade) attach(name string) *stranger {
	c, err := m.place.Dial(m.ctx)
	m.must(err)
	s := &stranger{TB: m.TB, conn: c}
	s.preface(wire.TypeHello, wire.Hello{MinVersion: 1, MaxVersion: 1, Name: name})
	s.listen()
	return s
}

// end ends her session, of which the bus may have had enough before.
func (m *masquerade) end(s *stranger) {
	s.conn.Close()
	for range s.heard {
	}
	m.until(m.own, not(lahja.Present("mallory")))
}

// The frames by which she says that she is another.
var disguises = []struct {
	what  string
	event wire.Event
}{
	{"an origin", wire.Event{Flags: wire.FlagOrigin}},
	{"an origin, retained", wire.Event{
		Flags: wire.FlagOrigin | wire.FlagRetain | wire.FlagKey, Key: "k",
	}},
	{"an origin, as if kept", wire.Event{Flags: wire.FlagOrigin | wire.FlagRetained}},
	{"the end of what is kept", wire.Event{Flags: wire.FlagOrigin | wire.FlagGone}},
	{"the end of what is kept, without an origin", wire.Event{Flags: wire.FlagGone}},
	{"for a subscription", wire.Event{Flags: wire.FlagOrigin | wire.FlagTarget, Target: 1}},
	{"with a gap", wire.Event{Flags: wire.FlagGap}},
	{"an origin, to one", wire.Event{Flags: wire.FlagOrigin | wire.FlagTo, To: []string{"own"}}},
	{"an origin, as a request", wire.Event{Flags: wire.FlagOrigin | wire.FlagRequest, Wanted: 1}},
}

// speak is one session of mallory's, in which she tries it in many ways and ends with a disguise,
// and two with nothing but another. Each time she answers for another number near to her own.
func (m *masquerade) speak(n int) {
	s := m.begin()
	s.record(control(wire.TypeSubscribe, wire.Subscribe{ID: 1,
		Event: lahja.EventName[asked](), Response: lahja.EventName[claim]()}))
	s.until(wire.TypeSubscribed)
	s.record(wire.AppendEvent(nil, &wire.Event{Name: tick, Payload: truth}))
	m.judge(take(m.stage, m.claims)) // that gets through

	m.answerAsVictim(s, uint64(n%13)-6)
	s.record(control(wire.TypeHeld, wire.Held{Number: tick, Publishers: []string{"victim"}}))
	s.record(control(wire.TypeForget,
		wire.Forget{Event: lahja.EventName[claim](), Key: "victim's"}))
	m.disguised(s, 3*n, 2)
	m.disguised(m.begin(), 3*n+1, 0)
	m.disguised(m.begin(), 3*n+2, 0)
}

// begin attaches mallory and gives names their numbers.
func (m *masquerade) begin() *stranger {
	s := m.attach("mallory")
	s.until(wire.TypeWelcome)
	names := wire.AppendName(nil, wire.Name{Number: tick, Name: lahja.EventName[claim]()})
	names = wire.AppendName(names, wire.Name{Number: teller, Name: "victim"})
	s.record(wire.AppendName(names, wire.Name{Number: 3, Name: lahja.EventName[asked]()}))
	return s
}

// disguised ends her session with an event in disguise n, of that slot.
func (m *masquerade) disguised(s *stranger, n int, slot uint64) {
	defer m.end(s)
	e := disguises[n%len(disguises)].event
	e.Name, e.Origin, e.Payload, e.Slot = tick, teller, truth, slot
	s.record(wire.AppendEvent(nil, &e))
	m.tried.events++
	for range s.heard { // the bus ends the session for it
	}
}

// answerAsVictim answers what she is asked under the name of the victim, and what the victim is
// asked, by the number that is so far from hers. Both answers come, each from who gives it.
func (m *masquerade) answerAsVictim(s *stranger, off uint64) {
	forged := wire.Reply{Final: true, Origin: "victim", Name: lahja.EventName[claim](),
		Payload: truth}
	over := beside(m.stage, func() (all []lahja.Event[claim]) {
		both := lahja.To("mallory", "victim")
		for ev, err := range lahja.Gather[asked, claim](m.ctx, m.own, asked{}, both) {
			if err == nil {
				all = append(all, ev)
			}
		}
		return all
	})
	f := s.until(wire.TypeEvent)
	var e wire.Event
	m.must(wire.ParseEvent(f.Body, &e))
	end := wire.End{Call: e.Call + off, Origin: "victim", Code: "x: y"}
	forged.Call = e.Call
	frames := wire.AppendReply(nil, &forged)
	if forged.Call += off; off%2 == 1 {
		frames = wire.AppendReply(frames, &forged)
	} else {
		frames = wire.AppendEnd(frames, end)
	}
	end.Call = e.Call
	s.record(wire.AppendEnd(frames, end))
	m.tried.answers += 3
	answers := take(m.stage, over)
	if len(answers) != 2 {
		m.Errorf("of mallory's answer and the victim's %d have come: %+v", len(answers), answers)
	}
	for _, ev := range answers {
		m.judge(ev)
	}
}

// visit is a handshake in which she wants to be the victim.
func (m *masquerade) visit(h wire.Hello) {
	c, err := m.place.Dial(m.ctx)
	m.must(err)
	s := &stranger{TB: m.TB, conn: c}
	h.MinVersion, h.MaxVersion, h.Name = 1, 1, "victim"
	s.preface(wire.TypeHello, h)
	s.listen()
	s.until(wire.TypeRefusal)
	c.Close()
	for range s.heard {
	}
	m.tried.handshakes++
}

// newMasquerade starts the bus, with a victim that tells the truth of itself.
func newMasquerade(t *testing.T, v *venue) *masquerade {
	m := &masquerade{stage: newStage(t, v, [2]bool{}, lahja.Limits{Resume: time.Hour})}
	m.own = m.stage.own("own")
	m.claims = lahja.Stream[claim](m.ctx, m.own, lahja.WithRetained(), lahja.Buffer(64))
	victim := m.connect("victim")
	_, err := lahja.Handle(m.ctx, victim, func(context.Context, lahja.Event[asked]) (claim, error) {
		return claim{"victim"}, nil
	})
	m.must(err)
	say(m.stage, victim, claim{"victim"}, lahja.RetainKey("victim's"))
	m.judge(take(m.stage, m.claims))
	return m
}

// Nothing that an endpoint sends makes what it says another's: events with an origin, answers under
// another name and to what others were asked, handshakes with a name that is taken and with guessed
// secrets. All that is delivered says who has sent it, and the bus agrees.
func TestNobodySpeaksForAnother(t *testing.T) {
	captureLog(t)
	enough := 500
	if scale() > 1 {
		enough = 34_000
	}
	tried, wrong := 0, 0
	for _, i := range []int{1, 3, 4} {
		v := venues[i]
		t.Run(v.name, func(t *testing.T) {
			m := newMasquerade(t, &v)
			for n := 0; m.tried.all() < enough; n++ {
				m.speak(n)
				for attempt := range uint64(3) {
					m.visit(wire.Hello{Session: []byte("0123456789abcdef"),
						Token: make([]byte, 16), Attempt: attempt})
				}
				if n%50 == 0 { // the bus asks the victim for a sign of life
					m.visit(wire.Hello{})
				}
			}
			_, err := lahja.Request[asked, claim](m.ctx, m.own, asked{}, lahja.To("victim"))
			if err != nil {
				t.Error("the victim:", err)
			}
			t.Logf("attempts: %+v; %d claims were delivered, %d of them false",
				m.tried, m.heard, len(m.lies))
			for _, f := range m.lies[:min(5, len(m.lies))] {
				t.Error(f)
			}
			tried, wrong = tried+m.tried.all(), wrong+len(m.lies)
		})
	}
	t.Logf("%d attempts in all, %d delivered under a false origin", tried, wrong)
}

// The check can fail: it does for a victim that tells of itself what is not so.
func TestMasqueradeCheckerFails(t *testing.T) {
	m := newMasquerade(t, &venues[1])
	say(m.stage, m.connect("honest"), claim{"mallory"})
	m.judge(take(m.stage, m.claims))
	if len(m.lies) != 1 {
		t.Errorf("it has found %v", m.lies)
	}
}
