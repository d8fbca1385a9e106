package faulty_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

type tick struct {
	Number  int
	Padding [100]byte
}

// This is what it is for: an endpoint whose connections break again and again, at random bytes, the
// handshakes of its resumes included, gets every event once and in order.
func TestEventsThroughCuts(t *testing.T) {
	const events = 5000
	seed := rand.Uint64()
	synctest.Test(t, func(t *testing.T) {
		wire := faulty.New(memory.New(), seed, func(n int, random *rand.Rand) []faulty.Fault {
			how := []faulty.Ending{faulty.Reset, faulty.Hangup}[random.IntN(2)]
			at := random.Int64N(128 << 10) // some of what is sent at once is larger than 32 KiB
			if n == 1 {
				at += 1 << 10 // attaching itself is not repeated
			}
			return []faulty.Fault{faulty.CutAt(faulty.Both, at, how)}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		bus := lahja.NewBus()
		defer bus.Close()
		l, err := wire.Listen(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go bus.ServeListener(ctx, l)
		source, err := bus.Endpoint("source")
		if err != nil {
			t.Fatal(err)
		}
		ep, err := lahja.Connect(ctx, "sink", wire)
		if err != nil {
			t.Fatalf("%v\n%v", err, wire)
		}
		defer ep.Close()
		ticks := lahja.Stream[tick](ctx, ep, lahja.Take(events))
		for n := range events {
			if err := lahja.Broadcast(ctx, source, tick{Number: n}); err != nil {
				t.Fatalf("event %d: %v\n%v", n, err, wire)
			}
		}
		next := 0
		for ev := range ticks {
			if ev.Value.Number != next {
				t.Fatalf("event %d arrived, want %d\n%v", ev.Value.Number, next, wire)
			}
			next++
		}
		if next != events || wire.Stats().Cut < 3 {
			t.Fatalf("%d of %d events arrived\n%v", next, events, wire)
		}
		t.Logf("%d cuts, %d connections", wire.Stats().Cut, wire.Stats().Connections)
	})
}
