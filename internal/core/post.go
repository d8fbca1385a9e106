package core

import (
	"slices"
	"sync"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// Body is the content of an event that waits. It does not change.
type Body interface {
	Payload() ([]byte, error) // encoded
	Push(s *Sub, d *Delivery) // hands it to a subscription of this process
}

// encoded is a Body that came over a link.
type encoded []byte

// Payload implements [Body].
func (b encoded) Payload() ([]byte, error) { return b, nil }

// Push implements [Body].
func (b encoded) Push(s *Sub, d *Delivery) { s.Spec.Kind.Deliver([]*Sub{s}, b, d) }

// gone is the Body of an event that says that what was kept has ended.
type gone struct{}

// Payload implements [Body].
func (gone) Payload() ([]byte, error) { return nil, nil }

// Push implements [Body].
func (gone) Push(s *Sub, d *Delivery) { s.Spec.Kind.Gone([]*Sub{s}, d) }

// parcel is an event on its way through a post.
type parcel struct {
	Delivery // its Flight is the publisher's, held until a member has taken the event; or nil
	body     Body
	size     int64
	flags    wire.EventFlags // what is special about it

	post *post // where it waits, or waited

	// Of a request that gathers; guarded by Call.mu.
	among []*member // that there are in its group while it waits
	to    *member   // whom it goes to then

	// Of a request that a member elsewhere has; written before it is sent.
	holder *peer  // guarded by Node.mu; known once there is an id
	id     uint64 // the number by which the holder knows the call; guarded by Call.mu
}

// post hands events to members one by one, as each has room for them: the members of a group, or
// one subscription elsewhere that must hold nobody up, or that is first to get what was kept.
type post struct {
	drop  int    // most events that wait, beyond which the oldest is dropped; 0: none is dropped
	group string // the name of the group; empty: it has one member
	peer  *peer  // that has the one member; nil: it is a group

	mu      sync.Mutex // guards what follows
	members []*member  // not changed in place: calls hold it
	turn    int        // the member that was served last
	waiting []*parcel
	size    int64  // bytes that wait
	missed  uint64 // dropped and not yet told
	dropped uint64 // in all
	serving bool   // a goroutine is in serve
}

// member is a subscription that is served by a post.
type member struct {
	post  *post
	entry *router.Sub
	peer  *peer // the endpoint that has it; nil: it is own
	own   *Sub
	room  int // events that it can take now

	onWay    int64 // bytes of those that it has not taken yet
	retained bool  // it wants what is kept
}

// pacedBytes is about how many bytes may wait for a subscription that drops events, and may be on
// their way to a member. If only events counted, a stopped process could cost as many of the
// largest, and its session for that.
const pacedBytes = 1 << 20

// ready reports whether m can be given an event. Its size does not matter: a small one must not
// overtake a large one.
func (m *member) ready() bool { return m.room > 0 && m.onWay < pacedBytes }

// accepts reports whether an event is for m.
func (m *member) accepts(d *Delivery) bool {
	return m.eligible(d) && (d.Call == nil || m.post.group == "" ||
		!d.Call.excludes(m.entry.Party.Name))
}

// eligible is accepts but for what has come of a request meanwhile. A request that is for one
// member of a group is for one that may answer it.
func (m *member) eligible(d *Delivery) bool {
	if d.Call != nil && m.entry.Mute && m.post.group != "" {
		return false
	}
	return m.entry.Accepts(d.Origin) && d.Filter.Selects(m.entry.Party.Name)
}

// observes reports whether m gets the event and cannot answer, if it is a request.
func (m *member) observes(d *Delivery) bool {
	return m.entry.Observe || d.Call != nil && m.entry.Mute
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

func (p *post) join(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.post = p
	p.setMembersLocked(append(p.members, m))
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
			p.size -= c.size
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
	case p.group != "" && p.size > 0 && p.size+size > limit:
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
	p.size += size
	p.mu.Unlock()
	for _, old := range dropped {
		old.giveUp()
	}
	p.serve()
}

// overflow ends a member because more waits for it and its like than the windows allow: each of
// many publishers that come and go may have had one event accepted.
func (m *member) overflow() {
	if m.own != nil {
		m.own.Overflow()
		return
	}
	m.peer.link.Kill(session.ErrOverflow)
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

// takeLocked takes an event off those that wait.
func (p *post) takeLocked(i int) *parcel {
	c := p.waiting[i]
	p.waiting = slices.Delete(p.waiting, i, i+1)
	p.size -= c.size
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

// giveUp lets go of an event that nobody gets.
func (c *parcel) giveUp() {
	c.Flight.Drop()
	if c.Call != nil {
		c.Call.gone(c, fault.ResponderGone)
	}
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

// ticket is one event on its way to a member; when the member has taken it, the member has room
// for another.
type ticket struct {
	member *member
	parcel *parcel
}

// Settle implements [window.Settler].
func (t *ticket) Settle(f *window.Flight) {
	p := t.member.post
	// An endpoint that leaves because the bus closes still has what it got.
	returned := p.group != "" && f.Fate() == window.Returned && !t.parcel.Topic.node.draining.Load()
	if p.group != "" && f.Fate() == window.Lost {
		t.parcel.Topic.lost.Add(1)
	}
	p.mu.Lock()
	t.member.onWay -= f.Size
	if !returned {
		t.member.room++
	}
	p.mu.Unlock()
	if returned {
		p.takeBack(t.parcel)
		return
	}
	t.parcel.Flight.Drop()
	p.serve()
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
		p.size += again.size
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

// deliver hands c to m; without m it is given up.
func (m *member) deliver(c *parcel, missed uint64) {
	if m == nil {
		c.giveUp()
		return
	}
	d := c.Delivery
	d.Missed = missed
	d.Flight = window.NewFlight(&ticket{m, c}, c.size, 0, true)
	if m.peer != nil {
		if !m.send(c, &d) {
			m.post.expel(m) // it is leaving
			d.Flight.Meet(window.Returned)
		}
	} else if d.For(m.own) {
		c.body.Push(m.own, &d)
	}
	d.Flight.Drop()
	if c.Call != nil && m.peer == nil {
		c.Call.gone(c, nil) // the member counts in its place, or it has refused
	}
}

// send sends c to a member elsewhere; false: the member's link takes no more.
func (m *member) send(c *parcel, d *Delivery) bool {
	payload, err := c.body.Payload()
	if err != nil {
		d.Topic.node.report("lahja: an event that waited cannot be encoded",
			"event", d.Topic.Name, "origin", d.Origin, "error", err)
		if c.Call != nil {
			c.Call.gone(c, fault.ResponderGone)
		}
		return true
	}
	e := wire.Event{
		Flags: wire.FlagOrigin | wire.FlagTarget | wire.FlagPrompt | c.flags,
		Name:  d.Topic.ID, Origin: d.originID, Target: m.entry.ID, Payload: payload,
	}
	d.mark(&e)
	others := append(make([]wire.Name, 0, 2), wire.Name{Number: d.originID, Name: d.Origin})
	if d.Call != nil {
		id, ok := uint64(0), true
		if m.observes(d) {
			// A number that nobody answers to; the call's own may be in use on this link.
			id = d.Topic.node.next()
		} else if id, ok = d.Call.assign(c, m.peer); !ok {
			return !m.peer.hasLeft()
		}
		others = append(others, d.Call.describe(&e, id))
	}
	m.peer.sentOf(d.Topic).Add(1)
	return m.peer.link.Event(&e, d.Flight, d.Topic.Name, others...)
}

// mark sets what an event's frame says of the event beside its payload.
func (d *Delivery) mark(e *wire.Event) {
	if d.Missed > 0 {
		e.Flags |= wire.FlagMissed
		e.Missed = d.Missed
	}
	if d.Key != "" {
		e.Flags |= wire.FlagKey
		e.Key = d.Key
	}
}

// groupLocked returns the post of a group, and makes it if need be. node.mu is held.
func (t *Topic) groupLocked(name string) *post {
	p := t.groups[name]
	if p == nil {
		p = &post{group: name}
		t.groups[name] = p
	}
	return p
}

// quit is what follows the removal of a member that is no longer subscribed.
func (m *member) quit(t *Topic) {
	if !m.post.leave() || m.post.group == "" {
		return
	}
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	m.post.mu.Lock()
	defer m.post.mu.Unlock()
	if len(m.post.members) == 0 && t.groups[m.post.group] == m.post {
		delete(t.groups, m.post.group)
	}
}
