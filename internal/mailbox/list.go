package mailbox

import "github.com/lahja-go/lahja/internal/window"

// list holds events in blocks, so that a long one is never moved. It is guarded by its Mailbox.
type list[E any] struct {
	first, last *block[E]
	spare       *block[E] // empty ones
	spares      int       // how many
}

// block is a part of a list. Blocks grow from small to large, so that a short list costs little.
type block[E any] struct {
	entries    []entry[E]
	used, sent int
	next       *block[E]
}

const (
	smallBlock = 8
	largeBlock = 128
	mostSpares = 4 // more would be memory that a burst leaves behind
)

type entry[E any] struct {
	event  E
	flight *window.Flight
}

func (l *list[E]) add(ev *E, flight *window.Flight) {
	b := l.last
	if b == nil || b.used == len(b.entries) {
		b = l.grow()
	}
	e := &b.entries[b.used]
	e.event, e.flight = *ev, flight
	b.used++
}

// grow appends an empty block.
func (l *list[E]) grow() *block[E] {
	b := l.spare
	if b != nil {
		l.spare, b.next = b.next, nil
		l.spares--
	} else {
		size := smallBlock
		if l.last != nil {
			size = min(4*len(l.last.entries), largeBlock)
		}
		b = &block[E]{entries: make([]entry[E], size)}
	}
	if l.last == nil {
		l.first = b
	} else {
		l.last.next = b
	}
	l.last = b
	return b
}

// takeAll returns the blocks of the list, which is empty then.
func (l *list[E]) takeAll() *block[E] {
	b := l.first
	l.first, l.last = nil, nil
	return b
}

// reuse keeps b, whose events are all sent and cleared, for later.
func (l *list[E]) reuse(b *block[E]) {
	if l.spares == mostSpares || len(b.entries) < largeBlock {
		return
	}
	b.used, b.sent, b.next = 0, 0, l.spare
	l.spare = b
	l.spares++
}

// clear lets go of all memory.
func (l *list[E]) clear() { *l = list[E]{} }
