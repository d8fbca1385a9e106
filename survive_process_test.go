package lahja_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// What the tests need that kill and stop processes, or take their network away.

// tell asks a process what it knows of its link to the bus, when that was restarted so many times;
// told is the answer.
type (
	tell struct{ Restarts uint64 }
	told struct{ Resumes, Restarts, Lost uint64 }
)

// limitsOf is the limits of a bus, from a heartbeat, a space and the time of a resume.
func limitsOf(bound string) (l lahja.Limits, err error) {
	heartbeat, resume, given := strings.Cut(bound, " ")
	if !given {
		return l, nil
	}
	var errs [2]error
	l.Heartbeat, errs[0] = time.ParseDuration(heartbeat)
	l.Resume, errs[1] = time.ParseDuration(resume)
	return l, errors.Join(errs[:]...)
}

// bound is the environment that limitsOf reads.
func bound(heartbeat, resume time.Duration) string {
	return boundVariable + "=" + heartbeat.String() + " " + resume.String()
}

// pace is how often a stream of numbers goes on.
const pace = time.Millisecond

// toils echoes, tells its state, and broadcasts numbers to the endpoint "main" all the time.
func toils(ctx context.Context, ep *lahja.Endpoint) error {
	if err := echo(ctx, ep); err != nil {
		return err
	}
	_, err := lahja.Handle(ctx, ep, func(
		ctx context.Context, ev lahja.Event[tell],
	) (told, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for st := range ep.WatchState(ctx) {
			if st.Connected && st.Restarts >= ev.Value.Restarts {
				return told{st.Resumes, st.Restarts, st.Lost}, nil
			}
		}
		return told{}, ctx.Err()
	})
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; err == nil; n++ {
		err = lahja.Broadcast(ctx, ep, load{N: n}, lahja.To("main"))
		<-tick.C
	}
	return err
}

// keeps retains the number of its process, and answers questions with it; not those below 0.
func keeps(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(
		ctx context.Context, ev lahja.Event[question],
	) (answer, error) {
		if ev.Value.N < 0 {
			<-ctx.Done()
		}
		return answer{os.Getpid()}, ctx.Err()
	}, lahja.Concurrency(10))
	if err != nil {
		return err
	}
	return lahja.Broadcast(ctx, ep, load{N: os.Getpid()}, lahja.Retain())
}

// victim answers every fourth question, none of the others, and broadcasts as fast as it may.
func victim(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(
		ctx context.Context, ev lahja.Event[question],
	) (answer, error) {
		if ev.Value.N%4 == 0 {
			return answer{2 * ev.Value.N}, nil
		}
		<-ctx.Done()
		return answer{}, ctx.Err()
	}, lahja.Concurrency(100))
	for n := 0; err == nil; n++ {
		err = lahja.Broadcast(ctx, ep, load{N: n, Data: make([]byte, n%2000)}, lahja.To("main"))
	}
	return err
}

// series says what is wrong with numbers that should come once each and in order. One that comes
// too late is missing first and then too much.
type series struct{ next, missing, spare int }

func (t *series) add(n int) {
	if n < t.next {
		t.spare++
		return
	}
	t.missing += n - t.next
	t.next = n + 1
}

// The series finds each of the faults that it is to find.
func TestSeries(t *testing.T) {
	for want, numbers := range map[series][]int{
		{3, 0, 0}: {0, 1, 2},
		{3, 1, 0}: {0, 2},
		{3, 0, 1}: {0, 1, 1, 2},
		{3, 1, 1}: {0, 2, 1},
		{1, 0, 2}: {0, 0, 0},
	} {
		var got series
		for _, n := range numbers {
			got.add(n)
		}
		if got != want {
			t.Errorf("%v: %+v, want %+v", numbers, got, want)
		}
	}
}

// flow sends numbers at a steady pace until finish is called, which checks that each has come once
// and in order, and returns how many those were. After the last comes the number -1.
func (s *stage) flow(send func(n int) error, receive <-chan int) (finish func() int) {
	stop := make(chan struct{})
	sent := beside(s, func() int { return s.push(send, stop) })
	got := beside(s, func() (t series) {
		for n := range receive {
			if n < 0 {
				return t
			}
			t.add(n)
		}
		return t
	})
	return func() int {
		s.Helper()
		close(stop)
		total, t := take(s, sent), take(s, got)
		if t.spare != 0 || t.missing != 0 || t.next != total {
			s.Errorf("of %d numbers %d have come, %d are missing, and %d came twice or too late",
				total, t.next, t.missing, t.spare)
		}
		return total
	}
}

func (s *stage) push(send func(n int) error, stop <-chan struct{}) (sent int) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			if err := send(-1); err != nil {
				s.Errorf("after %d numbers: %v", sent, err)
			}
			return sent
		case <-tick.C:
		}
		if err := send(sent); err != nil {
			s.Errorf("number %d: %v", sent, err)
			return sent
		}
		sent++
	}
}

// numbersOf are those of the events of a channel, until that is closed or the test is over.
func numbersOf[T any](s *stage, events <-chan lahja.Event[T], number func(T) int) <-chan int {
	list := make(chan int)
	s.group.Go(func() {
		defer close(list)
		for ev := range events {
			select {
			case list <- number(ev.Value):
			case <-s.ctx.Done():
			}
		}
	})
	return list
}

// between is a flow from one endpoint to another.
func (s *stage) between(from, to *lahja.Endpoint) (finish func() int) {
	events := lahja.Stream[load](s.ctx, to, lahja.From(from.Name()))
	return s.flow(func(n int) error {
		return lahja.Broadcast(s.ctx, from, load{N: n}, lahja.To(to.Name()))
	}, numbersOf(s, events, func(l load) int { return l.N }))
}

// echoed is a flow from an endpoint to one that echoes, and back.
func (s *stage) echoed(ep *lahja.Endpoint, echo string) (finish func() int) {
	events := lahja.Stream[other](s.ctx, ep, lahja.From(echo))
	return s.flow(func(n int) error {
		return lahja.Broadcast(s.ctx, ep, item{n}, lahja.To(echo))
	}, numbersOf(s, events, func(o other) int { return o.N }))
}

// isGone reports whether a request has met the end of who was asked, or come after it.
func isGone(err error) bool {
	return errors.Is(err, lahja.ErrResponderGone) || errors.Is(err, lahja.ErrNoSubscribers)
}

// quantile is the time that a part q of all is not above.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// records passes on what is records.
type records chan slog.Record

func (l records) Enabled(context.Context, slog.Level) bool { return true }
func (l records) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l records) WithGroup(string) slog.Handler            { return l }

func (l records) Handle(_ context.Context, r slog.Record) error {
	select {
	case l <- r:
	default: // nobody reads, and nobody waits for it
	}
	return nil
}

// logRecords returns what is logged from now on until the test ends.
func logRecords(t testing.TB) records {
	l := make(records, 1000)
	logTo(t, l)
	return l
}
