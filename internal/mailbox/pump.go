package mailbox

import (
	"runtime"

	"github.com/lahja-go/lahja/internal/window"
)

// pump sends what is listed until nothing is, or the mailbox ends. It is the only sender while it
// lives, and closes the channel if it is the last.
func (m *Mailbox[E]) pump() {
	var b bill
	for {
		m.mu.Lock()
		blocks := m.list.takeAll()
		if m.ended || blocks == nil {
			m.pumping = false
			finish := m.sealed
			if finish {
				m.endingLocked()
			}
			m.mu.Unlock()
			m.discardAll(blocks, &b)
			if finish {
				m.finish()
			}
			return
		}
		m.mu.Unlock()
		m.sendAll(blocks, &b)
	}
}

// sendAll sends what is in blocks, and gives each back to the list as it becomes empty.
func (m *Mailbox[E]) sendAll(blocks *block[E], b *bill) {
	for blocks != nil {
		through := m.sendBlock(blocks, b)
		m.settle(b)
		if !through {
			m.discardAll(blocks, b)
			return
		}
		next := blocks.next
		m.opt.Events.blocks.put(blocks)
		blocks = next
	}
}

// sendBlock sends what is in one block; false: the mailbox has ended.
func (m *Mailbox[E]) sendBlock(events *block[E], b *bill) bool {
	for events.sent < events.used {
		e := &events.entries[events.sent]
		switch {
		case m.opt.Take == 0 && m.opt.Events.Stale(&e.event):
			// With Take nothing would come in its place.
			m.opt.Events.Lost(&e.event)
		case e.letter > 0 && !m.decode(events, e):
			return false
		case m.trySend(&e.event): // which costs less than the select
		case m.yieldAndTry(&e.event):
		default:
			m.settle(b) // before it may wait for long
			select {
			case m.ch <- e.event:
			case <-m.done:
				return false
			}
		}
		events.sent++
		m.release(events, e, b)
	}
	return true
}

// decode completes an event that was listed encoded; false: it cannot, and the mailbox ends.
func (m *Mailbox[E]) decode(b *block[E], e *entry[E]) bool {
	payload, _ := b.open(e)
	return m.opt.Events.Decode(m.opt.Owner, &e.event, payload)
}

// yieldAndTry lets the subscriber make room before the pump goes to sleep for it: a reader that
// keeps up does so at once, and need not wake it then.
func (m *Mailbox[E]) yieldAndTry(ev *E) bool {
	runtime.Gosched()
	return m.trySend(ev)
}

func (m *Mailbox[E]) discardAll(blocks *block[E], b *bill) {
	for ; blocks != nil; blocks = blocks.next {
		for ; blocks.sent < blocks.used; blocks.sent++ {
			e := &blocks.entries[blocks.sent]
			ev := e.event
			e.flight.Meet(window.Returned)
			m.release(blocks, e, b)
			m.opt.Events.Lost(&ev)
		}
	}
	m.settle(b)
}

// release clears an entry of blk, so that the list does not keep alive what was sent, and puts it
// on the bill.
func (m *Mailbox[E]) release(blk *block[E], e *entry[E], b *bill) {
	b.events++
	b.listed += e.size
	if e.flight == nil && e.letter == 0 { // as within one process
		b.release(e.account, e.size)
	} else {
		freed := blk.free(e)
		b.add(&freed)
	}
	*e = entry[E]{}
}

// settle accounts for what is on the bill.
func (m *Mailbox[E]) settle(b *bill) {
	m.sent.Add(b.events)
	m.unlisted.Add(b.listed)
	b.pay()
	b.events, b.listed = 0, 0
}
