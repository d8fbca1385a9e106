// Swap is an auction whose parts know endpoints, and nothing of what is between them. The same two
// functions run here as processes, and in the tests over every transport, as goroutines, processes,
// or both.
//
//	go run ./examples/swap [-transport pipe|unix|tcp|memory]
package main

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// Bid offers to pay a price; Accepted is the answer.
type (
	Bid      struct{ Price int }
	Accepted struct{ Highest bool }
)

// Price tells everyone what has to be outbid.
type Price struct {
	Amount int
	Bidder string
}

// Sold ends the auction.
type Sold Price

func main() { role.Main(parent, child) }

// parent is the process that you start. It has the bus, and starts two bidders. All that depends on
// what carries the events is here and in child.
func parent(ctx context.Context) error {
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("house")
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{"ann", "ben"} {
		running.Go(func() error { return role.Run(ctx, bus, name, child) })
	}
	running.Go(func() error {
		sold, err := auction(ctx, ep, "ann", "ben")
		if err == nil {
			fmt.Printf("sold to %s for %d\n", sold.Bidder, sold.Amount)
		}
		return err
	})
	return running.Wait()
}

// child is what another process does; t leads to the bus.
func child(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	return bid(ctx, ep)
}

// limits are what the bidders would pay.
var limits = map[string]int{"ann": 50, "ben": 70}

// auction takes bids until nobody outbids the highest.
func auction(ctx context.Context, ep *lahja.Endpoint, bidders ...string) (Sold, error) {
	if err := ep.WaitUntil(ctx, lahja.SubscribedBy[Sold](bidders...)); err != nil {
		return Sold{}, err
	}
	price := Price{Amount: 10}
	for {
		higher := price
		// Each is asked for what it would pay; those who would not outbid the price say 0.
		for answer, err := range lahja.Gather[Price, Bid](ctx, ep, price, lahja.To(bidders...)) {
			if err != nil {
				return Sold{}, err
			}
			offer := Price{answer.Value.Price, answer.Origin}
			if offer.Amount > higher.Amount ||
				offer.Amount == higher.Amount && offer.Bidder < higher.Bidder {
				higher = offer // answers come in any order: of two alike the name decides
			}
		}
		if higher == price {
			return Sold(price), lahja.Broadcast(ctx, ep, Sold(price))
		}
		price = higher
	}
}

// bid answers each price with a higher one, up to its limit, until the thing is sold.
func bid(ctx context.Context, ep *lahja.Endpoint) error {
	handler := func(_ context.Context, ev lahja.Event[Price]) (Bid, error) {
		offer := min(ev.Value.Amount+10, limits[ep.Name()])
		if ev.Value.Bidder == ep.Name() || offer <= ev.Value.Amount {
			return Bid{}, nil
		}
		return Bid{offer}, nil
	}
	if _, err := lahja.Handle(ctx, ep, handler); err != nil {
		return err
	}
	_, err := lahja.WaitFor[Sold](ctx, ep)
	return err
}
