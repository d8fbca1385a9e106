package session

import "time"

// Read reads from the connection; any byte is a sign of life.
func (c *carrier) Read(b []byte) (int, error) {
	n, err := c.conn.Read(b)
	if n > 0 && c.beat != nil {
		c.heard.Store(int64(time.Since(c.began)))
	}
	return n, err
}

// quiet is how long nothing has been heard.
func (c *carrier) quiet() time.Duration {
	return time.Since(c.began) - time.Duration(c.heard.Load())
}

// look is the timer's function: it looks whether the peer gives signs of life. After a heartbeat of
// silence the peer is asked for one; after another without an answer it counts as silent. A timer
// that fires late, because the whole process was stopped, asks first as well.
//
// The connection is then given up, by the accepting side as well: where bytes get lost in one
// direction alone, the dialling side may hear enough not to look for another. A peer that has only
// been stopped finds the end of the connection when it goes on, and resumes.
func (c *carrier) look() {
	if c.examine() {
		c.link.handler.Silent(c.quiet())
		c.close(ErrSilent)
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
		c.asked = false
		every -= quiet
	case !unanswered:
		c.asked, c.askedAt = true, heard
		l.Ping()
	default:
		c.looks.Add(1)
		return true
	}
	c.beat.Reset(every)
	return false
}
