package lahja_test

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/tcp"
)

// resumption is a stranger's session with a bus.
type resumption struct {
	testing.TB
	place   lahja.Transport
	bus     *lahja.Bus
	own     *lahja.Endpoint
	session []byte
	token   []byte
	first   *stranger
}

// dial makes another connection and introduces the stranger.
func (r *resumption) dial(hello wire.Hello) (*stranger, wire.Frame) {
	r.Helper()
	conn, err := r.place.Dial(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	s := &stranger{TB: r.TB, conn: conn}
	s.listen()
	hello.MinVersion, hello.MaxVersion = wire.Version, wire.Version
	s.preface(wire.TypeHello, hello)
	return s, <-s.heard
}

// again is the Hello that would resume the session after it has got one record of three frames.
func (r *resumption) again(attempt uint64) wire.Hello {
	return wire.Hello{
		Name: "stranger", Session: r.session, Token: r.token, Attempt: attempt, Received: 3,
	}
}

func (r *resumption) event() {
	r.Helper()
	if err := lahja.Broadcast(r.Context(), r.own, item{1}); err != nil {
		r.Fatal(err)
	}
	synctest.Wait()
}

// resuming calls test with a session that has got Subscribed, two Names and an Event, of which the
// first is confirmed, and whose connection has just broken.
func resuming(t *testing.T, limits lahja.Limits, test func(*resumption)) {
	connected(t, limits, func(r *resumption) {
		r.first.conn.Close()
		synctest.Wait()
		test(r)
	})
}

// connected is resuming while the connection is there.
func connected(t *testing.T, limits lahja.Limits, test func(*resumption)) {
	synctest.Test(t, func(t *testing.T) {
		r := &resumption{TB: t, place: memory.New(), bus: lahja.NewBus(limits)}
		defer r.bus.Close()
		l, err := r.place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go r.bus.ServeListener(t.Context(), l)
		if r.own, err = r.bus.Endpoint("own"); err != nil {
			t.Fatal(err)
		}
		s, f := r.dial(wire.Hello{Name: "stranger", Features: []string{"resume"}})
		var w wire.Welcome
		err = wire.ParseControl(f.Body, &w)
		if err != nil || len(w.Session) != 16 || len(w.Token) != 16 {
			t.Fatalf("welcomed with %+v: %v", w, err)
		}
		r.first, r.session, r.token = s, w.Session, w.Token
		s.record(wire.AppendControl(nil, wire.TypeSubscribe,
			wire.Subscribe{ID: 1, Event: lahja.EventName[item]()}))
		s.until(wire.TypeSubscribed)
		r.event() // two names and an event, in one record
		s.until(wire.TypeEvent)
		s.record(wire.AppendUvarints(nil, wire.TypeConfirm, 1))
		synctest.Wait()
		test(r)
	})
}

// refusals are resumes that cannot be, and whether the session goes on afterwards.
var refusals = []struct {
	what    string
	limits  lahja.Limits
	arrange func(*resumption, *wire.Hello)
	goesOn  bool
}{
	{"a session that never was", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Session = bytes.Repeat([]byte{7}, 16) }, true},
	{"half the session's number", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Session = h.Session[:8] }, true},
	{"another token", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Token = bytes.Repeat([]byte{7}, 16) }, true},
	{"half the token", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Token = h.Token[:8] }, true},
	{"no token", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Token = nil }, true},
	{"another name", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Name = "own" }, true},
	{"no attempt", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Attempt = 0 }, true},
	{"more than was sent", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Received = 5 }, true},
	{"far more than was sent", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Received = 1<<64 - 1 }, true},
	{"less than was confirmed", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Received = 0 }, true},
	{"the middle of a record", lahja.Limits{},
		func(_ *resumption, h *wire.Hello) { h.Received = 2 }, true},
	{"the window is over", lahja.Limits{Resume: time.Second},
		func(r *resumption, _ *wire.Hello) { time.Sleep(time.Second); synctest.Wait() }, false},
	{"it has said goodbye", lahja.Limits{}, func(r *resumption, h *wire.Hello) {
		hello := r.again(h.Attempt)
		hello.Received = 1
		s, _ := r.dial(hello)
		s.position = 1
		s.record(wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}))
		s.until(wire.TypeGoodbye)
		synctest.Wait()
		h.Attempt++
	}, false},
	{"the name has gone to another", lahja.Limits{}, func(r *resumption, _ *wire.Hello) {
		if _, f := r.dial(wire.Hello{Name: "stranger"}); f.Type != wire.TypeWelcome {
			r.Fatalf("the newcomer gets %#02x", f.Type)
		}
	}, false},
}

// A resume that cannot be is refused, as a normal result, and changes nothing for a session that
// can still be resumed.
func TestRefusedResumes(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.what, func(t *testing.T) {
			resuming(t, c.limits, func(r *resumption) {
				hello := r.again(1)
				hello.Received = 1
				c.arrange(r, &hello)
				r.refused(hello)
				hello = r.again(9)
				hello.Received = 1
				s, f := r.dial(hello)
				if goesOn := f.Type == wire.TypeWelcome; goesOn != c.goesOn {
					r.Fatalf("it goes on: %v", goesOn)
				}
				if c.goesOn {
					r.resumed(s, f)
				}
			})
		})
	}
}

// refused checks that a resume is refused.
func (r *resumption) refused(hello wire.Hello) {
	r.Helper()
	_, f := r.dial(hello)
	var refusal wire.Refusal
	if err := wire.ParseControl(f.Body, &refusal); f.Type != wire.TypeRefusal || err != nil ||
		refusal.Code != string(lahja.ErrSessionLost) {
		r.Fatalf("the answer is %#02x, %+v: %v", f.Type, refusal, err)
	}
}

// A connection that the session has is not disturbed by a resume that is refused, unless that is
// the latest attempt of who knows the secret: then it is closed, although the position is wrong.
func TestRefusedBesideAConnection(t *testing.T) {
	for _, c := range refusals {
		if !c.goesOn {
			continue
		}
		t.Run(c.what, func(t *testing.T) {
			connected(t, c.limits, func(r *resumption) {
				hello := r.again(1)
				hello.Received = 1
				c.arrange(r, &hello)
				r.refused(hello)
				synctest.Wait()
				if displaced := hello.Received != 1; displaced {
					if f, open := <-r.first.heard; open {
						r.Errorf("the connection goes on with %#02x", f.Type)
					}
				} else {
					r.event()
					r.first.until(wire.TypeEvent)
				}
				hello = r.again(9)
				hello.Received = 1
				r.resumed(r.dial(hello))
			})
		})
	}
}

// resumed checks that a resumed session repeats what had not arrived, and goes on.
func (r *resumption) resumed(s *stranger, f wire.Frame) {
	r.Helper()
	var w wire.Welcome
	if err := wire.ParseControl(f.Body, &w); err != nil || !w.Resumed || w.Received != 1 ||
		len(w.Session) > 0 || len(w.Token) > 0 {
		r.Fatalf("welcomed with %+v: %v", w, err)
	}
	s.until(wire.TypeEvent) // again
	r.event()
	s.until(wire.TypeEvent)
}

// Of two resumes the one with the higher attempt wins, in whatever order they come, and the
// connection that the bus still believes in gives way.
func TestHighestAttemptWins(t *testing.T) {
	resuming(t, lahja.Limits{}, func(r *resumption) {
		hello := r.again(5)
		hello.Received = 1
		fifth, f := r.dial(hello)
		r.resumed(fifth, f)
		for _, attempt := range []uint64{4, 5} {
			hello.Attempt = attempt
			if _, f := r.dial(hello); f.Type != wire.TypeRefusal {
				r.Errorf("attempt %d gets %#02x", attempt, f.Type)
			}
		}
		r.event()
		fifth.until(wire.TypeEvent) // it has not been disturbed
		hello.Attempt = 6
		sixth, f := r.dial(hello)
		r.resumed(sixth, f)
		if _, open := <-fifth.heard; open {
			r.Error("the connection that was displaced is still served")
		}
	})
}

// Of many resumes at the same time, some of them with equal attempts, one with the highest attempt
// wins, and what is sent arrives there, once and in order.
func TestResumesRace(t *testing.T) {
	for _, network := range []bool{false, true} {
		r := &resumption{TB: t, place: memory.New(), bus: lahja.NewBus()}
		if network {
			r.place = tcp.New("127.0.0.1:0")
		}
		l, err := r.place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if network {
			r.place = tcp.New(l.Addr())
		}
		go r.bus.ServeListener(t.Context(), l)
		if r.own, err = r.bus.Endpoint("own"); err != nil {
			t.Fatal(err)
		}
		s, f := r.dial(wire.Hello{Name: "stranger", Features: []string{"resume"}})
		var w wire.Welcome
		if err := wire.ParseControl(f.Body, &w); err != nil {
			t.Fatal(err)
		}
		r.session, r.token = w.Session, w.Token
		s.record(wire.AppendControl(nil, wire.TypeSubscribe,
			wire.Subscribe{ID: 1, Event: lahja.EventName[item]()}))
		s.until(wire.TypeSubscribed)
		for round := range 20 {
			winner := r.race(uint64(10 * round))
			if err := lahja.Broadcast(t.Context(), r.own, item{round}); err != nil {
				t.Fatal(err)
			}
			for n := range round + 1 { // none is ever confirmed
				f := winner.until(wire.TypeEvent)
				if got := int(f.Body[len(f.Body)-1]); got != n {
					t.Fatalf("network: %v: round %d: %d comes, where %d was due", network, round,
						got, n)
				}
			}
		}
		r.bus.Close()
	}
}

// race has twelve connections resume the session with four attempts above base, and returns the one
// that does.
func (r *resumption) race(base uint64) (winner *stranger) {
	r.Helper()
	var racing sync.WaitGroup
	var mu sync.Mutex
	welcomed := map[uint64]int{}
	for i := range uint64(12) {
		hello := r.again(base + 1 + i%4)
		hello.Received = 1
		racing.Go(func() {
			s, f := r.dial(hello)
			mu.Lock()
			defer mu.Unlock()
			if f.Type == wire.TypeWelcome {
				welcomed[hello.Attempt]++
				if hello.Attempt == base+4 {
					winner = s
				}
			}
		})
	}
	racing.Wait()
	for attempt, n := range welcomed {
		if n > 1 {
			r.Errorf("attempt %d is welcomed %d times", attempt, n)
		}
	}
	if winner == nil {
		r.Fatalf("the highest attempt is not welcomed: %v", welcomed)
	}
	return winner
}

// A bus that gives no sessions, and an endpoint that asks for none, do without.
func TestNoSession(t *testing.T) {
	for _, c := range []struct {
		limits   lahja.Limits
		features []string
		want     bool
	}{
		{lahja.Limits{}, []string{"other", "resume"}, true},
		{lahja.Limits{}, []string{"other"}, false},
		{lahja.Limits{Resume: -1}, []string{"resume"}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &resumption{TB: t, place: memory.New(), bus: lahja.NewBus(c.limits)}
			ctx, cancel := context.WithCancel(t.Context())
			defer r.bus.Close()
			defer cancel()
			l, err := r.place.Listen(ctx)
			if err != nil {
				t.Fatal(err)
			}
			go r.bus.ServeListener(ctx, l)
			_, f := r.dial(wire.Hello{Name: "stranger", Features: c.features})
			var w wire.Welcome
			if err := wire.ParseControl(f.Body, &w); err != nil || (len(w.Session) > 0) != c.want ||
				(len(w.Features) > 0) != c.want || (w.ResumeWindow > 0) != c.want {
				t.Errorf("%+v: welcomed with %+v: %v", c, w, err)
			}
		})
	}
}

// otherBus is a bus that greets each endpoint in its own way, and ends the first connection of a
// session after a second.
func otherBus(t *testing.T, greet func(wire.Hello, *stranger)) (place *memory.Transport) {
	place = memory.New()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s := &stranger{TB: t, conn: conn}
			s.listen()
			var h wire.Hello
			if err := wire.ParseControl((<-s.heard).Body, &h); err != nil {
				t.Error(err)
			}
			greet(h, s)
			if len(h.Session) == 0 {
				time.AfterFunc(time.Second, func() { conn.Close() })
			}
		}
	}()
	return place
}

// resumes is the answer to a resume.
func resumes(received uint64) wire.Welcome {
	w := welcomeTo("ep", false)
	w.Resumed, w.Received = true, received
	return w
}

// An endpoint does not go on with a session when the bus resumes it from where it cannot: it takes
// it for lost, once, and begins another.
func TestResumedFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []string
		ep, err := lahja.Connect(t.Context(), "ep", otherBus(t, func(h wire.Hello, s *stranger) {
			if len(h.Session) > 0 {
				dials = append(dials, "resume")
				s.preface(wire.TypeWelcome, resumes(1000))
			} else {
				dials = append(dials, "begin")
				s.preface(wire.TypeWelcome, welcomeTo("ep", len(dials) == 1))
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer ep.Close()
		for s := range ep.WatchState(t.Context()) {
			if s.Connected && s.Restarts == 1 && s.Resumes == 0 {
				break
			}
		}
		if want := []string{"begin", "resume", "begin"}; !slices.Equal(dials, want) {
			t.Errorf("the endpoint has dialled to %q", dials)
		}
	})
}

// Whatever a bus answers to a resume but a Welcome that says so: the endpoint closes the
// connection, does not take the session for resumed, and asks again.
func TestFramesInAResume(t *testing.T) {
	for name, samples := range samplesOf("bus", 0) {
		for _, sample := range samples {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { answeredBy(t, sample.frames) })
			})
		}
	}
}

func answeredBy(t *testing.T, frames []byte) {
	asked := 0
	ep, err := lahja.Connect(t.Context(), "ep", otherBus(t, func(h wire.Hello, s *stranger) {
		if len(h.Session) == 0 {
			s.preface(wire.TypeWelcome, welcomeTo("ep", true))
			return
		}
		if asked++; asked > 1 {
			s.preface(wire.TypeWelcome, resumes(0))
			return
		}
		_, _ = s.conn.Write([]byte(wire.Preface))
		s.record(frames)
		if f, open := <-s.heard; open {
			t.Errorf("the endpoint goes on with %#02x", f.Type)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	for s := range ep.WatchState(t.Context()) {
		if s.Connected && s.Resumes > 0 {
			break
		}
	}
	if s := <-ep.WatchState(t.Context()); s.Resumes != 1 || asked != 2 {
		t.Errorf("it has asked %d times, and the state is %+v", asked, s)
	}
}
