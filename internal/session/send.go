package session

import (
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// Event queues e, and reports false when the link takes nothing more. The link holds flight until
// the peer reports that the event was taken, or the link has ended. name is that of the event; it
// and others that the event mentions by number are told to the peer before, unless it knows them.
func (l *Link) Event(
	e *wire.Event, flight *window.Flight, name string, others ...wire.Name,
) (queued bool) {
	return l.event(1, e, flight, name, others)
}

// Repeat is Event for one that an earlier session has had and the sender still has: should it not
// arrive it is not lost.
func (l *Link) Repeat(e *wire.Event, flight *window.Flight, name string) (queued bool) {
	return l.event(0, e, flight, name, nil)
}

// event queues e, which counts so much where it is lost.
func (l *Link) event(
	counts int, e *wire.Event, flight *window.Flight, name string, others []wire.Name,
) (queued bool) {
	o := &l.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return false
	}
	own := o.nameLocked(wire.Name{Number: e.Name, Name: name})
	for _, n := range others {
		o.nameLocked(n)
	}
	flight.Hold()
	e.Slot = o.slots.put(flight, own)
	c := o.tailLocked(&o.queue, len(e.Payload)+64)
	before := len(c.buf)
	c.buf = wire.AppendEvent(c.buf, e)
	c.frames++
	c.events += counts
	if e.Flags&wire.FlagRequest != 0 {
		c.calls = append(c.calls, e.Call)
		o.calls[e.Call] = place{c, before, e.Slot}
	}
	o.size += int64(len(c.buf) - before)
	l.unlockAndWrite()
	return true
}

// Withdraw takes a request back that is still queued, as if it had never been sent.
func (l *Link) Withdraw(call uint64) { l.out.withdraw(call) }

// Send queues one numbered frame behind the events.
func (l *Link) Send(frame func(dst []byte) []byte) {
	l.out.mu.Lock()
	if l.out.sealed {
		l.out.mu.Unlock()
		return
	}
	l.out.appendLocked(l.out.tailLocked(&l.out.queue, wire.FrameHeader), frame)
	l.unlockAndWrite()
}

// Answer is Send for a frame that the peer has asked for, of which it may leave so many unread.
func (l *Link) Answer(frame func(dst []byte) []byte) {
	l.out.mu.Lock()
	if l.out.sealed {
		l.out.mu.Unlock()
		return
	}
	c := l.out.tailLocked(&l.out.queue, wire.FrameHeader)
	c.answers++
	l.out.answers++
	l.out.appendLocked(c, frame)
	l.unlockAndWrite()
}

// Reply queues one numbered frame that answers a request, ahead of the events, with a content of so
// many bytes. It reports false when that would be more than may wait; a frame without a content is
// never refused. last says that it counts as Answer does: the request has no other.
func (l *Link) Reply(content int, last bool, frame func(dst []byte) []byte) (queued bool) {
	o := &l.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return true
	}
	if content > 0 && o.replies+int64(content) > l.opt.Replies {
		o.mu.Unlock()
		return false
	}
	c := o.tailLocked(&o.urgent, wire.FrameHeader)
	before := o.size
	o.appendLocked(c, frame)
	if content > 0 {
		c.replies += o.size - before
		o.replies += o.size - before
	}
	if last {
		c.answers++
		o.answers++
	}
	l.unlockAndWrite()
	return true
}

// SendAhead queues one numbered frame that goes ahead of the events.
func (l *Link) SendAhead(frame func(dst []byte) []byte) {
	l.out.mu.Lock()
	if l.out.sealed {
		l.out.mu.Unlock()
		return
	}
	l.out.appendLocked(l.out.tailLocked(&l.out.urgent, wire.FrameHeader), frame)
	l.unlockAndWrite()
}

// Knows reports whether the peer was told the name behind a number.
func (l *Link) Knows(number uint64) bool {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.out.known[number] != nil
}

// Retire tells the peer, if it knows it, that the name behind a number is used no more.
func (l *Link) Retire(number uint64) {
	o := &l.out
	o.mu.Lock()
	if o.known[number] == nil || o.sealed {
		o.mu.Unlock()
		return
	}
	delete(o.known, number)
	o.appendLocked(o.tailLocked(&o.queue, 4*wire.FrameHeader), func(dst []byte) []byte {
		return wire.AppendName(dst, wire.Name{Number: number})
	})
	l.unlockAndWrite()
}

// Goodbye queues the last frame. The link ends when the peer has answered with its own.
func (l *Link) Goodbye(g wire.Goodbye) {
	o := &l.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return
	}
	o.sealed = true
	l.parting.Store(true)
	l.acks.flush(o)
	c := o.tailLocked(&o.queue, len(g.Code)+len(g.Message)+64)
	o.appendLocked(c, func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeGoodbye, g)
	})
	c.goodbye = true
	l.unlockAndWrite()
}

func (l *Link) unlockAndWrite() {
	over := l.out.overLocked(l.opt.Limit) ||
		l.opt.Answers > 0 && l.out.answers > l.opt.Answers
	l.out.mu.Unlock()
	if over {
		l.Kill(ErrOverflow)
	}
	l.nudge()
}

// Return reports to the peer that nobody here has taken the event behind f.
func (l *Link) Return(f *window.Flight) {
	slot := f.Slot
	l.Send(func(dst []byte) []byte { return wire.AppendUvarints(dst, wire.TypeReturn, slot) })
}

// Took reports to the peer that everyone here has taken these events.
func (l *Link) Took(items ...window.Item) { l.acks.add(items) }

// Ping asks the peer for a sign of life, which Heard counts.
func (l *Link) Ping() {
	l.ping.Store(true)
	l.nudge()
}

// Heard counts what has arrived, in records.
func (l *Link) Heard() uint64 { return l.records.Load() }

// Owed is the number of events that the peer has not yet reported as taken.
func (l *Link) Owed() int {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return len(l.out.slots.table) - l.out.slots.free
}

// Debt is events that the peer has not yet reported as taken.
type Debt struct {
	Events uint64
	Bytes  int64
}

// Owing is what Owed counts, by the numbers of the events' names.
func (l *Link) Owing() map[uint64]Debt {
	owing := map[uint64]Debt{}
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	for i := range l.out.slots.table {
		if s := &l.out.slots.table[i]; s.flight != nil {
			d := owing[s.name.number]
			owing[s.name.number] = Debt{d.Events + 1, d.Bytes + s.flight.Size}
		}
	}
	return owing
}

// Poke asks the writer to call the handler's Pull.
func (l *Link) Poke() {
	l.poke.Store(true)
	l.nudge()
}

func (l *Link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Backlog is the number of bytes that wait to be written.
func (l *Link) Backlog() int64 {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.out.size
}
