package lahja_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func ExampleBus_Close() {
	bus := lahja.NewBus()
	ep, _ := bus.Endpoint("a")
	fmt.Println(bus.Close(), bus.Close())
	fmt.Println(errors.Is(ep.Err(), lahja.ErrClosed))
	// Output:
	// <nil> <nil>
	// true
}

// Who calls Listen knows when endpoints can connect, and where.
func ExampleBus_ServeListener() {
	wire := memory.New() // in other programs tcp.New or unix.New
	bus := lahja.NewBus()
	l, err := wire.Listen(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- bus.ServeListener(context.Background(), l) }()
	ep, err := lahja.Connect(context.Background(), "ui", wire)
	fmt.Println(ep.Name(), err)
	bus.Close()
	<-ep.Done()
	fmt.Println(<-served)
	// Output:
	// ui <nil>
	// <nil>
}

func ExampleEndpoint_Name() {
	a, _, end := pair("a", "b")
	defer end()
	fmt.Println(a.Name())
	// Output: a
}

// A handler may close its own endpoint.
func ExampleEndpoint_Close() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Subscribe(ctx, b, func(_ context.Context, ev lahja.Event[Greeting]) { b.Close() })
	lahja.Broadcast(ctx, a, Greeting{"good bye"})
	<-b.Done()
	fmt.Println(b.Err())
	// Output: lahja: closed: endpoint "b" was closed
}

// Close does not wait for handlers; Done does.
func ExampleEndpoint_Done() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	begun := make(chan struct{})
	lahja.Subscribe(ctx, b, func(ctx context.Context, ev lahja.Event[Greeting]) {
		close(begun)
		<-ctx.Done() // it ends with the subscription
		fmt.Println("the handler returns")
	})
	lahja.Broadcast(ctx, a, Greeting{"hello"})
	<-begun
	b.Close()
	<-b.Done()
	fmt.Println("none of them runs")
	// Output:
	// the handler returns
	// none of them runs
}

func ExampleSubscription_Done() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	sub, _ := lahja.Subscribe(ctx, b, func(_ context.Context, ev lahja.Event[Greeting]) {
		fmt.Println(ev.Value.Text)
	}, lahja.Take(1))
	lahja.Broadcast(ctx, a, Greeting{"hello"})
	<-sub.Done() // the handler has returned
	// Output: hello
}

func ExampleSubscription_Err() {
	ctx, cancel := context.WithCancelCause(context.Background())
	a, _, end := pair("a", "b")
	defer end()
	sub, _ := lahja.Subscribe(ctx, a, func(context.Context, lahja.Event[Greeting]) {})
	fmt.Println(sub.Err())
	cancel(errors.New("enough is enough"))
	<-sub.Done()
	fmt.Println(sub.Err())
	// Output:
	// <nil>
	// context canceled: enough is enough
}
