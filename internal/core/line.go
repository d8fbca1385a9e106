package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
)

// line is how an endpoint stays attached to a bus elsewhere: by a session, and by another one when
// that is lost.
//
//	connected ──the connection breaks──▶ broken ──the session is lost──▶ lost
//	    ▲                                  │                               │
//	    ├────────────── resumed ───────────┘                               │
//	    └──── restored: what the endpoint has, another session knows ──────┘
//
// It ends with the endpoint, and the endpoint with it when there is nothing to go on with: the bus
// has said goodbye or refuses the endpoint, or the transport cannot dial again.
type line struct {
	dial    Dial
	redials bool                 // a connection that breaks is made anew
	current atomic.Pointer[peer] // the session; one that is lost until the next is restored
	coming  atomic.Pointer[peer] // the one that was begun last

	mu      sync.Mutex // guards what follows
	state   State
	changed chan struct{} // closed at the next change; nil: nobody waits
}

// up is the link to the bus; nil on the bus itself.
func (n *Node) up() *peer {
	if n.line == nil {
		return nil
	}
	return n.line.current.Load()
}

// latest is the session that was begun last, restored or not.
func (l *line) latest() *peer {
	if p := l.coming.Load(); p != nil {
		return p
	}
	return l.current.Load()
}

// change changes the state and wakes who waits for that.
func (l *line) change(f func(*State)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// look returns the state, and a channel that is closed when it or the session changes.
func (l *line) look() (State, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.state, l.changed
}

// breaks notes that the connection of a session has broken.
func (l *line) breaks(p *peer, why error) {
	l.change(func(s *State) {
		p.broken = true
		s.Connected, s.Err = false, why
	})
}

// resumed notes that it has another. One that is still being restored is not connected by that.
func (l *line) resumed(p *peer) {
	l.change(func(s *State) {
		p.broken = false
		s.Resumes++
		if l.current.Load() == p {
			s.Connected, s.Err = true, nil
		}
	})
}

// lose marks a session as lost: calls wait for the next.
func (l *line) lose(p *peer, why error, events int) {
	l.change(func(s *State) {
		p.lost.Store(true)
		s.Connected, s.Err = false, why
		s.Lost += uint64(events)
	})
}

// install has calls go on with a session that is restored. Its connection may have broken since.
func (l *line) install(p *peer) {
	l.change(func(s *State) {
		if p.lost.Load() {
			return
		}
		l.current.Store(p)
		s.Restarts++
		if !p.broken {
			s.Connected, s.Err = true, nil
		}
	})
}

// session returns the link to the bus, and waits for one if the session is lost; nil on the bus.
func (ep *Endpoint) session(ctx context.Context) (*peer, error) {
	for {
		up := ep.node.up()
		if up == nil || !up.over() {
			return up, nil
		}
		_, changed := ep.node.line.look()
		if up.lost.Load() && ep.node.up() != up {
			continue // the next is there
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("lahja: endpoint %q waited for a session with the bus: %w",
				ep.name, fault.Ended(ctx))
		case <-ep.closing:
			return nil, ep.Err()
		}
	}
}

// over reports whether the session is over, or about to be.
func (p *peer) over() bool { return isClosed(p.link.Down()) }

// errSessionOver is why something was not sent: it can be sent again by the next session.
var errSessionOver = fault.Errorf(fault.SessionLost, "the session is lost")

// SessionOver reports whether err is that what was to be sent has met the end of its session.
func SessionOver(err error) bool { return err == errSessionOver }

// backoff is how long attempts to connect are apart: the first comes at once, and after each the
// pause is twice as long, and by chance somewhat less, so that many who lost the same bus do not
// come back at once.
type backoff struct{ next time.Duration }

const (
	firstPause = 20 * time.Millisecond
	longest    = 2 * time.Second
)

// wait waits for the next attempt, or until ctx ends.
func (b *backoff) wait(ctx context.Context) {
	pause := b.next
	b.next = min(max(firstPause, 2*pause), longest)
	if pause == 0 {
		return
	}
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
