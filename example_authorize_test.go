package lahja_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

func ExampleAuthorize() {
	bus := lahja.NewBus(lahja.Authorize(
		func(_ context.Context, name string, id lahja.Identity) (lahja.Permissions, error) {
			switch name {
			case "admin": // over tcp.TLS, look at id.Certificate as well
				return lahja.AllowAll(), nil
			case "reader":
				return lahja.Permissions{Subscribe: []string{lahja.EventName[Greeting]()}}, nil
			}
			return lahja.Permissions{}, errors.New("who is that?")
		}))
	defer bus.Close()
	ctx, place := context.Background(), memory.New()
	l, _ := place.Listen(ctx)
	go bus.ServeListener(ctx, l)

	admin, _ := lahja.Connect(ctx, "admin", place)
	reader, _ := lahja.Connect(ctx, "reader", place)
	_, err := lahja.Connect(ctx, "stranger", place)
	fmt.Println(errors.Is(err, lahja.ErrDenied))

	greetings := lahja.Stream[Greeting](ctx, reader)
	lahja.Broadcast(ctx, admin, Greeting{"hello"})
	fmt.Println((<-greetings).Value.Text)
	fmt.Println(lahja.Broadcast(ctx, reader, Greeting{"hello"}))
	// Output:
	// true
	// hello
	// lahja: denied: endpoint "reader" may not broadcast github.com/lahja-go/lahja_test.Greeting
}

// One who may do everything but answer requests.
func ExampleAllowAll() {
	p := lahja.AllowAll()
	p.Handle = nil
	fmt.Println(p.Broadcast, p.Subscribe, p.Request, p.Handle)
	// Output: [*] [*] [*] []
}
