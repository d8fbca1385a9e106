package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// joined connects by wire, and returns the end that dialled, which has the faults, and the other.
func joined(wire *faulty.Transport) (dialled, accepted lahja.Conn, l lahja.Listener) {
	ctx := context.Background()
	l, err := wire.Listen(ctx)
	if err != nil {
		panic(err)
	}
	dialled, err = wire.Dial(ctx)
	if err != nil {
		panic(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		panic(err)
	}
	return dialled, accepted, l
}

// always is a plan by which each connection has the same faults.
func always(faults ...faulty.Fault) faulty.Plan {
	return func(int, *rand.Rand) []faulty.Fault { return faults }
}

// say writes a text on one end and reads what comes of it on the other, after which it closes both.
func say(wire *faulty.Transport, text string) {
	here, there, l := joined(wire)
	defer l.Close()
	defer there.Close()
	_, err := io.WriteString(here, text)
	fmt.Println("written:", err)
	here.Close()
	got, err := io.ReadAll(there)
	fmt.Printf("read: %q %v\n", got, err)
}

// What was written up to the fault arrives, and then the connection ends.
func ExampleCutAt() {
	wire := faulty.New(memory.New(), 1, always(faulty.CutAt(faulty.Out, 5, faulty.Hangup)))
	say(wire, "hello, world")
	// Output:
	// written: faulty: write: hung up, on purpose: broken pipe
	// read: "hello" <nil>
}

// A black hole tells nobody anything: writing succeeds.
func ExampleSwallowAt() {
	wire := faulty.New(memory.New(), 1, always(faulty.SwallowAt(faulty.Out, 5)))
	here, there, l := joined(wire)
	defer l.Close()
	defer there.Close()
	_, err := io.WriteString(here, "hello, world")
	fmt.Println(err, wire.Stats().Swallowed, "bytes vanished")
	got := make([]byte, 5)
	_, err = io.ReadFull(there, got)
	fmt.Printf("%q %v\n", got, err)
	wire.Cut(faulty.Hangup)
	// Output:
	// <nil> 7 bytes vanished
	// "hello" <nil>
}

// The mask says which bits are inverted: 0x20 makes a capital of a small letter.
func ExampleFlipAt() {
	say(faulty.New(memory.New(), 1, always(faulty.FlipAt(faulty.Out, 1, 0x20))), "hello")
	// Output:
	// written: <nil>
	// read: "hEllo" <nil>
}

// With the rate 1 every byte comes with one bit that is wrong, which the seed decides.
func ExampleFlipRate() {
	wire := faulty.New(memory.New(), 1, always(faulty.FlipRate(faulty.Out, 1)))
	here, there, l := joined(wire)
	defer l.Close()
	defer here.Close()
	defer there.Close()
	io.WriteString(here, "\x00\x00\x00\x00")
	got := make([]byte, 4)
	io.ReadFull(there, got)
	fmt.Println(len(got), "bytes,", wire.Stats().Flipped, "of them wrong")
	// Output: 4 bytes, 4 of them wrong
}

// Read finds one byte at a time, which a program that takes a Read for a message does not survive.
func ExampleSplit() {
	here, there, l := joined(faulty.New(memory.New(), 1, always(faulty.Split(faulty.In, 1))))
	defer l.Close()
	defer here.Close()
	defer there.Close()
	io.WriteString(there, "abc")
	for range 3 {
		buf := make([]byte, 100)
		n, err := here.Read(buf)
		fmt.Printf("%q %v\n", buf[:n], err)
	}
	// Output:
	// "a" <nil>
	// "b" <nil>
	// "c" <nil>
}

// A delay loses nothing and keeps the order.
func ExampleDelay() {
	say(faulty.New(memory.New(), 1, always(faulty.Delay(faulty.Out, time.Millisecond),
		faulty.Split(faulty.Out, 4))), "hello, world")
	// Output:
	// written: <nil>
	// read: "hello, world" <nil>
}

// A stall that has a time ends by itself; nothing is lost.
func ExampleStallAt() {
	wire := faulty.New(memory.New(), 1, always(faulty.StallAt(faulty.Out, 5, time.Millisecond)))
	say(wire, "hello, world")
	fmt.Println(wire.Stats().Stalled, "stall")
	// Output:
	// written: <nil>
	// read: "hello, world" <nil>
	// 1 stall
}

// Everything waits until Resume.
func ExampleTransport_Stall() {
	wire := faulty.New(memory.New(), 1, nil)
	here, there, l := joined(wire)
	defer l.Close()
	defer here.Close()
	defer there.Close()
	wire.Stall(faulty.Out)
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(here, "hello")
		written <- err
	}()
	select {
	case err := <-written:
		fmt.Println("written in spite of it:", err)
	case <-time.After(5 * time.Millisecond):
		fmt.Println("it waits")
	}
	wire.Resume()
	fmt.Println("written:", <-written)
	// Output:
	// it waits
	// written: <nil>
}

// The other end hears of nothing, not even that the connection was closed, until Resume.
func ExampleTransport_Swallow() {
	wire := faulty.New(memory.New(), 1, nil)
	here, there, l := joined(wire)
	defer l.Close()
	defer there.Close()
	wire.Swallow(faulty.Both)
	_, err := io.WriteString(here, "hello")
	fmt.Println("written:", err)
	here.Close()
	wire.Resume()
	got, err := io.ReadAll(there)
	fmt.Printf("read: %q %v\n", got, err)
	// Output:
	// written: <nil>
	// read: "" <nil>
}

// Nobody can attach while Refuse is on; who is attached stays.
func ExampleTransport_Refuse() {
	wire := faulty.New(memory.New(), 1, nil)
	here, there, l := joined(wire)
	defer l.Close()
	defer here.Close()
	defer there.Close()
	wire.Refuse(true)
	_, err := wire.Dial(context.Background())
	fmt.Println(errors.Is(err, syscall.ECONNREFUSED), err)
	wire.Refuse(false)
	again, err := wire.Dial(context.Background())
	fmt.Println(err)
	again.Close()
	// Output:
	// true faulty: dial: refused, as Refuse was told: connection refused
	// <nil>
}

// Where diallers are out of reach, the accepting end has the faults; Out is then towards them.
func ExampleTransport_Listener() {
	ctx := context.Background()
	place := memory.New()
	wire := faulty.New(place, 1, always(faulty.FlipAt(faulty.In, 0, 0x20)))
	inner, err := place.Listen(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	l := wire.Listener(inner)
	defer l.Close()
	here, err := place.Dial(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	there, err := l.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer there.Close()
	io.WriteString(here, "hello")
	here.Close()
	got, err := io.ReadAll(there)
	fmt.Printf("%q %v\n", got, err)
	// Output: "Hello" <nil>
}

// Conn puts the faults on a connection that came about in another way.
func ExampleTransport_Conn() {
	place := memory.New()
	wire := faulty.New(place, 1, always(faulty.CutAt(faulty.Out, 2, faulty.Reset)))
	plain, there, l := joined(faulty.New(place, 1, nil))
	defer l.Close()
	defer there.Close()
	here := wire.Conn(plain)
	defer here.Close()
	n, err := io.WriteString(here, "hello")
	fmt.Println(n, err)
	// Output: 2 faulty: reset, on purpose: connection reset by peer
}

// What a fault prints, such as in the account of a failing test.
func ExampleFault() {
	fmt.Println(faulty.StallAt(faulty.Out, 100, 0))
	fmt.Println(faulty.FlipAt(faulty.In, 3, 0x80))
	fmt.Println(faulty.CutAt(faulty.Both, 0, faulty.Reset))
	// Output:
	// stall after 100 bytes out
	// byte 3 in changed by 0x80
	// reset after 0 bytes both
}
