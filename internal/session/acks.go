package session

import (
	"sync"
	"time"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// What was taken and received is reported when one of these is reached, or with whatever else is
// written.
const (
	ackEvents = 256
	ackBytes  = 64 << 10
	ackDelay  = 3 * time.Millisecond
)

// acks collects what is to be reported until it is worth it: events that were taken, which opens
// windows, and the frames that were received, which the peer then need not keep for a resume.
type acks struct {
	due      func() // asks the writer to report; never called under mu
	overflow func() // so much is collected that the peer cannot be reading; never called under mu
	limit    int64  // bytes that may be collected
	confirms bool   // the peer keeps what is not confirmed

	mu        sync.Mutex // guards what follows
	taken     wire.Ranges
	bytes     int64       // taken
	position  uint64      // how many numbered frames have arrived
	confirmed uint64      // how many of them were confirmed
	arrived   int         // bytes that were not
	urged     bool        // a report is due
	ended     bool        // nothing is reported any more
	timer     *time.Timer // runs while something is collected
	armed     bool        // it has not fired since the last report
}

// add records that events were taken everywhere on this side.
func (a *acks) add(items []window.Item) {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	prompt := false
	for i := range items {
		a.taken.Add(items[i].Slot)
		a.bytes += items[i].Size
		prompt = prompt || items[i].Prompt
	}
	over := int64(a.taken.Size()) > a.limit
	a.collected(prompt || a.taken.Len() >= ackEvents || a.bytes >= ackBytes) // unlocks
	if over {
		a.overflow()
	}
}

// received records that so many numbered frames have arrived up to now, with a record of that size.
func (a *acks) received(position uint64, size int) {
	if !a.confirms {
		return
	}
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	a.position = position
	a.arrived += size
	a.collected(a.arrived >= ackBytes) // unlocks
}

// collected sees to it that what was collected is reported, at once or in time; it unlocks.
func (a *acks) collected(now bool) {
	urge := now && !a.urged
	switch {
	case urge:
		a.urged = true
	case !a.urged && !a.armed:
		a.arm()
	}
	a.mu.Unlock()
	if urge {
		a.due()
	}
}

func (a *acks) arm() {
	a.armed = true
	if a.timer == nil {
		a.timer = time.AfterFunc(ackDelay, a.urge)
		return
	}
	a.timer.Reset(ackDelay)
}

// urge is the timer's function. What it was to see to may have been reported with something else.
func (a *acks) urge() {
	a.mu.Lock()
	a.armed = false
	urge := !a.urged && !a.ended && a.somethingLocked()
	a.urged = a.urged || urge
	a.mu.Unlock()
	if urge {
		a.due()
	}
}

func (a *acks) somethingLocked() bool { return a.taken.Len() > 0 || a.position > a.confirmed }

// report appends a report to c, if there is something to ride on or it is due, and returns the
// chunk, which may be a new one. What does not fit into it is due.
func (a *acks) report(c *chunk) *chunk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.somethingLocked() || c == nil && !a.urged || c != nil && c.goodbye {
		return c
	}
	if c == nil {
		c = newChunk()
	}
	if a.position > a.confirmed {
		c.buf = wire.AppendUvarints(c.buf, wire.TypeConfirm, a.position)
		a.confirmed, a.arrived = a.position, 0
	}
	if a.taken.Len() > 0 {
		c.buf = wire.AppendTaken(c.buf, &a.taken)
		c.frames++
	}
	a.bytes, a.urged, a.armed = 0, a.taken.Len() > 0, false
	return c
}

// flush queues a report of all that was taken, so that it goes before a Goodbye. o.mu is held.
func (a *acks) flush(o *outbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.taken.Len() > 0 {
		o.appendLocked(o.tailLocked(&o.queue, wire.MaxTaken), func(dst []byte) []byte {
			return wire.AppendTaken(dst, &a.taken)
		})
	}
	a.bytes, a.urged = 0, false
}

// stop ends the timer for good.
func (a *acks) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.taken.Reset()
	if a.timer != nil {
		a.timer.Stop()
	}
}
