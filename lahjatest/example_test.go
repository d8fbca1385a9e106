package lahjatest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
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

func ExampleNewBus() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t, lahja.Limits{Lag: 1 << 20})
		store := bus.Endpoint("store")
		fmt.Println(store.WaitUntil(bus.Context(), lahja.Present("store")))
	}) // the bus is closed by now
	// Output:
	// <nil>
	// PASS
}

// One of the setups, where the test is about what only a connection has.
func ExampleSetup_NewBus() {
	setups := lahjatest.Transports()
	tcp := setups[len(setups)-1]
	test(func(t testing.TB) {
		store := tcp.NewBus(t).Endpoint("store")
		state := <-store.WatchState(t.Context())
		fmt.Println(tcp.Name, "is connected:", state.Connected)
	})
	// Output:
	// tcp is connected: true
	// PASS
}

func ExampleBus_Endpoint() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		store := bus.Endpoint("store")
		peers, err := store.Peers(bus.Context())
		fmt.Println(peers, err)
	})
	// Output:
	// [{store []}] <nil>
	// PASS
}

// What a test waits for under this context it waits for in vain no longer than until a role fails.
func ExampleBus_Context() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		store := bus.Endpoint("store")
		bus.Start("fails", "shop")
		err := store.WaitUntil(bus.Context(), lahja.Present("supplier"))
		fmt.Println(errors.Is(err, context.Canceled))
	})
	// Output:
	// true
	// lahjatest: the role "fails" at "shop": no wares today
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

// What has come so far, for what Expect cannot say of it.
func ExampleRecording_Events() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		shop := bus.Endpoint("shop")
		lahja.Broadcast(t.Context(), shop, Ordered{"rope", 2}, lahja.RetainKey("first"))
		orders := lahjatest.Record[Ordered](t, bus.Endpoint("store"), lahja.WithRetained())
		lahjatest.Expect(t, orders, time.Minute, Ordered{"rope", 2})
		fmt.Println(orders.Events()[0].Key)
	})
	// Output:
	// first
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

// Each role is a process of its own.
func ExampleProcesses() {
	for _, setup := range lahjatest.Processes() {
		fmt.Print(setup.Name, ": ")
		test(func(t testing.TB) {
			bus := setup.NewBus(t)
			fmt.Print(elsewhere(bus, "a"), " ", elsewhere(bus, "b"), " ")
		})
	}
	// Output:
	// pipe processes: true true PASS
	// unix processes: true true PASS
	// tcp processes: true true PASS
}

// Every other role is a process.
func ExampleMixed() {
	for _, setup := range lahjatest.Mixed() {
		fmt.Print(setup.Name, ": ")
		test(func(t testing.TB) {
			bus := setup.NewBus(t)
			fmt.Print(elsewhere(bus, "a"), " ", elsewhere(bus, "b"), " ")
		})
	}
	// Output:
	// pipe mixed: true false PASS
	// unix mixed: true false PASS
	// tcp mixed: true false PASS
}

// elsewhere starts a role and reports whether it is in another process.
func elsewhere(bus *lahjatest.Bus, name string) bool {
	me := bus.Endpoint("the one who asks " + name)
	bus.Start("pid", name)
	if err := me.WaitUntil(bus.Context(), lahja.SubscribedBy[who](name)); err != nil {
		fmt.Println(err)
	}
	answer, err := lahja.Request[who, self](bus.Context(), me, who{}, lahja.To(name))
	if err != nil {
		fmt.Println(err)
	}
	return answer.PID != os.Getpid()
}

// A role that returns has done what it is for.
func ExampleActor_Wait() {
	test(func(t testing.TB) {
		bus := lahjatest.NewBus(t)
		heard := lahjatest.Record[number](t, bus.Endpoint("me"))
		bus.Start("once", "speaker").Wait() // it has broadcast by then
		lahjatest.Expect(t, heard, time.Minute, number{7})
	})
	// Output: PASS
}
