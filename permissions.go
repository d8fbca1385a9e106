package lahja

import (
	"context"

	"github.com/lahja-go/lahja/internal/core"
)

// Permissions says what an endpoint may do with which events, by their names (see [EventName]). A
// name that ends in * stands for all names that begin with what is before it. The zero value allows
// nothing.
//
// Permissions apply to what goes over the bus: an event that never leaves its endpoint needs none.
// The four lists together may have about 3,000 bytes.
type Permissions struct {
	// Broadcast are the events that it may broadcast, retain and forget.
	Broadcast []string
	// Subscribe are the events that it may subscribe to. It may not answer the requests among them.
	Subscribe []string
	// Request are the events that it may request answers to, by [Request] and [Gather].
	Request []string
	// Handle are the events that it may subscribe to and whose requests it may answer, by [Handle],
	// [Reply] and [Fail].
	Handle []string
}

// AllowAll is the Permissions that allow everything.
func AllowAll() Permissions {
	all := []string{"*"}
	return Permissions{Broadcast: all, Subscribe: all, Request: all, Handle: all}
}

// authorizer is what Authorize was given.
type authorizer func(ctx context.Context, name string, id Identity) (Permissions, error)

// Authorize makes the bus ask f who may attach from another process, and what they may do. f gets
// the name that the endpoint asks for and what the transport knows of it, and decides whether it
// may have that name. If f returns an error or panics, the endpoint is refused with [ErrDenied];
// the error is returned by [Bus.ServeConn] and not told to the endpoint, a panic is logged. Without
// Authorize everybody may do everything. Endpoints of the bus's own process always may.
//
// Calls that are not permitted fail with [ErrDenied] and do nothing. The bus checks that itself: it
// ends the session of an endpoint that sends what it may not.
//
// f may be called concurrently. It has the time of Limits.Handshake, after which ctx ends and the
// endpoint is refused. It is asked again when a session is resumed: if it then refuses the
// endpoint, or allows less than before, the session ends. What it allows in addition counts from
// the endpoint's next session on.
func Authorize(
	f func(ctx context.Context, name string, id Identity) (Permissions, error),
) BusOption {
	return authorizer(f)
}

func (f authorizer) applyToBus(c *busConfig) { c.authorize = f }

// of is what the bus asks of one who has the identity id.
func (f authorizer) of(id Identity) func(context.Context, string) (*core.Permissions, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, name string) (*core.Permissions, error) {
		p, err := f(ctx, name, id)
		return (*core.Permissions)(&p), err
	}
}
