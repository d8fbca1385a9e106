package core

import (
	"context"
	"errors"
	"slices"

	"github.com/lahja-go/lahja/internal/fault"
)

// parties is a set of recipients, each with what its handlers answer with. Mostly there is one, for
// which it needs no map.
type parties struct {
	party any // nil: there is none, or it is in others
	in    *Inbound

	others map[any]*Inbound
}

func (ps *parties) has(party any) bool {
	if ps.party == party {
		return true
	}
	_, known := ps.others[party]
	return known
}

func (ps *parties) get(party any) *Inbound {
	if ps.party == party {
		return ps.in
	}
	return ps.others[party]
}

func (ps *parties) put(party any, in *Inbound) {
	switch {
	case ps.party == party:
		ps.in = in
	case ps.party == nil && ps.others == nil:
		ps.party, ps.in = party, in
	default:
		if ps.others == nil {
			ps.others = map[any]*Inbound{}
		}
		ps.others[party] = in
	}
}

func (ps *parties) drop(party any) {
	if ps.party == party {
		ps.party, ps.in = nil, nil
		return
	}
	delete(ps.others, party)
}

func (ps *parties) some() bool { return ps.party != nil || len(ps.others) > 0 }

// each calls f with each party, in no order.
func (ps *parties) each(f func(party any)) {
	if ps.party != nil {
		f(ps.party)
	}
	for party := range ps.others {
		f(party)
	}
}

// asks reports whether the call waits for that recipient.
func (c *Call) asks(party any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left.has(party)
}

// none says that a link had no recipient at all.
func (c *Call) none(party any) {
	c.mu.Lock()
	if c.left.has(party) {
		c.asked--
	}
	c.mu.Unlock()
	c.gone(party, nil)
}

// add makes a link a recipient; false: the call is over already.
func (c *Call) add(p *peer) bool {
	c.mu.Lock()
	if c.over.Load() {
		c.mu.Unlock()
		return false
	}
	c.asked++
	c.left.put(p, nil)
	if isBus(p) {
		c.several, c.own = true, c.gather
	}
	c.mu.Unlock()
	if p.hasLeft() { // perhaps too early for the call to be told
		c.gone(p, nil)
	}
	return true
}

// retract undoes add, for a link that has not taken the request.
func (c *Call) retract(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked--
	c.left.drop(p)
	c.cut = nil
}

// addParcel makes an event that waits for a member a recipient, until a member takes its place.
func (c *Call) addParcel(p *parcel, among []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over.Load() {
		c.asked++
		c.several, p.among = true, among
		c.left.put(p, nil)
	}
}

// await says which members there are now where a recipient waits for one.
func (c *Call) await(p *parcel, among []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.among = among
}

// claim says which member a recipient that has waited goes to.
func (c *Call) claim(p *parcel, to *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.to = to
}

// tellSilent follows when fewer may get the request than before.
func (c *Call) tellSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellSilentLocked()
}

// excludes reports whether that endpoint is given the request no more: that it does not answer has
// been told.
func (c *Call) excludes(name string) bool {
	if !c.gather {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[name]
}

// assign gives the recipient p a number by which its link knows the call; false: it is over.
func (c *Call) assign(p *parcel, to *peer) (id uint64, ok bool) {
	c.node.mu.Lock()
	id = c.node.nextLocked()
	p.holder = to
	c.node.calls[id] = counterpart{c, p}
	c.node.mu.Unlock()
	c.mu.Lock()
	over := !c.left.has(p) || c.over.Load()
	if !over {
		p.id = id
		c.tellSilentLocked()
	}
	c.mu.Unlock()
	if !over && to.hasLeft() { // perhaps too early for the call to be told
		if p.post.group == "" {
			c.gone(p, fault.ResponderGone)
		}
		over = true
	}
	if over {
		c.node.forget(id)
	}
	return id, !over
}

// replace makes a parcel a recipient in the place of one that was returned, and returns the number
// that this one had; false: the call is over.
func (c *Call) replace(old, again *parcel, among []*member) (id uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Load() {
		return old.id, false
	}
	c.left.drop(old)
	again.among = among
	c.left.put(again, nil)
	return old.id, true
}

// inbound makes the endpoint of s a recipient, unless it only observes, and returns what its
// handlers answer with.
func (c *Call) inbound(s *Sub) *Inbound {
	if mute := s.mute(); mute || s.Spec.Observe {
		return &Inbound{call: c, endpoint: s.Endpoint, observer: true, mute: mute}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.left.get(s.Endpoint)
	if in == nil {
		in = c.held[s.Endpoint] // it has answered while its other subscriptions are looked for
	}
	if in == nil {
		in = &Inbound{call: c, endpoint: s.Endpoint}
		if !c.over.Load() {
			c.asked++
			c.left.put(s.Endpoint, in)
			c.holdLocked(in)
		}
	}
	in.open++
	return in
}

// holdLocked keeps a recipient of a call that gathers from going before all of its subscriptions
// have the request: each endpoint is asked, and told of, once.
func (c *Call) holdLocked(in *Inbound) {
	if !c.gather || !c.routing {
		return
	}
	if c.held == nil {
		c.held = map[*Endpoint]*Inbound{}
	}
	c.held[in.endpoint] = in
	in.open++
}

// refuse notes that s answers with another type than is wanted.
func (c *Call) refuse(s *Sub) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.refusals = append(c.refusals, fault.Remote(s.Endpoint.name, fault.Errorf(
		fault.UnexpectedResponse, "it answers %s with %s, and %s is wanted",
		s.Spec.Event, s.Spec.Response, c.wanted)))
}

// Routed ends the routing: no recipient is added any more.
func (c *Call) Routed() {
	c.mu.Lock()
	held := c.held
	c.held, c.routing = nil, false // at once: a group may be giving it to a member at this moment
	c.mu.Unlock()
	for _, in := range held {
		in.done(nil)
	}
	c.mu.Lock()
	c.finishIfDeserted() // unlocks
}

// gone says that a recipient does not answer any more, and why: ResponderGone, what it said
// itself, or with nil what need not be told.
func (c *Call) gone(party any, reason error) {
	c.mu.Lock()
	if !c.left.has(party) {
		c.mu.Unlock()
		return
	}
	c.left.drop(party)
	var refusal *fault.RemoteError
	switch {
	case errors.As(reason, &refusal):
		c.refusals = append(c.refusals, refusal)
	case errors.Is(reason, fault.SessionLost):
		c.cut = reason
	case reason != nil && c.gather && !isBus(party): // which itself owes nothing
		c.silent = append(c.silent, partyName(party))
	}
	c.finishIfDeserted() // unlocks
}

// tellSilentLocked passes on of whom no answer comes any more. An endpoint may have the request in
// several ways, or get it yet as a member of a group: the first answer counts, and it is silent
// when all of them are over. From then on a group gives it the request no more.
//
// An asker elsewhere knows of its own subscriptions, and the bus of its groups. So the bus says
// once what the asker did there: with NoSubscribers that it has nothing and gets nothing.
func (c *Call) tellSilentLocked() {
	if c.routing {
		return
	}
	c.silent = slices.DeleteFunc(c.silent, func(name string) bool {
		if name != "" && c.mayAnswerLocked(name) {
			return false
		}
		c.collectLocked(unanswered(name))
		return true
	})
	if c.peer != nil && c.own && c.left.some() && !c.mayAnswerLocked(c.asker.Name) {
		c.own = false
		c.collectLocked(Answer{Origin: c.asker.Name, Err: fault.NoSubscribers, silent: true})
	}
}

// mayAnswerLocked reports whether an answer of the endpoint of that name may still come.
func (c *Call) mayAnswerLocked(name string) (may bool) {
	if c.several {
		c.left.each(func(party any) { may = may || c.mayBeLocked(party, name) })
	}
	return may
}

// mayBeLocked reports whether a recipient is the endpoint of that name, or may yet be.
func (c *Call) mayBeLocked(party any, name string) bool {
	if p, posted := party.(*parcel); posted && p.post.peer == nil && p.to == nil {
		return slices.ContainsFunc(p.among, func(m *member) bool {
			return m.entry.Party.Name == name && m.eligible(&p.Delivery)
		})
	}
	if isBus(party) {
		return c.own && c.asker.Name == name
	}
	return partyName(party) == name
}

// unanswered is what a gathering request gets in place of an answer.
func unanswered(name string) Answer {
	if name == "" {
		return Answer{Err: fault.Errorf(fault.ResponderGone, "no member of a group has taken it")}
	}
	return Answer{Origin: name, silent: true, Err: fault.Errorf(fault.ResponderGone,
		"endpoint %q has not answered", name)}
}

func isBus(party any) bool {
	p, elsewhere := party.(*peer)
	return elsewhere && p.party == nil
}

// partyName returns the name of the endpoint that a recipient is. The lock of its call is held.
func partyName(party any) string {
	switch p := party.(type) {
	case *Endpoint:
		return p.name
	case *peer:
		if p.party != nil {
			return p.party.Name
		}
	case *parcel:
		switch {
		case p.post.peer != nil:
			return p.post.peer.party.Name
		case p.to != nil:
			return p.to.entry.Party.Name
		}
	}
	return "" // the bus, or a group that has not given it to a member
}

// finishIfDeserted ends the call when nobody is left who could answer, and unlocks.
func (c *Call) finishIfDeserted() {
	if c.routing {
		c.mu.Unlock()
		return
	}
	c.tellSilentLocked()
	if c.left.some() {
		c.mu.Unlock()
		return
	}
	last := Answer{Err: fault.ResponderGone, nobody: true}
	switch {
	case c.asked == 0:
		last.Err = fault.NoSubscribers
	case c.cut != nil:
		last.Err = c.cut
	case c.gather:
		for _, r := range c.refusals {
			c.collectLocked(Answer{Origin: r.Endpoint, Err: r})
		}
	case len(c.refusals) > 0:
		last.Err = c.refusals[len(c.refusals)-1]
	}
	if last.Err == error(fault.ResponderGone) && c.peer == nil && c.expired() {
		last.Err = context.DeadlineExceeded // that is why nobody is left
	}
	c.finish(last, nil) // unlocks
}
