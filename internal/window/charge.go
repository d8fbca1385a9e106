package window

// Charge is what an event costs its publisher when it is for subscriptions of the same process
// alone, and so needs no [Flight]: its size for each mailbox in which it waits, each of which has a
// copy of its own.
type Charge struct {
	Account *Account
	Size    int64 // bytes; 0: not known yet
	paid    bool  // for one mailbox, in advance
}

// Pay charges size bytes in advance, if there is room for them; false: there is none.
func (c *Charge) Pay(size int64) bool {
	c.Size = size
	c.paid = c.Account.TryAcquire(size)
	return c.paid
}

// Take charges for one mailbox more. It does not wait: the event was admitted.
func (c *Charge) Take() {
	if c.paid {
		c.paid = false
		return
	}
	c.Account.add(c.Size)
}

// Refund gives back what was paid and not taken: the event waits nowhere.
func (c *Charge) Refund() {
	if c.paid {
		c.paid = false
		c.Account.Release(c.Size)
	}
}
