// Package window bounds what publishers may have outstanding: events that were broadcast and that
// not every subscription has taken yet.
//
// A [Flight] knows when the last holder of one event has let go of it. A [Pool] shares one limit
// among the publishers of one event type, each of which has an [Account].
package window

import (
	"sync"
	"sync/atomic"
)

// Overhead is the fixed cost in bytes that is added to the size of each event: what the lists and
// tables spend on it.
const Overhead = 128

// Item is an event as its publisher's side knows it.
type Item struct {
	Size   int64  // what it counts for in the publisher's window, in bytes
	Slot   uint64 // the number that the publisher's side gave it; unused by local publishers
	Prompt bool   // the publisher is short of room: report at once when it is taken
}

// Source is told of events that only one holder had, and that therefore need no Flight. Took must
// not block, nor keep items.
type Source interface {
	Took(items []Item)
}

// Settler is told when nobody holds an event any more. Settle must not block; it runs in the
// goroutine of whoever let go last.
type Settler interface {
	Settle(f *Flight)
}

// Flight counts the holders of one event. It is made with one holder, the publisher, which lets
// go when it has handed the event to everyone. Flights are pooled: a holder must not touch one
// after it has let go.
type Flight struct {
	Item

	state atomic.Uint64 // the number of holders, the fate and whether it was settled before the end
	owner Settler
}

// The parts of a Flight's state. They are one word, for each is looked at for each event.
const (
	holders   = 1<<32 - 1
	fateShift = 32
	fateMask  = 3 << fateShift
	settled   = 1 << 34
)

// Fate is what became of an event that was for one holder alone.
type Fate int32

// The fates.
const (
	Taken    Fate = iota // by who was to have it
	Returned             // it was not taken: another may have it
	Lost                 // nobody knows whether it was taken
)

// Meet says what becomes of the event. Drop it afterwards; Meet of nil does nothing.
func (f *Flight) Meet(fate Fate) {
	if f == nil {
		return
	}
	for {
		state := f.state.Load()
		if f.state.CompareAndSwap(state, state&^fateMask|uint64(fate)<<fateShift) {
			return
		}
	}
}

// Conclude settles f at once, whoever still holds it. The caller must hold it itself.
func (f *Flight) Conclude() {
	if f.state.Or(settled)&settled == 0 {
		f.owner.Settle(f)
	}
}

// Fate returns what has become of the event.
func (f *Flight) Fate() Fate { return Fate(f.state.Load() & fateMask >> fateShift) }

var flights = sync.Pool{New: func() any { return new(Flight) }}

// NewFlight returns a Flight with one holder.
func NewFlight(owner Settler, item Item) *Flight {
	f := flights.Get().(*Flight)
	f.Item, f.owner = item, owner
	f.state.Store(1)
	return f
}

// Hold adds a holder. The caller must be one itself.
func (f *Flight) Hold() { f.state.Add(1) }

// Drop lets go of f; the last to do so settles it. Drop of nil does nothing.
func (f *Flight) Drop() {
	if f == nil {
		return
	}
	state := f.state.Load()
	if state&holders > 1 { // who is alone needs no change that others could see
		if state = f.state.Add(^uint64(0)); state&holders > 0 {
			return
		}
	}
	if state&settled == 0 {
		f.owner.Settle(f)
	}
	f.owner = nil
	flights.Put(f)
}
