package core

import (
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
)

// A topic lives as long as an endpoint is attached that has used its name: subscribed to it,
// broadcast it, or asked for it in response. So it outlives what hangs on it: windows, numbers that
// links know, what is kept. What endpoints that come and go leave behind is nothing, and what one
// that stays can make others remember is bounded.

// topicSet is the topics that an endpoint has used.
type topicSet map[*Topic]struct{}

// use returns the topic of that name for an endpoint, and makes it if need be.
func (n *Node) use(p *router.Party, name string) *Topic {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.useLocked(p, name)
}

func (n *Node) useLocked(p *router.Party, name string) *Topic {
	t := n.topics[name]
	topics, attached := n.used[p]
	if _, known := topics[t]; known {
		return t
	}
	if t == nil {
		t = n.newTopicLocked(name)
	}
	if !attached {
		return t // it is leaving: what it does has no effect any more
	}
	if topics == nil {
		topics = topicSet{}
		n.used[p] = topics
	}
	topics[t] = struct{}{}
	t.users++
	n.topics[name] = t
	return t
}

// use is [Node.use] for the peer, which may use only so many if it is an endpoint.
func (p *peer) use(name string) (*Topic, error) {
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.party == nil {
		return n.useLocked(n.self, name), nil
	}
	limit := n.config().Names
	if _, known := n.used[p.party][n.topics[name]]; !known && len(n.used[p.party]) >= limit {
		return nil, fault.Errorf(fault.Denied,
			"endpoint %q has used %d names of events, which is as many as it may",
			p.party.Name, limit)
	}
	return n.useLocked(p.party, name), nil
}

func (n *Node) newTopicLocked(name string) *Topic {
	limit := n.config().Lag
	if n.line != nil {
		limit = 0 // until the bus grants more: one event at a time
	}
	return &Topic{
		ID: n.nextLocked(), Name: name, node: n,
		Pool:   window.NewPool(limit, int64(n.config().MaxFrame)),
		groups: map[string]*post{},
	}
}

// disuseLocked forgets the topics that only p has used; not on the Node of an endpoint elsewhere,
// which ends as a whole and may still be told of its windows.
func (n *Node) disuseLocked(p *router.Party) {
	if n.line != nil {
		return
	}
	for t := range n.used[p] {
		if t.users--; t.users > 0 {
			continue
		}
		delete(n.topics, t.Name)
		for peer := range n.peers {
			peer.link.Retire(t.ID) // which may know it as the name of a response
		}
	}
	delete(n.used, p)
}

// lookUp returns the topic of that name; nil: nobody who is attached has used it.
func (n *Node) lookUp(name string) *Topic {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.topics[name]
}
