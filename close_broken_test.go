package lahja_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// An endpoint that is not connected closes within a second, whatever its state.
func TestCloseWhileBroken(t *testing.T) {
	for _, lost := range []bool{false, true} {
		cross(t, lahja.Limits{Resume: 3 * time.Second}, nil, func(c *crossing) {
			ep := c.connect("far")
			items := lahja.Stream[item](c.ctx, ep)
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			c.state(ep, broken)
			c.broadcast(ep, 1)
			if lost {
				time.Sleep(5 * time.Second)
			}
			waiting := make(chan error, 1)
			go func() {
				_, err := lahja.Request[question, answer](c.ctx, ep, question{1})
				waiting <- err
			}()
			synctest.Wait()
			begin := time.Now()
			ep.Close()
			if took := time.Since(begin); took > time.Second {
				c.Errorf("lost: %v: Close takes %v", lost, took)
			}
			if err := <-waiting; !errors.Is(err, lahja.ErrClosed) {
				c.Errorf("lost: %v: the request ends with %v", lost, err)
			}
			for range items {
			}
			<-ep.Done()
		})
	}
}

// A bus that closes does not wait for endpoints without a connection, and Shutdown says what they
// have not got.
func TestCloseWithoutConnections(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		cross(t, lahja.Limits{Resume: time.Hour}, nil, func(c *crossing) {
			ep := c.connect("far")
			_ = lahja.Stream[item](c.ctx, ep)
			c.wire.Refuse(true)
			c.wire.Cut(faulty.Reset)
			c.state(ep, broken)
			synctest.Wait() // the bus has noticed as well
			c.broadcast(c.own, 1)
			begin := time.Now()
			var err error
			if shutdown {
				ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
				defer cancel()
				err = c.bus.Shutdown(ctx)
			}
			c.stopBus()
			if took := time.Since(begin); took > 0 {
				c.Errorf("shutdown: %v: it takes %v", shutdown, took)
			}
			if shutdown &&
				(!errors.Is(err, lahja.ErrClosed) || !strings.Contains(err.Error(), `"far"`)) {
				c.Errorf("Shutdown returns %v", err)
			}
		})
	}
}

// An endpoint that has left keeps nobody waiting, also when its connection breaks before it has
// heard the bus's own goodbye.
func TestCloseAfterALostGoodbye(t *testing.T) {
	cross(t, lahja.Limits{Resume: time.Hour}, nil, func(c *crossing) {
		log := logRecords(c)
		ep := c.connect("far")
		_ = lahja.Stream[load](c.ctx, ep)
		time.Sleep(time.Second)
		c.wire.Stall(faulty.In) // so that the bus's goodbye waits behind a load
		err := lahja.Broadcast(c.ctx, c.own, load{Data: make([]byte, 500_000)})
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Second)
		var closing sync.WaitGroup
		closing.Go(func() { ep.Close() })
		synctest.Wait()
		if peers, err := c.own.Peers(c.ctx); len(peers) != 1 || err != nil {
			c.Errorf("when it has left there are %v: %v", peers, err)
		}
		c.wire.Cut(faulty.Reset)
		begin := time.Now()
		c.stopBus()
		if took := time.Since(begin); took > 0 {
			c.Errorf("the bus closes after %v", took)
		}
		closing.Wait()
		for len(log) > 0 {
			c.Errorf("logged: %v", (<-log).Message)
		}
	})
}
