package core

import (
	"cmp"
	"slices"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// interrupted notes that the session is lost: each subscription has a gap, and the windows that the
// bus had granted are no more.
func (ep *Endpoint) interrupted() {
	for _, s := range ep.openSubs() {
		s.losses.Add(1)
	}
	n := ep.node
	n.mu.Lock()
	for _, t := range n.topics {
		t.Pool.SetLimit(0)
	}
	n.mu.Unlock()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for _, o := range ep.outlets {
		if !ep.ended {
			o.reopenLocked()
		}
	}
}

// restore tells the bus in a new session what the endpoint has: its subscriptions, and what it has
// retained. Calls wait until that is done.
func (n *Node) restore(ep *Endpoint, p *peer) {
	announced := ep.announceAll(p)
	if !n.retainAll(ep, p) {
		return // the session has ended, or the endpoint has
	}
	for _, a := range announced {
		if _, err := wait(n.life, p, ep, a.answer); err != nil {
			return
		}
	}
	n.line.install(p)
	for _, a := range announced {
		if a.sub.hasEnded() { // perhaps before it could tell this session
			p.unsubscribe(a.sub.ID)
		}
	}
}

// announceAll announces the subscriptions that had been announced to the session before. Others
// are about to be by those who make them.
func (ep *Endpoint) announceAll(p *peer) (announced []*ack) {
	subs := slices.DeleteFunc(ep.openSubs(), func(s *Sub) bool {
		return !s.announced.Load() || s.hasEnded()
	}) // first, for others may not have their numbers yet
	slices.SortFunc(subs, func(a, b *Sub) int { return cmp.Compare(a.ID, b.ID) })
	for _, s := range subs {
		announced = append(announced, p.announce(s))
	}
	return announced
}

// retainAll sends what the endpoint has retained.
func (n *Node) retainAll(ep *Endpoint, p *peer) bool {
	n.mu.Lock()
	topics := make([]*Topic, 0, len(n.topics))
	for _, t := range n.topics {
		topics = append(topics, t)
	}
	n.mu.Unlock()
	slices.SortFunc(topics, func(a, b *Topic) int { return cmp.Compare(a.ID, b.ID) })
	all := n.config().Retained
	for _, t := range topics {
		if err := p.permit(broadcasting, t.Name); err != nil {
			if t.forgetAll(ep.name, ep.party.ID) {
				n.warn("lahja: what was retained is not allowed any more", "error", err)
			}
			continue
		}
		if !n.retainType(ep, p, t, &all) {
			return false
		}
	}
	return true
}

// retainType sends what the endpoint has retained of one type, as far as the bus allows it, which
// may be another one than before; all is how many bytes it allows of this type and those that
// follow. What is too much is forgotten.
func (n *Node) retainType(ep *Endpoint, p *peer, t *Topic, all *int64) bool {
	keys, bytes, tooMuch := n.config().RetainedKeys, n.config().RetainedType, 0
	for _, e := range t.kept.of(ep.name) {
		payload, err := e.body.Payload()
		if err != nil {
			n.report("lahja: an event that was retained cannot be encoded", "event", t.Name,
				"key", e.key, "error", err)
			continue
		}
		size := int64(len(payload)) + window.Overhead
		if keys == 0 || size > min(bytes, *all) || n.checkSize("", t.Name, len(payload)) != nil {
			t.forget(ep.name, ep.party.ID, e.key)
			tooMuch++
			continue
		}
		keys, bytes, *all = keys-1, bytes-size, *all-size
		if !n.retainAgain(ep, p, t, e.key, payload) {
			return false
		}
	}
	if tooMuch > 0 {
		n.warn("lahja: the bus allows less to be retained than before, and what is too much is "+
			"forgotten", "endpoint", ep.name, "event", t.Name, "keys", tooMuch)
	}
	return true
}

func (n *Node) retainAgain(ep *Endpoint, p *peer, t *Topic, key string, payload []byte) bool {
	o, err := ep.Outlet(t.Name)
	if err != nil {
		return false
	}
	size := int64(len(payload)) + window.Overhead
	account := o.Account()
	if !account.TryAcquire(size) {
		t.hold(o) // whom it waits for is looked at as if a call did
		err := account.Acquire(n.life, size)
		t.release(o)
		if err != nil {
			return false
		}
	}
	f := window.NewFlight(account, window.Item{Size: size, Prompt: account.Prompt()})
	defer f.Drop()
	d := Delivery{Key: key}
	e := wire.Event{Name: t.ID, Flags: wire.FlagRetain, Payload: payload}
	if f.Prompt {
		e.Flags |= wire.FlagPrompt
	}
	d.mark(&e)
	return p.link.Repeat(&e, f, t.Name)
}
