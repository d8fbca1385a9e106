package mailbox

import (
	"sync"

	"github.com/lahja-go/lahja/internal/window"
)

// list holds events in blocks, so that a long one is never moved. It is guarded by its Mailbox.
type list[E any] struct {
	first, last *block[E]
	spare       *block[E] // a small one, kept for who takes events one by one as they come
}

// block is a part of a list.
type block[E any] struct {
	entries    []entry[E]
	used, sent int
	next       *block[E]
	payloads   []byte // of the entries that are not decoded yet
}

// The first block of a list is small, so that a short list costs little; the others are large.
const (
	smallBlock = 8
	largeBlock = 128
)

// entry is an event that waits, and at whose cost.
type entry[E any] struct {
	event    E
	flight   *window.Flight  // nil: the account is charged
	account  *window.Account // of the publisher
	size     int64           // bytes
	from, to uint32          // its place in the block's payloads; equal: the event is decoded
}

// keep copies the payload of e, which is not decoded yet.
func (b *block[E]) keep(e *entry[E], payload []byte) {
	e.from = uint32(len(b.payloads))
	b.payloads = append(b.payloads, payload...)
	e.to = uint32(len(b.payloads))
}

// payload is what of e is not decoded yet.
func (b *block[E]) payload(e *entry[E]) []byte { return b.payloads[e.from:e.to] }

// clear readies b, whose events are all sent and cleared, for others.
func (b *block[E]) clear() {
	b.used, b.sent, b.next, b.payloads = 0, 0, nil, b.payloads[:0]
}

// blocks has memory for events that wait, for all mailboxes of a type to take and give back.
type blocks[E any] struct{ small, large sync.Pool }

func (p *blocks[E]) get(size int) *block[E] {
	pool := &p.large
	if size == smallBlock {
		pool = &p.small
	}
	if b, _ := pool.Get().(*block[E]); b != nil {
		return b
	}
	return &block[E]{entries: make([]entry[E], size)}
}

// put takes a block back whose events are all sent and cleared.
func (p *blocks[E]) put(b *block[E]) {
	b.clear()
	if len(b.entries) == smallBlock {
		p.small.Put(b)
	} else {
		p.large.Put(b)
	}
}

// add appends an empty entry; new blocks come from p. grown reports that there was need of a large
// one.
func (l *list[E]) add(p *blocks[E]) (e *entry[E], grown bool) {
	b := l.last
	switch {
	case b == nil:
		if b, l.spare = l.spare, nil; b == nil {
			b = p.get(smallBlock)
		}
		l.first, l.last = b, b
	case b.used == len(b.entries):
		b, grown = p.get(largeBlock), true
		l.last.next, l.last = b, b
	}
	b.used++
	return &b.entries[b.used-1], grown
}

// head is the first entry of a list that is not empty.
func (l *list[E]) head() *entry[E] { return &l.first.entries[l.first.sent] }

// drop removes the first entry; a block that is empty then goes to p.
func (l *list[E]) drop(p *blocks[E]) {
	b := l.first
	b.entries[b.sent] = entry[E]{} // not to keep alive what was taken
	if b.sent++; b.sent < b.used {
		return
	}
	if l.first = b.next; l.first == nil {
		l.last = nil
	}
	if len(b.entries) > smallBlock || l.spare != nil {
		p.put(b)
		return
	}
	b.clear()
	l.spare = b
}

// takeAll returns the blocks of the list, which is empty then.
func (l *list[E]) takeAll() *block[E] {
	b := l.first
	l.first, l.last = nil, nil
	return b
}
