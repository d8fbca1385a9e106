package lahja_test

import (
	"context"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityGatherGroups(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"Gather waits for one that is silent and may get it yet as a member",
			(*stage).gatherFullGroup},
		{"Gather tells of it once another member has it", (*stage).gatherGroupTaken},
		{"Gather tells of it once it is no member, and does not ask it again",
			(*stage).gatherGroupLeft},
	})
}

// busyGroup is the members of the group "g", each busy and with one more at its door, until it is
// let go.
type busyGroup struct {
	subs   map[string]*lahja.Subscription
	free   map[string]chan struct{}
	finish chan struct{} // lets those who gather have their answers
}

// makeBusy has each of members busy.
func (s *stage) makeBusy(a *lahja.Endpoint, members ...*lahja.Endpoint) *busyGroup {
	s.Helper()
	g := &busyGroup{
		map[string]*lahja.Subscription{}, map[string]chan struct{}{}, make(chan struct{}),
	}
	begun := make(chan struct{}, 9)
	for _, ep := range members {
		free := make(chan struct{})
		g.free[ep.Name()] = free
		g.subs[ep.Name()] = answerWith(s, ep, func(ctx context.Context, n int) (answer, error) {
			let := g.finish
			if n < 0 {
				let = free
				begun <- struct{}{}
			}
			select {
			case <-let:
			case <-ctx.Done():
			}
			return answer{n}, nil
		}, lahja.Group("g"), lahja.Buffer(0))
	}
	for range 2 * len(members) {
		say(s, a, question{-1})
	}
	for range members {
		take(s, begun)
	}
	_, err := a.Peers(s.ctx) // asks the bus, which has all events by then: who comes gets none
	s.must(err)
	return g
}

// gatherSilent begins a Gather of which ep is known not to answer by a subscription of its own.
func (s *stage) gatherSilent(a, ep *lahja.Endpoint) <-chan string {
	s.Helper()
	mute, err := lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[question]) {},
		lahja.Take(1))
	s.must(err)
	told := gathering(s, s.ctx, a)
	takeEnd(s, mute.Done())
	_, err = ep.Peers(s.ctx) // asks the bus, which knows by then
	s.must(err)
	return told
}

func (s *stage) gatherFullGroup() {
	a, b := s.pair()
	for _, ep := range []*lahja.Endpoint{a, b} {
		g := s.makeBusy(a, ep)
		close(g.finish)
		told := s.gatherSilent(a, ep)
		close(g.free[ep.Name()])
		if line := take(s, told); line != ep.Name()+" 1" {
			s.Errorf("of %q, %q is told", ep.Name(), line)
		}
		takeEnd(s, told)
		g.subs[ep.Name()].Unsubscribe()
	}
}

// gatherInBusyPairs has who gathers, and then another, silent and busy in a group with one more
// member.
func (s *stage) gatherInBusyPairs(
	show func(g *busyGroup, ep, other *lahja.Endpoint, told <-chan string),
) {
	a, b := s.pair()
	others := s.others()
	for i, ep := range []*lahja.Endpoint{a, b} {
		g := s.makeBusy(a, ep, others[i])
		show(g, ep, others[i], s.gatherSilent(a, ep))
	}
}

func (s *stage) gatherGroupTaken() {
	s.gatherInBusyPairs(func(g *busyGroup, ep, other *lahja.Endpoint, told <-chan string) {
		close(g.free[other.Name()])
		if line := take(s, told); line != ep.Name()+" gone" {
			s.Errorf("of %q, %q is told", ep.Name(), line)
		}
		close(g.finish)
		if line := take(s, told); line != other.Name()+" 1" {
			s.Errorf("of %q, %q is told", other.Name(), line)
		}
		takeEnd(s, told)
		s.must(other.Close())
		g.subs[ep.Name()].Unsubscribe()
	})
}

func (s *stage) gatherGroupLeft() {
	s.gatherInBusyPairs(func(g *busyGroup, ep, other *lahja.Endpoint, told <-chan string) {
		g.subs[ep.Name()].Unsubscribe()
		if line := take(s, told); line != ep.Name()+" gone" {
			s.Errorf("of %q, %q is told", ep.Name(), line)
		}
		again := answerWith(s, ep, func(_ context.Context, n int) (answer, error) {
			if n > 0 {
				s.Errorf("%q is asked, of which an outcome was told", ep.Name())
			}
			return answer{n}, nil
		}, lahja.Group("g"))
		g.subs[other.Name()].Unsubscribe()
		if line := take(s, told); line != " gone" {
			s.Errorf("of the group, %q is told", line)
		}
		takeEnd(s, told)
		again.Unsubscribe()
	})
}
