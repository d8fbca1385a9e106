package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/lahja-go/lahja"
)

func ExampleTo() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	mine, theirs := lahja.Stream[Greeting](ctx, a), lahja.Stream[Greeting](ctx, b)
	lahja.Broadcast(ctx, a, Greeting{"only b"}, lahja.To("b"))
	lahja.Broadcast(ctx, a, Greeting{"both"})
	fmt.Println((<-mine).Value.Text)
	fmt.Println((<-theirs).Value.Text)
	// Output:
	// both
	// only b
}

func ExampleExcept() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	theirs := lahja.Stream[Greeting](ctx, b)
	lahja.Broadcast(ctx, a, Greeting{"not for b"}, lahja.Except("b"))
	lahja.Broadcast(ctx, a, Greeting{"for b"})
	fmt.Println((<-theirs).Value.Text)
	// Output: for b
}

func ExampleInternal() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	mine, theirs := lahja.Stream[Greeting](ctx, a), lahja.Stream[Greeting](ctx, b)
	lahja.Broadcast(ctx, a, Greeting{"to myself"}, lahja.Internal())
	lahja.Broadcast(ctx, a, Greeting{"to all"})
	fmt.Println((<-mine).Value.Text)
	fmt.Println((<-theirs).Value.Text)
	// Output:
	// to myself
	// to all
}

func ExampleRequireSubscriber() {
	ctx := context.Background()
	a, _, end := pair("a", "b")
	defer end()
	err := lahja.Broadcast(ctx, a, Greeting{}, lahja.RequireSubscriber())
	fmt.Println(err)
	// Output: lahja: no subscribers: nobody subscribes to github.com/lahja-go/lahja_test.Greeting
}

func ExampleNoWait() {
	ctx := context.Background()
	bus := lahja.NewBus(lahja.Limits{Lag: 1}) // one event of each publisher may wait
	defer bus.Close()
	a, _ := bus.Endpoint("a")
	lahja.Stream[Greeting](ctx, a, lahja.Buffer(1)) // nobody reads it
	var err error
	sent := 0
	for ; err == nil; sent++ {
		err = lahja.Broadcast(ctx, a, Greeting{}, lahja.NoWait())
	}
	fmt.Println(errors.Is(err, lahja.ErrWouldBlock), sent < 10)
	// Output: true true
}

func ExampleRetain() {
	ctx := context.Background()
	shop, ui, end := pair("shop", "ui")
	defer end()
	lahja.Broadcast(ctx, shop, Price{99}, lahja.Retain())
	lahja.Broadcast(ctx, shop, Price{120}, lahja.Retain())
	ev, err := lahja.WaitFor[Price](ctx, ui, lahja.WithRetained())
	fmt.Println(ev.Value.Cents, err)
	// Output: 120 <nil>
}

func ExampleRetainKey() {
	ctx := context.Background()
	shop, ui, end := pair("shop", "ui")
	defer end()
	lahja.Broadcast(ctx, shop, Price{99}, lahja.RetainKey("tea"))
	lahja.Broadcast(ctx, shop, Price{250}, lahja.RetainKey("cake"))
	prices := lahja.Stream[Price](ctx, ui, lahja.WithRetained())
	for range 2 {
		ev := <-prices
		fmt.Println(ev.Origin, ev.Key, ev.Value.Cents)
	}
	// Output:
	// shop tea 99
	// shop cake 250
}

func ExampleWithRetained() {
	ctx := context.Background()
	shop, ui, end := pair("shop", "ui")
	defer end()
	lahja.Broadcast(ctx, shop, Price{99}, lahja.Retain())
	prices := lahja.Stream[Price](ctx, ui, lahja.WithRetained())
	lahja.Broadcast(ctx, shop, Price{98})
	fmt.Println((<-prices).Value.Cents)
	fmt.Println((<-prices).Value.Cents)
	shop.Close()
	fmt.Println((<-prices).Gone)
	// Output:
	// 99
	// 98
	// true
}

func ExampleFrom() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	s := lahja.Stream[Greeting](ctx, a, lahja.From("b"))
	lahja.Broadcast(ctx, a, Greeting{"from a"})
	lahja.Broadcast(ctx, b, Greeting{"from b"})
	fmt.Println((<-s).Value.Text)
	// Output: from b
}

func ExampleBuffer() {
	ctx := context.Background()
	a, _, end := pair("a", "b")
	defer end()
	s := lahja.Stream[Greeting](ctx, a, lahja.Buffer(3))
	for range 2 {
		lahja.Broadcast(ctx, a, Greeting{})
	}
	fmt.Println(len(s), cap(s))
	// Output: 2 3
}

func ExampleTake() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	s := lahja.Stream[Greeting](ctx, b, lahja.Take(2))
	for _, text := range []string{"one", "two", "three"} {
		lahja.Broadcast(ctx, a, Greeting{text})
	}
	for ev := range s {
		fmt.Println(ev.Value.Text)
	}
	// Output:
	// one
	// two
}

func ExampleOnEnd() {
	a, _, end := pair("a", "b")
	defer end()
	ctx, cancel := context.WithCancelCause(context.Background())
	s := lahja.Stream[Greeting](ctx, a, lahja.OnEnd(func(err error) { fmt.Println("ended:", err) }))
	cancel(errors.New("enough"))
	for range s {
	}
	// Output: ended: context canceled: enough
}

func ExampleDropOldest() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	s := lahja.Stream[Price](ctx, b, lahja.DropOldest(), lahja.Buffer(1))
	for cents := range 5 {
		lahja.Broadcast(ctx, a, Price{cents}) // never waits
	}
	ev := <-s
	fmt.Println(ev.Value.Cents, ev.Missed)
	// Output: 4 4
}

func ExampleGroup() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	var done sync.WaitGroup
	done.Add(10)
	work := func(context.Context, lahja.Event[GetSquare]) { done.Done() }
	lahja.Subscribe(ctx, a, work, lahja.Group("workers"))
	lahja.Subscribe(ctx, b, work, lahja.Group("workers"))
	for n := range 10 {
		lahja.Broadcast(ctx, a, GetSquare{n})
	}
	done.Wait() // each went to one of the two
	fmt.Println("all done")
	// Output: all done
}

func ExampleConcurrency() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	var both sync.WaitGroup
	both.Add(2)
	lahja.Subscribe(ctx, b, func(context.Context, lahja.Event[Greeting]) {
		both.Done()
		both.Wait() // for the other handler, which runs at the same time
	}, lahja.Concurrency(2))
	lahja.Broadcast(ctx, a, Greeting{})
	lahja.Broadcast(ctx, a, Greeting{})
	both.Wait()
	fmt.Println("two at once")
	// Output: two at once
}

func ExampleObserve() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	tap := lahja.Stream[GetSquare](ctx, b, lahja.Observe())
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{7})
	fmt.Println(err)
	fmt.Println((<-tap).Value.Of)
	// Output:
	// lahja: no subscribers: nobody subscribes to github.com/lahja-go/lahja_test.GetSquare
	// 7
}

func ExampleRecoverPanics() {
	ctx := context.Background()
	a, b, end := pair("a", "b")
	defer end()
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the stack goes to the log
	lahja.Handle(ctx, b, func(context.Context, lahja.Event[GetSquare]) (Square, error) {
		panic("no squares today")
	}, lahja.RecoverPanics())
	_, err := lahja.Request[GetSquare, Square](ctx, a, GetSquare{7})
	fmt.Println(err)
	// Output: endpoint "b": the handler panicked: no squares today
}
