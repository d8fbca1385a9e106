package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lahja-go/lahja"
)

// compareLocked compares what was heard with what was said since the last calm, and forgets both.
func (s *storm) compareLocked() {
	anyLost := s.look()
	for _, h := range s.heard {
		switch h.kind {
		case words:
			s.compareWords(h)
		case signs:
			s.compareSigns(h)
		}
	}
	s.compareTasks(anyLost)
	s.compareAsks()
	for _, c := range s.crews {
		for h, n := range c.lost {
			s.totals.lost += n
			if uint64(n) > c.delta.Lost {
				s.failLocked("%d of %s did not arrive at %s, and it was told of %d\n%v",
					n, c.name, h.at.name, c.delta.Lost, s.account(h))
			}
		}
	}
	s.forget()
}

// look takes the states of all endpoints; it reports whether a session was lost.
func (s *storm) look() (anyLost bool) {
	for _, c := range s.crews {
		if c.ended {
			anyLost = true // the bus has ended with it
			continue
		}
		now := s.stateOf(c)
		c.delta = lahja.State{
			Resumes: now.Resumes - c.state.Resumes, Restarts: now.Restarts - c.state.Restarts,
			Lost: now.Lost - c.state.Lost,
		}
		c.state = now
		s.totals.resumes += c.delta.Resumes
		s.totals.restarts += c.delta.Restarts
		if !now.Connected || now.Err != nil {
			s.failLocked("%s is not connected: %v", c.name, now.Err)
		}
		if c.delta.Restarts == 0 && c.delta.Lost > 0 {
			s.failLocked("%s has lost %d events and no session", c.name, c.delta.Lost)
		}
		anyLost = anyLost || c.delta.Restarts > 0
	}
	return anyLost
}

func (s *storm) stateOf(c *crew) lahja.State {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	return <-c.ep.WatchState(ctx)
}

// compareWords compares what one subscription got with what was for it.
func (s *storm) compareWords(h *hearing) {
	place := map[int]int{} // where it came, by number
	latest := map[*crew]int{}
	gaps := uint64(0)
	for i, g := range h.got {
		s.totals.heard++
		if g.gap {
			gaps++
		}
		m := s.find(g.n)
		if m == nil || m.kind != words || m.by.name != g.origin || !h.may(m) {
			s.failLocked("%s got %+v, which is not for it: %v", h.at.name, g, m)
			continue
		}
		if _, twice := place[g.n]; twice {
			s.failLocked("%s got %v twice", h.at.name, m)
		} else if n, before := latest[m.by]; before && n > g.n {
			s.failLocked("%s got %v after %d", h.at.name, m, n)
		}
		place[g.n], latest[m.by] = i, max(latest[m.by], g.n)
	}
	s.totals.gaps += int(gaps)
	// A session can be lost before it is restored, and counts as no restart.
	if gaps > 0 && h.at.delta.Restarts == 0 {
		s.failLocked("%s was told of %d gaps, and has lost %d sessions",
			h.at.name, gaps, h.at.delta.Restarts)
	}
	if losses := s.losses[h.at.name]; int(gaps) > losses {
		s.failLocked("%s was told of %d gaps, and has lost %d sessions", h.at.name, gaps, losses)
	}
	if h.calms > 0 && h.ending == 0 && h.at.delta.Restarts > 0 && gaps == 0 {
		s.failLocked("%s has lost a session, and a subscription was told of no gap", h.at.name)
	}
	for _, m := range s.said {
		if _, came := place[m.n]; !came && h.must(m) && !h.hasGapAround(s, m) {
			s.missing(h, m)
		}
	}
}

// account is all that a failure may be understood by.
func (s *storm) account(h *hearing) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s lost %+v; this subscription was heard from %d to %d and got",
		h.at.name, h.at.delta, h.began, h.returned)
	for _, g := range h.got {
		fmt.Fprintf(&b, "\n  %+v", g)
	}
	b.WriteString("\nof")
	for _, m := range s.said {
		fmt.Fprintf(&b, "\n  %v from %d to %d: %v", m, m.began, m.returned, m.err)
	}
	return b.String()
}

// missing notes that an event has not arrived for which its publisher's session must be to blame.
func (s *storm) missing(h *hearing, m *saying) {
	if m.by.wire == nil && !m.by.ended || m.marker {
		s.failLocked("%s did not get %v\n%v", h.at.name, m, s.account(h))
		return
	}
	if m.by.ended {
		return // with the bus, from one moment to the next
	}
	m.by.lost[h]++
}

// may reports whether m may arrive at h, must whether it must, if no session is lost. What is on
// its way to the endpoint when the subscription begins may arrive as well.
func (h *hearing) may(m *saying) bool {
	return (m.to == "" || m.to == h.at.name) && m.err == nil
}

func (h *hearing) must(m *saying) bool {
	return m.kind == words && h.may(m) && m.returned != 0 && m.began > h.returned &&
		h.returned != 0 && h.ending == 0
}

// hasGapAround reports whether h was told of a gap where m is missing: after what came before m of
// the same origin, and not after what came next.
func (h *hearing) hasGapAround(s *storm, m *saying) bool {
	from, to := 0, len(h.got)-1
	for i, g := range h.got {
		if g.origin != m.by.name {
			continue
		}
		if g.n < m.n {
			from = i + 1
		} else {
			to = i
			break
		}
	}
	return from <= to && slices.ContainsFunc(h.got[from:to+1], func(g heard) bool { return g.gap })
}

// compareTasks checks that each event for the group came once.
func (s *storm) compareTasks(anyLost bool) {
	times := map[int]int{}
	for _, h := range s.heard {
		if h.kind != tasks {
			continue
		}
		for _, g := range h.got {
			s.totals.heard++
			m := s.find(g.n)
			if m == nil || m.kind != tasks || m.by.name != g.origin || m.err != nil {
				s.failLocked("%s got the task %+v, which is %v", h.at.name, g, m)
			}
			times[g.n]++
		}
	}
	for _, m := range s.said {
		if n := times[m.n]; m.kind == tasks && (n > 1 || n == 0 && m.err == nil && !anyLost) {
			s.failLocked("the task %v came %d times", m, n)
		}
	}
}

// compareSigns checks that h knows the latest of all that is retained.
func (s *storm) compareSigns(h *hearing) {
	if h.ending != 0 {
		return
	}
	want := map[string]int{}
	for _, c := range s.crews {
		if c.ended {
			continue
		}
		for key, n := range c.retained(s) {
			want[c.name+"/"+key] = n
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(h.view) {
		s.failLocked("%s knows %v of what is retained, which is %v", h.at.name, h.view, want)
	}
}

// retained is what a crew has retained, as far as that was said since the last calm, or was known
// then.
func (c *crew) retained(s *storm) map[string]int {
	if c.kept == nil {
		c.kept = map[string]int{}
	}
	for _, m := range s.said {
		if m.by == c && m.kind == signs && m.err == nil {
			c.kept[m.key] = m.n
		}
	}
	return c.kept
}

// compareAsks checks that each question was handled at most once, and that it was answered if no
// session was lost.
func (s *storm) compareAsks() {
	for n, times := range s.runs {
		if times > 1 {
			s.failLocked("%v was handled %d times", s.find(n), times)
		}
	}
	for _, m := range s.said {
		if m.kind != pleas {
			continue
		}
		if m.err != nil {
			s.totals.refused++
		}
		if errors.Is(m.err, lahja.ErrClosed) || s.disturbed(m.by.name) || s.disturbed(m.to) {
			continue
		}
		if m.err != nil || s.runs[m.n] != 1 {
			s.failLocked("%v was handled %d times and ended with %v", m, s.runs[m.n], m.err)
		}
	}
}

// disturbed reports whether an endpoint of that name has lost a session.
func (s *storm) disturbed(name string) bool {
	return slices.ContainsFunc(s.crews, func(c *crew) bool {
		return c.name == name && (c.ended || c.delta.Restarts > 0)
	})
}

// find returns what was said under a number since the last calm.
func (s *storm) find(n int) *saying {
	if i := n - s.base; i >= 0 && i < len(s.said) {
		return s.said[i]
	}
	return nil
}

// forget forgets what was compared, and who has ended.
func (s *storm) forget() {
	s.totals.said += len(s.said)
	s.base += len(s.said)
	s.said = nil
	clear(s.runs)
	clear(s.losses)
	s.crews = slices.DeleteFunc(s.crews, func(c *crew) bool { return c.ended })
	s.heard = slices.DeleteFunc(s.heard, func(h *hearing) bool { return h.ending != 0 })
	for _, h := range s.heard {
		h.got = nil
		h.calms++
	}
	for _, c := range s.crews {
		clear(c.lost)
	}
}
