// Pingpong is two processes that say hello every second and send each other events: proc1, which
// has the bus, and proc2, which it starts.
//
//	go run ./examples/pingpong [-for 12s] [-tick 1s] [-transport pipe|unix|tcp|memory]
package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// FirstThingHappened is broadcast by proc1 every five seconds.
type FirstThingHappened struct{ Payload string }

// SecondThingHappened is broadcast by proc2 every two seconds.
type SecondThingHappened struct{ Payload string }

var (
	length = flag.Duration("for", 12*time.Second, "how long to run")
	tick   = flag.Duration("tick", time.Second, "how long a second is")
)

func main() { role.Main(proc1, proc2) }

// proc1 is the process that you start. It has the bus, and starts proc2.
func proc1(ctx context.Context) error {
	if *tick <= 0 {
		return role.Misuse(fmt.Sprintf("-tick %v: a second cannot be that short", *tick))
	}
	if *length < 0 {
		return role.Misuse(fmt.Sprintf("-for %v: it cannot run for less than no time", *length))
	}
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("proc1")
	if err != nil {
		return err
	}
	_, err = lahja.Subscribe(ctx, ep, func(_ context.Context, ev lahja.Event[SecondThingHappened]) {
		fmt.Println("Received by Subscribe in proc1:", ev.Value.Payload)
	})
	if err != nil {
		return err
	}
	_, err = lahja.Subscribe(ctx, ep, func(_ context.Context, ev lahja.Event[FirstThingHappened]) {
		fmt.Println("Receiving own event:", ev.Value.Payload)
	})
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return role.Run(ctx, bus, "proc2", proc2) })
	running.Go(func() error {
		defer stop()
		if err := talk1(ctx, ep); err != nil {
			return err
		}
		// What was broadcast arrives before the bus closes, and proc2 ends with the bus.
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return bus.Shutdown(ctx)
	})
	return running.Wait()
}

// talk1 is what proc1 says once proc2 is there to hear it.
func talk1(ctx context.Context, ep *lahja.Endpoint) error {
	if err := ep.WaitUntil(ctx, lahja.SubscribedBy[FirstThingHappened]("proc2")); err != nil {
		return err
	}
	last := int(*length / *tick)
	for n := range seconds(ctx) {
		if n > last {
			break
		}
		fmt.Println("Hello from proc1!")
		if n%5 == 0 {
			ev := FirstThingHappened{Payload: fmt.Sprintf("hit from proc1 (%d)", n)}
			if err := lahja.Broadcast(ctx, ep, ev); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// proc2 is what the other process does, until the bus closes; t leads to the bus.
func proc2(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	_, err = lahja.Subscribe(ctx, ep, func(_ context.Context, ev lahja.Event[FirstThingHappened]) {
		fmt.Println("Received by Subscribe in proc2:", ev.Value.Payload)
	})
	if err != nil {
		return err
	}

	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error { return stream(ctx, ep) })
	running.Go(func() error { return talk2(ctx, ep) })
	err = running.Wait()
	if ep.Err() != nil {
		<-ep.Done() // the bus has closed; what arrived before is still handed to the function
	}
	return err
}

// stream prints the same events as the function that proc2 subscribes.
func stream(ctx context.Context, ep *lahja.Endpoint) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for ev := range lahja.Stream[FirstThingHappened](ctx, ep, lahja.OnEnd(cancel)) {
		fmt.Println("Received by Stream in proc2:", ev.Value.Payload)
	}
	return context.Cause(ctx) // why the stream has ended
}

// talk2 is what proc2 says.
func talk2(ctx context.Context, ep *lahja.Endpoint) error {
	for n := range seconds(ctx) {
		fmt.Println("Hello from proc2!")
		if n%2 == 0 {
			ev := SecondThingHappened{Payload: fmt.Sprintf("hit from proc2 (%d)", n)}
			if err := lahja.Broadcast(ctx, ep, ev); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// seconds yields 1, 2, 3 and so on, one each second, until ctx ends.
func seconds(ctx context.Context) iter.Seq[int] {
	return func(yield func(int) bool) {
		ticker := time.NewTicker(*tick)
		defer ticker.Stop()
		for n := 1; ctx.Err() == nil && yield(n); n++ {
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	}
}
