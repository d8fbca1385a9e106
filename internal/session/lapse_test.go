package session

import (
	"testing"
	"testing/synctest"
	"time"
)

// A link without a connection ends with its window, and says how much did not arrive.
func TestLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		o := newOwner()
		c.a.event(o, 1, false, nil)
		time.Sleep(2 * ackDelay) // it is confirmed, and not taken
		c.cut()
		synctest.Wait()
		for i := range 4 {
			c.a.event(o, int64(i+2), false, nil)
		}
		begin := time.Now()
		<-c.a.link.Over()
		if took := time.Since(begin); took != lasting.Window {
			t.Errorf("it took %v", took)
		}
		if got := c.a.ends[0]; got != (ended{ErrLapsed, 4}) || o.count() != 5 {
			t.Errorf("ended: %v; %d of 5 events are settled", got, o.count())
		}
		if _, err := c.a.link.Claim(9); err != ErrLapsed {
			t.Errorf("it can be claimed: %v", err)
		}
	})
}

// One that is resumed in time lives on, as often as that happens.
func TestNoLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		for range 10 {
			c.cut()
			c.wait()
			time.Sleep(lasting.Window - 1)
			c.resume(t, roomy)
		}
		time.Sleep(10 * lasting.Window)
		c.a.say("there")
		synctest.Wait()
		if got := c.b.words(); len(got) != 1 || len(c.a.ends)+len(c.b.ends) > 0 {
			t.Errorf("arrived: %q; ends: %v %v", got, c.a.ends, c.b.ends)
		}
	})
}

// A timer that fires late, when the link has been resumed and has broken again, ends nothing.
func TestLateLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.cut()
		c.wait()
		time.Sleep(lasting.Window - 1)
		c.resume(t, roomy)
		c.cut()
		c.wait()
		c.a.link.lapsed()
		c.resume(t, roomy)
		c.a.say("there")
		synctest.Wait()
		if got := c.b.words(); len(got) != 1 {
			t.Errorf("arrived: %q", got)
		}
	})
}
