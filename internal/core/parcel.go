package core

import (
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/wire"
)

// Body is the content of an event that waits. It does not change.
type Body interface {
	Payload() ([]byte, error) // encoded
	Push(s *Sub, d *Delivery) // hands it to a subscription of this process
}

// encoded is a Body that came over a link.
type encoded []byte

// Payload implements [Body].
func (b encoded) Payload() ([]byte, error) { return b, nil }

// Push implements [Body].
func (b encoded) Push(s *Sub, d *Delivery) { s.Spec.Kind.Deliver([]*Sub{s}, b, d) }

// gone is the Body of an event that says that what was kept has ended.
type gone struct{}

// Payload implements [Body].
func (gone) Payload() ([]byte, error) { return nil, nil }

// Push implements [Body].
func (gone) Push(s *Sub, d *Delivery) { s.Spec.Kind.Gone([]*Sub{s}, d) }

// parcel is an event on its way through a post.
type parcel struct {
	Delivery // its Flight is the publisher's, held until a member has taken the event; or nil
	body     Body
	size     int64
	flags    wire.EventFlags // what is special about it

	post *post // where it waits, or waited

	// Of a request that gathers; guarded by Call.mu.
	among []*member // that there are in its group while it waits
	to    *member   // whom it goes to then

	// Of a request that a member elsewhere has; written before it is sent.
	holder *peer  // guarded by Node.mu; known once there is an id
	id     uint64 // the number by which the holder knows the call; guarded by Call.mu
}

// giveUp lets go of an event that nobody gets.
func (c *parcel) giveUp() {
	c.Flight.Drop()
	if c.Call != nil {
		c.Call.gone(c, fault.ResponderGone)
	}
}
