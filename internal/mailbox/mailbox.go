// Package mailbox is the queue of one subscription.
//
// An event goes straight into the subscription's channel while there is room and nothing is
// listed; otherwise it is listed, and a goroutine that lives only while something is listed swaps
// the list whole and sends it on. So nobody who delivers ever waits for the subscriber.
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
	Taken     Result = iota // it is in the channel
	Listed                  // it waits on the list
	NeedsSize               // it would have to be listed: push it again with its size
	Refused                 // the mailbox takes no more events
	Overflow                // the list is at its limit: the subscription has to be ended
)

// Options are fixed when a Mailbox is made. Missed and Go are called under the Mailbox's lock: the
// one must only return a pointer, the other only start a goroutine.
type Options[E any] struct {
	Buffer     int   // capacity of the channel
	Take       int   // complete after so many events; 0: no such end
	Limit      int64 // most bytes listed
	DropOldest bool  // when the channel is full, drop its oldest event instead of listing
	Reclaim    bool  // what is in the channel when End is called is discarded as well

	Blocks   *Blocks[E]
	Missed   func(*E) *uint64 // where an event counts the dropped ones before it
	Stale    func(*E) bool    // a listed event is not wanted any more
	Lost     func(*E)         // an accepted event was dropped or discarded
	Complete func()           // Take is reached; called once, by whoever pushed the last event
	Finished func()           // the channel is about to close; called once
	Closing  func()           // called before the channel closes, by Defer; nil: nothing
	Go       func(func())     // starts a goroutine and sees to it that it is waited for
	Defer    func(func())     // the same for one that calls Closing
}

// Mailbox is the queue of one subscription. All its methods may be called concurrently.
type Mailbox[E any] struct {
	opt    Options[E]
	ch     chan E        // closed by finish, when nobody sends any more
	done   chan struct{} // closed by End
	listed atomic.Int64  // bytes that wait on the list or in the pump's batch
	sent   atomic.Uint64 // events that left the list

	mu      sync.Mutex // guards what follows; every send to ch but the pump's is made under it
	list    list[E]
	pumping bool // the pump is alive: it alone sends to ch
	sealed  bool // no more events: Take is reached or End was called
	ended   bool // End was called
	pushed  int  // events accepted and not dropped
	missed  uint64
}

// New returns an open Mailbox.
func New[E any](opt Options[E]) *Mailbox[E] {
	return &Mailbox[E]{opt: opt, ch: make(chan E, opt.Buffer), done: make(chan struct{})}
}

// C is the channel on which the events arrive.
func (m *Mailbox[E]) C() <-chan E { return m.ch }

// Lag is the number of bytes that wait for room in the channel.
func (m *Mailbox[E]) Lag() int64 { return m.listed.Load() }

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
	if m.sealed {
		m.mu.Unlock()
		return Refused
	}
	if m.opt.DropOldest {
		return m.replace(*ev)
	}
	if !m.pumping && m.trySend(ev) {
		if m.opt.Take == 0 { // the usual way, kept short
			m.pushed++
			m.mu.Unlock()
			return Taken
		}
		return m.accepted(Taken)
	}
	size := charge.Size
	if flight != nil {
		size = flight.Size
	}
	if size == 0 {
		m.mu.Unlock()
		return NeedsSize
	}
	if waiting := m.listed.Load(); waiting > 0 && waiting+size > m.opt.Limit {
		m.mu.Unlock()
		return Overflow
	}
	e, grown := m.list.add(m.opt.Blocks)
	e.event, e.size = *ev, size
	if e.flight = flight; flight != nil {
		flight.Hold()
	} else {
		charge.Take()
		e.account = charge.Account
	}
	m.listed.Add(size)
	if !m.pumping {
		m.pumping = true
		m.opt.Go(m.pump)
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
	finish := complete && !m.pumping
	m.mu.Unlock()
	if complete {
		m.opt.Complete()
	}
	if finish {
		m.finish()
	}
	return result
}

// replace sends ev, in place of the oldest event if the channel is full, and unlocks. What it
// drops is counted in ev, together with what the dropped event was to tell: so the counts that
// arrive and the one that is still in the channel add up to all that was dropped.
func (m *Mailbox[E]) replace(ev E) Result {
	var dropped []E
	for !m.trySend(&ev) {
		select {
		case old := <-m.ch:
			*m.opt.Missed(&ev) += *m.opt.Missed(&old) + 1
			m.pushed--
			m.missed++
			dropped = append(dropped, old)
		default: // the subscriber has just taken one
		}
	}
	result := m.accepted(Taken)
	for i := range dropped {
		m.opt.Lost(&dropped[i])
	}
	return result
}

// pump sends what is listed until nothing is, or the mailbox ends. It is the only sender while it
// lives, and closes the channel if it is the last.
func (m *Mailbox[E]) pump() {
	for {
		m.mu.Lock()
		blocks := m.list.takeAll()
		if m.ended || blocks == nil {
			m.pumping = false
			finish := m.sealed
			m.mu.Unlock()
			m.discardAll(blocks)
			if finish {
				m.finish()
			}
			return
		}
		m.mu.Unlock()
		m.sendAll(blocks)
	}
}

// sendAll sends what is in blocks, and gives each back to the list as it becomes empty.
func (m *Mailbox[E]) sendAll(blocks *block[E]) {
	var b bill
	for blocks != nil {
		if !m.sendBlock(blocks, &b) {
			m.settle(&b)
			m.discardAll(blocks)
			return
		}
		next := blocks.next
		m.opt.Blocks.put(blocks)
		blocks = next
	}
	m.settle(&b)
}

// sendBlock sends what is in one block; false: the mailbox has ended.
func (m *Mailbox[E]) sendBlock(events *block[E], b *bill) bool {
	for events.sent < events.used {
		e := &events.entries[events.sent]
		switch {
		case m.opt.Take == 0 && m.opt.Stale(&e.event): // with Take nothing would come in its place
			m.opt.Lost(&e.event)
		case m.trySend(&e.event): // which costs less than the select
		default:
			m.settle(b) // before it may wait for long
			select {
			case m.ch <- e.event:
			case <-m.done:
				return false
			}
		}
		events.sent++
		m.release(e, b)
	}
	return true
}

func (m *Mailbox[E]) discardAll(blocks *block[E]) {
	var b bill
	for ; blocks != nil; blocks = blocks.next {
		for ; blocks.sent < blocks.used; blocks.sent++ {
			e := &blocks.entries[blocks.sent]
			ev := e.event
			e.flight.Meet(window.Returned)
			m.release(e, &b)
			m.opt.Lost(&ev)
		}
	}
	m.settle(&b)
}

// bill is what has left the list and is not accounted for yet: the counters are shared with
// publishers, who would contend for them with each event.
type bill struct {
	events  uint64
	listed  int64           // bytes
	account *window.Account // that is charged
	charged int64           // bytes of listed
}

// release clears e, so that the list does not keep alive what was sent, and puts it on the bill.
func (m *Mailbox[E]) release(e *entry[E], b *bill) {
	if e.account != b.account {
		b.pay()
		b.account = e.account
	}
	b.events++
	b.listed += e.size
	if e.flight != nil {
		e.flight.Drop()
	} else {
		b.charged += e.size
	}
	*e = entry[E]{}
}

// settle accounts for what is on the bill.
func (m *Mailbox[E]) settle(b *bill) {
	m.sent.Add(b.events)
	m.listed.Add(-b.listed)
	b.pay()
	*b = bill{}
}

func (b *bill) pay() {
	if b.charged > 0 {
		b.account.Release(b.charged)
		b.charged = 0
	}
}

// End refuses further events, discards what is listed and closes the channel; what is in the
// channel can still be read. Further calls do nothing.
func (m *Mailbox[E]) End() {
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return
	}
	finish := !m.sealed && !m.pumping
	m.sealed, m.ended = true, true
	close(m.done)
	m.mu.Unlock()
	if finish {
		m.finish()
	}
}

// Seal refuses further events; the channel closes when what is listed has been sent.
func (m *Mailbox[E]) Seal() {
	m.mu.Lock()
	finish := !m.sealed && !m.pumping
	m.sealed = true
	m.mu.Unlock()
	if finish {
		m.finish()
	}
}

// finish runs once: when the mailbox is sealed and the pump, if there was one, is through.
func (m *Mailbox[E]) finish() {
	if m.opt.Reclaim {
		m.reclaim()
	}
	m.opt.Finished()
	if m.opt.Closing == nil {
		close(m.ch)
		return
	}
	m.opt.Defer(func() {
		m.opt.Closing()
		close(m.ch)
	})
}

// reclaim discards what is in the channel, unless it may still be taken.
func (m *Mailbox[E]) reclaim() {
	m.mu.Lock()
	ended := m.ended
	m.mu.Unlock()
	for ended {
		select {
		case ev := <-m.ch:
			m.opt.Lost(&ev)
		default:
			return
		}
	}
}
