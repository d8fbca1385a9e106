package lahja_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// Endings: Shutdown of the bus delivers what was accepted, from and to everyone, however slow.
func TestShutdownDelivers(t *testing.T) {
	const each = 60
	everywhereInPairs(t, []behaviour{{"what was accepted arrives", func(s *stage) {
		a, b := s.pair()
		count := func(ep *lahja.Endpoint) <-chan int {
			events := lahja.Stream[load](s.ctx, ep, lahja.From("a", "b"))
			return beside(s, func() (n int) {
				for range events {
					time.Sleep(100 * time.Microsecond) // it is slow
					n++
				}
				return n
			})
		}
		gotA, gotB := count(a), count(b)
		for n := range each {
			say(s, a, load{N: n})
			say(s, b, load{N: n})
		}
		s.must(s.bus.Shutdown(s.ctx))
		if x, y := take(s, gotA), take(s, gotB); x != 2*each || y != 2*each {
			s.Errorf("%d and %d of %d events have arrived", x, y, 2*each)
		}
	}}})
}

// Endings: Shutdown ends with its context, and names what it could not deliver.
func TestShutdownNamesWhatIsLeft(t *testing.T) {
	ends := map[string]func(s *stage, a, b *lahja.Endpoint, ctx context.Context) error{
		"the publisher":  func(s *stage, a, b *lahja.Endpoint, ctx context.Context) error { return a.Shutdown(ctx) },
		"the subscriber": func(s *stage, a, b *lahja.Endpoint, ctx context.Context) error { return b.Shutdown(ctx) },
		"the bus":        func(s *stage, a, b *lahja.Endpoint, ctx context.Context) error { return s.bus.Shutdown(ctx) },
	}
	for name, end := range ends {
		everywhereInPairs(t, []behaviour{{name + " ends", func(s *stage) {
			a, b := s.pair()
			lahja.Stream[load](s.ctx, b) // nobody reads it
			for n := range 100 {
				say(s, a, load{N: n})
			}
			event := lahja.EventName[load]()
			for statOf(s, b.Stats(), "b", event).Lag == 0 { // until more has come than a channel holds
				runtime.Gosched()
			}
			ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := end(s, a, b, ctx)
			if took := time.Since(start); took > 2*time.Second {
				s.Errorf("Shutdown has taken %v", took)
			}
			if name == "the bus" && s.pairs == [2]bool{true, true} {
				s.must(err) // all has arrived in the other process, where it can still be read
				return
			}
			s.wantErr(err, context.DeadlineExceeded)
			if !strings.Contains(err.Error(), event) {
				s.Errorf("it does not say what is left: %v", err)
			}
		}}})
	}
}
