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
//
// As long as nobody waits, publishers of this process come and go without the lock: one counter
// each and three that all share are enough, and a publisher that meets the end of one of its
// events would contend for the lock with every event. Who would have to wait takes the lock, says
// so in waiting, and looks at the counters again; who gives room back changes the counters and
// then looks at waiting. So no wake-up is lost.
type Pool struct {
	limit    atomic.Int64 // written under mu
	reserved atomic.Int64 // the sum of what all accounts reserve, closed ones included
	active   atomic.Int64 // accounts with something outstanding
	waiting  atomic.Int64 // reasons for Release to take the lock; changed under mu

	largest int64 // for an event of which a publisher elsewhere is to have room; 0: of any size

	mu      sync.Mutex // guards what follows
	needy   circle     // the accounts that want more than they have
	lending circle     // those elsewhere that may be asked to give back what they were granted
	rest    int        // calls of reclaimLocked that do nothing
}

// NewPool returns a Pool that shares limit bytes. A publisher elsewhere with something outstanding
// is granted room for an event of the largest size, as far as its share allows: with less it could
// have to wait for room that there is.
func NewPool(limit, largest int64) *Pool {
	p := &Pool{largest: largest}
	p.limit.Store(limit)
	return p
}

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

// Open adds a publisher of this process.
func (p *Pool) Open() *Account { return p.open(nil) }

// OpenRemote adds a publisher elsewhere, with nothing granted yet. tell is called, never under a
// lock, when there is a new grant to be had from [Account.Grant] and sent to it.
func (p *Pool) OpenRemote(tell func()) *Account { return p.open(tell) }

func (p *Pool) open(tell func()) *Account {
	return &Account{pool: p, tell: tell, asked: -1}
}

// SetLimit changes the limit; waiters that now have room go on.
func (p *Pool) SetLimit(limit int64) {
	p.mu.Lock()
	p.limit.Store(limit)
	notices := p.serveLocked()
	p.mu.Unlock()
	notices.send()
}

// Reserved is the number of bytes that are outstanding or granted.
func (p *Pool) Reserved() int64 { return p.reserved.Load() }

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

// Arrived counts an event that a publisher elsewhere has sent. It reports false when the
// publisher exceeds what it was ever granted, which an honest one never does: it may exceed a
// smaller grant by the events that it had admitted, and not yet sent, when it acknowledged it.
func (a *Account) Arrived(size int64) bool {
	p := a.pool
	p.mu.Lock()
	honest := a.used.Load() == 0 || a.used.Load()+size <= a.most
	a.addRemoteLocked(size)
	used := a.used.Load()
	short := used*2 >= a.grant || used+p.largest > a.grant // who cannot send cannot say so
	if a.closed == nil && !a.starved && short && a.grant < p.share() {
		a.starved = true
		p.waiting.Add(1)
		a.placeLocked()
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
		a.placeLocked()
		notices = p.serveLocked()
	}
	p.mu.Unlock()
	notices.send()
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

// Settle implements [Settler] for a publisher of this process.
func (a *Account) Settle(f *Flight) { a.Release(f.Size) }

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

// share is what each publisher that is busy may have outstanding.
func (p *Pool) share() int64 { return p.limit.Load() / p.busy() }

// busy is among how many publishers the limit is shared.
func (p *Pool) busy() int64 { return max(1, p.active.Load()) }

func (a *Account) reserveLocked() int64 { return max(a.used.Load(), a.grant) }

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

// addRemoteLocked counts bytes of a publisher elsewhere.
func (a *Account) addRemoteLocked(size int64) {
	reserve := a.reserveLocked()
	used := a.used.Add(size)
	a.pool.reserved.Add(a.reserveLocked() - reserve)
	a.countActive(used-size, used)
}

func (a *Account) countActive(before, after int64) {
	switch {
	case before == 0 && after != 0:
		a.pool.active.Add(1)
	case before != 0 && after == 0:
		a.pool.active.Add(-1)
	}
}

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

func (a *Account) setGrantLocked(grant int64) {
	reserve := a.reserveLocked()
	a.grant, a.most = grant, max(a.most, grant)
	a.pool.reserved.Add(a.reserveLocked() - reserve)
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

// circle is some of a pool's accounts, which are looked at in turn. Each knows its place, so that
// it comes and goes in no time however many there are.
type circle struct {
	list []*Account
	turn int // the place in list of the one that is looked at next
}

// put adds a or takes it out; place is where a keeps its place.
func (c *circle) put(a *Account, place func(*Account) *int, in bool) {
	at := place(a)
	switch last := len(c.list) - 1; {
	case in == (*at > 0):
	case in:
		c.list = append(c.list, a)
		*at = len(c.list)
	default:
		c.list[*at-1] = c.list[last]
		*place(c.list[last]) = *at
		c.list[last] = nil
		c.list = c.list[:last]
		*at = 0
	}
}

// next returns the one whose turn it is; nil: there is none.
func (c *circle) next() *Account {
	if len(c.list) == 0 {
		return nil
	}
	c.turn %= len(c.list)
	return c.list[c.turn]
}

// notices are accounts whose publishers are to be told once the lock is released.
type notices []*Account

func (ns notices) send() {
	for _, a := range ns {
		a.tell()
	}
}

// serveLocked gives what is free to those that wait for it, and asks publishers elsewhere that
// hold more than their share to give it back when that is not enough. When nothing is free it looks
// at a few of those that wait, in turn, and not at all of them: they may be many, and it is called
// for each event.
func (p *Pool) serveLocked() (out notices) {
	if p.waiting.Load() == 0 {
		return nil
	}
	const few = 8
	short := false
	for looked, all := 0, len(p.needy.list); looked < all; looked++ {
		if looked >= few && p.reserved.Load() >= p.limit.Load() {
			break
		}
		a := p.needy.next()
		if a == nil {
			break
		}
		if a.starved && a.serveGrantLocked() {
			out = append(out, a)
		}
		a.wakeLocked()
		short = short || a.starved || len(a.waiters) > 0 && a.used.Load() < p.share()/2
		if a.needs > 0 {
			p.needy.turn++ // else another has taken its place
		}
	}
	if short {
		out = append(out, p.reclaimLocked()...)
	}
	return out
}

// serveGrantLocked gives a starved publisher a larger window, if it can have one.
func (a *Account) serveGrantLocked() (granted bool) {
	grant := a.nextGrantLocked()
	if grant <= a.grant || a.asked >= 0 {
		return false
	}
	a.setGrantLocked(grant)
	a.change++
	a.starved = false
	a.pool.waiting.Add(-1)
	a.placeLocked()
	return true
}

// nextGrantLocked is the window that a starved publisher can have now: twice the last, within
// its share and what is free.
func (a *Account) nextGrantLocked() int64 {
	p := a.pool
	want := min(max(2*a.grant, step, a.used.Load()+p.largest), p.share())
	return min(want, a.reserveLocked()+p.limit.Load()-p.reserved.Load())
}

// reclaimLocked asks for what idle publishers hold, and for what busy ones hold above their share.
// Where they are many it rests after that, so that looking at all of them costs each call little.
func (p *Pool) reclaimLocked() (out notices) {
	if p.rest > 0 {
		p.rest--
		return nil
	}
	p.rest = len(p.lending.list) / 16
	share := p.share()
	for i := len(p.lending.list) - 1; i >= 0; i-- { // who is asked leaves the list
		a := p.lending.list[i]
		keep := share
		if a.used.Load() == 0 {
			keep = 0
		}
		if a.grant > keep {
			a.asked = keep
			a.change++
			a.placeLocked()
			out = append(out, a)
		}
	}
	return out
}

// placeLocked puts a where it belongs.
func (a *Account) placeLocked() {
	p := a.pool
	p.needy.put(a, needs, a.starved || len(a.waiters) > 0)
	p.lending.put(a, lends, a.grant > 0 && a.asked < 0 && a.closed == nil)
}

func needs(a *Account) *int { return &a.needs }
func lends(a *Account) *int { return &a.lends }
