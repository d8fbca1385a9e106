package mailbox

import (
	"runtime"

	"github.com/lahja-go/lahja/internal/window"
)

// pump sends what is listed until nothing is, or the mailbox ends. It is the only sender while it
// lives, and closes the channel if it is the last.
func (m *Mailbox[E]) pump() {
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
		through := m.sendBlock(blocks, &b)
		m.settle(&b)
		if !through {
			m.discardAll(blocks)
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
		m.release(e, b)
	}
	return true
}

// yieldAndTry lets the subscriber make room before the pump goes to sleep for it: a reader that
// keeps up does so at once, and need not wake it then.
func (m *Mailbox[E]) yieldAndTry(ev *E) bool {
	runtime.Gosched()
	return m.trySend(ev)
}

func (m *Mailbox[E]) discardAll(blocks *block[E]) {
	var b bill
	for ; blocks != nil; blocks = blocks.next {
		for ; blocks.sent < blocks.used; blocks.sent++ {
			e := &blocks.entries[blocks.sent]
			ev := e.event
			e.flight.Meet(window.Returned)
			m.release(e, &b)
			m.opt.Events.Lost(&ev)
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
	m.unlisted.Add(b.listed)
	b.pay()
	*b = bill{}
}

func (b *bill) pay() {
	if b.charged > 0 {
		b.account.Release(b.charged)
		b.charged = 0
	}
}
