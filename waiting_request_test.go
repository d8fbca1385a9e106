package lahja_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A request that still waits for its turn when the session is lost is made in the next one.
func TestRequestThatWaitsOutlivesTheSession(t *testing.T) {
	cross(t, lahja.Limits{Resume: 3 * time.Second, Lag: 1, Stall: -1}, nil, func(c *crossing) {
		ep := c.connect("far")
		begin := make(chan struct{})
		_, err := lahja.Handle(c.ctx, c.own,
			func(_ context.Context, ev lahja.Event[question]) (answer, error) {
				<-begin
				return answer(ev.Value), nil
			}, lahja.Buffer(0))
		if err != nil {
			c.Fatal(err)
		}
		const asked = 5
		ended := make(chan error, asked)
		for n := range asked {
			go func() {
				_, err := lahja.Request[question, answer](c.ctx, ep, question{n})
				ended <- err
			}()
			synctest.Wait()
		}
		c.wire.Refuse(true)
		c.wire.Cut(faulty.Reset)
		time.Sleep(5 * time.Second) // in the bubble
		close(begin)
		c.wire.Refuse(false)
		lost, answered := 0, 0
		for range asked {
			switch err := <-ended; {
			case err == nil:
				answered++
			case errors.Is(err, lahja.ErrSessionLost):
				lost++
			default:
				c.Errorf("a request ends with %v", err)
			}
		}
		if lost != 2 || answered != asked-2 { // one was in the handler, one in the window
			c.Errorf("%d requests are lost and %d answered", lost, answered)
		}
	})
}
