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

// look is the timer's function: it gives the peer a sign of life where nothing else was written for
// a heartbeat, and looks whether the peer gives any.
//
// The connection of a silent peer is given up if another can take its place, by the accepting side
// as well: where bytes get lost in one direction alone, the dialling side may hear enough not to
// look for another. A peer that has only been stopped finds the end of the connection when it goes
// on, and resumes. Any other connection is left as it is: its peer may go on.
func (c *carrier) look() {
	if c.examine() {
		c.link.handler.Silent(c.quiet())
		if c.link.opt.Window > 0 {
			c.close(ErrSilent)
		}
		c.looks.Done()
	}
}

// examine reports whether the peer has just fallen silent, in which case looks is to be told.
func (c *carrier) examine() (fallen bool) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return false
	}
	now := time.Since(c.began)
	next := c.speakLocked(now)
	if !l.heardBye {
		listen := c.listenLocked(now)
		fallen = listen == 0 && !c.silent
		if c.silent = listen == 0; !c.silent {
			next = min(next, listen)
		}
	}
	if fallen {
		c.looks.Add(1)
	}
	c.beat.Reset(next) // when the connection is given up it finds that out
	return fallen
}

// speakLocked gives a sign of life when one is due, and returns when the next may be. It does so
// whatever is heard: the peer may be writing a record that takes long to arrive, behind which it
// cannot ask, or have said goodbye, after which it does not.
func (c *carrier) speakLocked(now time.Duration) time.Duration {
	l := c.link
	if idle := now - time.Duration(c.wrote.Load()); idle < l.opt.Heartbeat {
		return l.opt.Heartbeat - idle
	}
	if !l.sentBye {
		l.pong.Store(true)
		l.nudge()
	}
	return l.opt.Heartbeat
}

// listenLocked returns when to listen again; 0: the peer has fallen silent. That is so after two
// heartbeats, but not before it was asked for a sign of life and has had half a one to answer: the
// timer fires late where the whole process was stopped. A peer that gives signs is not asked.
func (c *carrier) listenLocked(now time.Duration) time.Duration {
	answer := c.link.opt.Heartbeat / 2
	silence := 2*c.link.opt.Heartbeat - answer
	heard := time.Duration(c.heard.Load())
	switch {
	case now-heard < silence:
		return silence - (now - heard)
	case c.asked <= heard:
		c.asked = now
		c.link.Ping()
		return answer
	}
	return max(0, answer-(now-c.asked))
}
