package core

import (
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// member is a subscription that is served by a post.
type member struct {
	post  *post
	entry *router.Sub
	peer  *peer // the endpoint that has it; nil: it is own
	own   *Sub
	room  int // events that it can take now

	onWay    int64 // bytes of those that it has not taken yet
	ending   bool  // it has not taken one that it was given, so that it gets no more
	retained bool  // it wants what is kept
}

// pacedBytes is about how many bytes may wait for a subscription that drops events, and may be on
// their way to a member. If only events counted, a stopped process could cost as many of the
// largest, and its session for that.
const pacedBytes = 1 << 20

// ready reports whether m can be given an event. Its size does not matter: a small one must not
// overtake a large one. When the bus closes nobody has to have room.
func (m *member) ready() bool {
	return m.room > 0 && m.onWay < pacedBytes || m.post.node.unpaced.Load() && !m.ending
}

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

// deliver hands c to m; without m it is given up.
func (m *member) deliver(c *parcel, missed uint64) {
	if m == nil {
		c.giveUp()
		return
	}
	d := c.Delivery
	d.Missed = missed
	d.Flight = window.NewFlight(&ticket{m, c}, window.Item{Size: c.size, Prompt: true})
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

// ticket is one event on its way to a member; when the member has taken it, the member has room
// for another.
type ticket struct {
	member *member
	parcel *parcel
}

// Settle implements [window.Settler].
func (t *ticket) Settle(f *window.Flight) {
	p := t.member.post
	returned := p.group != "" && f.Fate() == window.Returned && !t.member.stays()
	if p.group != "" && f.Fate() == window.Lost {
		t.parcel.Topic.lost.Add(1)
	}
	p.mu.Lock()
	t.member.onWay -= f.Size
	if returned {
		t.member.ending = true
	} else {
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

// stays reports whether the member's endpoint has left because the bus closes. It still has what it
// got.
func (m *member) stays() bool { return m.peer != nil && isClosed(m.peer.drained) }

// overflow ends a member because more waits for it and its like than the windows allow: each of
// many publishers that come and go may have had one event accepted.
func (m *member) overflow() {
	if m.own != nil {
		m.own.Overflow()
		return
	}
	m.peer.link.Kill(session.ErrOverflow)
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
