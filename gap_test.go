package lahja_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// The first event after a lost session says that there is a gap, and no other does, also when
// several come at the same moment.
func TestGapIsToldFirst(t *testing.T) {
	cross(t, lahja.Limits{Resume: time.Second}, nil, func(c *crossing) {
		ep := c.connect("far")
		items := lahja.Stream[item](c.ctx, ep)
		const at = 16
		for n := range uint64(200 * scale()) {
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			time.Sleep(3 * time.Second) // in the bubble
			var saying sync.WaitGroup
			begin := make(chan struct{})
			for i := range at {
				saying.Go(func() {
					<-begin
					c.broadcast(ep, i, lahja.Internal())
				})
			}
			synctest.Wait()
			close(begin)
			saying.Wait()
			for i := range at {
				if ev := next(c, items); ev.Gap() != (i == 0) {
					c.Fatalf("loss %d: event %d of %d: gap: %v", n, i, at, ev.Gap())
				}
			}
			c.wire.Refuse(false)
			c.state(ep, restarted(n+1))
		}
	})
}
