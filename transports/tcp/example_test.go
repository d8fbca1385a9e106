package tcp_test

import (
	"context"
	"fmt"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

func ExampleNew() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	l, err := tcp.New("127.0.0.1:0").Listen(ctx) // any free port
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "ui", tcp.New(l.Addr())) // in another process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ep.Close()
	fmt.Println(ep.Name())
	// Output: ui
}

func ExampleInsecure() {
	ctx := context.Background()
	_, err := tcp.New("0.0.0.0:0").Listen(ctx)
	fmt.Println(err != nil) // anyone could come in, and nothing is encrypted
	l, err := tcp.New("0.0.0.0:0", tcp.Insecure()).Listen(ctx)
	fmt.Println(err)
	if err == nil {
		l.Close()
	}
	// Output:
	// true
	// <nil>
}
