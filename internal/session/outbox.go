package session

import (
	"sync"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// chunk is a part of the outbox, and becomes one record: room for the head, then whole frames.
type chunk struct {
	buf     []byte
	frames  uint64           // numbered ones
	calls   []uint64         // the requests in it
	void    []*window.Flight // of requests that were withdrawn; their bytes are still here
	goodbye bool             // it holds the last numbered frame
}

// place is where a request is in the queue.
type place struct {
	chunk *chunk
	at    int    // where its frame begins
	slot  uint64 // of its event
}

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, 4<<10)} }}

func newChunk() *chunk {
	c := chunks.Get().(*chunk)
	c.buf = c.buf[:wire.HeaderSize]
	return c
}

// recycle keeps c's memory for others, unless a large frame has made it unusually big.
func (c *chunk) recycle() {
	for _, f := range c.void {
		f.Drop()
	}
	c.frames, c.calls, c.void, c.goodbye = 0, c.calls[:0], nil, false
	if cap(c.buf) <= 2*wire.RecordBody {
		chunks.Put(c)
	}
}

func (c *chunk) empty() bool { return len(c.buf) == wire.HeaderSize }

// fill is how far a chunk is filled: what is left of a record is for a report that rides on it.
const fill = wire.HeaderSize + wire.RecordBody - wire.MaxTaken

// outbox is what waits to be written to a connection: one queue, in the order of events, and a
// few frames that may go ahead of it. Nobody who appends to it waits; what bounds it are the
// windows of the publishers, and as a last resort the limit of the Link.
type outbox struct {
	mu     sync.Mutex // guards what follows
	urgent []*chunk   // frames that go ahead
	queue  []*chunk
	size   int64 // bytes in urgent and queue
	slots  slots
	known  map[uint64]struct{} // the numbers of the names that the peer was told
	calls  map[uint64]place    // the requests in queue, by the sender's numbers
	sealed bool                // nothing more is accepted
}

// tailLocked returns the chunk of queue to which a frame of about size bytes is to be appended.
func (o *outbox) tailLocked(queue *[]*chunk, size int) *chunk {
	if n := len(*queue); n > 0 {
		c := (*queue)[n-1]
		if len(c.buf)+size <= fill {
			return c
		}
	}
	c := newChunk()
	*queue = append(*queue, c)
	return c
}

// nameLocked tells the peer the name behind a number, once.
func (o *outbox) nameLocked(n wire.Name) {
	if _, known := o.known[n.Number]; known {
		return
	}
	o.known[n.Number] = struct{}{}
	c := o.tailLocked(&o.queue, len(n.Name)+2*wire.FrameHeader)
	o.appendLocked(c, func(dst []byte) []byte { return wire.AppendName(dst, n) })
}

// appendLocked appends one numbered frame to c.
func (o *outbox) appendLocked(c *chunk, frame func(dst []byte) []byte) {
	before := len(c.buf)
	c.buf = frame(c.buf)
	c.frames++
	o.size += int64(len(c.buf) - before)
}

// next takes the chunk that is to be written next; nil: there is none.
func (o *outbox) next() *chunk {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := pop(&o.urgent)
	if c == nil {
		c = pop(&o.queue)
	}
	if c != nil {
		o.size -= int64(len(c.buf) - wire.HeaderSize)
		for _, call := range c.calls {
			delete(o.calls, call)
		}
	}
	return c
}

// withdraw makes a request that is still queued a frame that says nothing. What it takes is given
// back when that has been written.
func (o *outbox) withdraw(call uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, queued := o.calls[call]
	if !queued {
		return
	}
	delete(o.calls, call)
	p.chunk.buf[p.at] = byte(wire.TypeVoid)
	p.chunk.frames--
	p.chunk.void = append(p.chunk.void, o.slots.take(p.slot))
}

func pop(queue *[]*chunk) *chunk {
	list := *queue
	if len(list) == 0 {
		return nil
	}
	c := list[0]
	list[0] = nil
	if *queue = list[1:]; len(*queue) == 0 {
		*queue = nil // lets go of the array, which moved along
	}
	return c
}

func (o *outbox) seal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed = true
}

func (o *outbox) isSealed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sealed
}

// close refuses further frames and lets go of everything; fate is that of the events that were sent
// and not reported.
func (o *outbox) close(fate window.Fate) {
	o.mu.Lock()
	o.sealed = true
	queue := o.queue
	o.urgent, o.queue, o.size = nil, nil, 0
	flights := o.slots.clear()
	o.mu.Unlock()
	for _, c := range queue {
		c.recycle()
	}
	for _, f := range flights {
		f.Meet(fate)
		f.Drop()
	}
}

// slots numbers the events that were sent and are not yet taken. Numbers are given in a circle, so
// that those of neighbours are neighbours and a report of many is short.
type slots struct {
	table []slot
	head  uint64 // the first free slot, if free > 0
	tail  uint64 // the last one
	free  int
}

type slot struct {
	flight *window.Flight // nil: the slot is free
	name   uint64         // the number of the event's name
	next   uint64         // the next free slot
}

func (s *slots) put(f *window.Flight, name uint64) uint64 {
	if s.free == 0 {
		s.table = append(s.table, slot{flight: f, name: name})
		return uint64(len(s.table) - 1)
	}
	n := s.head
	s.head = s.table[n].next
	s.free--
	s.table[n].flight, s.table[n].name = f, name
	return n
}

// take frees a slot and returns what it held; nil: nothing.
func (s *slots) take(n uint64) *window.Flight {
	f := s.table[n].flight
	if f == nil {
		return nil
	}
	s.table[n].flight = nil
	if s.free == 0 {
		s.head = n
	} else {
		s.table[s.tail].next = n
	}
	s.tail = n
	s.free++
	return f
}

func (s *slots) clear() []*window.Flight {
	var flights []*window.Flight
	for i := range s.table {
		if f := s.table[i].flight; f != nil {
			flights = append(flights, f)
		}
	}
	*s = slots{}
	return flights
}
