package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A session that is not resumed within its window is lost: both ends learn it once, and the
// endpoint begins another.
func TestWindowIsOver(t *testing.T) {
	limits := lahja.Limits{Resume: 3 * time.Second}
	cross(t, limits, nil, func(c *crossing) {
		log := logRecords(c)
		ep := c.connect("far")
		items := lahja.Stream[item](c.ctx, ep)
		time.Sleep(time.Second) // all is confirmed
		c.wire.Refuse(true)
		c.wire.Cut(faulty.Reset)
		c.state(ep, broken)
		asked := make(chan error, 1)
		go func() {
			_, err := lahja.Request[question, answer](c.ctx, ep, question{1})
			asked <- err
		}()
		synctest.Wait()
		c.broadcast(ep, 1)
		c.broadcast(c.own, 2)
		begin := time.Now()
		if err := <-asked; !errors.Is(err, lahja.ErrSessionLost) {
			c.Errorf("the request ends with %v", err)
		}
		if took := time.Since(begin); took > limits.Resume {
			c.Errorf("that took %v", took)
		}
		err := c.own.WaitUntil(c.ctx, func(p lahja.Peers) bool { return !lahja.Present("far")(p) })
		if err != nil || time.Since(begin) > limits.Resume {
			c.Errorf("after %v it is gone: %v", time.Since(begin), err)
		}
		waits, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if err := lahja.Broadcast(waits, ep, item{3}); !errors.Is(err, context.DeadlineExceeded) {
			c.Errorf("a broadcast without a session: %v", err)
		}
		err = lahja.Broadcast(c.ctx, ep, item{3}, lahja.NoWait())
		if !errors.Is(err, lahja.ErrWouldBlock) {
			c.Errorf("one that does not wait: %v", err)
		}
		c.wire.Refuse(false)
		// The request and the broadcast were accepted, and have not arrived.
		if s := c.state(ep, restarted(1)); s.Lost != 2 || s.Resumes != 0 {
			c.Errorf("the state is %+v", s)
		}
		if ev := next(c, items); ev.Value.N != 1 || ev.Gap() { // its own, before
			c.Errorf("got %+v", ev)
		}
		c.broadcast(c.own, 5)
		c.broadcast(c.own, 6)
		for n := 5; n <= 6; n++ {
			if ev := next(c, items); ev.Value.N != n || ev.Gap() != (n == 5) {
				c.Errorf("got %+v, gap: %v", ev, ev.Gap())
			}
		}
		c.toldOnce(log, "far", 2, 1)
	})
}

// What is retained is said again in each session: one that ends before the bus has it has lost
// nothing of it.
func TestRetainedIsNotLost(t *testing.T) {
	var wire *faulty.Transport
	unlucky := false // is the next connection
	plan := func(int, *rand.Rand) []faulty.Fault {
		if !unlucky {
			return nil
		}
		unlucky = false
		wire.Refuse(true)
		return []faulty.Fault{faulty.CutAt(faulty.Out, 250, faulty.Reset)}
	}
	cross(t, lahja.Limits{Resume: time.Second}, plan, func(c *crossing) {
		wire = c.wire
		far := c.connect("far")
		for i := range 10 {
			c.broadcast(far, i, lahja.RetainKey(fmt.Sprint(i)))
		}
		time.Sleep(time.Second) // all is confirmed
		c.wire.Refuse(true)
		c.crashBus()
		lost := func(s lahja.State) bool { return errors.Is(s.Err, lahja.ErrSessionLost) }
		c.state(far, lost)
		c.startBus()
		unlucky = true
		c.wire.Refuse(false)
		time.Sleep(10 * time.Second) // the second session is begun, and lost
		c.wire.Refuse(false)
		s := c.state(far, restarted(2))
		if cuts := c.wire.Stats().Cut; cuts != 2 || s.Lost != 0 {
			c.Errorf("after %d cuts: %+v", cuts, s)
		}
		for range lahja.Stream[item](c.ctx, c.own, lahja.WithRetained(), lahja.Take(10)) {
		}
	})
}

// slowToClose is a transport whose connections take some time to close.
type slowToClose struct{ lahja.Transport }

func (slowToClose) Redials() bool { return true }

func (s slowToClose) Dial(ctx context.Context) (lahja.Conn, error) {
	conn, err := s.Transport.Dial(ctx)
	return slowConn{conn}, err
}

type slowConn struct{ lahja.Conn }

func (c slowConn) Close() error {
	defer time.Sleep(10 * time.Millisecond)
	return c.Conn.Close()
}

// slowLog is a log that takes some time to write.
type slowLog struct{ slog.Handler }

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (slowLog) Handle(context.Context, slog.Record) error {
	time.Sleep(20 * time.Millisecond) // more than the window, and less than Close waits for it
	return nil
}

// A window that is over before the connection is closed, and a log that is slow to take note of it,
// do not keep the endpoint from beginning another session.
func TestWindowIsOverAtOnce(t *testing.T) {
	limits := lahja.Limits{Resume: time.Millisecond, Heartbeat: time.Second}
	logTo(t, slowLog{slog.DiscardHandler})
	cross(t, limits, nil, func(c *crossing) {
		ep, err := lahja.Connect(c.ctx, "far", slowToClose{c.wire})
		if err != nil {
			c.Fatal(err)
		}
		defer ep.Close()
		c.wire.Swallow(faulty.In) // so that it is the endpoint that gives the connection up
		c.state(ep, broken)
		c.wire.Resume()
		c.state(ep, restarted(1))
	})
}

// once is a transport whose connections cannot be made again.
type once struct{ lahja.Transport }

// Where nothing is resumed an endpoint ends with its connection, and its last state tells how many
// events have perhaps been lost with it.
func TestLostWithoutResume(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		ep, err := lahja.Connect(c.ctx, "far", once{c.wire})
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(time.Second)
		c.wire.Stall(faulty.Out)
		c.broadcast(ep, 1)
		states := ep.WatchState(c.ctx)
		c.wire.Cut(faulty.Reset)
		<-ep.Done()
		var last lahja.State
		for last = range states {
		}
		if last.Connected || last.Lost != 1 || !errors.Is(last.Err, lahja.ErrSessionLost) {
			c.Errorf("the last state is %+v", last)
		}
	})
}
