package core

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Stat is what one endpoint has to do with one event type.
type Stat struct {
	Endpoint, Event string

	Broadcast   uint64
	Outstanding int64
	Waited      time.Duration
	Waiting     int

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
	return m.sorted()
}

func (ep *Endpoint) addStats(m stats) {
	ep.mu.Lock()
	outlets := slices.Collect(maps.Values(ep.outlets))
	subs := slices.Collect(maps.Keys(ep.subs))
	ep.mu.Unlock()
	for _, o := range outlets {
		s := m.of(ep.name, o.Topic.Name)
		s.Broadcast += o.broadcast.Load()
		s.Outstanding += o.Account.Used()
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

// Stats returns what the endpoints of the bus broadcast and subscribe to, sorted by endpoint and
// event. Of an endpoint elsewhere it knows what it has sent and what it has not reported as taken.
func (n *Node) Stats() []Stat {
	n.mu.Lock()
	own := slices.Collect(maps.Keys(n.endpoints))
	peers := slices.Collect(maps.Keys(n.peers))
	names := map[uint64]string{}
	m := stats{}
	for _, t := range n.topics {
		names[t.ID] = t.Name
		if lost := t.lost.Load(); lost > 0 {
			m.of("", t.Name).Lost = lost
		}
	}
	n.mu.Unlock()
	for _, ep := range own {
		ep.addStats(m)
	}
	for _, p := range peers {
		for number, bytes := range p.link.OwedBytes() {
			m.of(p.party.Name, names[number]).Lag += bytes
		}
		p.mu.Lock()
		inlets := slices.Clone(p.published)
		p.mu.Unlock()
		for _, in := range inlets {
			s := m.of(p.party.Name, in.topic.Name)
			s.Broadcast += in.broadcast.Load()
			s.Outstanding += in.account.Used()
			s.Retained += in.topic.kept.bytesOf(p.party.Name)
			s.Waiting += in.topic.waitsElsewhere(p)
		}
	}
	return m.sorted()
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

// waitsElsewhere is 1 if p has told that a publisher of it waits.
func (t *Topic) waitsElsewhere(p *peer) int {
	t.held.mu.Lock()
	defer t.held.mu.Unlock()
	return len(t.held.others[p])
}
