package core

import (
	"context"
	"slices"
	"sync"

	"github.com/lahja-go/lahja/internal/wire"
)

// post hands events to members one by one, as each has room for them: the members of a group, or
// one subscription elsewhere that must hold nobody up, or that is first to get what was kept.
type post struct {
	node  *Node
	drop  int    // most events that wait, beyond which the oldest is dropped; 0: none is dropped
	group string // the name of the group; empty: it has one member
	peer  *peer  // that has the one member; nil: it is a group

	mu      sync.Mutex // guards what follows
	members []*member  // not changed in place: calls hold it
	turn    int        // the member that was served last
	waiting []*parcel
	size    int64         // bytes that wait
	kept    int64         // of them, bytes of what was kept when the member came
	missed  uint64        // dropped and not yet told
	dropped uint64        // in all
	serving bool          // a goroutine is in serve
	served  chan struct{} // closed when none is; nil: nobody waits
}

// groupLocked returns the post of a group, and makes it if need be. node.mu is held.
func (t *Topic) groupLocked(name string) *post {
	p := t.groups[name]
	if p == nil {
		p = &post{node: t.node, group: name}
		t.groups[name] = p
	}
	return p
}

func (p *post) join(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.post = p
	p.setMembersLocked(append(p.members, m))
}

// expel removes a member. It is called together with its removal from the Node's table, so that
// one that is seen to be gone is given nothing; leave deals with what waits.
func (p *post) expel(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setMembersLocked(slices.DeleteFunc(slices.Clone(p.members), func(other *member) bool {
		return other == m
	}))
}

// leave is what follows the removal of a member: what waits and nobody else may have is given up.
func (p *post) leave() (empty bool) {
	p.mu.Lock()
	var kept, given []*parcel
	var calls []*Call // of those that are kept
	for _, c := range p.waiting {
		if wanted, _ := p.wantsLocked(&c.Delivery); !wanted {
			given = append(given, c)
			p.countLocked(c, -c.size)
			continue
		}
		kept = append(kept, c)
		if c.Call != nil {
			calls = append(calls, c.Call)
		}
	}
	p.waiting = kept
	empty = len(p.members) == 0
	p.mu.Unlock()
	for _, c := range given {
		c.giveUp()
	}
	for _, call := range calls {
		call.tellSilent()
	}
	p.serve()
	return empty
}

// setMembersLocked also says to the requests that wait and gather who may get them.
func (p *post) setMembersLocked(members []*member) {
	p.members = members
	for _, c := range p.waiting {
		if c.Call != nil && c.Call.gather {
			c.Call.await(c, members)
		}
	}
}

// onlyMember returns the member if there is one alone.
func (p *post) onlyMember() *member {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.members) != 1 {
		return nil
	}
	return p.members[0]
}

// elsewhere reports whether a member needs events encoded.
func (p *post) elsewhere() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.peer != nil {
			return true
		}
	}
	return false
}

// wants reports whether an event is for a member, and whether for one that counts as a subscriber.
func (p *post) wants(d *Delivery) (wanted, counting bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wantsLocked(d)
}

func (p *post) wantsLocked(d *Delivery) (wanted, counting bool) {
	for _, m := range p.members {
		if m.accepts(d) {
			wanted, counting = true, counting || !m.observes(d)
		}
	}
	return wanted, counting
}

// observesLocked reports whether the members only observe: nothing is withdrawn from them. In a
// group none does.
func (p *post) observesLocked(d *Delivery) bool {
	return p.group == "" && len(p.members) > 0 && p.members[0].observes(d)
}

// offer takes an event, unless it is for nobody.
func (p *post) offer(d *Delivery, body Body, size int64, flags wire.EventFlags) {
	c := &parcel{Delivery: *d, body: body, size: size, flags: flags, post: p}
	p.mu.Lock()
	wanted, counting := p.wantsLocked(d)
	if !wanted {
		p.mu.Unlock()
		return
	}
	var dropped []*parcel
	switch limit := d.Topic.node.backlogLimit(); {
	case p.drop > 0:
		c.Flight = nil // it never holds its publisher up
		dropped = p.makeRoomLocked(size)
	case flags&wire.FlagRetained == 0 && p.fullLocked(size, limit):
		members := p.members
		p.mu.Unlock()
		for _, m := range members {
			m.overflow()
		}
		return
	case c.Flight != nil:
		c.Flight.Hold()
	}
	if c.Call != nil && counting {
		c.Call.addParcel(c, p.members)
	}
	p.waiting = append(p.waiting, c)
	p.countLocked(c, size)
	p.mu.Unlock()
	for _, old := range dropped {
		old.giveUp()
	}
	p.serve()
}

// makeRoomLocked drops the oldest events if as many wait as may, or with one of that size more
// bytes than may.
func (p *post) makeRoomLocked(size int64) (dropped []*parcel) {
	for len(p.waiting) >= p.drop || len(p.waiting) > 0 && p.size+size > pacedBytes {
		dropped = append(dropped, p.takeLocked(0))
		p.missed++
		p.dropped++
	}
	return dropped
}

// fullLocked reports whether there is no room for an event of that size. What was kept does not
// count: it came at once, and is bounded by what may be kept.
func (p *post) fullLocked(size, limit int64) bool {
	backlog := p.size - p.kept
	return backlog > 0 && backlog+size > limit
}

// countLocked counts that c comes to wait, with its size, or with less than 0 that it goes.
func (p *post) countLocked(c *parcel, size int64) {
	p.size += size
	if c.flags&wire.FlagRetained != 0 {
		p.kept += size
	}
}

// takeLocked takes an event off those that wait. Mostly it is the first, and the others, which may
// be very many, are not moved then.
func (p *post) takeLocked(i int) *parcel {
	c := p.waiting[i]
	if i == 0 && len(p.waiting) > 1 {
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
	} else {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.countLocked(c, -c.size)
	return c
}

// withdraw gives c up if it still waits.
func (p *post) withdraw(c *parcel) {
	p.mu.Lock()
	i := slices.Index(p.waiting, c)
	if i >= 0 {
		p.takeLocked(i)
	}
	p.mu.Unlock()
	if i >= 0 {
		c.giveUp()
	}
}

// takeBack has an event go to another member: the one that had it has ended, and did not take it.
func (p *post) takeBack(c *parcel) {
	again := &parcel{Delivery: c.Delivery, body: c.body, size: c.size, flags: c.flags, post: p}
	number, open := uint64(0), true
	p.mu.Lock()
	if c.Call != nil {
		number, open = c.Call.replace(c, again, p.members)
	}
	wanted, _ := p.wantsLocked(&again.Delivery)
	if wanted && open {
		p.waiting = slices.Insert(p.waiting, 0, again)
		p.countLocked(again, again.size)
	}
	p.mu.Unlock()
	if number != 0 {
		c.Topic.node.forget(number)
	}
	switch {
	case !open:
		c.Flight.Drop() // nobody waits for an answer any more
	case !wanted:
		again.giveUp()
	case c.Call != nil:
		c.Call.tellSilent()
	}
	p.serve()
}

// serve hands out what waits as long as somebody has room. One goroutine does so at a time, which
// keeps the order; what comes meanwhile is left to it.
func (p *post) serve() {
	p.mu.Lock()
	if p.serving {
		p.mu.Unlock()
		return
	}
	p.serving = true
	for {
		c, m := p.pickLocked()
		if c == nil {
			p.serving = false
			if p.served != nil {
				close(p.served)
				p.served = nil
			}
			p.mu.Unlock()
			return
		}
		missed := p.missed
		if m != nil {
			p.missed = 0
		}
		p.mu.Unlock()
		m.deliver(c, missed)
		p.mu.Lock()
	}
}

// flush serves, and waits under ctx until whoever else does so is through.
func (p *post) flush(ctx context.Context) {
	p.serve()
	p.mu.Lock()
	if !p.serving {
		p.mu.Unlock()
		return
	}
	if p.served == nil {
		p.served = make(chan struct{})
	}
	served := p.served
	p.mu.Unlock()
	select {
	case <-served:
	case <-ctx.Done():
	}
}

// pickLocked takes the first event that is no longer wanted, with no member, or that a member has
// room for; nil: there is none.
func (p *post) pickLocked() (*parcel, *member) {
	for i, c := range p.waiting {
		over := c.Call != nil && c.Call.Over() && !p.observesLocked(&c.Delivery)
		m := p.freeLocked(c)
		if !over && m == nil {
			if !p.readyLocked() {
				return nil, nil
			}
			continue
		}
		p.takeLocked(i)
		if over {
			m = nil
		} else {
			m.room--
			m.onWay += c.size
			if c.Call != nil && c.Call.gather {
				c.Call.claim(c, m)
			}
		}
		return c, m
	}
	return nil, nil
}

func (p *post) readyLocked() bool {
	for _, m := range p.members {
		if m.ready() {
			return true
		}
	}
	return false
}

// freeLocked returns a member that has room for c, each in turn.
func (p *post) freeLocked(c *parcel) *member {
	for i := range p.members {
		turn := (p.turn + 1 + i) % len(p.members)
		if m := p.members[turn]; m.ready() && m.accepts(&c.Delivery) {
			p.turn = turn
			return m
		}
	}
	return nil
}
