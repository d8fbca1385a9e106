package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// herd is many endpoints, each with a subscription.
type herd struct {
	eps    []*lahja.Endpoint
	events []<-chan lahja.Event[item]
	attach [4]time.Duration // for each quarter of them
}

// gatherHerd attaches n endpoints, several at a time.
func gatherHerd(n, width int, attach func(name string) (*lahja.Endpoint, error)) (*herd, error) {
	h := &herd{eps: make([]*lahja.Endpoint, n), events: make([]<-chan lahja.Event[item], n)}
	failed := make([]error, n)
	for q := range h.attach {
		start := time.Now()
		var all sync.WaitGroup
		for w := range width {
			all.Go(func() {
				for i := q*n/4 + w; i < (q+1)*n/4; i += width {
					ep, err := attach(fmt.Sprint("e", i))
					if err != nil {
						failed[i] = err
						return
					}
					h.eps[i] = ep
					h.events[i] = lahja.Stream[item](context.Background(), ep)
				}
			})
		}
		all.Wait()
		h.attach[q] = time.Since(start)
	}
	return h, errors.Join(failed...)
}

// hear checks that each has got the event.
func (h *herd) hear(want item) error {
	for i, events := range h.events {
		select {
		case ev := <-events:
			if ev.Value != want {
				return fmt.Errorf("endpoint %d has got %+v", i, ev)
			}
		case <-time.After(tooLong):
			return fmt.Errorf("endpoint %d has got nothing", i)
		}
	}
	return nil
}

// footprint is what the heap and the stacks take, in bytes.
func footprint() int64 {
	runtime.GC()
	return inUse()
}

// inUse is the same after one collection, which leaves what pools have for one more.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Bounded memory: many endpoints in one process cost little each, attaching them takes time that
// grows with their number alone, and one broadcast reaches all.
func TestScaleInProcess(t *testing.T) {
	const n = 10_000
	s := newStage(t, &venues[0], [2]bool{true, true})
	pub := s.own("pub")
	before := footprint()
	h, err := gatherHerd(n, 1, s.attach)
	s.must(err)
	each := (footprint() - before) / n
	start := time.Now()
	say(s, pub, item{7})
	s.must(h.hear(item{7}))
	t.Logf("%d endpoints: %d bytes each; quarters attached in %v; one broadcast to all in %v",
		n, each, h.attach, time.Since(start))
	if each > 4<<10 {
		t.Errorf("%d bytes for each endpoint, where 4 KiB are allowed", each)
	}
	s.linear(h.attach)
	s.must(s.bus.Close())
	runtime.KeepAlive(h)
}

// linear checks that the last quarter took no more than three times as long as the others.
func (s *stage) linear(attach [4]time.Duration) {
	s.Helper()
	if m := slices.Max(attach[:3]); attach[3] > 3*m+10*time.Millisecond {
		s.Errorf("attaching takes ever longer: %v", attach)
	}
}

// crowdVariable says how many endpoints a process attaches.
const crowdVariable = "LAHJA_CROWD"

// crowded is what a process with a crowd of endpoints tells of them.
type crowded struct {
	Each   int64 // bytes of one
	Attach [4]time.Duration
}

// crowds is the role of a process with many endpoints beside its first. It tells of them when they
// are there, and answers when each has got an event.
func crowds(ctx context.Context, ep *lahja.Endpoint) error {
	var n int
	if _, err := fmt.Sscan(os.Getenv(crowdVariable), &n); err != nil {
		return err
	}
	place := placeOf(os.Getenv(placeVariable))
	before := footprint()
	h, err := gatherHerd(n, 4, func(name string) (*lahja.Endpoint, error) {
		return lahja.Connect(ctx, name, place)
	})
	if err != nil {
		return err
	}
	each := (footprint() - before) / int64(n)
	_, err = lahja.Handle(ctx, ep,
		func(_ context.Context, ev lahja.Event[question]) (answer, error) {
			err := h.hear(item(ev.Value))
			return answer{}, err
		})
	if err != nil {
		return err
	}
	return lahja.Broadcast(ctx, ep, crowded{each, h.attach})
}

// Bounded memory: the same between two processes.
func TestScaleBetweenProcesses(t *testing.T) {
	n := 300
	if scale() > 1 {
		n = min(10_000, mostDescriptors()-100) // some are for the test itself
	}
	t.Setenv(crowdVariable, fmt.Sprint(n))
	for _, v := range venues[3:] {
		t.Run(v.name, func(t *testing.T) { newStage(t, &v, [2]bool{true, true}).scale(int64(n)) })
	}
}

func (s *stage) scale(n int64) {
	main := s.own("main")
	ready := lahja.Stream[crowded](s.ctx, main)
	before := footprint()
	s.start("crowds", "crowd")
	there := take(s, ready).Value
	here := (footprint() - before) / n
	start := time.Now()
	say(s, main, item{7})
	_, err := lahja.Request[question, answer](s.ctx, main, question{7})
	s.must(err)
	s.Logf("%d endpoints: %d bytes each in the bus's process, %d in theirs; quarters attached in "+
		"%v; one broadcast to all in %v", n, here, there.Each, there.Attach, time.Since(start))
	if here > 48<<10 || there.Each > 48<<10 {
		s.Error("more than 48 KiB for each endpoint")
	}
	if scale() > 1 { // few are attached in no time, which is up to chance
		s.linear(there.Attach)
	}
}

// Bounded memory: endpoints that attach, subscribe, broadcast and detach leave nothing behind.
func TestCyclesLeaveNothing(t *testing.T) {
	cycles := 400
	if scale() > 1 {
		cycles = 100_000
	}
	everywhereOnce(t, []behaviour{{fmt.Sprint(cycles, " cycles"), func(s *stage) {
		resident := s.connect("resident")
		events := lahja.Stream[item](s.ctx, resident)
		s.cycle(events, cycles/10)
		before, start := heap(), time.Now()
		s.cycle(events, cycles)
		elapsed := time.Since(start)
		grown := heap() - before
		s.Logf("%v a cycle; the heap has grown by %.2f MiB", elapsed/time.Duration(cycles), grown)
		if grown > 1 {
			s.Error("it should be flat")
		}
		for _, st := range s.bus.Stats() {
			if st.Endpoint != "resident" {
				s.Errorf("the bus remembers %+v", st)
			}
		}
		s.until(resident, func(p lahja.Peers) bool { return len(p) == 1 })
	}}})
}

// cycle attaches n endpoints, of which a few are there at a time.
func (s *stage) cycle(events <-chan lahja.Event[item], n int) {
	const width = 4
	if place, severable := s.place.(*severable); severable {
		s.place = place.Transport // which does not remember connections
	}
	var all sync.WaitGroup
	for w := range width {
		all.Go(func() {
			for i := w; i < n; i += width {
				ep, err := s.attach(fmt.Sprint("visitor", i))
				if err != nil {
					s.Error(err)
					return
				}
				_, err = lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[item]) {})
				if err == nil {
					err = lahja.Broadcast(s.ctx, ep, item{i})
				}
				if err != nil {
					s.Error(err)
				}
				ep.Close()
			}
		})
	}
	for range n {
		take(s, events)
	}
	all.Wait()
}
