package main

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

func init() {
	for _, kind := range []string{"pipe", "unix", "tcp"} {
		networks["lahja "+kind] = network{host: lahjaHost(kind), join: lahjaJoin(kind, false)}
		networks["lahja "+kind+" by Stream"] = network{
			host: lahjaHost(kind), join: lahjaJoin(kind, true),
		}
	}
}

// lahjaTransport is the one that leads to a place.
func lahjaTransport(kind, place string) lahja.Transport {
	switch kind {
	case "unix":
		return unix.New(place)
	case "tcp":
		return tcp.New(place)
	}
	return pipe.Parent()
}

func lahjaHost(kind string) func(*job) (*host, error) {
	return func(*job) (*host, error) {
		ctx := context.Background()
		bus := lahja.NewBus()
		ep, err := bus.Endpoint("host")
		if err != nil {
			return nil, err
		}
		h := &host{party: lahjaParty(ep), endpoint: ep}
		h.close = bus.Close
		if kind == "pipe" {
			h.start = func(cmd *exec.Cmd, _ int) (func() error, error) {
				c, err := pipe.Spawn(ctx, bus, cmd)
				if err != nil {
					return nil, err
				}
				return func() error { <-c.Done(); return c.Err() }, nil
			}
			return h, nil
		}
		address := "127.0.0.1:0"
		if kind == "unix" {
			address = socketPath()
		}
		l, err := lahjaTransport(kind, address).Listen(ctx)
		if err != nil {
			return nil, err
		}
		go bus.ServeListener(ctx, l)
		h.place = l.Addr()
		return h, nil
	}
}

// lahjaParty sends and requests by ep.
func lahjaParty(ep *lahja.Endpoint) party {
	ctx := context.Background()
	return party{
		send: func(m *Message) error { return lahja.Broadcast(ctx, ep, *m) },
		call: func(m *Message) (Message, error) {
			return lahja.Request[Message, Message](ctx, ep, *m)
		},
		close: ep.Close,
	}
}

func lahjaJoin(kind string, stream bool) func(*task) (*party, error) {
	return func(t *task) (*party, error) {
		if t.Role == crowding {
			return joinCrowd(kind, t)
		}
		ctx := context.Background()
		name := fmt.Sprint("child", t.Number)
		ep, err := lahja.Connect(ctx, name, lahjaTransport(kind, t.Place))
		if err != nil {
			return nil, err
		}
		p := lahjaParty(ep)
		switch {
		case t.Role == answering:
			_, err = lahja.Handle(ctx, ep,
				func(_ context.Context, ev lahja.Event[Message]) (Message, error) {
					return ev.Value, nil
				}, lahja.Concurrency(t.AtOnce))
		case t.Role == receiving && stream:
			events := lahja.Stream[Message](ctx, ep)
			go func() {
				for ev := range events {
					t.sink.take(&ev.Value)
				}
			}()
		case t.Role == receiving:
			_, err = lahja.Subscribe(ctx, ep,
				func(_ context.Context, ev lahja.Event[Message]) { t.sink.take(&ev.Value) })
		}
		return &p, err
	}
}
