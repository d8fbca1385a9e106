package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// The events of the examples.
type (
	Greeting  struct{ Text string }
	GetSquare struct{ Of int }
	Square    struct{ Value int }
	Price     struct{ Cents int }
)

// pair returns two endpoints of a bus; end closes it.
func pair(first, second string) (a, b *lahja.Endpoint, end func()) {
	bus := lahja.NewBus()
	a, err := bus.Endpoint(first)
	if err != nil {
		panic(err)
	}
	b, err = bus.Endpoint(second)
	if err != nil {
		panic(err)
	}
	return a, b, func() { bus.Close() }
}

// square answers GetSquare, but not for everyone.
func square(_ context.Context, ev lahja.Event[GetSquare]) (Square, error) {
	if ev.Value.Of < 0 {
		return Square{}, ErrNegative
	}
	return Square{ev.Value.Of * ev.Value.Of}, nil
}

// ErrNegative is an error that requesters in other processes can compare with.
const ErrNegative lahja.Code = "square: negative"

func Example() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	alice, _ := bus.Endpoint("alice")
	bob, _ := bus.Endpoint("bob")

	greetings := lahja.Stream[Greeting](ctx, bob, lahja.Take(1))
	if err := lahja.Broadcast(ctx, alice, Greeting{"hello"}); err != nil {
		fmt.Println(err)
	}
	for ev := range greetings {
		fmt.Printf("%s says %s\n", ev.Origin, ev.Value.Text)
	}
	// Output: alice says hello
}

func ExampleNewBus() {
	bus := lahja.NewBus(lahja.Limits{Lag: 4 << 20}) // subscriptions may lag by 4 MiB
	defer bus.Close()
	_, err := bus.Endpoint("")
	fmt.Println(err)
	// Output: lahja: denied: the name of an endpoint is empty
}

func ExampleBus_Endpoint() {
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("chain")
	fmt.Println(ep.Name(), err)
	_, err = bus.Endpoint("chain")
	fmt.Println(errors.Is(err, lahja.ErrNameTaken))
	// Output:
	// chain <nil>
	// true
}

func ExampleConnect() {
	ctx := context.Background()
	wire := memory.New() // in other programs tcp.New, unix.New or pipe.Parent
	bus := lahja.NewBus()
	defer bus.Close()
	l, err := wire.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "ui", wire)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	peers, err := ep.Peers(ctx)
	fmt.Println(peers, err)
	// Output: [{ui []}] <nil>
}

func ExampleBus_Serve() {
	wire := memory.New()
	bus := lahja.NewBus()
	served := make(chan error)
	go func() { served <- bus.Serve(context.Background(), wire) }()
	bus.Close() // ends it
	fmt.Println(<-served)
	// Output: <nil>
}

func ExampleBus_ServeConn() {
	ctx := context.Background()
	wire := memory.New()
	bus := lahja.NewBus()
	defer bus.Close()
	l, _ := wire.Listen(ctx)
	served := make(chan error)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = bus.ServeConn(ctx, conn) // until the endpoint has gone
		}
		served <- err
	}()
	ep, _ := lahja.Connect(ctx, "ui", wire)
	ep.Close()
	fmt.Println(<-served)
	// Output: <nil>
}

func ExampleBus_Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	bus := lahja.NewBus()
	ep, _ := bus.Endpoint("a")
	fmt.Println(bus.Shutdown(ctx))
	fmt.Println(errors.Is(lahja.Broadcast(ctx, ep, Greeting{}), lahja.ErrClosed))
	// Output:
	// <nil>
	// true
}

func ExampleEndpoint_Shutdown() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Subscribe(ctx, b, func(_ context.Context, ev lahja.Event[Greeting]) {
		fmt.Println(ev.Value.Text)
	})
	lahja.Broadcast(ctx, a, Greeting{"one"})
	lahja.Broadcast(ctx, a, Greeting{"two"})
	fmt.Println(b.Shutdown(ctx)) // the handler has seen both
	// Output:
	// one
	// two
	// <nil>
}

func ExampleEndpoint_Err() {
	a, _, end := pair("a", "b")
	defer end()
	fmt.Println(a.Err())
	a.Close()
	<-a.Done() // the last handler has returned
	fmt.Println(a.Err())
	// Output:
	// <nil>
	// lahja: closed: endpoint "a" was closed
}

func ExampleBroadcast() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	fmt.Println(lahja.Broadcast(ctx, a, Greeting{"nobody hears this"}))
	s := lahja.Stream[Greeting](ctx, b)
	fmt.Println(lahja.Broadcast(ctx, a, Greeting{"hello"}))
	fmt.Println((<-s).Value.Text)
	fmt.Println(lahja.Broadcast(ctx, a, struct{}{}))
	// Output:
	// <nil>
	// <nil>
	// hello
	// lahja: type struct {} cannot be an event: it has no name; declare one: type Name struct {}
}

func ExampleSubscribe() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	sub, err := lahja.Subscribe(ctx, b, func(_ context.Context, ev lahja.Event[Greeting]) {
		fmt.Println(ev.Origin, "says", ev.Value.Text)
	}, lahja.Take(2))
	if err != nil {
		fmt.Println(err)
		return
	}
	lahja.Broadcast(ctx, a, Greeting{"hello"})
	lahja.Broadcast(ctx, b, Greeting{"hello, me"})
	<-sub.Done()
	fmt.Println(sub.Err())
	// Output:
	// a says hello
	// b says hello, me
	// <nil>
}

func ExampleSubscription_Unsubscribe() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	sub, _ := lahja.Subscribe(ctx, b, func(context.Context, lahja.Event[Greeting]) {})
	fmt.Println(lahja.Broadcast(ctx, a, Greeting{}, lahja.RequireSubscriber()))
	sub.Unsubscribe()
	err := lahja.Broadcast(ctx, a, Greeting{}, lahja.RequireSubscriber())
	fmt.Println(errors.Is(err, lahja.ErrNoSubscribers))
	// Output:
	// <nil>
	// true
}

func ExampleStream() {
	a, b, end := pair("a", "b")
	defer end()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	s := lahja.Stream[Greeting](ctx, b, lahja.OnEnd(cancel))
	lahja.Broadcast(ctx, a, Greeting{"hello"})
	for ev := range s {
		fmt.Println(ev.Value.Text)
		b.Close() // ends the loop
	}
	fmt.Println(context.Cause(ctx))
	// Output:
	// hello
	// lahja: closed: endpoint "b" was closed
}

func ExampleEvents() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	events := lahja.Events[Greeting](ctx, b)
	lahja.Broadcast(ctx, a, Greeting{"one"})
	lahja.Broadcast(ctx, a, Greeting{"two"})
	for ev, err := range events {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(ev.Value.Text)
		if ev.Value.Text == "two" {
			break // unsubscribes
		}
	}
	// Output:
	// one
	// two
}

func ExampleWaitFor() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	a, _, end := pair("a", "b")
	defer end()
	_, err := lahja.WaitFor[Greeting](ctx, a)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

func ExampleRequest() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{3})
	fmt.Println(err)
	lahja.Handle(ctx, b, square)
	got, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{3})
	fmt.Println(got.Value, err)
	_, err = lahja.Request[GetSquare, Square](ctx, a, GetSquare{-3})
	fmt.Println(err)
	// Output:
	// lahja: no subscribers: nobody subscribes to github.com/lahja-go/lahja_test.GetSquare
	// 9 <nil>
	// endpoint "b": square: negative
}

func ExampleCode() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, b, square)
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{-3})
	fmt.Println(errors.Is(err, ErrNegative)) // in another process as well
	// Output: true
}

func ExampleRemoteError() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, b, square)
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{-3})
	var said *lahja.RemoteError
	if errors.As(err, &said) { // b said so; it was not found out here
		fmt.Println(said.Endpoint, said.Code, said.Message)
	}
	// Output: b square: negative square: negative
}

func ExampleGather() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, a, square)
	lahja.Handle(ctx, b, square)
	sum := 0
	for ev, err := range lahja.Gather[GetSquare, Square](ctx, a, GetSquare{3}) {
		if err != nil {
			fmt.Println(ev.Origin, err)
			continue
		}
		sum += ev.Value.Value
	}
	fmt.Println(sum)
	// Output: 18
}

func ExampleHandle() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	sub, err := lahja.Handle(ctx, b, square)
	fmt.Println(err)
	got, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{4})
	fmt.Println(got.Value, err)
	sub.Unsubscribe()
	// Output:
	// <nil>
	// 16 <nil>
}

func ExampleReply() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	asked := lahja.Stream[GetSquare](ctx, b)
	go func() {
		for ev := range asked {
			lahja.Reply(ctx, ev, Square{ev.Value.Of * ev.Value.Of})
		}
	}()
	got, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{5})
	fmt.Println(got.Value, err)
	// Output: 25 <nil>
}

func ExampleFail() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	asked := lahja.Stream[GetSquare](ctx, b)
	go func() {
		for ev := range asked {
			lahja.Fail(ctx, ev, errors.New("out of squares"))
		}
	}()
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{5})
	fmt.Println(err)
	// Output: endpoint "b": out of squares
}

func ExampleForget() {
	ctx := context.Background()
	shop, ui, end := pair("shop", "ui")
	defer end()
	lahja.Broadcast(ctx, shop, Price{99}, lahja.RetainKey("tea"))
	prices := lahja.Stream[Price](ctx, ui, lahja.WithRetained())
	ev := <-prices
	fmt.Println(ev.Key, ev.Value.Cents, ev.Gone)
	lahja.Forget[Price](ctx, shop, "tea")
	ev = <-prices
	fmt.Println(ev.Key, ev.Value.Cents, ev.Gone)
	// Output:
	// tea 99 false
	// tea 0 true
}

func ExampleEventName() {
	fmt.Println(lahja.EventName[Greeting]())
	// Output: github.com/lahja-go/lahja_test.Greeting
}

func ExampleEndpoint_WaitUntil() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	go lahja.Handle(ctx, b, square)
	err := a.WaitUntil(ctx, lahja.SubscribedBy[GetSquare]("b"))
	fmt.Println(err)
	got, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{2})
	fmt.Println(got.Value, err)
	// Output:
	// <nil>
	// 4 <nil>
}

func ExampleEndpoint_Peers() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	lahja.Handle(ctx, b, square)
	peers, err := a.Peers(ctx)
	fmt.Println(peers, err)
	fmt.Println(lahja.Present("a", "b")(peers), lahja.Present("c")(peers))
	fmt.Println(lahja.SubscribedByAny[GetSquare](peers), lahja.SubscribedByAll[GetSquare](peers))
	fmt.Println(lahja.SubscribedByAll[GetSquare](peers[1:])) // all but a itself
	// Output:
	// [{a []} {b [github.com/lahja-go/lahja_test.GetSquare]}] <nil>
	// true false
	// true false
	// true
}

func ExampleEndpoint_WatchPeers() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	a, _ := bus.Endpoint("a")
	views := a.WatchPeers(ctx)
	fmt.Println(<-views)
	bus.Endpoint("b")
	fmt.Println(<-views)
	// Output:
	// [{a []}]
	// [{a []} {b []}]
}

func ExampleEndpoint_WatchState() {
	a, _, end := pair("a", "b")
	states := a.WatchState(context.Background())
	fmt.Println((<-states).Connected)
	end()
	s := <-states
	fmt.Println(s.Connected, errors.Is(s.Err, lahja.ErrClosed))
	// Output:
	// true
	// false true
}

func ExampleBus_Stats() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	a, _ := bus.Endpoint("a")
	b, _ := bus.Endpoint("b")
	lahja.Stream[Greeting](ctx, b, lahja.Buffer(1)) // nobody reads it
	lahja.Broadcast(ctx, a, Greeting{"one"})
	lahja.Broadcast(ctx, a, Greeting{"two"})
	for _, s := range bus.Stats() {
		fmt.Println(s.Endpoint, s.Broadcast, s.Outstanding > 0, s.Delivered, s.Lag > 0)
	}
	// Output:
	// a 2 true 0 false
	// b 0 false 2 true
}

func ExampleEndpoint_Stats() {
	ctx := context.Background()
	a, _, end := pair("a", "b")
	defer end()
	lahja.Broadcast(ctx, a, Greeting{"hello"})
	for _, s := range a.Stats() {
		fmt.Println(s.Event, s.Broadcast)
	}
	// Output: github.com/lahja-go/lahja_test.Greeting 1
}
