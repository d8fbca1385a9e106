// Package mailbox is the queue of one subscription. Nobody who delivers ever waits for the
// subscriber.
//
// Who reads a channel gets an event straight into it while there is room and nothing is listed;
// otherwise it is listed, and a goroutine that lives only while something is listed, the pump,
// swaps the list whole and sends it on. Handlers need neither channel nor pump: they take from the
// list themselves, which saves a change of goroutine and two copies of each event. To publishers
// both are the same: so many events count as taken as the channel has, or would have, room for.
//
// An event can be listed as it came, encoded. Then the pump or the handler decodes it, and not who
// delivers, whose connection has other events to read.
package mailbox

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/lahja-go/lahja/internal/window"
)

// Result is what became of an event that was pushed.
type Result uint8

const (
	Taken      Result = iota // it is in the channel
	Listed                   // it waits on the list
	NeedsSize                // it would have to be listed: push it again with its size
	NeedsValue               // it may find room in the channel: push it decoded
	Refused                  // the mailbox takes no more events
	Overflow                 // the list is at its limit: the subscription has to be ended
)

// Options are fixed when a Mailbox is made.
type Options[E any] struct {
	Handled    bool  // handlers take the events by a Taker; otherwise they come by the channel C
	Buffer     int   // capacity of the channel, or how many count as taken before a handler does
	Take       int   // complete after so many events; 0: no such end
	Limit      int64 // most bytes listed
	DropOldest bool  // when there is no room, drop the oldest event instead of listing

	Events *Events[E]
	Owner  Owner
}

// Events is what the mailboxes of a type of event have in common.
type Events[E any] struct {
	Missed func(*E) *uint64 // where an event counts the dropped ones before it; called under locks
	Stale  func(*E) bool    // a listed event is not wanted any more
	Lost   func(*E)         // an accepted event was dropped or discarded
	Alone  func(*E) bool    // no handler is to keep it while it is busy with another; under locks

	// Decode completes an event of which payload is the encoding. False: it cannot, and has told
	// the Owner, who ends the mailbox.
	Decode func(o Owner, ev *E, payload []byte) bool

	blocks blocks[E]
}

// Owner is whose a Mailbox is. Ending and Go are called under the Mailbox's lock, and must only
// count and start a goroutine.
type Owner interface {
	Complete()       // Take is reached; called once, by whoever pushed the last event
	Ending()         // the channel closes whether anyone reads or not; called once, before Finished
	Finished()       // the channel is about to close; called once
	Closing() func() // what to call before the channel closes, by Defer; nil: nothing
	Go(func())       // starts a goroutine and sees to it that it is waited for
	Defer(func())    // starts one that calls functions of the user, and is waited for since Ending
}

// Mailbox is the queue of one subscription. All its methods may be called concurrently.
type Mailbox[E any] struct {
	opt      Options[E]
	ch       chan E        // closed by finish, when nobody sends any more
	done     chan struct{} // closed by End: the pump may wait for room in ch
	sent     atomic.Uint64 // events that left the list, and the pump's batch
	unlisted atomic.Int64  // bytes of them

	mu      sync.Mutex // guards what follows; every send to ch but the pump's is made under it
	list    list[E]
	listed  int64     // bytes that ever came onto the list
	pumping bool      // the pump is alive: it alone sends to ch
	queue   *queue[E] // of handlers; nil: the events go to ch
	sealed  bool      // no more events: Take is reached or End was called
	ended   bool      // End was called
	ending  bool      // Owner.Ending was called
	unread  bool      // nobody reads the channel any more
	pushed  int       // events accepted and not dropped
	missed  uint64
}

// New returns an open Mailbox.
func New[E any](opt Options[E]) *Mailbox[E] {
	m := &Mailbox[E]{opt: opt}
	if opt.Handled {
		m.queue = &queue[E]{}
		m.queue.arrived.L = &m.mu
	} else {
		m.ch, m.done = make(chan E, opt.Buffer), make(chan struct{})
	}
	return m
}

// C is the channel on which the events arrive, where they are not handled.
func (m *Mailbox[E]) C() <-chan E { return m.ch }

// Lag is the number of bytes that wait for room in the channel.
func (m *Mailbox[E]) Lag() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lagLocked()
}

func (m *Mailbox[E]) lagLocked() int64 { return m.listed - m.unlisted.Load() }

// Sent is the number of events that waited for room and found it.
func (m *Mailbox[E]) Sent() uint64 { return m.sent.Load() }

// Counts returns how many events were accepted and not dropped, and how many were dropped.
func (m *Mailbox[E]) Counts() (accepted, missed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(m.pushed), m.missed
}

// Push hands over ev. When it has to wait it holds flight; without one charge pays for it. That may
// lack its size: then Push may answer NeedsSize, and has done nothing.
func (m *Mailbox[E]) Push(ev *E, flight *window.Flight, charge *window.Charge) Result {
	m.mu.Lock()
	switch {
	case m.sealed:
		m.mu.Unlock()
		return Refused
	case m.opt.DropOldest:
		return m.replace(*ev)
	case m.opt.Handled:
		if m.queue.room(m.opt.Buffer) {
			m.queue.free++
			m.enqueue(ev)
			return m.accepted(Taken)
		}
	case !m.pumping && m.trySend(ev):
		if m.opt.Take == 0 { // the usual way, kept short
			m.pushed++
			m.mu.Unlock()
			return Taken
		}
		return m.accepted(Taken)
	}
	return m.wait(ev, flight, charge)
}

// PushEncoded is Push for an event that lacks its value, of which payload is the encoding. Decode
// completes it when it is taken. If it is listed, source is told then; otherwise it is done with.
func (m *Mailbox[E]) PushEncoded(
	ev *E, payload []byte, source window.Source, item window.Item,
) Result {
	m.mu.Lock()
	switch {
	case m.sealed:
		m.mu.Unlock()
		return Refused
	case m.opt.DropOldest || !m.opt.Handled && !m.pumping:
		m.mu.Unlock()
		return NeedsValue
	case m.opt.Handled && m.queue.room(m.opt.Buffer):
		m.queue.free++
		e := m.enqueue(ev)
		m.list.last.keep(e, payload, source, item)
		return m.accepted(Taken)
	case m.fullLocked(item.Size):
		m.mu.Unlock()
		return Overflow
	}
	e, grown := m.list.add(&m.opt.Events.blocks)
	e.event, e.size = *ev, item.Size
	m.list.last.keep(e, payload, source, item)
	return m.waits(item.Size, grown)
}

// wait lists an event for which there is no room, and unlocks.
func (m *Mailbox[E]) wait(ev *E, flight *window.Flight, charge *window.Charge) Result {
	size := charge.Size
	if flight != nil {
		size = flight.Size
	}
	if size == 0 {
		m.mu.Unlock()
		return NeedsSize
	}
	if m.fullLocked(size) {
		m.mu.Unlock()
		return Overflow
	}
	e, grown := m.list.add(&m.opt.Events.blocks)
	e.event, e.size = *ev, size
	if e.flight = flight; flight != nil {
		flight.Hold()
	} else {
		charge.Take()
		e.account = charge.Account
	}
	return m.waits(size, grown)
}

// fullLocked reports whether the list has no room for an event of that size.
func (m *Mailbox[E]) fullLocked(size int64) bool {
	waiting := m.lagLocked()
	return waiting > 0 && waiting+size > m.opt.Limit
}

// waits accounts for an event that was listed, and unlocks.
func (m *Mailbox[E]) waits(size int64, grown bool) Result {
	m.listed += size
	switch {
	case m.opt.Handled:
		m.queue.owe(m.list.last)
	case !m.pumping:
		m.pumping = true
		m.opt.Owner.Go(m.pump)
	}
	result := m.accepted(Listed)
	if grown {
		// The subscriber is far behind, and perhaps only because it has no processor to run on:
		// a list that stays short stays in the cache. If it is stuck this returns at once.
		runtime.Gosched()
	}
	return result
}

func (m *Mailbox[E]) trySend(ev *E) bool {
	select {
	case m.ch <- *ev:
		return true
	default:
		return false
	}
}

// accepted counts an event for Take and unlocks.
func (m *Mailbox[E]) accepted(result Result) Result {
	m.pushed++
	complete := m.pushed == m.opt.Take
	m.sealed = m.sealed || complete
	finish := complete && m.idleLocked()
	if finish {
		m.endingLocked()
	}
	m.mu.Unlock()
	if complete {
		m.opt.Owner.Complete()
	}
	if finish {
		m.finish()
	}
	return result
}

// replace accepts ev, in place of the oldest events if there is no room, and unlocks. What it drops
// is counted in ev, together with what the dropped event was to tell: so the counts that arrive and
// the one that still waits add up to all that was dropped.
func (m *Mailbox[E]) replace(ev E) Result {
	var dropped []E
	for !m.placeLocked(&ev) {
		old, some := m.oldestLocked()
		if !some {
			continue // the subscriber has just taken one
		}
		*m.opt.Events.Missed(&ev) += *m.opt.Events.Missed(&old) + 1
		m.pushed--
		m.missed++
		dropped = append(dropped, old)
	}
	result := m.accepted(Taken)
	for i := range dropped {
		m.opt.Events.Lost(&dropped[i])
	}
	return result
}

// placeLocked puts ev where it counts as taken; false: there is no room.
func (m *Mailbox[E]) placeLocked(ev *E) bool {
	if !m.opt.Handled {
		return m.trySend(ev)
	}
	if !m.queue.room(m.opt.Buffer) {
		return false
	}
	m.queue.free++
	m.enqueue(ev)
	return true
}

// oldestLocked takes out the oldest event that counts as taken.
func (m *Mailbox[E]) oldestLocked() (ev E, some bool) {
	if m.opt.Handled {
		ev = m.list.head().event
		m.dequeueLocked(nil) // nothing is owed for: what does not fit is dropped
		return ev, true
	}
	select {
	case ev = <-m.ch:
		return ev, true
	default:
		return ev, false
	}
}

// idleLocked reports whether nothing is on its way to the subscriber any more: what is in the
// channel can still be read.
func (m *Mailbox[E]) idleLocked() bool { return !m.pumping && m.list.first == nil }

// End refuses further events, discards what is listed and closes the channel; what is in the
// channel can still be read. Further calls do nothing.
func (m *Mailbox[E]) End() {
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return
	}
	var discarded *block[E]
	finish := m.idleLocked() && !m.sealed
	m.sealed, m.ended = true, true
	m.endingLocked()
	if m.opt.Handled {
		discarded = m.clearLocked()
		finish = finish || discarded != nil
	} else {
		close(m.done)
	}
	m.mu.Unlock()
	m.discardAll(discarded, &bill{})
	if finish {
		m.finish()
	}
}

// Abandon is End for a channel that nobody reads any more: what is in it is discarded as well.
func (m *Mailbox[E]) Abandon() {
	m.mu.Lock()
	m.unread = true
	m.mu.Unlock()
	m.End()
	m.discardUnread() // in case it was finished before
}

// discardUnread discards what is in the channel, if nobody reads it.
func (m *Mailbox[E]) discardUnread() {
	m.mu.Lock()
	unread := m.unread
	m.mu.Unlock()
	for unread {
		select {
		case ev, open := <-m.ch:
			if !open {
				return
			}
			m.opt.Events.Lost(&ev)
		default:
			return
		}
	}
}

// Seal refuses further events; the channel closes when what is listed has been sent.
func (m *Mailbox[E]) Seal() {
	m.mu.Lock()
	finish := m.idleLocked() && !m.sealed
	m.sealed = true
	if finish {
		m.endingLocked()
	}
	if finish && m.opt.Handled {
		m.queue.through = true
		finish = m.queue.over()
	}
	m.mu.Unlock()
	if finish {
		m.finish()
	}
}

// endingLocked says that the channel is sure to close, before anyone can see that in another way:
// whoever finds the mailbox ended, or gone, knows of what Closing is to call.
func (m *Mailbox[E]) endingLocked() {
	if !m.ending {
		m.ending = true
		m.opt.Owner.Ending()
	}
}

// finish runs once: when the mailbox is sealed, nothing is listed, and the pump is through.
func (m *Mailbox[E]) finish() {
	m.discardUnread()
	m.opt.Owner.Finished()
	closing := m.opt.Owner.Closing()
	if closing == nil {
		m.close()
		return
	}
	m.opt.Owner.Defer(func() {
		closing()
		m.close()
	})
}

// close ends the channel, or has each Next return false.
func (m *Mailbox[E]) close() {
	if !m.opt.Handled {
		close(m.ch)
		return
	}
	m.mu.Lock()
	m.queue.closed = true
	m.mu.Unlock()
	m.queue.arrived.Broadcast()
}
