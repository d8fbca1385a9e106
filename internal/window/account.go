package window

import (
	"context"
	"sync/atomic"
)

// Account is one publisher's part of a Pool.
type Account struct {
	pool *Pool
	used atomic.Int64 // bytes outstanding
	shut atomic.Bool  // closed is set

	// The rest is guarded by pool.mu.
	grant   int64         // what a publisher elsewhere may have outstanding
	most    int64         // the largest grant that it ever had
	asked   int64         // a smaller grant that it has not yet acknowledged; -1: none
	change  uint64        // counts what the publisher is to be told
	tell    func()        // there is something to be told; nil for a publisher in this process
	starved bool          // it wants more than there is
	waiters []*waiter     // in the order of their calls
	closed  error         // why it was closed
	empty   chan struct{} // closed when nothing is outstanding; nil: nobody waits
	heeded  bool          // it is closed, and something of it is outstanding
	needs   int           // its place in pool.needy, from 1; 0: none
	lends   int           // its place in pool.lending
}

type waiter struct {
	size  int64
	ready chan struct{} // closed when err is set or the size is charged
	err   error
}

// Idle reports whether nothing of the account is outstanding: then its next event need not wait.
func (a *Account) Idle() bool { return a.used.Load() == 0 }

// Used is the number of bytes outstanding.
func (a *Account) Used() int64 { return a.used.Load() }

// TryAcquire charges size bytes if there is room for them, and nobody waits already.
func (a *Account) TryAcquire(size int64) bool {
	if a.free() && a.tryAdd(size) {
		return true
	}
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	a.wakeLocked()
	return a.closed == nil && len(a.waiters) == 0 && a.tryAdd(size)
}

// Acquire charges size bytes, waiting for room if need be. It fails with the Err of ctx or as
// Close says, and has then charged nothing.
func (a *Account) Acquire(ctx context.Context, size int64) error {
	if a.free() && a.tryAdd(size) {
		return nil
	}
	w, err := a.enqueue(size)
	if w == nil {
		return err
	}
	select {
	case <-w.ready:
		return w.err
	case <-ctx.Done():
	}
	if a.withdraw(w) {
		return ctx.Err()
	}
	<-w.ready // it was served meanwhile: the room is given back, for the call failed
	if w.err == nil {
		a.Release(size)
	}
	return ctx.Err()
}

// enqueue charges size at once, or returns the waiter that will be told.
func (a *Account) enqueue(size int64) (*waiter, error) {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.closed != nil {
		return nil, a.closed
	}
	first := len(a.waiters) == 0
	if first {
		p.waiting.Add(1) // before the counters are looked at for the last time
		if a.tryAdd(size) {
			p.waiting.Add(-1)
			return nil, nil
		}
	}
	w := &waiter{size: size, ready: make(chan struct{})}
	a.waiters = append(a.waiters, w)
	a.wakeLocked()
	a.placeLocked()
	return w, nil
}

// withdraw takes w off the list and reports whether it was still on it. The next in line may be
// smaller and fit, so it is tried.
func (a *Account) withdraw(w *waiter) bool {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range a.waiters {
		if a.waiters[i] != w {
			continue
		}
		a.waiters = append(a.waiters[:i], a.waiters[i+1:]...)
		if len(a.waiters) == 0 {
			p.waiting.Add(-1)
		}
		a.wakeLocked()
		a.placeLocked()
		return true
	}
	return false
}

// Release says that size bytes are no longer outstanding.
func (a *Account) Release(size int64) {
	p := a.pool
	if a.tell == nil {
		a.add(-size)
		if p.waiting.Load() == 0 {
			return
		}
	}
	p.mu.Lock()
	if a.tell != nil {
		a.addRemoteLocked(-size)
	}
	a.wakeLocked()
	var notices notices
	if limit := p.limit.Load(); p.reserved.Load() <= limit-limit/4 {
		notices = p.serveLocked()
	}
	if a.used.Load() == 0 {
		a.drainedLocked()
	}
	p.mu.Unlock()
	notices.send()
}

// Settle implements [Settler] for a publisher of this process.
func (a *Account) Settle(f *Flight) { a.Release(f.Size) }

// Drained waits until nothing is outstanding, or returns the error of ctx.
func (a *Account) Drained(ctx context.Context) error {
	a.pool.mu.Lock()
	if a.empty == nil {
		a.empty = make(chan struct{})
		a.pool.waiting.Add(1)
	}
	empty := a.empty
	if a.used.Load() == 0 {
		a.drainedLocked()
	}
	a.pool.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drainedLocked tells who waits for nothing to be outstanding, and forgets a closed account.
func (a *Account) drainedLocked() {
	if a.empty != nil {
		close(a.empty)
		a.empty = nil
		a.pool.waiting.Add(-1)
	}
	if a.closed != nil && a.heeded {
		a.heeded = false
		a.pool.waiting.Add(-1)
	}
}

// Prompt reports whether the publisher has so little room that each event should be reported as
// soon as it is taken.
func (a *Account) Prompt() bool {
	limit, active := a.pool.limit.Load(), a.pool.busy()
	return limit < 2*step*active && a.used.Load()*2 >= limit/active
}

// Close ends the account: who waits and who comes gets err. What is outstanding stays counted
// until it is released.
func (a *Account) Close(err error) {
	p := a.pool
	p.mu.Lock()
	if a.closed != nil {
		p.mu.Unlock()
		return
	}
	a.closed = err
	a.shut.Store(true)
	if len(a.waiters) > 0 {
		p.waiting.Add(-1)
	}
	for _, w := range a.waiters {
		w.err = err
		close(w.ready)
	}
	a.waiters = nil
	if a.starved {
		a.starved = false
		p.waiting.Add(-1)
	}
	a.setGrantLocked(0)
	a.placeLocked()
	a.heeded = true
	p.waiting.Add(1) // until it is drained
	if a.used.Load() == 0 {
		a.drainedLocked()
	}
	notices := p.serveLocked()
	p.mu.Unlock()
	notices.send()
}

// free reports whether the lock is not needed.
func (a *Account) free() bool { return !a.shut.Load() && a.pool.waiting.Load() == 0 }

// tryAdd charges size bytes if there is room for them. It charges first and looks then, so that
// two who do so at once cannot both get the last room. Both may miss it: who has missed it without
// the lock takes the lock and calls wakeLocked, for whoever came to wait because of that.
func (a *Account) tryAdd(size int64) bool {
	used := a.add(size)
	if used == size {
		return true // the first one always may
	}
	limit := a.pool.limit.Load()
	if used*a.pool.busy() <= limit && a.pool.reserved.Load() <= limit {
		return true // within its share, without the division
	}
	a.add(-size)
	return false
}

// add counts bytes of a publisher of this process and returns what is outstanding then.
func (a *Account) add(size int64) (used int64) {
	used = a.used.Add(size)
	a.pool.reserved.Add(size)
	a.countActive(used-size, used)
	return used
}

func (a *Account) countActive(before, after int64) {
	switch {
	case before == 0 && after != 0:
		a.pool.active.Add(1)
	case before != 0 && after == 0:
		a.pool.active.Add(-1)
	}
}

// wakeLocked admits the waiters of a once a quarter of its share is free, so that a publisher
// that waited sends a batch and not one event for each that is taken. With nothing outstanding
// the first is always admitted: nobody waits for good.
func (a *Account) wakeLocked() {
	share := a.pool.share()
	if used := a.used.Load(); used > 0 && used > share-share/4 {
		return
	}
	for len(a.waiters) > 0 && a.tryAdd(a.waiters[0].size) {
		close(a.waiters[0].ready)
		a.waiters = a.waiters[1:]
		if len(a.waiters) == 0 {
			a.pool.waiting.Add(-1)
			a.placeLocked()
		}
	}
}

// placeLocked puts a where it belongs.
func (a *Account) placeLocked() {
	p := a.pool
	p.needy.put(a, needs, a.starved || len(a.waiters) > 0)
	p.lending.put(a, lends, a.grant > 0 && a.asked < 0 && a.closed == nil)
}
