package mailbox

import (
	"sync"

	"github.com/lahja-go/lahja/internal/window"
)

// queue is what handlers need to take events off the list one by one. It is guarded by its
// Mailbox's lock.
//
// Of what is listed the first events are free, as many as a channel would hold: they count as
// taken. Those behind them are owed for, and become free in turn.
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
	e, _ := m.list.add(&m.opt.Events.blocks)
	e.event = *ev
	m.queue.arrived.Signal()
}

// Taker takes the events for one handler.
type Taker[E any] struct {
	m     *Mailbox[E]
	most  int // events that are taken at once
	batch []E // taken, of which those from next on are still to be handed out
	next  int
	freed []cost // what has become free with them
}

// cost is at whose an event has waited.
type cost struct {
	flight  *window.Flight
	account *window.Account
	size    int64
}

// Taker returns one that takes up to so many events at once: with more than one it locks less, but
// keeps from other handlers what it has taken.
func (m *Mailbox[E]) Taker(most int) *Taker[E] { return &Taker[E]{m: m, most: most} }

// Next waits for the next event and takes it; false: there is none any more. The handler calls it
// in a loop, and drops what it gets once the mailbox has ended.
func (t *Taker[E]) Next() (ev E, open bool) {
	if t.next == len(t.batch) && !t.take() {
		return ev, false
	}
	var none E
	ev, t.batch[t.next] = t.batch[t.next], none
	t.next++
	return ev, true
}

// take waits for events and takes them into the batch; false: none comes any more.
func (t *Taker[E]) take() bool {
	m, q := t.m, t.m.queue
	m.mu.Lock()
	for m.list.first == nil {
		if q.closed {
			m.mu.Unlock()
			return false
		}
		q.idle++
		q.arrived.Wait()
		q.idle--
	}
	t.batch, t.next = t.batch[:0], 0
	for len(t.batch) < t.most && m.list.first != nil {
		if len(t.batch) > 0 && m.opt.Events.Alone(&m.list.head().event) {
			break
		}
		ev, freed, some := m.dequeueLocked()
		t.batch = append(t.batch, ev)
		if some {
			t.freed = append(t.freed, freed)
		}
	}
	finish := m.sealed && !m.ended && m.list.first == nil
	if finish {
		m.endingLocked()
	}
	m.mu.Unlock()
	t.pay()
	if finish {
		m.finish()
	}
	return true
}

// pay lets go of what has become free.
func (t *Taker[E]) pay() {
	var account *window.Account
	var size int64
	for i, c := range t.freed {
		t.freed[i] = cost{}
		if c.flight != nil {
			c.flight.Drop()
			continue
		}
		if c.account != account && account != nil {
			account.Release(size)
			size = 0
		}
		account = c.account
		size += c.size
	}
	if account != nil {
		account.Release(size)
	}
	t.freed = t.freed[:0]
}

// dequeueLocked takes the first event off the list. freed is at whose cost another has waited,
// which is free now, if there is one.
func (m *Mailbox[E]) dequeueLocked() (ev E, freed cost, some bool) {
	q := m.queue
	ev = m.list.head().event
	if q.free == 0 {
		freed, some = m.freeLocked(), true
	}
	q.free--
	m.list.drop(&m.opt.Events.blocks)
	if q.owed > 0 && q.free < m.opt.Buffer {
		freed, some = m.freeLocked(), true
	}
	return ev, freed, some
}

// freeLocked makes the first event that is owed for free.
func (m *Mailbox[E]) freeLocked() cost {
	q := m.queue
	e := &q.debt.entries[q.at]
	paid := cost{flight: e.flight, account: e.account, size: e.size}
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

// clearLocked takes all that is listed, which is to be discarded.
func (m *Mailbox[E]) clearLocked() *block[E] {
	m.queue.free, m.queue.owed, m.queue.debt = 0, 0, nil
	return m.list.takeAll()
}
