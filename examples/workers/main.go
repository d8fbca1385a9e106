// Workers shares out work among processes: each number goes to one worker that has room, and is
// answered with its factors. When too many wait, the caller is held back.
//
//	go run ./examples/workers [-workers 3] [-jobs 60] [-transport pipe|unix|tcp|memory]
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role"
)

// Factor asks for the prime factors of a number.
type Factor struct{ N int }

// Factors is the answer, with the name of who has found them.
type Factors struct {
	Primes []int
	Worker string
}

var (
	workers = flag.Int("workers", 3, "how many processes work")
	jobs    = flag.Int("jobs", 60, "how many numbers there are")
)

// short lets about seven requests wait for a worker, so that it can be seen that asking waits then.
// The default, 32 MiB, is right for most programs.
var short = lahja.Limits{Lag: 1 << 10}

func main() { role.Main(parent, child) }

// parent is the process that you start. It has the bus, starts the workers, and asks.
func parent(ctx context.Context) error {
	if *workers < 1 || *jobs < 1 {
		return role.Misuse("-workers and -jobs: at least 1 of each")
	}
	bus := lahja.NewBus(short)
	defer bus.Close()
	ep, err := bus.Endpoint("parent")
	if err != nil {
		return err
	}
	var names []string
	running, ctx := errgroup.WithContext(ctx)
	for i := range *workers {
		name := fmt.Sprintf("worker-%d", i+1)
		names = append(names, name)
		running.Go(func() error { return role.Run(ctx, bus, name, child) })
	}
	running.Go(func() error {
		defer bus.Close() // which the workers end with
		if err := ep.WaitUntil(ctx, lahja.SubscribedBy[Factor](names...)); err != nil {
			return err
		}
		done, err := share(ctx, ep, *jobs)
		if err != nil {
			return err
		}
		report(names, done, ep)
		return nil
	})
	return running.Wait()
}

// share asks for the factors of the numbers from 1 on, all at once, and returns who has found how
// many. It need not know how many workers there are, nor which of them is busy.
func share(ctx context.Context, ep *lahja.Endpoint, jobs int) (map[string]int, error) {
	answers := make(chan Factors)
	asking, ctx := errgroup.WithContext(ctx)
	for n := 1; n <= jobs; n++ {
		asking.Go(func() error {
			found, err := lahja.Request[Factor, Factors](ctx, ep, Factor{n})
			if err == nil {
				answers <- found
			}
			return err
		})
	}
	go func() {
		asking.Wait()
		close(answers)
	}()
	done := map[string]int{}
	for found := range answers {
		done[found.Worker]++
	}
	return done, asking.Wait()
}

// report prints who has done what, and for how long asking has waited.
func report(names []string, done map[string]int, ep *lahja.Endpoint) {
	for _, name := range names {
		fmt.Printf("%s has factored %d\n", name, done[name])
	}
	for _, st := range ep.Stats() {
		if st.Event == lahja.EventName[Factor]() {
			fmt.Println("asking was held back for", st.Waited.Round(time.Millisecond), "in all")
		}
	}
}

// child is what another process does; t leads to the bus.
func child(ctx context.Context, name string, t lahja.Transport) error {
	ep, err := lahja.Connect(ctx, name, t, lahja.Limits{Resume: -1}) // it ends with its bus
	if err != nil {
		return err
	}
	defer ep.Close()
	return work(ctx, ep)
}

// work factors what is given to this member of the group, until its endpoint ends.
func work(ctx context.Context, ep *lahja.Endpoint) error {
	handler := func(_ context.Context, ev lahja.Event[Factor]) (Factors, error) {
		time.Sleep(5 * time.Millisecond) // the numbers are small: let them be hard
		return Factors{Primes: factors(ev.Value.N), Worker: ep.Name()}, nil
	}
	if _, err := lahja.Handle(ctx, ep, handler, lahja.Group("workers")); err != nil {
		return err
	}
	select {
	case <-ep.Done():
		return ep.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func factors(n int) (primes []int) {
	for d := 2; n > 1; d++ {
		for n%d == 0 {
			primes = append(primes, d)
			n /= d
		}
	}
	return primes
}
