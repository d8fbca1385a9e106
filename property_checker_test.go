package lahja_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/core"
)

// The properties can fail: each way in which a bus could break its promises is noticed. In most of
// these tests the bus is a good one, and what its users see of it is falsified; in the first one
// it is the router that is broken.

// A router that does not choose those whom it has to is noticed, whichever place it is wrong about.
func TestPropertyCheckerSeesABrokenRouter(t *testing.T) {
	faults := []struct {
		name  string
		broke func(g *core.Group, at int)
	}{
		{"a subscription is left out", func(g *core.Group, at int) {
			g.Subs = slices.Delete(slices.Clone(g.Subs), at, at+1)
		}},
		{"a subscription is there twice", func(g *core.Group, at int) {
			g.Subs = append(slices.Clone(g.Subs), g.Subs[at])
		}},
		{"a subscription is in the place of another", func(g *core.Group, at int) {
			g.Subs = slices.Clone(g.Subs)
			g.Subs[at] = g.Subs[(at+1)%len(g.Subs)]
		}},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for at := range 6 {
				router := lahja.Broken(func(groups []core.Group) {
					for i := range groups {
						if len(groups[i].Subs) == 6 {
							f.broke(&groups[i], at)
						}
					}
				})
				if err := runBubble(t, nil, router); err == nil {
					t.Errorf("subscription %d: not noticed", at)
				}
			}
		})
	}
}

// smallWorld is a script in which each kind of subscription gets three events of each of two
// origins, one of which is for "b" alone.
func smallWorld() script {
	s := script{Slots: []slot{{Name: "a"}, {Name: "b"}}}
	var subs, sends thread
	for i, w := range []way{bySubscribe, byStream, byEvents} {
		for slot := range s.Slots {
			p := plan{Color: redColor, Way: w, Buffer: i - 1}
			subs = append(subs, subscribing{Slot: slot, ID: len(subs), Plan: p})
		}
	}
	for _, w := range []way{byHandle, byHandleOther} {
		subs = append(subs,
			subscribing{ID: len(subs), Plan: plan{Color: queryColor, Way: w, Buffer: -1}})
	}
	for n := range 3 {
		for slot := range s.Slots {
			how := options{HasTo: n == 1, To: []string{"b"}}
			sends = append(sends, sending{Slot: slot, Color: redColor, How: how})
		}
	}
	sends = append(sends, sending{Slot: 1, Color: queryColor}, sending{Slot: 0, Color: queryColor},
		sending{Color: greenColor, How: options{Require: true}},
		sending{Color: greenColor, How: options{Dead: true}})
	s.Rounds = []round{{subs}, {sends}}
	return s
}

// seenAs falsifies what a subscription sees of its nth event.
type seenAs func(s *sub, a arrival) []arrival

func (f seenAs) nth(id, n int) func(*sub, arrival) []arrival {
	return func(s *sub, a arrival) []arrival {
		if s.id == id {
			if n--; n == -1 {
				return f(s, a)
			}
		}
		return []arrival{a}
	}
}

func TestPropertyCheckerSeesArrivals(t *testing.T) {
	faults := []struct {
		name  string
		fault seenAs
	}{
		{"dropped", func(*sub, arrival) []arrival { return nil }},
		{"doubled", func(_ *sub, a arrival) []arrival { return []arrival{a, a} }},
		{"never sent", func(_ *sub, a arrival) []arrival { a.Note.N = 99; return []arrival{a} }},
		{"another type", func(_ *sub, a arrival) []arrival { a.Color++; return []arrival{a} }},
		{"another origin", func(_ *sub, a arrival) []arrival {
			a.Origin += "x"
			return []arrival{a}
		}},
		{"another sender", func(_ *sub, a arrival) []arrival {
			a.Note.Sender = ""
			return []arrival{a}
		}},
		{"one for others", func(s *sub, a arrival) []arrival {
			return []arrival{a, {redColor, "a", note{"a", 2 + 6*(s.id%2)}}} // for b, or a query
		}},
		{"repeated later", func(s *sub, a arrival) []arrival {
			return append([]arrival{a}, s.got...)[:1+min(1, len(s.got))]
		}},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			for id := range 6 {
				for n := 1; n < 4; n++ {
					if err := runBubble(t, f.fault.nth(id, n)); err == nil {
						t.Errorf("event %d of subscription %d: not noticed", n, id)
					}
				}
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		if err := runBubble(t, nil); err != nil {
			t.Error(err)
		}
	})
}

// Two events of one origin that change places are noticed, wherever they are.
func TestPropertyCheckerSeesOrder(t *testing.T) {
	for id := range 6 {
		var kept []arrival
		swap := func(s *sub, a arrival) []arrival {
			if s.id != id || a.Origin != "a" {
				return []arrival{a}
			}
			kept = append(kept, a)
			if len(kept) != 2 {
				return kept[:len(kept)/3]
			}
			return []arrival{kept[1], kept[0]}
		}
		if err := runBubble(t, swap); err == nil {
			t.Errorf("subscription %d: not noticed", id)
		}
	}
}

func runBubble(
	t *testing.T, tamper func(*sub, arrival) []arrival, opts ...lahja.BusOption,
) (err error) {
	synctest.Test(t, func(t *testing.T) {
		s, p := smallWorld(), places[0]
		p.options = opts
		_, err = p.run("", &s, tamper)
	})
	return err
}

// Results and endings that cannot be are noticed.
func TestPropertyCheckerSeesResults(t *testing.T) {
	failed := func(n int, err error) func(*history) {
		return func(h *history) { h.sents[n].err = err }
	}
	for _, f := range []struct {
		name  string
		fault func(*history)
	}{
		{"a broadcast that failed, and arrived", failed(0, lahja.ErrWouldBlock)},
		{"a broadcast that failed for a reason that was not given", failed(3, lahja.ErrClosed)},
		{"a subscriber that was required and missing", failed(8, nil)},
		{"a subscriber that was there", failed(6, lahja.ErrNoSubscribers)},
		{"a broadcast after the end of its context", failed(9, nil)},
		{"a responder that was there", failed(6, lahja.ErrResponderGone)},
		{"an answer to another", func(h *history) { h.sents[6].answer.N++ }},
		{"an answer of another", func(h *history) { h.sents[7].answer.From = "b" }},
		{"a refusal by one who answers", failed(6, &lahja.RemoteError{
			Endpoint: "a", Code: lahja.ErrUnexpectedResponse})},
		{"a subscription that does not end", func(h *history) { h.subs[0].finished = false }},
		{"no reason for the end", func(h *history) { h.subs[1].reasons = nil }},
		{"two reasons", func(h *history) { s := h.subs[1]; s.reasons = append(s.reasons, nil) }},
		{"another reason", func(h *history) { h.subs[2].reasons[0] = nil }},
		{"a subscription that failed", func(h *history) { h.subs[3].failed = lahja.ErrDenied }},
	} {
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := smallWorld()
				h, err := places[0].run("", &s, nil)
				if err != nil {
					t.Fatal(err)
				}
				f.fault(h)
				if h.check() == nil {
					t.Error("not noticed")
				}
			})
		})
	}
}

// Wrong views of the peers are noticed.
func TestPropertyCheckerSeesPeers(t *testing.T) {
	a, b := &life{name: "a"}, &life{name: "b"}
	s := &sub{life: b, plan: plan{Color: redColor}, span: span{returned: 1}}
	h := &history{lives: []*life{a, b}, subs: []*sub{s}}
	red, green := colors[redColor].event, colors[greenColor].event
	peer := func(name string, events ...string) lahja.Peer {
		return lahja.Peer{Name: name, Events: events}
	}
	if err := h.checkPeers(a, 2, lahja.Peers{peer("a"), peer("b", red)}); err != nil {
		t.Error(err)
	}
	for _, peers := range []lahja.Peers{
		nil,
		{peer("a")},
		{peer("b", red), peer("a")},
		{peer("a"), peer("b")},
		{peer("a"), peer("b", green, red)},
		{peer("a"), peer("b", red, red)},
		{peer("a", red), peer("b", red)},
		{peer("a"), peer("b", red), peer("c")},
	} {
		if h.checkPeers(a, 2, peers) == nil {
			t.Errorf("not noticed: %v", peers)
		}
	}
}
