package lahja_test

import (
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A wire that swallows what goes in one direction, while enough comes in the other for that side to
// see nothing wrong, is given up within twice the heartbeat, and nothing is lost.
func TestBlackHoleInOneDirection(t *testing.T) {
	for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
		cross(t, lahja.Limits{}, nil, func(c *crossing) {
			ep := c.connect("far")
			down := lahja.Stream[item](c.ctx, ep, lahja.From("own"))
			up := lahja.Stream[item](c.ctx, c.own, lahja.From("far"))
			time.Sleep(time.Second)
			c.wire.Swallow(d)
			begin := time.Now()
			const said = 6000
			var saying sync.WaitGroup
			for _, from := range []*lahja.Endpoint{ep, c.own} {
				saying.Go(func() {
					for n := range said {
						c.broadcast(from, n)
						time.Sleep(5 * time.Millisecond)
					}
				})
			}
			time.Sleep(time.Millisecond)
			c.wire.Resume() // for connections to come: that one has swallowed something for good
			for _, events := range []<-chan lahja.Event[item]{up, down} {
				saying.Go(func() {
					for n := range said {
						if ev := <-events; ev.Value.N != n || ev.Gap() {
							c.Errorf("%v: got %+v, where %d was due", d, ev, n)
							return
						}
					}
				})
			}
			saying.Wait()
			s := c.state(ep, resumed(1))
			if s.Restarts > 0 {
				c.Errorf("%v: the state is %+v", d, s)
			}
			c.Logf("%v: %v later nothing is lost: %+v", d, time.Since(begin), s)
		})
	}
}
