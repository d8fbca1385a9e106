package lahja_test

import (
	"context"

	"github.com/lahja-go/lahja"
)

// The events are of one shape, so that one generic function deals with all of them.
type (
	note struct {
		Sender string
		N      int
	}
	red   note
	green note
	gold  note
	query note // is answered with a reply
	mark  note // ends a round
	reply struct {
		From string
		N    int
	}
	otherReply reply
)

type noted interface {
	~struct {
		Sender string
		N      int
	}
}

// color is what can be done with one event type.
type color struct {
	event     string
	broadcast func(context.Context, *lahja.Endpoint, note, ...lahja.BroadcastOption) error
	start     func(context.Context, *world, *sub) error
	nothing   func(context.Context, *lahja.Endpoint) (*lahja.Subscription, error) // subscribes
}

func colorOf[T noted]() color {
	return color{
		event: lahja.EventName[T](),
		broadcast: func(
			ctx context.Context, ep *lahja.Endpoint, n note, o ...lahja.BroadcastOption,
		) error {
			return lahja.Broadcast(ctx, ep, T(n), o...)
		},
		start: start[T],
		nothing: func(ctx context.Context, ep *lahja.Endpoint) (*lahja.Subscription, error) {
			return lahja.Subscribe(ctx, ep, func(context.Context, lahja.Event[T]) {})
		},
	}
}

var colors = []color{colorOf[red](), colorOf[green](), colorOf[gold](), colorOf[query]()}
