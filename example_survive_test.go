package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// An endpoint whose session is lost begins another by itself, and each of its subscriptions is told
// with its next event that something may be missing before it.
func ExampleEvent_Gap() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	wire := faulty.New(memory.New(), 1, nil)
	bus := lahja.NewBus(lahja.Limits{Resume: 20 * time.Millisecond})
	defer bus.Close()
	l, _ := wire.Listen(ctx)
	go bus.ServeListener(ctx, l)
	home, _ := bus.Endpoint("home")
	away, _ := lahja.Connect(ctx, "away", wire)
	defer away.Close()
	prices := lahja.Stream[Price](ctx, away)
	states := away.WatchState(ctx)

	wire.Refuse(true) // for longer than a session lives without a connection
	wire.Cut(faulty.Reset)
	for s := range states {
		if errors.Is(s.Err, lahja.ErrSessionLost) {
			break
		}
	}
	lahja.Broadcast(ctx, home, Price{1}) // away is not there
	wire.Refuse(false)
	for s := range states {
		if s.Connected {
			fmt.Println("sessions that were lost:", s.Restarts)
			break
		}
	}
	lahja.Broadcast(ctx, home, Price{2})
	lahja.Broadcast(ctx, home, Price{3})
	for range 2 {
		ev := <-prices
		fmt.Println("price", ev.Value.Cents, "after a gap:", ev.Gap())
	}
	// Output:
	// sessions that were lost: 1
	// price 2 after a gap: true
	// price 3 after a gap: false
}
