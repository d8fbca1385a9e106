package core

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
)

// While a publisher waits, somebody looks every stallTick at whom it waits for: a subscription that
// takes nothing for stallWarning is named in the log, and one that takes nothing for the limit is
// ended; so is the session of an endpoint that says nothing at all. Each Node looks at its own
// subscriptions, and tells its neighbours who waits. Nothing of this runs while nobody waits.
const (
	stallTick    = 250 * time.Millisecond
	stallWarning = time.Second
)

// held is which publishers of a topic wait.
type held struct {
	mu     sync.Mutex         // guards what follows
	own    map[*Outlet]int    // those of this Node: calls that wait
	others map[*peer][]string // those that a neighbour has told of
	told   []string           // what the neighbours were told last
	timer  *time.Timer
	ticks  bool               // the timer runs
	silent map[*peer]*silence // links that owe something
}

// silence is since when a link has had nothing to say.
type silence struct {
	since time.Time
	heard uint64
}

// hold notes that a call of o waits; release is to be called when it does not any more.
func (t *Topic) hold(o *Outlet) {
	h := &t.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own == nil {
		h.own = map[*Outlet]int{}
	}
	h.own[o]++
	h.tickLocked(t)
}

func (t *Topic) release(o *Outlet) {
	h := &t.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.own[o]--; h.own[o] == 0 {
		delete(h.own, o)
	}
}

// heldElsewhere notes which publishers wait that p knows of; none: it is over.
func (t *Topic) heldElsewhere(p *peer, names []string) {
	h := &t.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(names) == 0 {
		delete(h.others, p)
		return
	}
	if h.others == nil {
		h.others = map[*peer][]string{}
	}
	h.others[p] = names
	h.tickLocked(t)
}

// tickLocked sees to it that lookAtStalled is called.
func (h *held) tickLocked(t *Topic) {
	switch {
	case h.ticks:
	case h.timer == nil:
		h.timer = time.AfterFunc(stallTick, t.lookAtStalled)
	default:
		h.timer.Reset(stallTick)
	}
	h.ticks = true
}

// lookAtStalled looks at whom publishers wait for. It is the timer's function.
func (t *Topic) lookAtStalled() {
	h := &t.held
	h.mu.Lock()
	names := h.ownLocked()
	tell := names
	for _, others := range h.others {
		names = append(names, others...)
	}
	if t.node.line == nil {
		tell = names
	}
	news := !slices.Equal(tell, h.told)
	h.told = tell
	if h.ticks = len(names) > 0; h.ticks {
		h.timer.Reset(stallTick)
	} else {
		h.silent = nil
	}
	h.mu.Unlock()

	if news {
		t.tellHeld(tell)
	}
	now := time.Now()
	t.node.mu.Lock()
	subs := slices.Clone(t.node.table.Subs(t.Name))
	t.node.mu.Unlock()
	for _, entry := range subs {
		if s := ownSub(entry.Ref); s != nil {
			s.watchStall(now, names)
		}
	}
	for _, p := range t.Route().peers() {
		t.watchSilence(p, now, len(names) > 0)
	}
}

// forgetTold has the next tick tell a new session who waits.
func (h *held) forgetTold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = nil
}

func (h *held) ownLocked() []string {
	names := make([]string, 0, len(h.own))
	for o := range h.own {
		names = append(names, o.Endpoint.name)
	}
	slices.Sort(names)
	return names
}

// ownSub returns the subscription of this process that an entry of the router stands for, or nil.
func ownSub(ref any) *Sub {
	switch r := ref.(type) {
	case *Sub:
		return r
	case *member:
		return r.own
	}
	return nil
}

// tellHeld tells the neighbours which publishers wait: the bus those of this Node, the endpoints
// elsewhere that subscribe all.
func (t *Topic) tellHeld(names []string) {
	m := wire.Held{Number: t.ID, Publishers: names}
	frame := func(dst []byte) []byte { return wire.AppendControl(dst, wire.TypeHeld, m) }
	if up := t.node.up(); up != nil {
		up.link.Send(frame)
		return
	}
	for _, p := range t.Route().peers() {
		p.link.Send(frame)
	}
}

// peers returns the endpoints elsewhere that are served.
func (r *Route) peers() []*peer {
	var list []*peer
	for i := range r.links {
		list = append(list, r.links[i].peer)
	}
	for _, p := range r.posts {
		p.mu.Lock()
		for _, m := range p.members {
			if m.peer != nil && !slices.Contains(list, m.peer) {
				list = append(list, m.peer)
			}
		}
		p.mu.Unlock()
	}
	return list
}

// heldBy takes what a neighbour tells of the publishers that wait.
func (p *peer) heldBy(body []byte) error {
	var m wire.Held
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	name, known := p.names[m.Number]
	if !known {
		return nil // nothing of it has come this way yet
	}
	if p.party != nil { // an endpoint speaks for itself alone, and only if it may have to wait
		in := p.inlets[m.Number]
		switch {
		case len(m.Publishers) == 0:
		case in == nil || in.account.Idle():
			return nil
		default:
			m.Publishers = []string{p.party.Name}
		}
	}
	p.node.topic(name).heldElsewhere(p, m.Publishers)
	return nil
}

// watchStall looks at s while publishers wait, or with none when that is over. A member of a group
// holds one event at a time, which is not what a publisher waits for as long as there are others.
func (s *Sub) watchStall(now time.Time, publishers []string) {
	limit := s.Endpoint.node.config().Stall
	taken := s.Box.Sent()
	s.mu.Lock()
	honest := len(publishers) == 0 || s.Box.Lag() == 0 || s.busy.Load() > 0 || s.Spec.Group != ""
	if honest || s.stall.since.IsZero() || taken != s.stall.taken {
		s.stall = stall{taken: taken}
		if !honest {
			s.stall.since = now
		}
		s.mu.Unlock()
		return
	}
	stood := now.Sub(s.stall.since)
	warn := stood >= stallWarning && !s.stall.warned
	s.stall.warned = s.stall.warned || warn
	s.mu.Unlock()
	if warn {
		slog.Warn("lahja: a subscription takes nothing and holds publishers up",
			"subscriber", s.Endpoint.name, "event", s.Spec.Event, "publishers", publishers,
			"subscribed", s.source(), "for", stood)
	}
	if limit > 0 && stood >= limit {
		s.end(fault.Errorf(fault.Stalled,
			"the subscription of %q to %s, made at %s, took nothing for %v while %s waited for it",
			s.Endpoint.name, s.Spec.Event, s.source(), stood, strings.Join(publishers, ", ")), false)
	}
}

// stall is what watchStall remembers of a subscription.
type stall struct {
	since  time.Time // since when it has taken nothing while a publisher waited; zero: it has not
	taken  uint64    // how many it had taken by then
	warned bool
}

// watchSilence ends the session of an endpoint that owes reports and says nothing at all: its
// process has stopped. One that lives answers pings, whatever its subscriptions do; one whose
// connection has broken has the time of its window.
func (t *Topic) watchSilence(p *peer, now time.Time, waited bool) {
	limit := t.node.config().Stall
	heard := p.link.Heard()
	t.held.mu.Lock()
	if !waited || limit <= 0 || p.link.Owed() == 0 || !p.link.Connected() {
		delete(t.held.silent, p)
		t.held.mu.Unlock()
		return
	}
	if t.held.silent == nil {
		t.held.silent = map[*peer]*silence{}
	}
	s := t.held.silent[p]
	if s == nil || s.heard != heard {
		s = &silence{now, heard}
		t.held.silent[p] = s
	}
	silent := now.Sub(s.since)
	t.held.mu.Unlock()
	p.link.Ping()
	if silent >= limit {
		slog.Warn("lahja: an endpoint says nothing and holds publishers up",
			"endpoint", p.party.Name, "event", t.Name, "for", silent)
		p.link.Kill(fmt.Errorf("%w: nothing was heard for %v", session.ErrOverflow, silent))
	}
}

// callers is where a subscription was made, as far as it is worth to be remembered.
type callers [12]uintptr

func (c *callers) fill() { runtime.Callers(3, c[:]) }

// source is the first line outside this module's package that led to the subscription.
func (s *Sub) source() string {
	frames := runtime.CallersFrames(s.callers[:])
	for {
		f, more := frames.Next()
		inside := strings.HasPrefix(f.Function, "github.com/lahja-go/lahja.") ||
			strings.HasPrefix(f.Function, "github.com/lahja-go/lahja/internal/")
		if f.File != "" && !inside {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
