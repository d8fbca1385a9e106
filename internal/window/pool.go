package window

import (
	"context"
	"sync"
	"sync/atomic"
)

// step is the smallest grant that a publisher elsewhere is given when there is room for it, and
// the window below which each event asks to be reported at once. It is twice the number of bytes
// after which the taking side reports by itself, so that a report is always on its way before a
// window of this size is used up.
const step = 64 << 10

// Pool shares a limit among the publishers of one event type.
//
// A publisher with nothing outstanding may always send one event; beyond that it gets an equal
// share of the limit, as far as the limit is not used up. What publishers in this process use is
// counted as it is; a publisher elsewhere is counted with what it has been granted, since it may
// use that at any time.
type Pool struct {
	mu       sync.Mutex
	limit    int64
	reserved int64 // the sum of what all accounts reserve, closed ones included
	active   int   // open accounts with something outstanding
	accounts map[*Account]struct{}
	waiting  int // open accounts with waiters, or that want a larger grant
}

// NewPool returns a Pool that shares limit bytes.
func NewPool(limit int64) *Pool {
	return &Pool{limit: limit, accounts: map[*Account]struct{}{}}
}

// Account is one publisher's part of a Pool.
type Account struct {
	pool *Pool
	used atomic.Int64 // bytes outstanding; written under pool.mu, read anywhere

	// The rest is guarded by pool.mu.
	grant   int64         // what a publisher elsewhere may have outstanding
	asked   int64         // a smaller grant that it has not yet acknowledged; -1: none
	change  uint64        // counts what the publisher is to be told
	tell    func()        // there is something to be told; nil for a publisher in this process
	starved bool          // it wants more than there is
	waiters []*waiter     // in the order of their calls
	closed  error         // why it was closed
	empty   chan struct{} // closed when nothing is outstanding; nil: nobody waits
}

type waiter struct {
	size  int64
	ready chan struct{} // closed when err is set or the size is charged
	err   error
}

// Open adds a publisher of this process.
func (p *Pool) Open() *Account { return p.open(nil) }

// OpenRemote adds a publisher elsewhere, with nothing granted yet. tell is called, never under a
// lock, when there is a new grant to be had from [Account.Grant] and sent to it.
func (p *Pool) OpenRemote(tell func()) *Account { return p.open(tell) }

func (p *Pool) open(tell func()) *Account {
	a := &Account{pool: p, tell: tell, asked: -1}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accounts[a] = struct{}{}
	return a
}

// SetLimit changes the limit; waiters that now have room go on.
func (p *Pool) SetLimit(limit int64) {
	p.mu.Lock()
	p.limit = limit
	notices := p.serveLocked()
	p.mu.Unlock()
	notices.send()
}

// Reserved is the number of bytes that are outstanding or granted.
func (p *Pool) Reserved() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserved
}

// Idle reports whether nothing of the account is outstanding: then its next event need not wait.
func (a *Account) Idle() bool { return a.used.Load() == 0 }

// Used is the number of bytes outstanding.
func (a *Account) Used() int64 { return a.used.Load() }

// Charge counts size bytes as outstanding without waiting, for an event that was admitted as the
// first of its account.
func (a *Account) Charge(size int64) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	a.addLocked(size)
}

// TryAcquire charges size bytes if there is room for them, and no one waits already.
func (a *Account) TryAcquire(size int64) bool {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	if a.closed != nil || len(a.waiters) > 0 || !a.fitsLocked(size) {
		return false
	}
	a.addLocked(size)
	return true
}

// Acquire charges size bytes, waiting for room if need be. It fails with the cause of ctx or of
// Close, and has then charged nothing.
func (a *Account) Acquire(ctx context.Context, size int64) error {
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
	if len(a.waiters) == 0 && a.fitsLocked(size) {
		a.addLocked(size)
		return nil, nil
	}
	w := &waiter{size: size, ready: make(chan struct{})}
	if len(a.waiters) == 0 {
		p.waiting++
	}
	a.waiters = append(a.waiters, w)
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
			p.waiting--
		}
		a.wakeLocked()
		return true
	}
	return false
}

// Arrived counts an event that a publisher elsewhere has sent. It reports false when the
// publisher exceeds what it was ever granted, which an honest one never does.
func (a *Account) Arrived(size int64) bool {
	p := a.pool
	p.mu.Lock()
	honest := a.used.Load() == 0 || a.used.Load()+size <= a.grant
	a.addLocked(size)
	if a.closed == nil && !a.starved && a.used.Load()*2 >= a.grant && a.grant < p.shareLocked() {
		a.starved = true
		p.waiting++
	}
	var notices notices
	if a.starved {
		notices = p.serveLocked()
	}
	p.mu.Unlock()
	notices.send()
	return honest
}

// Grant is what a publisher elsewhere is to be told: the bytes that it may have outstanding, and
// the number of this change, which it acknowledges.
func (a *Account) Grant() (bytes int64, change uint64) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	if a.asked >= 0 {
		return a.asked, a.change
	}
	return a.grant, a.change
}

// Acknowledge says that a publisher elsewhere has received a grant: what it sends from here on
// obeys it. Only then is what a smaller grant took away free for others.
func (a *Account) Acknowledge(change uint64) {
	p := a.pool
	p.mu.Lock()
	var notices notices
	if a.asked >= 0 && change == a.change {
		a.setGrantLocked(a.asked)
		a.asked = -1
		notices = p.serveLocked()
	}
	p.mu.Unlock()
	notices.send()
}

// Release says that size bytes are no longer outstanding.
func (a *Account) Release(size int64) {
	p := a.pool
	p.mu.Lock()
	a.addLocked(-size)
	var notices notices
	if p.waiting > 0 {
		a.wakeLocked()
		if p.reserved <= p.limit-p.limit/4 {
			notices = p.serveLocked()
		}
	}
	if a.closed != nil && a.used.Load() == 0 {
		delete(p.accounts, a)
	}
	p.mu.Unlock()
	notices.send()
}

// Settle implements [Settler] for a publisher of this process.
func (a *Account) Settle(f *Flight) { a.Release(f.Size) }

// Prompt reports whether the publisher has so little room that each event should be reported as
// soon as it is taken.
func (a *Account) Prompt() bool {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	share := p.shareLocked()
	return share < 2*step && a.used.Load()*2 >= share
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
	if len(a.waiters) > 0 {
		p.waiting--
	}
	for _, w := range a.waiters {
		w.err = err
		close(w.ready)
	}
	a.waiters = nil
	if a.starved {
		a.starved = false
		p.waiting--
	}
	if a.used.Load() > 0 {
		p.active--
	} else {
		delete(p.accounts, a)
	}
	a.setGrantLocked(0)
	notices := p.serveLocked()
	p.mu.Unlock()
	notices.send()
}

// shareLocked is what each publisher that is busy may have outstanding.
func (p *Pool) shareLocked() int64 { return p.limit / int64(max(1, p.active)) }

func (a *Account) reserveLocked() int64 { return max(a.used.Load(), a.grant) }

func (a *Account) fitsLocked(size int64) bool {
	used := a.used.Load()
	return used == 0 ||
		used+size <= a.pool.shareLocked() && a.pool.reserved+size <= a.pool.limit
}

func (a *Account) addLocked(size int64) {
	before, reserve := a.used.Load(), a.reserveLocked()
	a.used.Store(before + size)
	a.pool.reserved += a.reserveLocked() - reserve
	if before+size == 0 && a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
	if a.closed != nil {
		return
	}
	switch {
	case before == 0 && size > 0:
		a.pool.active++
	case before > 0 && before+size == 0:
		a.pool.active--
	}
}

// Drained waits until nothing is outstanding, or returns the error of ctx.
func (a *Account) Drained(ctx context.Context) error {
	a.pool.mu.Lock()
	if a.used.Load() == 0 {
		a.pool.mu.Unlock()
		return nil
	}
	if a.empty == nil {
		a.empty = make(chan struct{})
	}
	empty := a.empty
	a.pool.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Account) setGrantLocked(grant int64) {
	reserve := a.reserveLocked()
	a.grant = grant
	a.pool.reserved += a.reserveLocked() - reserve
}

// wakeLocked admits the waiters of a once a quarter of its share is free, so that a publisher
// that waited sends a batch and not one event for each that is taken. With nothing outstanding
// the first is always admitted: nobody waits for good.
func (a *Account) wakeLocked() {
	share := a.pool.shareLocked()
	if used := a.used.Load(); used > 0 && used > share-share/4 {
		return
	}
	for len(a.waiters) > 0 && a.fitsLocked(a.waiters[0].size) {
		w := a.waiters[0]
		a.waiters = a.waiters[1:]
		a.addLocked(w.size)
		close(w.ready)
		if len(a.waiters) == 0 {
			a.pool.waiting--
		}
	}
}

// notices are accounts whose publishers are to be told once the lock is released.
type notices []*Account

func (ns notices) send() {
	for _, a := range ns {
		a.tell()
	}
}

// serveLocked gives what is free to those that wait for it, and asks publishers elsewhere that
// hold more than their share to give it back when that is not enough.
func (p *Pool) serveLocked() (out notices) {
	if p.waiting == 0 {
		return nil
	}
	short := false
	for a := range p.accounts {
		switch {
		case a.closed != nil:
		case a.starved:
			if grant := a.nextGrantLocked(); grant > a.grant && a.asked < 0 {
				a.setGrantLocked(grant)
				a.change++
				a.starved = false
				p.waiting--
				out = append(out, a)
			}
			short = short || a.starved
		case len(a.waiters) > 0:
			a.wakeLocked()
			short = short || len(a.waiters) > 0 && a.used.Load() < p.shareLocked()/2
		}
	}
	if short {
		out = append(out, p.reclaimLocked()...)
	}
	return out
}

// nextGrantLocked is the window that a starved publisher can have now: twice the last, within
// its share and what is free.
func (a *Account) nextGrantLocked() int64 {
	p := a.pool
	want := min(max(2*a.grant, step), p.shareLocked())
	return min(want, a.reserveLocked()+p.limit-p.reserved)
}

// reclaimLocked asks for what idle publishers hold, and for what busy ones hold above their share.
func (p *Pool) reclaimLocked() (out notices) {
	share := p.shareLocked()
	for a := range p.accounts {
		keep := share
		if a.used.Load() == 0 {
			keep = 0
		}
		if a.tell != nil && a.closed == nil && a.asked < 0 && a.grant > keep {
			a.asked = keep
			a.change++
			out = append(out, a)
		}
	}
	return out
}
