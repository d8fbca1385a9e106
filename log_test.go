package lahja_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
)

// stuckLog is a program's slog handler that does not return until it may.
type stuckLog struct {
	slog.Handler
	called  chan string   // what it is called with
	release chan struct{} // closed when it may return
}

func newStuckLog(t testing.TB) *stuckLog {
	h := &stuckLog{slog.DiscardHandler, make(chan string, 1000), make(chan struct{})}
	logTo(t, h)
	return h
}

func (h *stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *stuckLog) Handle(_ context.Context, r slog.Record) error {
	h.called <- r.Message
	<-h.release
	return nil
}

// loseSession has a session end that has something outstanding, which is worth a line in the log.
func (s *stage) loseSession() (ep *lahja.Endpoint) {
	ep = s.connect("sub")
	lahja.Stream[load](s.ctx, ep, lahja.Buffer(0)) // nobody reads it
	pub := s.own("pub")
	for n := range 10 {
		say(s, pub, load{N: n})
	}
	s.wires.cutLast()
	return ep
}

// Endings: a handler of the log is a function of the user, for which no Close waits.
func TestCloseDoesNotWaitForTheLog(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		log := newStuckLog(t)
		s := newStage(t, v, [2]bool{}, lahja.Limits{Resume: -1})
		ep := s.loseSession()
		take(s, log.called)
		start := time.Now()
		closed := make(chan string, 2)
		for name, f := range map[string]func() error{"bus": s.bus.Close, "endpoint": ep.Close} {
			s.group.Go(func() {
				s.must(f())
				closed <- fmt.Sprintf("the %s closed in %v", name, time.Since(start))
			})
		}
		late := time.After(time.Second + slack())
		for range 2 {
			select {
			case said := <-closed:
				t.Log(said)
			case <-late:
				t.Error("Close waits for the handler")
			}
		}
		close(log.release)
	})
}

// Endings: what was to be logged before Close is logged when it has returned, if the handler is
// prompt.
func TestCloseHasLogged(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		log := captureLog(t)
		s := newStage(t, v, [2]bool{}, lahja.Limits{Resume: -1})
		s.loseSession()
		s.must(s.bus.Close())
		if !strings.Contains(log.String(), "session was lost") {
			t.Errorf("the log is %q", log)
		}
	})
}

// Isolation: while the handler of the log does not return, stalled subscriptions are ended as ever.
// What there is to say meanwhile is said later, in order.
func TestStuckLogHoldsUpNothing(t *testing.T) {
	const many = 5
	synctest.Test(t, func(t *testing.T) {
		log := newStuckLog(t)
		s := newStage(t, &venues[1], [2]bool{}, lahja.Limits{Lag: 1, Stall: 2 * time.Second})
		pub := s.connect("pub")
		for n := range many {
			ended := make(chan error, 1)
			lahja.Stream[load](s.ctx, s.connect(fmt.Sprint("sub", n)), lahja.Buffer(0),
				lahja.OnEnd(func(err error) { ended <- err }))
			say(s, pub, load{})
			say(s, pub, load{})
			s.wantErr(take(s, ended), lahja.ErrStalled)
		}
		close(log.release)
		synctest.Wait()
		if n := len(log.called); n != many {
			t.Errorf("%d lines for %d subscriptions", n, many)
		}
	})
}
