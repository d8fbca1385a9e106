// State is a board that shows the state of services. It subscribes late, and yet sees the latest
// state of each: the bus keeps that for as long as the service lives.
//
//	go run ./examples/state [-transport pipe|unix|tcp|memory]
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// Status is what a service says of itself.
type Status struct{ Text string }

// Leave asks a service to end; it does so without an answer.
type Leave struct{}

// The names of the endpoints.
const (
	boardName  = "board"
	database   = "database"
	webService = "web"
)

func main() { role.Main(parent, child) }

// parent is the process that you start. It has the bus, and starts the services.
func parent(ctx context.Context) error {
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint(boardName)
	if err != nil {
		return err
	}
	running, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{database, webService} {
		running.Go(func() error { return role.Run(ctx, bus, name, child) })
	}
	running.Go(func() error {
		defer bus.Close() // which the services that are left end with
		// A service subscribes to Leave when it has said all it has to say.
		if err := ep.WaitUntil(ctx, lahja.SubscribedBy[Leave](database, webService)); err != nil {
			return err
		}
		return board(ctx, ep, func(line string) { fmt.Println(line) })
	})
	return running.Wait()
}

// board shows the state of both services, tells one to leave, and shows that it is gone.
func board(ctx context.Context, ep *lahja.Endpoint, show func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	states := map[string]string{}
	told := false
	for ev := range lahja.Stream[Status](ctx, ep, lahja.WithRetained(), lahja.OnEnd(cancel)) {
		if ev.Gone {
			show(ev.Origin + " is gone")
			return showPresent(ctx, ep, ev.Origin, show)
		}
		states[ev.Origin] = ev.Value.Text
		if len(states) < 2 || told {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(states)) {
			show(name + " is " + states[name])
		}
		told = true
		if err := lahja.Broadcast(ctx, ep, Leave{}, lahja.To(database)); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// showPresent shows who is left once an endpoint is not present any more.
func showPresent(ctx context.Context, ep *lahja.Endpoint, gone string, show func(string)) error {
	left := ""
	err := ep.WaitUntil(ctx, func(peers lahja.Peers) bool {
		left = ""
		for _, p := range peers[1:] {
			left += " " + p.Name
		}
		return !lahja.Present(gone)(peers)
	})
	if err == nil {
		show("still here:" + left)
	}
	return err
}

// child is what another process does; t leads to the bus.
func child(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	return service(ctx, ep)
}

// service says how it is, and lives until it is told to leave.
func service(ctx context.Context, ep *lahja.Endpoint) error {
	for _, text := range []string{"starting", "ready"} {
		if err := lahja.Broadcast(ctx, ep, Status{text}, lahja.Retain()); err != nil {
			return err
		}
	}
	_, err := lahja.WaitFor[Leave](ctx, ep)
	return err
}
