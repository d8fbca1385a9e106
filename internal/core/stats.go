package core

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// Stat is what one endpoint has to do with one event type.
type Stat struct {
	Endpoint, Event string

	Broadcast   uint64
	Outstanding int64
	Waited      time.Duration
	Waiting     int
	WaitsFor    []string

	Delivered uint64
	Missed    uint64
	Lag       int64

	Retained int64
	Lost     uint64
}

// stats collects Stats by endpoint and event.
type stats map[[2]string]*Stat

func (m stats) of(endpoint, event string) *Stat {
	key := [2]string{endpoint, event}
	if m[key] == nil {
		m[key] = &Stat{Endpoint: endpoint, Event: event}
	}
	return m[key]
}

func (m stats) sorted() []Stat {
	list := make([]Stat, 0, len(m))
	for _, s := range m {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Stat) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Event, b.Event))
	})
	return list
}

// Stats returns what the endpoint broadcasts and subscribes to, sorted by event.
func (ep *Endpoint) Stats() []Stat {
	m := stats{}
	ep.addStats(m)
	m.blame(ep.node.stats())
	return m.sorted()
}

// Stats returns what the endpoints of the bus broadcast and subscribe to, sorted by endpoint and
// event.
func (n *Node) Stats() []Stat {
	m := n.stats()
	m.blame(m)
	return m.sorted()
}

// blame says for whom publishers wait: the endpoints that lag, as all shows.
func (m stats) blame(all stats) {
	lagging := map[string][]string{}
	for _, s := range all {
		if s.Lag > 0 {
			lagging[s.Event] = append(lagging[s.Event], s.Endpoint)
		}
	}
	for _, names := range lagging {
		slices.Sort(names)
	}
	for _, s := range m {
		if s.Waiting > 0 {
			s.WaitsFor = slices.Clone(lagging[s.Event])
		}
	}
}

func (ep *Endpoint) addStats(m stats) {
	ep.mu.Lock()
	outlets := slices.Collect(maps.Values(ep.outlets))
	for _, o := range outlets {
		for _, a := range o.accountsLocked() {
			m.of(ep.name, o.Topic.Name).Outstanding += a.Used()
		}
	}
	subs := slices.Collect(maps.Keys(ep.subs))
	ep.mu.Unlock()
	for _, o := range outlets {
		s := m.of(ep.name, o.Topic.Name)
		s.Broadcast += o.broadcast.Load()
		s.Waited += time.Duration(o.waited.Load())
		s.Waiting += o.Topic.waits(o)
		s.Retained += o.Topic.kept.bytesOf(ep.name)
	}
	for _, sub := range subs {
		s := m.of(ep.name, sub.Spec.Event)
		delivered, missed := sub.Box.Counts()
		s.Delivered += delivered
		s.Missed += missed
		s.Lag += sub.Box.Lag()
	}
}

// stats collects what the Node knows.
func (n *Node) stats() stats {
	n.mu.Lock()
	own := slices.Collect(maps.Keys(n.endpoints))
	peers := slices.Collect(maps.Keys(n.peers))
	topics := slices.Collect(maps.Values(n.topics))
	n.mu.Unlock()
	m := stats{}
	for _, t := range topics {
		if lost := t.lost.Load(); lost > 0 {
			m.of("", t.Name).Lost = lost
		}
		for _, p := range t.Route().posts {
			p.addStats(m, t.Name)
		}
	}
	for _, ep := range own {
		ep.addStats(m)
	}
	for _, p := range peers {
		if p.party != nil {
			p.addStats(m, topics)
		}
	}
	return m
}

// addStats adds what a post has dropped, and what waits there and holds publishers up: for a group
// all of its members do, for none has room.
func (p *post) addStats(m stats, event string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lag := p.size
	if p.drop > 0 {
		lag = 0
	}
	for _, member := range p.members {
		s := m.of(member.entry.Party.Name, event)
		s.Missed += p.dropped
		s.Lag += lag
	}
}

// addStats adds what the bus knows of an endpoint elsewhere: what came from it, what it was sent,
// and what of that it has not reported as taken.
func (p *peer) addStats(m stats, topics []*Topic) {
	owing := p.link.Owing()
	p.mu.Lock()
	inlets := maps.Clone(p.published)
	sent := maps.Clone(p.sent)
	p.mu.Unlock()
	for _, t := range topics {
		count, owed := sent[t], owing[t.ID]
		if count == nil {
			continue
		}
		s := m.of(p.party.Name, t.Name)
		s.Lag += owed.Bytes
		if n := count.Load(); n > owed.Events { // else they are counted, and not yet queued
			s.Delivered += n - owed.Events
		}
	}
	for t, in := range inlets {
		s := m.of(p.party.Name, t.Name)
		s.Broadcast += in.broadcast.Load()
		s.Outstanding += in.account.Used()
		s.Retained += t.kept.bytesOf(p.party.Name)
		s.Waiting += t.waitsElsewhere(p)
		s.Waited += in.heldFor()
	}
}

// owed is how many bytes of which events an endpoint has not reported as taken.
func (p *peer) owed() map[string]int64 {
	left := map[string]int64{}
	if p.party == nil {
		return left
	}
	owing := p.link.Owing()
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	for _, t := range p.node.topics {
		if bytes := owing[t.ID].Bytes; bytes > 0 {
			left[t.Name] = bytes
		}
	}
	return left
}

// sentOf counts the events of a topic that the peer was sent.
func (p *peer) sentOf(t *Topic) *atomic.Uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := p.sent[t]
	if count == nil {
		count = new(atomic.Uint64)
		if p.sent == nil {
			p.sent = map[*Topic]*atomic.Uint64{}
		}
		p.sent[t] = count
	}
	return count
}

// hold notes from when to when a publisher elsewhere says that it waits.
func (in *inlet) hold(on bool) {
	now := time.Now().UnixNano()
	switch since := in.heldSince.Load(); {
	case on && since == 0:
		in.heldSince.Store(now)
	case !on && since != 0:
		in.waited.Add(now - since)
		in.heldSince.Store(0)
	}
}

// heldFor is how long it has waited in all.
func (in *inlet) heldFor() time.Duration {
	waited := time.Duration(in.waited.Load())
	if since := in.heldSince.Load(); since != 0 {
		waited += time.Since(time.Unix(0, since))
	}
	return waited
}

// bytesOf is how much is kept of what an endpoint has retained.
func (k *kept) bytesOf(origin string) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if by := k.origins[origin]; by != nil {
		return by.bytes
	}
	return 0
}

// waits is the number of calls of o that wait.
func (t *Topic) waits(o *Outlet) int {
	t.held.mu.Lock()
	defer t.held.mu.Unlock()
	return t.held.own[o]
}

// waitsElsewhere is 1 if p has told that a publisher of it waits, and it may have to.
func (t *Topic) waitsElsewhere(p *peer) int {
	t.held.mu.Lock()
	defer t.held.mu.Unlock()
	if c := t.held.others[p]; c.counts() {
		return len(c.Publishers)
	}
	return 0
}
