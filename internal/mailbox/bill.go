package mailbox

import "github.com/lahja-go/lahja/internal/window"

// cost is at whose an event has waited: the flight's, the account's or the source's; nobody's, if
// all are nil.
type cost struct {
	flight  *window.Flight
	account *window.Account
	source  window.Source
	window.Item
}

// bill is what has left the list and is not accounted for yet: the counters are shared with
// publishers, who would contend for them with each event.
type bill struct {
	events  uint64
	listed  int64           // bytes
	account *window.Account // that is charged
	charged int64           // bytes of listed
	source  window.Source   // that is to be told of items
	items   []window.Item
}

// add puts an event on the bill. What is on it at another's cost is paid before.
func (b *bill) add(c *cost) {
	if c.flight != nil {
		c.flight.Drop()
		return
	}
	if c.source == nil {
		b.release(c.account, c.Size)
		return
	}
	if c.source != b.source {
		b.pay()
		b.source = c.source
	}
	b.items = append(b.items, c.Item)
}

// release is add for an event that an account is charged for.
func (b *bill) release(account *window.Account, size int64) {
	if account != b.account {
		b.pay()
		b.account = account
	}
	b.charged += size
}

func (b *bill) pay() {
	if b.charged > 0 {
		b.account.Release(b.charged)
		b.charged = 0
	}
	if len(b.items) > 0 {
		b.source.Took(b.items)
		b.items = b.items[:0]
	}
}
