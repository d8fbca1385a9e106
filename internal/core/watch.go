package core

import (
	"context"
	"slices"
)

// State is what an endpoint knows of its link to the bus. One in the bus's process is connected
// until it ends.
type State struct {
	Connected bool
	Resumes   uint64 // connections that were broken and resumed
	Restarts  uint64 // sessions that were lost and begun anew
	Lost      uint64 // events that a lost session had accepted and the bus has not confirmed
	Err       error  // why it is not connected
}

// WatchPeers returns a channel of views: the present one, then the latest after changes. Whoever
// does not read holds nobody up: a newer view takes the place of one that was not taken. convert
// makes of a view what the channel carries. The channel closes when ctx or the endpoint ends.
func WatchPeers[V any](ctx context.Context, ep *Endpoint, convert func([]Attached) V) <-chan V {
	views := make(chan V, 1)
	ep.tasks.start(func() {
		defer close(views)
		// It ends with ctx or the endpoint, and both are why the channel closes.
		var last []Attached
		_ = ep.WaitUntil(ctx, func(view []Attached) bool {
			if last == nil || !slices.EqualFunc(last, view, Attached.Equal) {
				last = slices.Clone(view) // convert may keep view
				replace(views, convert(view))
			}
			return false
		})
	})
	return views
}

// WatchState returns a channel of states: the present one, then the latest after changes. convert
// makes of a state what the channel carries. It closes after the last one, or when ctx ends.
func WatchState[S any](ctx context.Context, ep *Endpoint, convert func(State) S) <-chan S {
	states := make(chan S, 1)
	ended := ep.Err() != nil // before the state is looked at, which then says so
	state, changed := ep.look()
	states <- convert(state)
	if ended {
		close(states)
		return states
	}
	ep.tasks.start(func() {
		defer close(states)
		for {
			select {
			case <-changed:
			case <-ep.closing:
				state, _ = ep.look()
				replace(states, convert(state))
				return
			case <-ctx.Done():
				return
			}
			state, changed = ep.look()
			replace(states, convert(state))
		}
	})
	return states
}

// look returns the endpoint's state, and a channel that is closed when it changes but for its end.
func (ep *Endpoint) look() (state State, changed <-chan struct{}) {
	state.Connected = true
	if l := ep.node.line; l != nil {
		state, changed = l.look()
	}
	if err := ep.Err(); err != nil {
		state.Connected, state.Err = false, err
	}
	return state, changed
}

// replace puts v into a channel with room for one, in place of what nobody has taken. The caller
// is the only sender.
func replace[V any](c chan V, v V) {
	select {
	case <-c:
	default:
	}
	c <- v
}
