// Request is two processes: one answers, the other asks three times and prints the answers.
//
//	go run ./examples/request [-transport pipe|unix|tcp|memory]
package main

import (
	"context"
	"fmt"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// GetSomething asks for Something.
type GetSomething struct{}

// Something is the answer.
type Something struct{ Payload string }

func main() { role.Main(answer, ask) }

// answer is the process that you start. It has the bus, answers, and starts the one that asks.
func answer(ctx context.Context) error {
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("answerer")
	if err != nil {
		return err
	}
	handler := func(context.Context, lahja.Event[GetSomething]) (Something, error) {
		return Something{Payload: "Yay"}, nil
	}
	if _, err := lahja.Handle(ctx, ep, handler); err != nil {
		return err
	}
	return role.Run(ctx, bus, "asker", ask)
}

// ask is what the other process does; t leads to the bus.
func ask(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	for range 3 {
		answer, err := lahja.Request[GetSomething, Something](ctx, ep, GetSomething{})
		if err != nil {
			return err
		}
		fmt.Println(answer.Payload)
	}
	return nil
}
