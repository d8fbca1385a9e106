package session

import "time"

// Read reads from the connection; any byte is a sign of life.
func (c *carrier) Read(b []byte) (int, error) {
	n, err := c.conn.Read(b)
	if n > 0 && c.beat != nil {
		c.heard.Store(int64(time.Since(c.began)))
		if c.hold.Load() {
			c.release()
		}
	}
	return n, err
}

// release has the writer go on.
func (c *carrier) release() {
	c.hold.Store(false)
	c.link.nudge()
}

// quiet is how long nothing has been heard.
func (c *carrier) quiet() time.Duration {
	return time.Since(c.began) - time.Duration(c.heard.Load())
}

// look is the timer's function: it looks whether the peer gives signs of life. After a heartbeat of
// silence the peer is asked for one; after another without an answer it counts as silent. A timer
// that fires late, because the whole process was stopped, asks first as well.
//
// The dialling side then gives the connection up. The accepting one cannot make another and keeps
// it for the time of its window: the peer may only have been stopped. It writes nothing meanwhile,
// so that a peer that still hears, and is not heard, finds that out as well.
func (c *carrier) look() {
	if c.examine() {
		c.link.handler.Silent(c.quiet())
		if c.link.opt.Dials {
			c.close(ErrSilent)
		}
		c.looks.Done()
	}
}

// examine reports whether the peer has fallen silent, in which case looks is to be told.
func (c *carrier) examine() (fallen bool) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || l.heardBye {
		return false
	}
	every, heard := l.opt.Heartbeat, c.heard.Load() // once: what is heard from now on is an answer
	quiet := time.Since(c.began) - time.Duration(heard)
	unanswered := c.asked && heard == c.askedAt
	switch {
	case quiet < every:
		if c.silent && !l.opt.Dials {
			l.lapse.Stop()
		}
		c.asked, c.silent = false, false
		every -= quiet
	case !unanswered:
		c.asked, c.askedAt = true, heard
		l.Ping()
	case !c.silent:
		c.silent, fallen = true, true
		c.looks.Add(1)
		if !l.opt.Dials {
			l.waitLocked()
			c.hold.Store(true)
			if c.heard.Load() != heard { // just now
				c.release()
			}
		}
	}
	c.beat.Reset(every)
	return fallen
}
