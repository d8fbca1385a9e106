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
	letters    []letter // of the entries that are not decoded yet
	payloads   []byte   // of letters
}

// The first block of a list is small, so that a short list costs little; the others are large.
const (
	smallBlock = 8
	largeBlock = 128
)

// entry is an event that waits, and at whose cost.
type entry[E any] struct {
	event   E
	flight  *window.Flight  // nil: the account is charged, or the letter's source is told
	account *window.Account // of the publisher
	size    int64           // bytes; 0: it is paid for
	letter  int             // of the block's letters, counted from 1; 0: the event was decoded
}

// letter is an event that is not decoded yet, and that nobody else has.
type letter struct {
	source   window.Source
	slot     uint64
	from, to int32 // its place in the payloads
	prompt   bool
}

// keep copies the payload of e, which is not decoded yet.
func (b *block[E]) keep(e *entry[E], payload []byte, source window.Source, item window.Item) {
	l := letter{source: source, slot: item.Slot, prompt: item.Prompt, from: int32(len(b.payloads))}
	b.payloads = append(b.payloads, payload...)
	l.to = int32(len(b.payloads))
	b.letters = append(b.letters, l)
	e.letter = len(b.letters)
}

// open returns the payload of e, if it is not decoded yet.
func (b *block[E]) open(e *entry[E]) (payload []byte, encoded bool) {
	if e.letter == 0 {
		return nil, false
	}
	l := &b.letters[e.letter-1]
	return b.payloads[l.from:l.to], true
}

// free returns at whose cost e has waited, which it does no more.
func (b *block[E]) free(e *entry[E]) cost {
	c := cost{flight: e.flight, account: e.account, Item: window.Item{Size: e.size}}
	if e.letter > 0 && e.size > 0 {
		l := &b.letters[e.letter-1]
		c.source, c.Slot, c.Prompt = l.source, l.slot, l.prompt
	}
	e.flight, e.account, e.size = nil, nil, 0
	return c
}

// clear readies b, whose events are all sent and cleared, for others.
func (b *block[E]) clear() {
	clear(b.letters)
	b.used, b.sent, b.next, b.letters, b.payloads = 0, 0, nil, b.letters[:0], b.payloads[:0]
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
