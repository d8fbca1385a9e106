package faulty

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// flow is one direction of a connection. One goroutine moves its bytes: the one that calls Write,
// and for what comes in the pump. Other goroutines touch only what the connection's lock guards.
type flow struct {
	conn     *conn
	dir      Direction
	position atomic.Int64 // how many bytes have gone
	due      []Fault      // those with a position, but for flips, that is still to come; in order
	changes  []Fault      // flips that are still to come, in order
	noise    noise
	split    int           // at most so many bytes at once; 0: any number
	delay    time.Duration // of each piece, at most
	jitter   *rand.Rand

	// What follows is guarded by the connection's lock.
	stalled  chan struct{} // closed when it goes on; nil: it does
	timer    *time.Timer   // ends the stall; nil: it has no end of its own
	swallows bool
	lost     bool // something was swallowed
	moving   bool // a piece is on its way into the wrapped connection
}

func (f *flow) init(c *conn, d Direction, faults []Fault) {
	f.conn, f.dir = c, d
	f.jitter, f.noise = c.place.random(c.number, 2*uint64(d)), newNoise(0, nil)
	for _, fault := range faults {
		if fault.dir&d == 0 {
			continue
		}
		fault.dir = d
		switch fault.kind {
		case cuts, stalls, swallows:
			f.due = append(f.due, fault)
		case flips:
			f.changes = append(f.changes, fault)
		case flipsAtRandom:
			f.noise = newNoise(fault.rate, c.place.random(c.number, 2*uint64(d)+1))
		case delays:
			f.delay = fault.time
		case splits:
			f.split = fault.size
		}
	}
	for _, list := range [][]Fault{f.due, f.changes} {
		slices.SortStableFunc(list, func(a, b Fault) int { return cmp.Compare(a.at, b.at) })
	}
}

// portion returns as much of p as may go at once by the size of it.
func (f *flow) portion(p []byte) []byte {
	if f.split > 0 {
		p = p[:min(len(p), f.split)]
	}
	return p
}

// piece returns the part of p that may go at once: nothing is due inside it.
func (f *flow) piece(p []byte) []byte {
	if len(f.due) > 0 {
		p = p[:min(int64(len(p)), f.due[0].at-f.position.Load())]
	}
	return p
}

// pause waits for the delay of a piece; false: the connection has ended.
func (f *flow) pause() bool {
	if f.delay == 0 {
		return true
	}
	timer := time.NewTimer(time.Duration(f.jitter.Int64N(int64(f.delay) + 1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.conn.over:
		return false
	}
}

// pass waits for the end of a stall. It reports whether what goes next vanishes, and false when the
// connection has ended.
func (f *flow) pass() (vanishes, alive bool) {
	for {
		f.conn.mu.Lock()
		stalled, vanishes, alive := f.stalled, f.swallows, f.conn.ending == open
		f.moving = stalled == nil && !vanishes && alive
		f.conn.mu.Unlock()
		if !alive || stalled == nil {
			return vanishes, alive
		}
		select {
		case <-stalled:
		case <-f.conn.over:
		}
	}
}

// went counts n bytes, and does what was due after them.
func (f *flow) went(n int, vanished bool) {
	f.position.Add(int64(n))
	f.conn.mu.Lock()
	f.moving = false
	f.lost = f.lost || vanished && n > 0
	f.conn.mu.Unlock()
	place := f.conn.place
	if f.dir == Out {
		place.out.Add(uint64(n))
	} else {
		place.in.Add(uint64(n))
	}
	if vanished {
		place.swallowed.Add(uint64(n))
	}
	f.reach()
}

// reach does what is due at the present position.
func (f *flow) reach() {
	for len(f.due) > 0 && f.due[0].at <= f.position.Load() {
		fault := f.due[0]
		f.due = f.due[1:]
		if f.inject(fault) {
			f.conn.place.record("connection %d: %v", f.conn.number, fault)
		}
	}
}

// inject reports false when the connection had already ended.
func (f *flow) inject(fault Fault) bool {
	if fault.kind == cuts {
		return f.conn.cut(fault.ending)
	}
	f.conn.mu.Lock()
	defer f.conn.mu.Unlock()
	if f.conn.ending != open {
		return false
	}
	if fault.kind == swallows {
		f.holdLocked(0, f.dir)
		return true
	}
	f.holdLocked(f.dir, 0)
	if fault.time > 0 {
		f.timer = time.AfterFunc(fault.time, func() { f.conn.resume(f.dir) })
	}
	return true
}

// holdLocked stops the flow, or makes what goes vanish, where these are its directions.
func (f *flow) holdLocked(stalled, swallows Direction) {
	if stalled&f.dir != 0 && f.stalled == nil {
		f.stalled = make(chan struct{})
		f.conn.place.stalls.Add(1)
	}
	if swallows&f.dir != 0 {
		f.swallows = true
	}
}

// freeLocked ends a stall, and a black hole that nothing has fallen into.
func (f *flow) freeLocked() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	if f.stalled != nil {
		close(f.stalled)
		f.stalled = nil
	}
	f.swallows = f.swallows && f.lost
}

// heldLocked reports whether nothing gets through.
func (f *flow) heldLocked() bool { return f.stalled != nil || f.swallows }

// change returns p as it arrives, which goes next. It does not touch p: it returns a copy if
// anything changes.
func (f *flow) change(p []byte) []byte {
	start := f.position.Load()
	end := start + int64(len(p))
	changed := p
	flip := func(at int64, mask byte) {
		if &changed[0] == &p[0] {
			changed = slices.Clone(p)
		}
		i := at - start
		changed[i] ^= mask
		f.conn.place.tally(func(s *Stats) { s.Flipped++ })
		f.conn.place.record("connection %d: byte %d %v changed by %#02x, to %#02x",
			f.conn.number, at, f.dir, mask, changed[i])
	}
	for len(f.changes) > 0 && f.changes[0].at < end {
		flip(f.changes[0].at, f.changes[0].mask)
		f.changes = f.changes[1:]
	}
	for f.noise.next < end {
		flip(f.noise.next, 1<<f.noise.random.IntN(8))
		f.noise.advance()
	}
	return changed
}

// noise says at which positions a bit flips at random: by position, not by the pieces in which
// bytes go, so that a seed repeats it.
type noise struct {
	rate   float64
	random *rand.Rand
	next   int64
}

func newNoise(rate float64, random *rand.Rand) noise {
	n := noise{rate: rate, random: random, next: -1}
	n.advance()
	return n
}

// advance draws the gap to the next flip: how often in a row a chance of rate fails.
func (n *noise) advance() {
	if n.rate <= 0 {
		n.next = math.MaxInt64
		return
	}
	gap := 0.0
	if n.rate < 1 {
		gap = math.Floor(math.Log(1-n.random.Float64()) / math.Log(1-n.rate))
	}
	n.next += 1 + int64(min(gap, 1<<62))
	if n.next < 0 {
		n.next = math.MaxInt64
	}
}
