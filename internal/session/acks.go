package session

import (
	"sync"
	"time"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// What was taken is reported when one of these is reached, or with whatever else is written.
const (
	ackEvents = 256
	ackBytes  = 32 << 10
	ackDelay  = 3 * time.Millisecond
)

// acks collects what was taken until it is worth a report.
type acks struct {
	due func() // asks the writer to report; never called under mu

	mu    sync.Mutex // guards what follows
	taken wire.Ranges
	bytes int64
	urged bool        // a report is due
	ended bool        // nothing is reported any more
	timer *time.Timer // runs while something is collected
}

// add records that an event was taken everywhere on this side.
func (a *acks) add(f *window.Flight) {
	a.mu.Lock()
	if a.ended {
		a.mu.Unlock()
		return
	}
	first := a.taken.Len() == 0
	a.taken.Add(f.Slot)
	a.bytes += f.Size
	urge := !a.urged && (f.Prompt || a.taken.Len() >= ackEvents || a.bytes >= ackBytes)
	if urge {
		a.urged = true
	} else if first {
		a.arm()
	}
	a.mu.Unlock()
	if urge {
		a.due()
	}
}

func (a *acks) arm() {
	if a.timer == nil {
		a.timer = time.AfterFunc(ackDelay, a.urge)
		return
	}
	a.timer.Reset(ackDelay)
}

func (a *acks) urge() {
	a.mu.Lock()
	urge := !a.urged && a.taken.Len() > 0
	a.urged = a.urged || urge
	a.mu.Unlock()
	if urge {
		a.due()
	}
}

// report appends a report to c, if there is something to ride on or it is due, and returns the
// chunk, which may be a new one. What does not fit into it is due.
func (a *acks) report(c *chunk) *chunk {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.taken.Len() == 0 || c == nil && !a.urged || c != nil && c.goodbye {
		return c
	}
	if c == nil {
		c = newChunk()
	}
	c.buf = wire.AppendTaken(c.buf, &a.taken)
	c.frames++
	a.bytes, a.urged = 0, a.taken.Len() > 0
	return c
}

// flush queues a report of all that was taken, so that it is written before a Goodbye. o.mu is held.
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
