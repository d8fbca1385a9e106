package core

import (
	"context"
	"slices"
	"sync"
	"time"
)

// door bounds how many connections are at their handshakes at once, or were just refused: all that
// strangers can have many of. When there is no room the oldest has to go, as soon as it has had a
// fair chance, so that a crowd of honest endpoints waits for its turn and silent ones keep nobody
// out for long.
type door struct {
	mu     sync.Mutex // guards what follows
	guests []*Guest   // the oldest first
	left   chan struct{}
}

// Guest is a connection that came to a listener and is not admitted yet.
type Guest struct {
	door  *door
	conn  Conn
	since time.Time
}

// fairChance is how long a handshake may take in any case.
const fairChance = 20 * time.Millisecond

// Enter counts a connection as one at its handshake, until Leave. While there are as many as there
// may be it waits until another has left, or the oldest can be closed.
func (n *Node) Enter(ctx context.Context, conn Conn) *Guest {
	g := &Guest{door: &n.door, conn: conn}
	for {
		wait, left := n.door.enter(g, n.config().Handshakes)
		if left == nil {
			return g
		}
		timer := time.NewTimer(wait)
		select {
		case <-left:
		case <-timer.C:
		case <-ctx.Done():
		case <-n.life.Done():
		}
		timer.Stop()
		if ctx.Err() != nil || n.life.Err() != nil {
			return g // whoever serves it finds out
		}
	}
}

// enter lets g in, or says for how long it has to wait at most, and what for.
func (d *door) enter(g *Guest, limit int) (wait time.Duration, left <-chan struct{}) {
	d.mu.Lock()
	var oldest *Guest
	if len(d.guests) >= limit {
		oldest = d.guests[0]
		if wait = fairChance - time.Since(oldest.since); wait > 0 {
			if d.left == nil {
				d.left = make(chan struct{})
			}
			defer d.mu.Unlock()
			return wait, d.left
		}
		d.guests = slices.Delete(d.guests, 0, 1)
	}
	g.since = time.Now()
	d.guests = append(d.guests, g)
	d.mu.Unlock()
	if oldest != nil {
		oldest.throwOut()
	}
	return 0, nil
}

// throwOut ends the connection for good: one that is closed politely may keep its descriptor for a
// while, and many of those are what strangers must not have.
func (g *Guest) throwOut() {
	if c, can := g.conn.(resetter); can {
		_ = c.Reset()
	}
	_ = g.conn.Close()
}

// resetter is a connection that can be ended without regard to what it has still to send.
type resetter interface{ Reset() error }

// lingering is for how long a connection that was refused may still hold what it had.
const lingering = time.Second

// Refused says that the handshake has come to nothing, if it has not left. Where the connection was
// closed politely it counts until its descriptor is free: a stranger is not to have more of them by
// being refused.
func (g *Guest) Refused() {
	if _, lingers := g.conn.(resetter); lingers && g.inside() {
		time.AfterFunc(lingering, g.Leave)
		return
	}
	g.Leave()
}

func (g *Guest) inside() bool {
	g.door.mu.Lock()
	defer g.door.mu.Unlock()
	return slices.Contains(g.door.guests, g)
}

// Leave says that the handshake is over.
func (g *Guest) Leave() {
	d := g.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.guests, g); i >= 0 {
		d.guests = slices.Delete(d.guests, i, i+1)
		if d.left != nil {
			close(d.left)
			d.left = nil
		}
	}
}
