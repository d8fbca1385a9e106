package lahja

import (
	"context"
	"slices"
	"time"

	"github.com/lahja-go/lahja/internal/core"
)

// Peers are the endpoints of a bus at one moment: first the one that asked, then the others by
// name.
type Peers []Peer

// Peer is an endpoint as others see it.
type Peer struct {
	Name   string   // of the endpoint
	Events []string // the names of the events that it subscribes to, sorted; see EventName
}

func toPeers(view []core.Attached) Peers {
	peers := make(Peers, len(view))
	for i, p := range view {
		peers[i] = Peer(p)
	}
	return peers
}

// Peers returns every endpoint that is attached to the bus, ep first, with what each subscribes to.
// The view is not older than the call. It fails when ctx or the endpoint ends.
func (ep *Endpoint) Peers(ctx context.Context) (Peers, error) {
	view, err := ep.core.Peers(ctx)
	if err != nil {
		return nil, err
	}
	return toPeers(view), nil
}

// WaitUntil waits until cond is true of the attached endpoints. It calls cond with the present
// view, and with the latest one after changes; several changes may come as one. Once it has
// returned nil, an event that is broadcast reaches every subscription that cond saw. It fails when
// ctx or the endpoint ends.
func (ep *Endpoint) WaitUntil(ctx context.Context, cond func(Peers) bool) error {
	return ep.core.WaitUntil(ctx, func(view []core.Attached) bool { return cond(toPeers(view)) })
}

// WatchPeers returns a channel of the attached endpoints: the present view, then the latest after
// each change. A slow reader holds nobody up, and misses only views that are out of date. The
// channel closes when ctx or the endpoint ends.
func (ep *Endpoint) WatchPeers(ctx context.Context) <-chan Peers {
	return core.WatchPeers(ctx, ep.core, toPeers)
}

// State is what an endpoint knows of its link to the bus. One in the bus's process is connected
// until it ends.
type State struct {
	// Connected says whether the endpoint has a connection to its bus.
	Connected bool
	// Resumes counts the times that a broken connection was resumed, with nothing lost.
	Resumes uint64
	// Restarts counts the times that the session was lost and a new one begun, in which the
	// endpoint has its subscriptions and retained events again.
	Restarts uint64
	// Lost counts the events that the endpoint broadcast in sessions that were lost, and whose
	// arrival the bus had not confirmed. What the endpoint itself may have missed shows as a gap,
	// see Event.Gap.
	Lost uint64

	Err error // why it is not connected
}

// WatchState returns a channel of the state of the endpoint's link to the bus: the present one,
// then the latest after each change. It closes after it has told that the endpoint has ended, or
// when ctx ends. A slow reader holds nobody up.
func (ep *Endpoint) WatchState(ctx context.Context) <-chan State {
	return core.WatchState(ctx, ep.core, func(s core.State) State { return State(s) })
}

// Stat says what one endpoint does with one event type.
type Stat struct {
	Endpoint string // its name
	Event    string // the name of the event, see EventName

	Broadcast   uint64        // events that it has broadcast
	Outstanding int64         // bytes of those that some subscription has yet to take
	Waited      time.Duration // the time that its calls have waited for subscriptions, all together
	Waiting     int           // calls that wait now
	WaitsFor    []string      // the endpoints with a Lag, if Waiting is not 0, sorted

	Delivered uint64 // events that its open subscriptions have got
	Missed    uint64 // events that they have dropped, by DropOldest
	Lag       int64  // bytes that wait for them, and may hold up publishers

	Retained int64  // bytes that are retained for it
	Lost     uint64 // events on their way to a member of a group that died; Endpoint is empty then
}

func toStats(list []core.Stat) []Stat {
	stats := make([]Stat, len(list))
	for i, s := range list {
		stats[i] = Stat(s)
	}
	return stats
}

// Stats returns what the endpoints of the bus broadcast and subscribe to, sorted by endpoint and
// event: who waits, and for whom. Of an endpoint in another process the bus knows only what has
// gone over the connection: Waiting is at most 1, however many of its calls wait; Waiting and
// Waited are up to a quarter of a second late; Delivered counts an event once, however many of its
// subscriptions have taken it; Missed counts what was dropped before it was sent.
func (b *Bus) Stats() []Stat { return toStats(b.node.Stats()) }

// Stats returns what the endpoint broadcasts and subscribes to, sorted by event. In a process
// without the bus the endpoint does not know the subscriptions of others: WaitsFor names only
// itself, or nobody. Ask [Bus.Stats].
func (ep *Endpoint) Stats() []Stat { return toStats(ep.core.Stats()) }

// Present returns the condition, for WaitUntil, that endpoints of all these names are attached.
func Present(names ...string) func(Peers) bool {
	return func(p Peers) bool {
		for _, name := range names {
			if !slices.ContainsFunc(p, func(q Peer) bool { return q.Name == name }) {
				return false
			}
		}
		return true
	}
}

// SubscribedBy returns the condition, for WaitUntil, that endpoints of all these names are attached
// and subscribe to T. It panics if T cannot be an event.
func SubscribedBy[T any](names ...string) func(Peers) bool {
	event := EventName[T]()
	return func(p Peers) bool {
		for _, name := range names {
			subscribes := func(q Peer) bool { return q.Name == name && q.has(event) }
			if !slices.ContainsFunc(p, subscribes) {
				return false
			}
		}
		return true
	}
}

// SubscribedByAny reports whether at least one endpoint subscribes to T; p[1:] leaves the asking
// one out. It panics if T cannot be an event.
func SubscribedByAny[T any](p Peers) bool {
	event := EventName[T]()
	return slices.ContainsFunc(p, func(q Peer) bool { return q.has(event) })
}

// SubscribedByAll reports whether every endpoint subscribes to T; p[1:] leaves the asking one
// out. It panics if T cannot be an event.
func SubscribedByAll[T any](p Peers) bool {
	event := EventName[T]()
	return !slices.ContainsFunc(p, func(q Peer) bool { return !q.has(event) })
}

func (p *Peer) has(event string) bool {
	_, found := slices.BinarySearch(p.Events, event)
	return found
}
