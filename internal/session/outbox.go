package session

import (
	"encoding/binary"
	"slices"
	"sync"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// chunk is a part of the outbox, and becomes one record: room for the head, then whole frames.
type chunk struct {
	buf     []byte
	frames  uint64           // numbered ones
	events  int              // of them, that count if they are lost
	answers int              // of them
	replies int64            // bytes of those that a Reply has queued
	calls   []uint64         // the requests in it
	void    []*window.Flight // of requests that were withdrawn; their bytes are still here
	goodbye bool             // it holds the last numbered frame

	first   uint64 // the position of its first numbered frame, once it has one
	writing bool   // the writer has it; guarded by outbox.mu
}

// end is the position of the frame that follows it.
func (c *chunk) end() uint64 { return c.first + c.frames }

// place is where a request is in the queue.
type place struct {
	chunk *chunk
	at    int    // where its frame begins
	slot  uint64 // of its event
}

// chunkSize is the room in a new chunk.
const chunkSize = 4 << 10

var chunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, 0, chunkSize)} }}

func newChunk() *chunk {
	c := chunks.Get().(*chunk)
	c.buf = c.buf[:wire.HeaderSize]
	return c
}

// recycle keeps c's memory for others, unless a large frame has made it unusually big, or it was
// trimmed.
func (c *chunk) recycle() {
	c.letGo()
	c.frames, c.events, c.answers, c.replies, c.calls, c.goodbye = 0, 0, 0, 0, c.calls[:0], false
	if cap(c.buf) >= chunkSize && cap(c.buf) <= 2*wire.RecordBody {
		chunks.Put(c)
	}
}

// trim has c take little more memory than what it holds.
func (c *chunk) trim() {
	if buf := c.buf; len(buf) < cap(buf)/2 {
		c.buf = slices.Clone(buf)
		(&chunk{buf: buf}).recycle()
	}
}

// letGo lets go of requests that were withdrawn, when their bytes have been written.
func (c *chunk) letGo() {
	for _, f := range c.void {
		f.Drop()
	}
	c.void = nil
}

func (c *chunk) empty() bool { return len(c.buf) == wire.HeaderSize }

// fill is how far a chunk is filled: what is left of a record is for reports that ride on it.
const (
	fill       = wire.HeaderSize + wire.RecordBody - wire.MaxTaken - maxConfirm
	maxConfirm = wire.FrameHeader + binary.MaxVarintLen64
)

// untrimmed is how many records are kept as they were written: more than there are, while all is
// well, before they are confirmed. Of more a lone event has not the room of a chunk for itself.
const untrimmed = 256

// outbox is what waits to be written to a connection: one queue, in the order of events, and a
// few frames that may go ahead of it. Nobody who appends to it waits; what bounds it are the
// windows of the publishers, and as a last resort the limit of the Link.
type outbox struct {
	mu     sync.Mutex // guards what follows
	urgent []*chunk   // frames that go ahead
	queue  []*chunk
	size   int64 // bytes in urgent and queue
	slots  slots
	known  map[uint64]*named // the names that the peer was told, by their numbers
	calls  map[uint64]place  // the requests in queue, by the sender's numbers
	sealed bool              // nothing more is accepted

	keep      bool     // what is written is kept until the peer confirms it
	kept      []*chunk // in the order of their positions
	keptSize  int64    // bytes in kept
	answers   int      // in urgent, queue and kept
	replies   int64    // bytes of answers to requests there
	position  uint64   // of the next numbered frame to be written
	confirmed uint64   // how many numbered frames the peer has confirmed
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
func (o *outbox) nameLocked(n wire.Name) *named {
	if known := o.known[n.Number]; known != nil {
		return known
	}
	name := &named{number: n.Number}
	o.known[n.Number] = name
	c := o.tailLocked(&o.queue, len(n.Name)+2*wire.FrameHeader)
	o.appendLocked(c, func(dst []byte) []byte { return wire.AppendName(dst, n) })
	return name
}

// overLocked reports whether more waits than the windows of publishers and what goes with events
// can explain. Each event name has its windows. Answers to requests have none, and a limit of their
// own: a peer may ask for more at once than it can read as fast as it is answered.
func (o *outbox) overLocked(limit int64) bool {
	size := o.size + o.keptSize - o.replies
	return size > limit && size > limit*int64(o.slots.names)
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
		if !o.keep {
			o.forgetLocked(c)
		}
		for _, call := range c.calls {
			delete(o.calls, call)
		}
	}
	return c
}

// forgetLocked counts the answers in c no more.
func (o *outbox) forgetLocked(c *chunk) {
	o.answers -= c.answers
	o.replies -= c.replies
}

// number gives c, which is to be written now, its position.
func (o *outbox) number(c *chunk) {
	o.mu.Lock()
	c.first = o.position
	o.position += c.frames
	c.writing = true
	if o.keep && c.frames > 0 {
		o.kept = append(o.kept, c)
		o.keptSize += int64(len(c.buf))
	}
	o.mu.Unlock()
	wire.PutHeader(c.buf, c.buf[wire.HeaderSize:], c.first)
}

// written takes c back from the writer.
func (o *outbox) written(c *chunk) {
	c.letGo()
	o.mu.Lock()
	c.writing = false
	kept := o.keep && c.frames > 0 && c.end() > o.confirmed
	if kept && len(o.kept) > untrimmed {
		c.trim()
	}
	o.mu.Unlock()
	if !kept {
		c.recycle()
	}
}

// confirm lets go of what was kept below position; false: that was never written.
func (o *outbox) confirm(position uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if position > o.position {
		return false
	}
	// What is written again confirms less than was confirmed since.
	o.confirmed = max(o.confirmed, position)
	for len(o.kept) > 0 && o.kept[0].end() <= o.confirmed {
		c := pop(&o.kept)
		o.keptSize -= int64(len(c.buf))
		o.forgetLocked(c)
		if !c.writing {
			c.recycle() // it has let go of all that it held
		}
	}
	return true
}

// has reports whether the outbox can go on from a position: the end of a record of which all that
// follows is kept.
func (o *outbox) has(position uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hasLocked(position)
}

func (o *outbox) hasLocked(position uint64) bool {
	return position == o.position ||
		slices.ContainsFunc(o.kept, func(c *chunk) bool { return c.first == position })
}

// rewind returns what is to be written again to a peer that has received so much. There is no
// writer at that time.
func (o *outbox) rewind(position uint64) (again []*chunk, known bool) {
	o.mu.Lock()
	known = o.hasLocked(position)
	for _, c := range o.kept {
		c.writing = false
	}
	o.mu.Unlock()
	if !known {
		return nil, false
	}
	o.confirm(position)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.kept {
		c.writing = true
	}
	return slices.Clone(o.kept), true
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
	p.chunk.events--
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
// and not reported. It returns how many events there were of which it is not known that they
// arrived: where that is not confirmed, those that were not taken.
func (o *outbox) close(fate window.Fate) (lost int) {
	o.mu.Lock()
	o.sealed = true
	left := slices.Concat(o.kept, o.queue)
	o.urgent, o.queue, o.kept, o.size, o.keptSize = nil, nil, nil, 0, 0
	o.calls = nil // what is withdrawn from now on is not here any more
	flights := o.slots.clear()
	o.mu.Unlock()
	for _, c := range left {
		lost += c.events
		c.recycle()
	}
	if !o.keep {
		lost = len(flights)
	}
	for _, f := range flights {
		f.Meet(fate)
		f.Drop()
	}
	return lost
}

// named is a name that the peer was told.
type named struct {
	number uint64
	events int // of that name that are not yet taken
}

// slots numbers the events that were sent and are not yet taken. Numbers are given in a circle, so
// that those of neighbours are neighbours and a report of many is short.
type slots struct {
	table []slot
	names int    // that such events have
	head  uint64 // the first free slot, if free > 0
	tail  uint64 // the last one
	free  int
}

type slot struct {
	flight *window.Flight // nil: the slot is free
	name   *named         // of the event
	next   uint64         // the next free slot
}

func (s *slots) put(f *window.Flight, name *named) uint64 {
	if name.events++; name.events == 1 {
		s.names++
	}
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
	name := s.table[n].name
	if name.events--; name.events == 0 {
		s.names--
	}
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
