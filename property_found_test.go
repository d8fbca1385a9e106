package lahja_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// What the properties have found, each as small as it can be made.

// bubble runs f in a bubble with a bus and an endpoint on it that has connected.
func bubble(t *testing.T, f func(ctx context.Context, bus *lahja.Bus, ep *lahja.Endpoint)) {
	synctest.Test(t, func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bus := lahja.NewBus()
		served := make(chan error, 1)
		go func() { served <- bus.ServeListener(t.Context(), l) }()
		ep, err := lahja.Connect(t.Context(), "remote", place)
		if err != nil {
			t.Fatal(err)
		}
		f(t.Context(), bus, ep)
		ep.Close()
		bus.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A subscription that has had all it wanted before the bus knew of it is not left over there.
func TestSubscriptionThatEndsAtOnce(t *testing.T) {
	bubble(t, func(ctx context.Context, _ *lahja.Bus, ep *lahja.Endpoint) {
		if err := lahja.Broadcast(ctx, ep, red{N: 1}, lahja.Retain()); err != nil {
			t.Fatal(err)
		}
		for ev := range lahja.Stream[red](ctx, ep, lahja.WithRetained(), lahja.Take(1)) {
			if ev.Value.N != 1 {
				t.Errorf("got %+v", ev)
			}
		}
		peers, err := ep.Peers(ctx)
		if err != nil || lahja.SubscribedByAny[red](peers) {
			t.Errorf("%v, %v", peers, err)
		}
	})
}

// gated is a transport whose connections write only while the gate is open.
type gated struct {
	lahja.Transport
	gate chan struct{} // takes one while it is open
}

type gatedConn struct {
	lahja.Conn
	gate chan struct{}
}

func (g *gated) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := g.Transport.Dial(ctx)
	return &gatedConn{c, g.gate}, err
}

func (c *gatedConn) Write(b []byte) (int, error) {
	c.gate <- struct{}{}
	defer func() { <-c.gate }()
	return c.Conn.Write(b)
}

// A broadcast after the endpoint's goodbye to the bus, which waits to be written, fails: it would
// reach nobody elsewhere. Nobody here gets it either, and nothing of it is retained.
func TestBroadcastAfterGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := &gated{memory.New(), make(chan struct{}, 1)}
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bus := lahja.NewBus()
		defer bus.Close()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- bus.ServeListener(ctx, l) }()
		ep, err := lahja.Connect(t.Context(), "remote", place)
		if err != nil {
			t.Fatal(err)
		}
		defer ep.Close()
		got := lahja.Stream[red](t.Context(), ep, lahja.WithRetained())
		place.gate <- struct{}{}
		stop()
		synctest.Wait() // the bus has said goodbye, and the answer waits
		for _, opts := range [][]lahja.BroadcastOption{nil, {lahja.Retain()}} {
			err := lahja.Broadcast(t.Context(), ep, red{}, opts...)
			if !errors.Is(err, lahja.ErrClosed) {
				t.Errorf("Broadcast: %v", err)
			}
		}
		_, err = lahja.Request[silent, reply](t.Context(), ep, silent{})
		if !errors.Is(err, lahja.ErrClosed) {
			t.Errorf("Request: %v", err)
		}
		<-place.gate
		if err := <-served; err != nil {
			t.Error(err)
		}
		for ev := range got {
			t.Errorf("got %+v", ev)
		}
	})
}

// WaitFor that is cancelled while an event waits for it says so, and does not return nothing.
func TestWaitForCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := lahja.NewBus()
		defer bus.Close()
		ep, err := bus.Endpoint("here")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		var reasons []error
		ch := lahja.Stream[red](ctx, ep, lahja.Take(1), lahja.Buffer(0),
			lahja.OnEnd(func(err error) { reasons = append(reasons, err) }))
		if err := lahja.Broadcast(t.Context(), ep, red{}); err != nil {
			t.Fatal(err)
		}
		cancel(errCancelled)
		synctest.Wait()
		if ev, ok := <-ch; ok || len(reasons) != 1 || !errors.Is(reasons[0], errCancelled) {
			t.Errorf("got %v, %v; it ended with %v", ev, ok, reasons)
		}
	})
}

// Requests that wait when the bus closes fail with ErrClosed, wherever the endpoint is.
func TestRequestWhenBusCloses(t *testing.T) {
	bubble(t, func(ctx context.Context, bus *lahja.Bus, ep *lahja.Endpoint) {
		lahja.Stream[silent](ctx, ep)
		var requests sync.WaitGroup
		requests.Go(func() {
			_, err := lahja.Request[silent, reply](ctx, ep, silent{})
			if !errors.Is(err, lahja.ErrClosed) {
				t.Errorf("Request: %v", err)
			}
		})
		requests.Go(func() {
			var last error
			for _, err := range lahja.Gather[silent, reply](ctx, ep, silent{}) {
				last = err
			}
			if !errors.Is(last, lahja.ErrClosed) {
				t.Errorf("Gather: %v", last)
			}
		})
		synctest.Wait()
		bus.Close()
		requests.Wait()
	})
}
