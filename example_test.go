package lahja_test

import (
	"context"
	"fmt"

	"github.com/lahja-go/lahja"
)

// Greeting is an event: any named type that CBOR can carry.
type Greeting struct{ Text string }

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
