package lahja_test

import (
	"context"
	"fmt"
	"os"

	"github.com/lahja-go/lahja"
)

// order is what a test asks of a worker, and report what it answers.
type (
	order struct {
		Do string
		N  int
	}
	report struct {
		N      int     // events that were read
		Missed uint64  // that were dropped before those
		Last   string  // the origin of the last one
		Heap   float64 // MiB that live
		Stat   lahja.Stat
	}
)

// worker does what a test wants done elsewhere: at an endpoint of another process, if there is one.
type worker struct {
	ctx  context.Context
	ep   *lahja.Endpoint
	held <-chan lahja.Event[load]
	why  error          // held has ended; written before it is closed
	next map[string]int // by origin, the number that is due
}

// labours is the role of a process that is a worker.
func labours(ctx context.Context, ep *lahja.Endpoint) error {
	w := &worker{ctx: ctx, ep: ep, next: map[string]int{}}
	_, err := lahja.Handle(ctx, ep, func(_ context.Context, ev lahja.Event[order]) (report, error) {
		return w.obey(ev.Value)
	}, lahja.Concurrency(2)) // it pushes and reads
	return err
}

func (w *worker) obey(o order) (report, error) {
	switch o.Do {
	case "subscribe":
		w.held = lahja.Stream[load](w.ctx, w.ep, lahja.OnEnd(func(err error) { w.why = err }))
	case "drop":
		w.held = lahja.Stream[load](w.ctx, w.ep, lahja.DropOldest(), lahja.Buffer(o.N))
	case "heap":
		return report{Heap: heap()}, nil
	case "read":
		return w.read(o.N)
	case "push":
		return report{}, push(w.ctx, w.ep, "boss", o.N)
	case "stat":
		for _, st := range w.ep.Stats() {
			if st.Event == lahja.EventName[load]() {
				return report{Stat: st}, nil
			}
		}
	default:
		return report{}, fmt.Errorf("a worker cannot %q", o.Do)
	}
	return report{}, nil
}

// read reads until n events have come or been dropped. It checks that those of an origin come in
// order, and without a gap if none is dropped.
func (w *worker) read(n int) (r report, err error) {
	for r.N+int(r.Missed) < n {
		ev, open := <-w.held
		if !open {
			return r, fmt.Errorf("the subscription has ended: %w", w.why)
		}
		due := w.next[ev.Origin]
		if ev.Value.N < due || ev.Value.N > due && r.Missed+ev.Missed == 0 {
			return r, fmt.Errorf("%s: event %d has come, where %d was due", ev.Origin, ev.Value.N,
				due)
		}
		w.next[ev.Origin] = ev.Value.N + 1
		r.N, r.Missed, r.Last = r.N+1, r.Missed+ev.Missed, ev.Origin
	}
	return r, nil
}

// pushed is the size of the events that push broadcasts.
const pushed = 16 << 10

// push broadcasts n events to an endpoint.
func push(ctx context.Context, ep *lahja.Endpoint, to string, n int) error {
	for i := range n {
		ev := load{N: i, Data: make([]byte, pushed)}
		if err := lahja.Broadcast(ctx, ep, ev, lahja.To(to)); err != nil {
			return err
		}
	}
	return nil
}

// leaving is how many events a process broadcasts before it leaves.
const leaving = 2000

// leaves broadcasts, closes, and exits at once.
func leaves(ctx context.Context, ep *lahja.Endpoint) error {
	for n := range leaving {
		if err := lahja.Broadcast(ctx, ep, item{n}); err != nil {
			return err
		}
	}
	ep.Close()
	os.Exit(0)
	return nil
}

// hire starts a worker: a process where endpoints can be in others, and else an endpoint.
func (s *stage) hire(name string, boss *lahja.Endpoint) *process {
	s.Helper()
	var p *process
	if s.place == nil || s.venue.name == "memory" {
		s.must(labours(s.ctx, s.connect(name)))
	} else {
		p = s.start("works", name)
	}
	s.until(boss, lahja.SubscribedBy[order](name))
	return p
}

// tell has a worker do something.
func (s *stage) tell(boss *lahja.Endpoint, name, do string, n int) report {
	s.Helper()
	r, err := s.order(boss, name, do, n)
	if err != nil {
		s.Fatalf("%s was to %s %d: %v", name, do, n, err)
	}
	return r
}

func (s *stage) order(boss *lahja.Endpoint, name, do string, n int) (report, error) {
	return lahja.Request[order, report](s.ctx, boss, order{do, n}, lahja.To(name))
}
