package mailbox

import "sync"

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
	opening int       // handlers that decode what they have taken
	through bool      // nothing is listed nor comes any more; finish is still to be called
	closed  bool      // no event comes any more
}

// over reports, once, that all is taken and decoded: what is decoded may yet end the mailbox, for a
// reason that finish tells.
func (q *queue[E]) over() bool {
	over := q.through && q.opening == 0
	q.through = q.through && !over
	return over
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
func (m *Mailbox[E]) enqueue(ev *E) *entry[E] {
	e, _ := m.list.add(&m.opt.Events.blocks)
	e.event = *ev
	m.queue.arrived.Signal()
	return e
}

// Taker takes the events for one handler.
type Taker[E any] struct {
	m     *Mailbox[E]
	most  int // events that are taken at once
	batch []E // taken, of which those from next on are still to be handed out
	next  int
	freed []cost // what has become free with them
	bill  bill   // of freed

	payloads []byte // of those of the batch that are not decoded yet
	encoded  []part // which these are
}

// part is the event of a batch that is at from:to of the payloads.
type part struct{ event, from, to int }

// Taker returns one that takes up to so many events at once: with more than one it locks less, but
// keeps from other handlers what it has taken.
func (m *Mailbox[E]) Taker(most int) *Taker[E] { return &Taker[E]{m: m, most: most} }

// Next waits for the next event and takes it; false: there is none any more. The handler calls it
// in a loop, and drops what it gets once the mailbox has ended.
func (t *Taker[E]) Next() (ev E, open bool) {
	for t.next == len(t.batch) {
		if !t.take() {
			return ev, false
		}
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
		t.add(m.list.head(), m.list.first)
		t.freed = m.dequeueLocked(t.freed)
	}
	if m.sealed && !m.ended && m.list.first == nil {
		m.endingLocked()
		q.through = true
	}
	decode := len(t.encoded) > 0
	if decode {
		q.opening++
	}
	finish := q.over()
	m.mu.Unlock()
	t.pay()
	if decode {
		t.decode()
	}
	if finish {
		m.finish()
	}
	return true
}

// add puts an entry of block into the batch.
func (t *Taker[E]) add(e *entry[E], b *block[E]) {
	if payload, encoded := b.open(e); encoded {
		from := len(t.payloads)
		t.payloads = append(t.payloads, payload...)
		t.encoded = append(t.encoded, part{len(t.batch), from, len(t.payloads)})
	}
	t.batch = append(t.batch, e.event)
}

// decode completes what is in the batch. If it cannot, the mailbox ends, and the rest is discarded.
func (t *Taker[E]) decode() {
	defer t.decoded() // also when a method of the type ends the goroutine
	events := t.m.opt.Events
	for _, p := range t.encoded {
		if events.Decode(t.m.opt.Owner, &t.batch[p.event], t.payloads[p.from:p.to]) {
			continue
		}
		for i := p.event; i < len(t.batch); i++ {
			events.Lost(&t.batch[i])
		}
		clear(t.batch[p.event:])
		t.batch = t.batch[:p.event]
		break
	}
	t.payloads, t.encoded = t.payloads[:0], t.encoded[:0]
}

// decoded notes that t has decoded what it has taken.
func (t *Taker[E]) decoded() {
	m := t.m
	m.mu.Lock()
	m.queue.opening--
	finish := m.queue.over()
	m.mu.Unlock()
	if finish {
		m.finish()
	}
}

// pay lets go of what has become free.
func (t *Taker[E]) pay() {
	for i := range t.freed {
		t.bill.add(&t.freed[i])
	}
	t.bill.pay()
	clear(t.freed)
	t.freed = t.freed[:0]
}

// dequeueLocked takes the first event off the list. If another is free now, it appends to freed at
// whose cost that has waited.
func (m *Mailbox[E]) dequeueLocked(freed []cost) []cost {
	q := m.queue
	if q.free == 0 {
		freed = m.freeLocked(freed)
	}
	q.free--
	m.list.drop(&m.opt.Events.blocks)
	if q.owed > 0 && q.free < m.opt.Buffer {
		freed = m.freeLocked(freed)
	}
	return freed
}

// freeLocked makes the first event that is owed for free. What one account is charged for in a row
// is one cost.
func (m *Mailbox[E]) freeLocked(freed []cost) []cost {
	q := m.queue
	e := &q.debt.entries[q.at]
	m.listed -= e.size
	if last := len(freed) - 1; last >= 0 && e.account != nil && e.account == freed[last].account {
		freed[last].Size += e.size
		e.account, e.size = nil, 0
	} else {
		freed = append(freed, q.debt.free(e))
	}
	q.owed--
	q.free++
	if q.at++; q.at == q.debt.used {
		q.debt, q.at = q.debt.next, 0
	}
	m.sent.Add(1)
	return freed
}

// clearLocked takes all that is listed, which is to be discarded.
func (m *Mailbox[E]) clearLocked() *block[E] {
	m.queue.free, m.queue.owed, m.queue.debt = 0, 0, nil
	return m.list.takeAll()
}
