package window

// A publisher elsewhere is granted what it may have outstanding, and is told when that changes.

// step is the smallest grant that a publisher elsewhere is given when there is room for it, and
// the window below which each event asks to be reported at once. It is twice the number of bytes
// after which the taking side reports by itself, so that a report is always on its way before a
// window of this size is used up.
const step = 64 << 10

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

func (a *Account) setGrantLocked(grant int64) {
	reserve := a.reserveLocked()
	a.grant, a.most = grant, max(a.most, grant)
	a.pool.reserved.Add(a.reserveLocked() - reserve)
}

// addRemoteLocked counts bytes of a publisher elsewhere.
func (a *Account) addRemoteLocked(size int64) {
	reserve := a.reserveLocked()
	used := a.used.Add(size)
	a.pool.reserved.Add(a.reserveLocked() - reserve)
	a.countActive(used-size, used)
}

func (a *Account) reserveLocked() int64 { return max(a.used.Load(), a.grant) }

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
