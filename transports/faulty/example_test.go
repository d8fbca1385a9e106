package faulty_test

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// The first connection breaks inside its handshake, at a byte that the seed decides; the second is
// well.
func ExampleNew() {
	ctx := context.Background()
	wire := faulty.New(memory.New(), 7, func(n int, random *rand.Rand) []faulty.Fault {
		if n > 1 {
			return nil
		}
		return []faulty.Fault{faulty.CutAt(faulty.Out, random.Int64N(20), faulty.Reset)}
	})
	bus := lahja.NewBus()
	defer bus.Close()
	l, err := wire.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	go bus.ServeListener(ctx, l)

	_, err = lahja.Connect(ctx, "worker", wire)
	fmt.Println(err != nil)
	ep, err := lahja.Connect(ctx, "worker", wire)
	fmt.Println(ep.Name(), err, wire.Stats().Cut)
	// Output:
	// true
	// worker <nil> 1
}

// A fault can also come at a moment of the test's own.
func ExampleTransport_Cut() {
	ctx := context.Background()
	wire := faulty.New(memory.New(), 1, nil)
	l, err := wire.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	conn, err := wire.Dial(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()

	fmt.Println(wire.Cut(faulty.Reset))
	_, err = conn.Read(make([]byte, 1))
	fmt.Println(err)
	fmt.Println(wire) // as a failing test would
	// Output:
	// 1
	// faulty: reset, on purpose: connection reset by peer
	// faulty: seed 1, {Connections:1 Refused:0 Cut:1 Stalled:0 Flipped:0 Swallowed:0 Out:0 In:0}
	// connection 1: reset by Cut, after 0 bytes out and 0 in
}
