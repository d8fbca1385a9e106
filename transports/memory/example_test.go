package memory_test

import (
	"context"
	"fmt"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func ExampleNew() {
	ctx := context.Background()
	wire := memory.New()
	_, err := lahja.Connect(ctx, "early", wire)
	fmt.Println(err != nil) // nobody listens yet

	bus := lahja.NewBus()
	defer bus.Close()
	l, err := wire.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)
	ep, err := lahja.Connect(ctx, "late", wire)
	fmt.Println(ep.Name(), err)
	// Output:
	// true
	// late <nil>
}
