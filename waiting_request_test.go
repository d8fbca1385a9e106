package lahja_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A request that waits at the bus, because a group or a subscription elsewhere has no room, is
// withdrawn there when it is over: it does not wait any more, and no handler runs with it.
func TestRequestIsWithdrawnWhereItWaits(t *testing.T) {
	endings := []struct {
		name string
		end  func(*waiting)
	}{
		{"answered elsewhere", func(w *waiting) {
			close(w.speak)
			w.must(take(w.stage, w.asked))
		}},
		{"cancelled", func(w *waiting) {
			w.cancel()
			w.wantErr(take(w.stage, w.asked), context.Canceled)
		}},
		{timedOut, func(w *waiting) {
			w.wantErr(take(w.stage, w.asked), context.DeadlineExceeded)
		}},
	}
	for _, v := range venues {
		if v.name == "pipe" || v.name == "tcp" {
			continue // they are links like the others
		}
		for _, way := range []string{"Group", "DropOldest", "WithRetained"} {
			for _, e := range endings {
				bubble := v.name != "unix"
				if !bubble && e.name == timedOut {
					continue // how far the request has got by then depends on the machine
				}
				show := func(t *testing.T) {
					w := &waiting{stage: newStage(t, &v, [2]bool{}), bubble: bubble}
					w.begin(way, e.name == timedOut)
					e.end(w)
					w.check()
				}
				t.Run(v.name+", "+way+", "+e.name, func(t *testing.T) {
					if bubble {
						synctest.Test(t, show)
					} else {
						show(t)
					}
				})
			}
		}
	}
}

// waiting is a request 1 of an endpoint of the bus's process that waits for b, and that one who
// speaks when he may has as well.
type waiting struct {
	*stage
	bubble  bool
	a       *lahja.Endpoint
	posted  bool          // it waits where Stats can tell, and holds its publisher up
	lag     int64         // without it
	open    func()        // lets b go on
	handled chan struct{} // b has got to what comes last
	speak   chan struct{}
	asked   <-chan error
	cancel  func()
}

const timedOut = "timed out"

const toFill = 600 // more than may be on their way to one subscription

func (w *waiting) begin(way string, brief bool) {
	opts := map[string][]lahja.SubscribeOption{
		"Group":        {lahja.Group("g")},
		"DropOldest":   {lahja.DropOldest()},
		"WithRetained": {lahja.WithRetained()},
	}[way]
	w.posted = way == "Group" || way == "WithRetained" && w.place != nil
	gate, free := make(chan struct{}, 1), make(chan struct{})
	if w.place != nil {
		w.place = &gated{w.place, gate}
	}
	w.a = w.own("a")
	b := w.connect("b")
	busy := make(chan struct{})
	w.handled, w.speak = make(chan struct{}), make(chan struct{})
	first := true
	answerWith(w.stage, b, func(ctx context.Context, n int) (answer, error) {
		switch {
		case n == 1:
			w.Error("a handler runs with a request that is over")
		case n == 2:
			close(w.handled)
		case first:
			first = false
			close(busy)
			select {
			case <-free:
			case <-ctx.Done():
			}
		}
		return answer{}, nil
	}, opts...)
	gate <- struct{}{} // b says nothing of what it has taken
	w.open = sync.OnceFunc(func() { <-gate; close(free) })
	w.Cleanup(w.open)
	say(w.stage, w.a, question{0})
	takeEnd(w.stage, busy)
	for range toFill {
		say(w.stage, w.a, question{0})
	}
	answerWith(w.stage, w.own("c"), func(ctx context.Context, n int) (answer, error) {
		if n == 1 {
			select {
			case <-w.speak:
			case <-ctx.Done():
				return answer{}, ctx.Err()
			}
		}
		return answer{n}, nil
	})
	w.ask(brief)
}

// ask makes the request, and returns when it waits.
func (w *waiting) ask(brief bool) {
	w.lag = w.lagging()
	var ctx context.Context
	if ctx, w.cancel = context.WithCancel(w.ctx); brief {
		ctx, w.cancel = context.WithTimeout(w.ctx, 300*time.Millisecond)
	}
	tap := lahja.Stream[question](w.ctx, w.own("tap"), lahja.Observe())
	w.asked = beside(w.stage, func() error {
		_, err := lahja.Request[question, answer](ctx, w.a, question{1})
		return err
	})
	hear(w.stage, tap, question{1})
	w.until("the request waits", func() bool { // the tap has it a moment before
		return !w.posted || w.lagging() != w.lag
	})
}

// until waits until something is so: in a bubble it has to be when nothing moves.
func (w *waiting) until(what string, so func() bool) {
	w.Helper()
	if w.bubble {
		synctest.Wait()
	}
	for !so() {
		if w.bubble || w.ctx.Err() != nil {
			w.Fatalf("it is not so that %s: %d bytes wait, and %d without it", what, w.lagging(),
				w.lag)
		}
		runtime.Gosched()
	}
}

// lagging is how much waits at the bus for b.
func (w *waiting) lagging() (lag int64) {
	for _, s := range w.bus.Stats() {
		if s.Endpoint == "b" {
			lag += s.Lag
		}
	}
	return lag
}

// check checks that nothing of the request is left, and that b goes on without it.
func (w *waiting) check() {
	w.cancel()
	w.until("the request is withdrawn", func() bool { return !w.posted || w.lagging() == w.lag })
	say(w.stage, w.a, question{2})
	w.open()
	takeEnd(w.stage, w.handled)
}

// A handler ends by the deadline of its requester alone, also while the connection brings no word
// of the requester; without a deadline it does not end before the word comes.
func TestDeadlineNeedsNoWord(t *testing.T) {
	for _, c := range []struct {
		name   string
		held   faulty.Direction // as the endpoint elsewhere sees it
		remote bool             // it requests; or it handles
	}{{"to the handler", faulty.In, false}, {"from the requester", faulty.Out, true}} {
		t.Run(c.name, func(t *testing.T) {
			limits := lahja.Limits{Heartbeat: time.Hour}
			cross(t, limits, nil, func(x *crossing) {
				asks, handles := x.own, x.connect("far")
				if c.remote {
					asks, handles = handles, asks
				}
				x.endsByDeadline(asks, handles, c.held)
			})
		})
	}
}

func (x *crossing) endsByDeadline(asks, handles *lahja.Endpoint, held faulty.Direction) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	_, err := lahja.Handle(x.ctx, handles,
		func(ctx context.Context, _ lahja.Event[question]) (answer, error) {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return answer{}, ctx.Err()
		})
	if err != nil {
		x.Fatal(err)
	}
	ask := func(ctx context.Context) <-chan error {
		failed := make(chan error, 1)
		go func() {
			_, err := lahja.Request[question, answer](ctx, asks, question{1})
			failed <- err
		}()
		<-begun
		x.wire.Stall(held)
		return failed
	}
	ctx, cancel := context.WithTimeout(x.ctx, time.Minute)
	defer cancel()
	asked := time.Now()
	failed := ask(ctx)
	if err := <-ended; err != context.DeadlineExceeded || time.Since(asked) != time.Minute {
		x.Errorf("after %v the handler ends with %v", time.Since(asked), err)
	}
	if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
		x.Errorf("the request ends with %v", err)
	}
	x.wire.Resume()

	ctx, cancel = context.WithCancel(x.ctx)
	failed = ask(ctx)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		x.Errorf("the request ends with %v", err)
	}
	time.Sleep(time.Minute) // in the bubble
	synctest.Wait()
	if len(ended) > 0 {
		x.Errorf("the handler ends with %v, where no word has come", <-ended)
	}
	x.wire.Resume()
	if err := <-ended; err != context.Canceled {
		x.Errorf("the handler ends with %v", err)
	}
}

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
