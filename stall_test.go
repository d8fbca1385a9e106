package lahja_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
)

// inBubbles shows a behaviour in bubbles of fake time, where no operating system takes part.
func inBubbles(t *testing.T, show func(*stage), opts ...lahja.BusOption) {
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				show(newStage(t, &v, [2]bool{true, true}, opts...))
			})
		})
	}
}

// logText is what is written to the log.
type logText struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// captureLog collects the log until the test ends.
func captureLog(t testing.TB) *logText {
	text := &logText{}
	logTo(t, slog.NewTextHandler(text, nil))
	return text
}

// logTo has a handler get the log until the test ends. It puts back what package log does as well,
// which would else go on to write there.
func logTo(t testing.TB, h slog.Handler) { t.Cleanup(setLog(h)) }

func setLog(h slog.Handler) (restore func()) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(h))
	return func() {
		slog.SetDefault(before)
		log.SetOutput(writer)
		log.SetFlags(flags)
	}
}

// Isolation: a subscription that takes nothing while a publisher waits for it is named in the log
// after a second, and ended after the limit; the publisher goes on.
func TestStalledSubscriptionIsEnded(t *testing.T) {
	inBubbles(t, func(s *stage) {
		log := captureLog(s)
		ended := make(chan error, 1)
		stalled := lahja.Stream[load](s.ctx, s.connect("stalled"),
			lahja.OnEnd(func(err error) { ended <- err }))
		reading := lahja.Stream[load](s.ctx, s.connect("reading"))
		count := beside(s, func() (n int) {
			for range reading {
				n++
			}
			return n
		})
		pub := s.connect("pub")
		sent, start := 0, time.Now()
		for time.Since(start) < 4*time.Second {
			say(s, pub, load{Data: make([]byte, 1<<10)})
			sent++
		}
		if waited := time.Since(start); waited > 6*time.Second {
			s.Errorf("the publisher has waited for %v", waited)
		}
		err := take(s, ended)
		s.wantErr(err, lahja.ErrStalled)
		for _, want := range []string{`"stalled"`, "pub", "load", "stall_test.go:"} {
			if !strings.Contains(err.Error(), want) {
				s.Errorf("the error does not say %s: %v", want, err)
			}
		}
		for _, want := range []string{"level=WARN", "subscriber=stalled", "stall_test.go:"} {
			if !strings.Contains(log.String(), want) {
				s.Errorf("the log does not say %s: %s", want, log)
			}
		}
		for range stalled { // what it had taken can still be read, and its channel is closed
		}
		s.must(s.bus.Close())
		if n := take(s, count); n != sent {
			s.Errorf("the other subscription has got %d of %d events", n, sent)
		}
	}, lahja.Limits{Lag: 64 << 10})
}

// Isolation: a handler that takes its time is no stalled subscription.
func TestSlowHandlerIsNotEnded(t *testing.T) {
	inBubbles(t, func(s *stage) {
		handled := 0
		sub, err := lahja.Subscribe(s.ctx, s.connect("slow"),
			func(context.Context, lahja.Event[load]) {
				time.Sleep(7 * time.Second) // of the bubble's time
				handled++
			}, lahja.Take(3), lahja.Buffer(0))
		s.must(err)
		pub := s.connect("pub")
		for range 3 {
			say(s, pub, load{Data: make([]byte, 1<<10)})
		}
		<-sub.Done()
		s.must(sub.Err())
		if handled != 3 {
			s.Errorf("%d of 3 events were handled", handled)
		}
	}, lahja.Limits{Lag: 1 << 10})
}

// Isolation: without a limit a publisher waits as long as its context lets it.
func TestStallLimitOff(t *testing.T) {
	inBubbles(t, func(s *stage) {
		captureLog(s)
		stalled := lahja.Stream[load](s.ctx, s.connect("stalled"), lahja.Buffer(1))
		pub := s.connect("pub")
		ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
		defer cancel()
		sent := 0
		for lahja.Broadcast(ctx, pub, load{N: sent, Data: make([]byte, 1<<10)}) == nil {
			sent++
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.Error("a broadcast has failed before its time was over")
		}
		for n := range sent {
			if ev := take(s, stalled); ev.Value.N != n {
				s.Fatalf("event %d has come, where %d was due", ev.Value.N, n)
			}
		}
	}, lahja.Limits{Lag: 16 << 10, Stall: -1})
}

// Isolation: who subscribes while a publisher waits already is watched as well, once the publisher
// waits for it.
func TestStalledNewcomerIsEnded(t *testing.T) {
	inBubbles(t, func(s *stage) {
		captureLog(s)
		ended := make(chan error, 2)
		end := lahja.OnEnd(func(err error) { ended <- err })
		lahja.Stream[load](s.ctx, s.connect("first"), end)
		pub := s.connect("pub")
		s.group.Go(func() {
			for lahja.Broadcast(s.ctx, pub, load{Data: make([]byte, 1<<10)}) == nil {
			}
		})
		time.Sleep(3 * time.Second) // of the bubble's time: the publisher waits
		lahja.Stream[load](s.ctx, s.connect("second"), end)
		start := time.Now()
		for range 2 {
			s.wantErr(take(s, ended), lahja.ErrStalled)
		}
		if took := time.Since(start); took > 9*time.Second {
			s.Errorf("the second was ended after %v", took)
		}
		pub.Close()
	}, lahja.Limits{Lag: 64 << 10})
}

// Isolation: when nobody waits any more, a subscription that does not read is left alone, also at
// an endpoint that did not subscribe at the moment when it was over.
func TestIdleSubscriptionIsNotEnded(t *testing.T) {
	inBubbles(t, func(s *stage) {
		captureLog(s)
		ep, pub := s.connect("sub"), s.connect("pub")
		ctx, cancel := context.WithCancel(s.ctx)
		lahja.Stream[load](ctx, ep)
		waiting := beside(s, func() error {
			var err error
			for range 200 {
				ev := load{N: -1, Data: make([]byte, 1<<10)}
				err = errors.Join(err, lahja.Broadcast(s.ctx, pub, ev))
			}
			return err
		})
		time.Sleep(2 * time.Second) // of the bubble's time: the publisher waits
		cancel()
		s.must(take(s, waiting))
		time.Sleep(time.Second) // nobody waits, and ep does not subscribe
		again := lahja.Stream[load](s.ctx, ep)
		for n := range 40 {
			say(s, pub, load{N: n})
		}
		time.Sleep(15 * time.Second)
		for n := 0; n < 40; {
			switch ev := take(s, again); ev.Value.N {
			case n:
				n++
			case -1: // it was still on its way
			default:
				s.Fatalf("event %d has come, where %d was due", ev.Value.N, n)
			}
		}
	}, lahja.Limits{Lag: 64 << 10})
}

// The clock does not run for a member of a group that has others to turn to. It does for one that
// has none any more, wherever that is.
func TestStalledMember(t *testing.T) {
	limits := lahja.Limits{Lag: 1, Stall: 2 * time.Second}
	log := captureLog(t)
	show := func(s *stage) { s.stalledMember(limits.Stall, log) }
	t.Run("it waits", func(t *testing.T) {
		inBubbles(t, show, limits)
		for _, v := range venues[2:] {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				show(newStage(t, &v, [2]bool{true, true}, limits))
			})
		}
	})
}

func (s *stage) stalledMember(limit time.Duration, log *logText) {
	name := "stalled over " + s.venue.name
	named := func() bool {
		return strings.Contains(log.String(), fmt.Sprintf("subscriber=%q", name))
	}
	ended := make(chan error, 1)
	lahja.Stream[load](s.ctx, s.connect(name), lahja.Group("all"),
		lahja.OnEnd(func(err error) { ended <- err }))
	stay, leave := context.WithCancel(s.ctx)
	defer leave()
	lahja.Stream[load](stay, s.connect("another"), lahja.Group("all"))
	pub := s.connect("pub")
	pushed := beside(s, func() error {
		for {
			if err := lahja.Broadcast(s.ctx, pub, load{Data: make([]byte, 100)}); err != nil {
				return err
			}
		}
	})
	time.Sleep(limit + 2*time.Second) // in which one that is alone would be ended
	if len(ended) > 0 || named() {
		s.Errorf("with another it was ended (%d) or named (%v)", len(ended), named())
	}
	leave()
	start := time.Now()
	err := take(s, ended)
	s.Logf("ended %v after it was alone: %v", time.Since(start).Round(time.Millisecond), err)
	s.wantErr(err, lahja.ErrStalled)
	if !named() {
		s.Errorf("the log does not name it: %s", log)
	}
	pub.Close()
	s.wantErr(take(s, pushed), lahja.ErrClosed)
}

// Bounded memory: publishers that come and go do not fill a group whose member takes nothing.
func TestGroupIsBounded(t *testing.T) {
	s := newStage(t, &venues[0], [2]bool{true, true}, lahja.Limits{Lag: 64 << 10, Frame: 8 << 10})
	captureLog(s)
	ended := make(chan error, 1)
	lahja.Stream[load](s.ctx, s.own("stalled"), lahja.Group("all"),
		lahja.OnEnd(func(err error) { ended <- err }))
	for n := range 10_000 {
		pub := s.own(fmt.Sprint("pub", n))
		say(s, pub, load{Data: make([]byte, 1000)})
		s.must(pub.Close())
		if len(ended) > 0 {
			s.wantErr(<-ended, lahja.ErrStalled)
			return
		}
	}
	s.Error("so many were accepted")
}
