package lahja_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

type (
	freightA struct{ Load []byte }
	freightB struct{ Load []byte }
	freightC struct{ Load []byte }
	freightD struct{ Load []byte }
)

// freight fills the windows of one event type over a connection that breaks.
type freight struct {
	fill  func() int // broadcasts until the window is used up, and returns how many
	drain func(want int)
}

func freightOf[T any](c *crossing, far *lahja.Endpoint, event T) freight {
	events := lahja.Stream[T](c.ctx, c.own, lahja.Buffer(1))
	return freight{
		fill: func() (n int) {
			for ; ; n++ {
				ctx, cancel := context.WithTimeout(c.ctx, 100*time.Millisecond)
				err := lahja.Broadcast(ctx, far, event)
				cancel()
				if err != nil {
					return n
				}
			}
		},
		drain: func(want int) {
			for range want {
				if ev := next(c, events); ev.Gap() {
					c.Errorf("%T: a gap", event)
				}
			}
		},
	}
}

// While a connection is broken each event type has its window: that many are full at once does not
// end the session.
func TestManyTypesWaitForTheConnection(t *testing.T) {
	const lag = 2 << 20
	cross(t, lahja.Limits{Lag: lag, Stall: -1}, nil, func(c *crossing) {
		far, load := c.connect("far"), make([]byte, 10_000)
		freights := []freight{
			freightOf(c, far, freightA{load}), freightOf(c, far, freightB{load}),
			freightOf(c, far, freightC{load}), freightOf(c, far, freightD{load}),
		}
		for _, f := range freights {
			f.drain(f.fill()) // the window grows as it is used
		}
		time.Sleep(time.Second)
		c.wire.Refuse(true)
		c.wire.Cut(faulty.Reset)
		c.state(far, broken)
		waiting := make([]int, len(freights))
		size := 0
		for i, f := range freights {
			waiting[i] = f.fill()
			size += waiting[i] * len(load)
		}
		c.wire.Refuse(false)
		for i, f := range freights {
			f.drain(waiting[i])
		}
		if s := c.state(far, resumed(1)); s.Restarts > 0 || size < 3*lag {
			c.Errorf("with %d bytes that waited the state is %+v", size, s)
		}
	})
}

// What an endpoint had retained is sent again to a restarted bus under the same rules as ever: a
// subscription that takes none of it holds the endpoint up for the limit of a stall, not for ever.
func TestRestoringMeetsAStalledSubscription(t *testing.T) {
	cross(t, lahja.Limits{Lag: 1000}, nil, func(c *crossing) {
		far := c.connect("far")
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
			c.broadcast(far, 1, lahja.RetainKey(key))
		}
		c.crashBus()
		c.state(far, broken)
		c.startBus()
		stuck := lahja.Stream[item](c.ctx, c.own, lahja.Buffer(1))
		begin := time.Now()
		c.state(far, restarted(1))
		if took := time.Since(begin); took < 4*time.Second || took > 7*time.Second {
			c.Errorf("the endpoint is held up for %v", took)
		}
		got := 0
		for range stuck {
			got++
		}
		if err := c.own.Err(); got == 10 || err != nil {
			c.Errorf("the subscription that took nothing got %d events, its endpoint %v", got, err)
		}
		c.broadcast(far, 2)
	})
}

// What only an endpoint's own subscription has yet to take, of a session that is lost, holds up
// nobody in the next: the subscription lags by far less than it may.
func TestOwnLagOutlivesTheSession(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		const before, after = 5, 20
		far := c.connect("far")
		own := lahja.Stream[item](c.ctx, far, lahja.Buffer(1))
		for n := range before {
			c.broadcast(far, n)
		}
		c.crashBus()
		c.state(far, broken)
		c.startBus()
		c.state(far, restarted(1))
		elsewhere := lahja.Stream[item](c.ctx, c.own)
		begin := time.Now()
		for n := range after {
			c.broadcast(far, before+n)
			next(c, elsewhere)
		}
		if took := time.Since(begin); took > time.Second {
			c.Errorf("broadcasting takes %v", took)
		}
		for _, s := range far.Stats() {
			if s.Event == lahja.EventName[item]() && s.Outstanding < s.Lag {
				c.Errorf("%d bytes are outstanding, where %d lag", s.Outstanding, s.Lag)
			}
		}
		for n := range before + after {
			if ev := next(c, own); ev.Value.N != n {
				c.Errorf("got %d, want %d", ev.Value.N, n)
			}
		}
	})
}

// A handler that needs the bus gets it, although what the endpoint has retained, and has to tell
// the bus again, still waits for that handler.
func TestRestoringWaitsForNoHandler(t *testing.T) {
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		const events = 8
		far, gate := c.connect("far"), make(chan struct{})
		asked := make(chan error, events)
		if _, err := lahja.Subscribe(c.ctx, far, func(ctx context.Context, _ lahja.Event[item]) {
			<-gate
			_, err := far.Peers(ctx)
			asked <- err
		}, lahja.Buffer(1)); err != nil {
			c.Fatal(err)
		}
		for n := range events {
			c.broadcast(far, n, lahja.Retain())
		}
		c.crashBus()
		c.state(far, broken)
		close(gate)
		c.startBus()
		c.state(far, restarted(1))
		for range events {
			if err := <-asked; err != nil {
				c.Error(err)
			}
		}
	})
}

// A restarted bus that allows less to be retained than the one before gets as much as it allows.
// The endpoint lives on, and what is too much has ended for its own subscriptions as well.
func TestRestoringWhereLessIsAllowed(t *testing.T) {
	type value = freightA
	small, large := value{make([]byte, 900)}, value{make([]byte, 9000)}
	for _, less := range []struct {
		lahja.Limits
		want string
	}{
		{lahja.Limits{}, "a b c large"},
		{lahja.Limits{RetainedKeys: 2}, "a b"},
		{lahja.Limits{RetainedBytes: 3300}, "a b c"},
		{lahja.Limits{Retained: 3300}, "a b"}, // and one of another type
		{lahja.Limits{Frame: 8 << 10}, "a b c"},
	} {
		cross(t, lahja.Limits{}, nil, func(c *crossing) {
			far := c.connect("far")
			err := lahja.Broadcast(c.ctx, far, freightB(small), lahja.Retain())
			own := lahja.Stream[value](c.ctx, far, lahja.WithRetained())
			for _, key := range []string{"a", "b", "c", "large"} {
				v := small
				if key == "large" {
					v = large
				}
				err = errors.Join(err, lahja.Broadcast(c.ctx, far, v, lahja.RetainKey(key)))
				next(c, own)
			}
			if err != nil {
				c.Fatal(err)
			}
			c.crashBus()
			c.state(far, broken)
			c.opts = []lahja.BusOption{less.Limits}
			c.startBus()
			c.state(far, restarted(1))
			want := strings.Fields(less.want)
			for range 4 - len(want) {
				if ev := next(c, own); !ev.Gone || slices.Contains(want, ev.Key) {
					c.Errorf("%+v: %q comes, gone: %v", less.Limits, ev.Key, ev.Gone)
				}
			}
			nothing(c, own)
			for _, ep := range []*lahja.Endpoint{c.own, far} {
				ctx, cancel := context.WithTimeout(c.ctx, time.Second)
				var keys []string
				for ev := range lahja.Stream[value](ctx, ep, lahja.WithRetained()) {
					keys = append(keys, ev.Key)
				}
				cancel()
				if !slices.Equal(keys, want) {
					c.Errorf("%+v: at %q there are %q", less.Limits, ep.Name(), keys)
				}
			}
			if err := lahja.Broadcast(c.ctx, far, small, lahja.RetainKey("a")); err != nil {
				c.Errorf("%+v: %v", less.Limits, err)
			}
		})
	}
}

// An endpoint that the bus has asked to leave has left, also when its connection breaks before the
// bus's own goodbye has come: it does not look for a bus that is gone. One that did not hear that
// it was asked goes on dialling.
func TestGoodbyeIsLost(t *testing.T) {
	leave := func(plan faulty.Plan) (before, in uint64, left bool) {
		cross(t, lahja.Limits{}, plan, func(c *crossing) {
			ep := c.connect("far")
			time.Sleep(time.Second)
			before = c.wire.Stats().In
			c.stopBus()
			select {
			case <-ep.Done():
				left = true
				if err := ep.Err(); !errors.Is(err, lahja.ErrClosed) {
					c.Errorf("it ends with %v", err)
				}
			case <-time.After(time.Minute):
			}
			in = c.wire.Stats().In
		})
		return before, in, left
	}
	before, all, _ := leave(nil)
	left := int64(0)
	for lost := range int64(all - before - 1) { // of the last bytes that the bus has said
		_, _, did := leave(func(n int, _ *rand.Rand) []faulty.Fault {
			if n > 1 {
				return nil
			}
			return []faulty.Fault{faulty.CutAt(faulty.In, int64(all)-1-lost, faulty.Reset)}
		})
		if did && left == lost {
			left++
		}
	}
	if left < 16 { // a goodbye is longer
		t.Errorf("it has left only while at most %d bytes are lost", left)
	}
	t.Logf("of %d bytes with which the bus parts, the last %d may be lost", all-before, left)
}
