package mailbox

import (
	"sync"
)

// queue is what handlers need to take events off the list one by one. It is guarded by its
// Mailbox's lock.
//
// Of what is listed the first events are free, as many as a channel would hold: they count as taken.
// Those behind them are owed for, and become free in turn.
type queue[E any] struct {
	arrived sync.Cond // an event can be taken, or closed is set
	idle    int       // handlers that wait for that
	free    int
	owed    int
	debt    *block[E] // where the first event is that is owed for, if there is one
	at      int       // its place there
	closed  bool      // no event comes any more
}

// room reports whether another event is free: handlers that wait take it at once.
func (q *queue[E]) room(buffer int) bool { return q.owed == 0 && q.free < buffer+q.idle }

// owe counts the last event of the list, which is in block.
func (q *queue[E]) owe(block *block[E]) {
	if q.owed == 0 {
		q.debt, q.at = block, block.used-1
	}
	q.owed++
	q.arrived.Signal()
}

// enqueue lists an event that is free.
func (m *Mailbox[E]) enqueue(ev *E) {
	e, _ := m.list.add(m.opt.Blocks)
	e.event = *ev
	m.queue.arrived.Signal()
}

// Next waits for the next event and takes it; false: there is none any more. Each handler calls it in
// a loop.
func (m *Mailbox[E]) Next() (ev E, open bool) {
	m.mu.Lock()
	q := &m.queue
	for m.list.first == nil {
		if q.closed {
			m.mu.Unlock()
			return ev, false
		}
		q.idle++
		q.arrived.Wait()
		q.idle--
	}
	ev, freed := m.dequeueLocked()
	finish := m.sealed && !m.ended && m.list.first == nil
	m.mu.Unlock()
	m.pay(freed)
	if finish {
		m.finish()
	}
	return ev, true
}

// dequeueLocked takes the first event off the list. freed is at whose cost another has waited, which
// is free now.
func (m *Mailbox[E]) dequeueLocked() (ev E, freed entry[E]) {
	q := &m.queue
	ev = m.list.head().event
	if q.free > 0 {
		q.free--
	} else {
		freed = m.freeLocked()
		q.free--
	}
	m.list.drop(m.opt.Blocks)
	if q.owed > 0 && q.free < m.opt.Buffer {
		freed = m.freeLocked()
	}
	return ev, freed
}

// freeLocked makes the first event that is owed for free.
func (m *Mailbox[E]) freeLocked() (paid entry[E]) {
	q := &m.queue
	e := &q.debt.entries[q.at]
	paid = entry[E]{flight: e.flight, account: e.account, size: e.size}
	e.flight, e.account, e.size = nil, nil, 0
	q.owed--
	q.free++
	if q.at++; q.at == q.debt.used {
		q.debt, q.at = q.debt.next, 0
	}
	m.listed -= paid.size
	m.sent.Add(1)
	return paid
}

// pay lets go of what an event that is free has cost.
func (m *Mailbox[E]) pay(freed entry[E]) {
	switch {
	case freed.flight != nil:
		freed.flight.Drop()
	case freed.account != nil:
		freed.account.Release(freed.size)
	}
}

// clearLocked takes all that is listed, which is to be discarded.
func (m *Mailbox[E]) clearLocked() *block[E] {
	m.queue.free, m.queue.owed, m.queue.debt = 0, 0, nil
	return m.list.takeAll()
}
