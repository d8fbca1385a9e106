package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func ExampleErrResponderGone() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	// A subscriber that does not answer: who asks need not wait for a deadline.
	lahja.Subscribe(ctx, b, func(context.Context, lahja.Event[Greeting]) {})
	_, err := lahja.Request[Greeting, Greeting](ctx, a, Greeting{"anyone?"})
	fmt.Println(errors.Is(err, lahja.ErrResponderGone))
	// Output: true
}

func ExampleErrUnexpectedResponse() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, b, func(context.Context, lahja.Event[Greeting]) (int, error) {
		return 1, nil
	})
	_, err := lahja.Request[Greeting, string](ctx, a, Greeting{"hello"})
	fmt.Println(errors.Is(err, lahja.ErrUnexpectedResponse))
	// Output: true
}

func ExampleErrNotRequest() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	events := lahja.Stream[Greeting](ctx, b)
	lahja.Broadcast(ctx, a, Greeting{"to all"})
	err := lahja.Reply(ctx, <-events, Greeting{"to you"})
	fmt.Println(errors.Is(err, lahja.ErrNotRequest))
	// Output: true
}

// What goes to another process is limited. Within one nothing is encoded, and nothing too large.
func ExampleErrTooLarge() {
	ctx := context.Background()
	bus, wire := lahja.NewBus(), memory.New()
	defer bus.Close()
	listener, _ := wire.Listen(ctx)
	go bus.ServeListener(ctx, listener)
	worker, _ := lahja.Connect(ctx, "worker", wire)
	err := lahja.Broadcast(ctx, worker, Greeting{strings.Repeat("ha", 1<<20)})
	fmt.Println(errors.Is(err, lahja.ErrTooLarge))
	// Output: true
}

// Who takes nothing while another waits for it is ended, and told.
func ExampleErrStalled() {
	ctx := context.Background()
	bus := lahja.NewBus(lahja.Limits{Lag: 1 << 10, Stall: 100 * time.Millisecond})
	defer bus.Close()
	a, _ := bus.Endpoint("a")
	b, _ := bus.Endpoint("b")
	ended := make(chan error, 1)
	lahja.Stream[Greeting](ctx, b, lahja.Buffer(1),
		lahja.OnEnd(func(err error) { ended <- err })) // and nobody reads it
	for range 100 {
		lahja.Broadcast(ctx, a, Greeting{"are you there?"})
	}
	fmt.Println(errors.Is(<-ended, lahja.ErrStalled))
	// Output: true
}

// A Limits is an option of a bus. What is zero has its default.
func ExampleLimits() {
	bus := lahja.NewBus(lahja.Limits{
		Lag:       8 << 20,          // bytes that the subscriptions to a type may lag
		Frame:     4 << 20,          // bytes of an encoded event
		Stall:     30 * time.Second, // how long one may take nothing while another waits for it
		Resume:    -1,               // an endpoint ends with its connection
		Heartbeat: time.Second,      // of silence, after which the other side is asked
	})
	defer bus.Close()
	_, err := bus.Endpoint("small")
	fmt.Println(err)
	// Output: <nil>
}
