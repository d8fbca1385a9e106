package window

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

func needs(a *Account) *int { return &a.needs }
func lends(a *Account) *int { return &a.lends }
