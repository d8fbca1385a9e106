//go:build unix

package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"time"

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

// A child works until it is told to stop.
func ExampleChild_Stop() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	child, err := pipe.Spawn(ctx, bus, exec.Command(os.Args[0], "server"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(child.Name(), "runs:", child.PID() > 0)
	fmt.Println("it has stopped:", child.Stop(ctx))
	// Output:
	// server runs: true
	// it has stopped: <nil>
}

// Done and Err tell of a child that ends by itself, or dies.
func ExampleChild_Err() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	child, err := pipe.Spawn(ctx, bus, exec.Command(os.Args[0], "server"))
	if err != nil {
		log.Fatal(err)
	}
	worker, err := os.FindProcess(child.PID())
	if err != nil {
		log.Fatal(err)
	}
	worker.Kill()
	<-child.Done()
	fmt.Println(errors.Is(child.Err(), lahja.ErrSessionLost))
	// Output: true
}

// A child that is to be the worker cannot attach as anything else.
func ExampleAs() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	_, err := pipe.Spawn(ctx, bus, exec.Command(os.Args[0], "server"), pipe.As("worker"))
	fmt.Println(errors.Is(err, lahja.ErrDenied))
	// Output: true
}

// Before it gets SIGTERM, the child has five seconds to end by itself.
func ExamplePatience() {
	ctx := context.Background()
	bus := lahja.NewBus()
	defer bus.Close()
	cmd := exec.Command(os.Args[0], "server")
	child, err := pipe.Spawn(ctx, bus, cmd, pipe.Patience(5*time.Second, time.Second))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(child.Stop(ctx))
	// Output: <nil>
}

// serveUntilStopped is that child: it returns when the bus has said goodbye.
func serveUntilStopped() {
	ep, err := lahja.Connect(context.Background(), "server", pipe.Parent())
	if err != nil {
		log.Fatal(err)
	}
	<-ep.Done()
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
