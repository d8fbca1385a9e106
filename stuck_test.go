package lahja_test

import (
	"context"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// Isolation: who broadcasts from elsewhere does not wait while subscriptions lag by less than the
// limit, whatever the sizes of its events.
func TestLargeAfterSmallDoesNotWait(t *testing.T) {
	everywhereOnce(t, []behaviour{{"small events and large ones", func(s *stage) {
		lahja.Stream[load](s.ctx, s.connect("sub"), lahja.Buffer(0)) // which nobody reads
		pub := s.connect("pub")
		for _, size := range []int{1, 20 << 10, 50 << 10, 100 << 10, 900 << 10, 50 << 10,
			900 << 10} {
			ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second) // shorter than the stall limit
			err := lahja.Broadcast(ctx, pub, load{Data: make([]byte, size)})
			cancel()
			if err != nil {
				s.Fatalf("an event of %d bytes: %v", size, err)
			}
		}
	}}})
}
