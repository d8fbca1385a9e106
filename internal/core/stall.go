package core

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/window"
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
	mu     sync.Mutex          // guards what follows
	own    map[*Outlet]int     // those of this Node: calls that wait
	others map[*peer]claim     // those that a neighbour has told of
	told   map[*peer]wire.Held // the neighbours that were told that somebody waits, and what
	timer  *time.Timer
	ticks  bool               // the timer runs
	silent map[*peer]*silence // links that owe something
}

// claim is what a neighbour has told of who waits. It does so once, so that what counts is whether
// anything of an endpoint is outstanding when that is looked at: else nobody here holds it up.
type claim struct {
	wire.Held
	account *window.Account // of the endpoint; nil: it is the bus
}

func (c *claim) counts() bool { return c.account == nil || !c.account.Idle() }

// silence is since when a link has had nothing to say.
type silence struct {
	since  time.Time
	heard  uint64
	warned bool
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
func (t *Topic) heldElsewhere(p *peer, c claim) {
	h := &t.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(c.Publishers) == 0 {
		delete(h.others, p)
		return
	}
	if h.others == nil {
		h.others = map[*peer]claim{}
	}
	h.others[p] = c
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
	var alone []uint64
	for _, others := range h.others {
		if !others.counts() {
			continue
		}
		names = append(names, others.Publishers...)
		alone = append(alone, others.Alone...)
	}
	if t.node.line == nil {
		slices.Sort(names)
		tell = names
	}
	if h.ticks = len(h.own)+len(h.others) > 0; h.ticks {
		h.timer.Reset(stallTick)
	} else {
		h.silent = nil
	}
	h.mu.Unlock()

	t.tellHeld(tell)
	now := time.Now()
	t.node.mu.Lock()
	subs := slices.Clone(t.node.table.Subs(t.Name))
	t.node.mu.Unlock()
	for _, entry := range subs {
		if s := ownSub(entry.Ref); s != nil {
			s.watchStall(now, names, s.alone(alone))
		}
	}
	for _, p := range t.Route().peers() {
		t.watchSilence(p, now, names)
	}
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

// tellHeld tells the neighbours which publishers wait, where that is news to them: the bus those of
// this Node, the endpoints elsewhere that subscribe all. One that subscribes no more is told that
// it is over.
func (t *Topic) tellHeld(names []string) {
	route := t.Route()
	neighbours, alone := route.peers(), route.alone()
	if line := t.node.line; line != nil {
		neighbours = []*peer{line.latest()}
	}
	h := &t.held
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.told {
		if !slices.Contains(neighbours, p) {
			h.tellLocked(t, p, wire.Held{Number: t.ID})
		}
	}
	for _, p := range neighbours {
		m := wire.Held{Number: t.ID, Publishers: names[:min(len(names), maxHeld)]}
		if len(names) > 0 {
			m.Alone = alone[p]
		}
		h.tellLocked(t, p, m)
	}
}

// maxHeld and maxAlone are how many names and numbers are told at once, so that they fit every
// frame. The names are for people; more groups of one event than that are not watched.
const (
	maxHeld  = 16
	maxAlone = 256
)

func (h *held) tellLocked(t *Topic, p *peer, m wire.Held) {
	last, over := h.told[p], len(m.Publishers) == 0
	if slices.Equal(m.Publishers, last.Publishers) && slices.Equal(m.Alone, last.Alone) ||
		!over && !p.link.Knows(t.ID) {
		return // where no event has gone yet nothing waits
	}
	if over {
		delete(h.told, p)
	} else if h.told == nil {
		h.told = map[*peer]wire.Held{p: m}
	} else {
		h.told[p] = m
	}
	p.link.Send(func(dst []byte) []byte { return wire.AppendControl(dst, wire.TypeHeld, m) })
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

// alone returns the members elsewhere whose groups have no other, by where they are. Only the bus
// knows them.
func (r *Route) alone() map[*peer][]uint64 {
	var list map[*peer][]uint64
	for _, p := range r.posts {
		m := p.onlyMember()
		if p.group == "" || m == nil || m.peer == nil || len(list[m.peer]) == maxAlone {
			continue
		}
		if list == nil {
			list = map[*peer][]uint64{}
		}
		list[m.peer] = append(list[m.peer], m.entry.ID)
	}
	for _, ids := range list {
		slices.Sort(ids)
	}
	return list
}

// heldBy takes what a neighbour tells of the publishers that wait.
func (p *peer) heldBy(body []byte) error {
	var m wire.Held
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	if _, known := p.names[m.Number]; !known || p.party != nil && p.inlets[m.Number] == nil {
		return nil // nothing of it has come this way yet
	}
	in, err := p.inlet(m.Number)
	if err != nil {
		return err
	}
	if p.party != nil && len(m.Publishers) > 0 { // an endpoint speaks for itself alone
		m.Publishers, m.Alone = []string{p.party.Name}, nil
	}
	in.hold(len(m.Publishers) > 0)
	in.topic.heldElsewhere(p, claim{m, in.account})
	return nil
}

// alone reports whether publishers have nobody else to turn to. Only the bus knows of a group's
// other members, and has told those elsewhere which have none.
func (s *Sub) alone(told []uint64) bool {
	if s.Spec.Group == "" {
		return true
	}
	if m, here := s.entry.Ref.(*member); here {
		return m.post.onlyMember() == m
	}
	return slices.Contains(told, s.ID)
}

// watchStall looks at s while publishers wait, or with none when that is over. A member of a group
// holds one event at a time, which is not what a publisher waits for unless the member is alone.
func (s *Sub) watchStall(now time.Time, publishers []string, alone bool) {
	limit := s.Endpoint.node.config().Stall
	taken := s.Box.Sent()
	s.mu.Lock()
	honest := len(publishers) == 0 || s.Box.Lag() == 0 || s.busy.Load() > 0 || !alone
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
		s.Endpoint.node.warn("lahja: a subscription takes nothing and holds publishers up",
			"subscriber", s.Endpoint.name, "event", s.Spec.Event, "publishers", publishers,
			"subscribed", s.source(), "for", stood)
	}
	if limit > 0 && stood >= limit {
		s.end(fault.Errorf(fault.Stalled,
			"the subscription of %q to %s, made at %s, took nothing for %v while %s waited for it",
			s.Endpoint.name, s.Spec.Event, s.source(), stood,
			strings.Join(publishers, ", ")), false)
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
func (t *Topic) watchSilence(p *peer, now time.Time, publishers []string) {
	limit := t.node.config().Stall
	if len(publishers) == 0 || p.link.Owed() == 0 || !p.link.Connected() {
		t.held.mu.Lock()
		defer t.held.mu.Unlock()
		delete(t.held.silent, p)
		return
	}
	silent, warn := t.held.silence(p, now)
	p.link.Ping()
	cut := limit > 0 && silent >= limit
	if warn || cut {
		t.node.warn("lahja: an endpoint says nothing and holds publishers up",
			"subscriber", p.party.Name, "event", t.Name, "publishers", publishers,
			"for", silent, "ended", cut)
	}
	if cut {
		p.link.Kill(fmt.Errorf("%w: nothing was heard for %v", session.ErrOverflow, silent))
	}
}

// silence returns for how long p has said nothing, and whether that is to be told now.
func (h *held) silence(p *peer, now time.Time) (silent time.Duration, warn bool) {
	heard := p.link.Heard()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent == nil {
		h.silent = map[*peer]*silence{}
	}
	s := h.silent[p]
	if s == nil || s.heard != heard {
		s = &silence{since: now, heard: heard}
		h.silent[p] = s
	}
	silent = now.Sub(s.since)
	warn = silent >= stallWarning && !s.warned
	s.warned = s.warned || warn
	return silent, warn
}

// callers is where a subscription was made, as far as it is worth to be remembered.
type callers [8]uintptr

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
