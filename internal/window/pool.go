package window

import (
	"sync"
	"sync/atomic"
)

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

// share is what each publisher that is busy may have outstanding.
func (p *Pool) share() int64 { return p.limit.Load() / p.busy() }

// busy is among how many publishers the limit is shared.
func (p *Pool) busy() int64 { return max(1, p.active.Load()) }

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
