//go:build unix

package pipe_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// Greeting is an event.
type Greeting struct{ Text string }

// The parent starts its own program once more, as its worker, which runs what is in
// [ExampleParent].
func ExampleSpawn() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("main")
	if err != nil {
		log.Fatal(err)
	}
	greetings := lahja.Stream[Greeting](ctx, ep, lahja.Take(1))

	cmd := exec.Command(os.Args[0], "worker")
	cmd.Stderr = os.Stderr
	child, err := pipe.Spawn(ctx, bus, cmd, pipe.As("worker"))
	if err != nil {
		log.Fatal(err)
	}
	for ev := range greetings {
		fmt.Printf("%s says %s\n", ev.Origin, ev.Value.Text)
	}
	<-child.Done()
	fmt.Println("it has ended with", child.Err())
	// Output:
	// worker says hello
	// it has ended with <nil>
}

// The worker attaches, says something and ends.
func ExampleParent() {
	ctx := context.Background()
	ep, err := lahja.Connect(ctx, "worker", pipe.Parent())
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	if err := lahja.Broadcast(ctx, ep, Greeting{"hello"}); err != nil {
		log.Print(err)
	}
}

// A test of a program that uses pipes can do without the processes.
func ExampleLoopback() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	place := pipe.Loopback()
	l, err := place.Listen(ctx)
	if err != nil {
		log.Fatal(err)
	}
	go bus.ServeListener(ctx, l)

	ep, err := lahja.Connect(ctx, "worker", place)
	if err != nil {
		log.Fatal(err)
	}
	defer ep.Close()
	fmt.Println(ep.Name())
	// Output: worker
}
