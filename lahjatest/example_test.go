package lahjatest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

// test stands for go test: it runs a test and prints why it failed.
func test(f func(t testing.TB)) {
	failed := within(f).failures
	for _, text := range failed {
		fmt.Println(text)
	}
	if len(failed) == 0 {
		fmt.Println("PASS")
	}
}

// The events of the examples.
type (
	Ordered struct {
		Item  string
		Count int
	}
	Price struct{ Item string }
	Cents struct{ Amount int }
)

func (Ordered) EventName() string { return "shop.Ordered" }
func (Price) EventName() string   { return "shop.Price" }

// sell is the program that the examples test.
func sell(ctx context.Context, shop *lahja.Endpoint, item string, count int) error {
	price, err := lahja.Request[Price, Cents](ctx, shop, Price{item})
	if err != nil {
		return err
	}
	if price.Amount > 100 {
		count = 1 // it is dear
	}
	return lahja.Broadcast(ctx, shop, Ordered{item, count})
}

// A test runs over every transport. In a test of yours the function is given to t.Run.
func ExampleTransports() {
	for _, setup := range lahjatest.Transports() {
		fmt.Print(setup.Name, ": ")
		test(func(t testing.TB) {
			bus := setup.NewBus(t)
			store := lahjatest.Record[Ordered](t, bus.Endpoint("store"))
			err := lahja.Broadcast(t.Context(), bus.Endpoint("shop"), Ordered{"rope", 2})
			if err != nil {
				t.Fatal(err)
			}
			lahjatest.Expect(t, store, time.Minute, Ordered{"rope", 2})
		})
	}
	// Output:
	// in-process: PASS
	// memory: PASS
	// pipe: PASS
	// unix: PASS
	// tcp: PASS
}

func ExampleExpect() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		shop := bus.Endpoint("shop")
		orders := lahjatest.Record[Ordered](t, bus.Endpoint("store"))
		for _, item := range []string{"rope", "hook"} {
			lahja.Broadcast(t.Context(), shop, Ordered{item, 2})
		}
		lahjatest.Expect(t, orders, time.Minute, Ordered{"rope", 2}, Ordered{"hook", 1})
	})
	// Output:
	// events of shop.Ordered at "store" (- expected, + received); expected 2, received 2:
	//     0  {Item: "rope", Count: 2} from "shop"
	//   - 1  {Item: "hook", Count: 1}
	//   + 1  {Item: "hook", Count: 2} from "shop"
	//          .Count: expected 1, received 2
}

func ExampleRecord() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		shop := bus.Endpoint("shop")
		orders := lahjatest.Record[Ordered](t, bus.Endpoint("store"), lahja.From("shop"))
		lahja.Broadcast(t.Context(), shop, Ordered{"rope", 2})
		lahjatest.Expect(t, orders, time.Minute, Ordered{"rope", 2})
		for _, ev := range orders.Events() {
			fmt.Println(ev.Origin, ev.Value.Item)
		}
	})
	// Output:
	// shop rope
	// PASS
}

func ExampleRespond() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		lahjatest.Respond(t, bus.Endpoint("prices"), []lahjatest.Exchange[Price, Cents]{
			{Request: Price{"rope"}, Response: Cents{250}},
		})
		orders := lahjatest.Record[Ordered](t, bus.Endpoint("store"))
		if err := sell(t.Context(), bus.Endpoint("shop"), "rope", 3); err != nil {
			t.Fatal(err)
		}
		lahjatest.Expect(t, orders, time.Minute, Ordered{"rope", 1})
	})
	// Output: PASS
}

// A program that attaches by itself has to close what it has attached; this one does.
func ExampleBus_Connect() {
	program := func(ctx context.Context, bus *lahjatest.Bus) error {
		shop, err := bus.Connect(ctx, "shop")
		if err != nil {
			return err
		}
		defer shop.Close()
		return lahja.Broadcast(ctx, shop, Ordered{"rope", 2})
	}
	test(func(t testing.TB) {
		bus := lahjatest.Transports()[1].NewBus(t)
		orders := lahjatest.Record[Ordered](t, bus.Endpoint("store"))
		if err := program(bus.Context(), bus); err != nil {
			t.Fatal(err)
		}
		lahjatest.Expect(t, orders, time.Minute, Ordered{"rope", 2})
	})
	// Output: PASS
}

// The roles are goroutines, processes, or both; the script is the same. TestMain has to say which
// roles there are, here
//
//	lahjatest.Main(m, map[string]lahjatest.Role{"doubler": doubler, "once": once})
func ExampleBus_Start() {
	setups := append(lahjatest.Transports()[:1], lahjatest.Processes()[1])
	for _, setup := range append(setups, lahjatest.Mixed()[1]) {
		fmt.Print(setup.Name, ": ")
		test(func(t testing.TB) {
			bus := setup.NewBus(t)
			heard := lahjatest.Record[number](t, bus.Endpoint("me"))
			bus.Start("once", "a").Wait()
			bus.Start("once", "b").Wait()
			lahjatest.Expect(t, heard, time.Minute, number{7}, number{7})
		})
	}
	// Output:
	// in-process: PASS
	// unix processes: PASS
	// unix mixed: PASS
}
