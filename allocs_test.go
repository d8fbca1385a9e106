package lahja_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/codec"
)

// withoutRaceDetector skips a test of allocations where the race detector, which drops at random
// what sync.Pool is given, adds to them.
func withoutRaceDetector(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("the race detector allocates")
	}
}

// Within one process a broadcast to who keeps up allocates nothing, and neither does receiving.
func TestAllocsInProcess(t *testing.T) {
	withoutRaceDetector(t)
	for _, n := range []int{0, 1, 10} {
		s := newStage(t, &venues[0], [2]bool{true, true})
		pub := s.own("pub")
		var streams []<-chan lahja.Event[small]
		for i := range n {
			streams = append(streams, lahja.Stream[small](s.ctx, s.own(fmt.Sprint("sub", i))))
		}
		took := testing.AllocsPerRun(1000, func() {
			if err := lahja.Broadcast(s.ctx, pub, small{}); err != nil {
				t.Error(err)
			}
			for _, events := range streams {
				<-events
			}
		})
		if took > 0 {
			t.Errorf("%v allocations for a broadcast to %d streams", took, n)
		}
	}
}

// Neither does one to a handler.
func TestAllocsHandler(t *testing.T) {
	withoutRaceDetector(t)
	s := newStage(t, &venues[0], [2]bool{true, true})
	pub, handled := s.own("pub"), make(chan int)
	_, err := lahja.Subscribe(s.ctx, s.own("sub"),
		func(_ context.Context, ev lahja.Event[small]) { handled <- ev.Value.N })
	s.must(err)
	took := testing.AllocsPerRun(1000, func() {
		say(s, pub, small{N: 1})
		<-handled
	})
	if took > 0 {
		t.Errorf("%v allocations", took)
	}
}

// A burst that is listed allocates blocks of the list, and not for each event.
func TestAllocsBurst(t *testing.T) {
	withoutRaceDetector(t)
	const burst = 1000
	s := newStage(t, &venues[0], [2]bool{true, true})
	pub, events := s.own("pub"), lahja.Stream[small](s.ctx, s.own("sub"))
	took := testing.AllocsPerRun(20, func() {
		for n := range burst {
			say(s, pub, small{N: n})
		}
		for range burst {
			<-events
		}
	})
	t.Logf("%.3f allocations for each event", took/burst)
	if took > burst/4 {
		t.Errorf("%v allocations for %d events", took, burst)
	}
}

// decoding is how many allocations reading one parcel takes, without a bus.
func decoding(t *testing.T) float64 {
	t.Helper()
	typ, err := codec.EventFor[parcel]()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := typ.Encode(&buf, &parcel{1, data64}); err != nil {
		t.Fatal(err)
	}
	p := new(parcel)
	return testing.AllocsPerRun(1000, func() {
		*p = parcel{}
		if err := typ.Decode(buf.Bytes(), p); err != nil {
			t.Fatal(err)
		}
	})
}

// An event of many kilobytes is encoded into memory that the last one had.
func TestAllocsLarge(t *testing.T) {
	withoutRaceDetector(t)
	typ, err := codec.EventFor[parcel]()
	if err != nil {
		t.Fatal(err)
	}
	p := &parcel{1, make([]byte, 64<<10)}
	took := testing.AllocsPerRun(1000, func() {
		buf := codec.Buffer()
		if err := typ.Encode(buf, p); err != nil {
			t.Fatal(err)
		}
		codec.Recycle(buf)
	})
	if took > 0 {
		t.Errorf("%v allocations", took)
	}
}

// few is what a process may allocate for an event beside what each event has to: records, reports
// and the requests by which the test waits are for many events.
const few = 0.25

// batch is how many events are on their way at most. What takes part in a flood of them is pooled,
// so that how deep the flood is would be counted otherwise.
const batch = 2000

// inBatches has f broadcast n events, and waits for each batch at the endpoint "to".
func inBatches(s *stage, boss *lahja.Endpoint, from, n int, f func(from, n int)) (allocations int) {
	for ; n > 0; from, n = from+batch, n-batch {
		f(from, batch)
		allocations = s.tell(boss, "to", "await", from+batch).N
	}
	return allocations
}

// atMost checks allocations for n events.
func (s *stage) atMost(limit float64, allocations, n int) {
	s.Helper()
	each := float64(allocations) / float64(n)
	s.Logf("%.3f allocations for each event", each)
	if each > limit {
		s.Errorf("%.3f allocations for each event, where %.3f are allowed", each, limit)
	}
}

// Where events go between processes, the publisher does not allocate for an event, and neither does
// the bus between two others; the receiver does no more than decoding takes.
func TestAllocsBetweenProcesses(t *testing.T) {
	withoutRaceDetector(t)
	const warm, n = 10 * batch, 25 * batch
	var before runtime.MemStats
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) {
			s := newStage(t, &v, [2]bool{true, true})
			boss := s.own("boss")
			s.employ(boss, "tallies", "to")
			publish := func(from, n int) {
				for i := range n {
					say(s, boss, parcel{from + i, data64})
				}
			}
			inBatches(s, boss, 0, warm, publish)
			s.tell(boss, "to", "begin", 0)
			runtime.ReadMemStats(&before)
			received := inBatches(s, boss, warm, n, publish)
			s.atMost(few, allocationsSince(&before), n)
			s.atMost(few+decoding(t), received, n)
		})
		t.Run(v.name+" through the bus", func(t *testing.T) {
			s := newStage(t, &v, [2]bool{true, true})
			boss := s.own("boss")
			s.employ(boss, "tallies", "to")
			s.employ(boss, "throws", "from")
			throw := func(_, n int) { s.tell(boss, "from", "throw", n) }
			inBatches(s, boss, 0, warm, throw)
			runtime.ReadMemStats(&before)
			inBatches(s, boss, warm, n, throw)
			s.atMost(few, allocationsSince(&before), n)
		})
	}
}

// A request to another endpoint and its answer allocate no more on all sides together than what
// follows: the call at each end, the context and the way back of its handler, the copies of what is
// decoded, and the answer itself.
func TestAllocsRequest(t *testing.T) {
	withoutRaceDetector(t)
	for i, limit := range []float64{14, 24} {
		v := &venues[i]
		t.Run(v.name, func(t *testing.T) {
			s := newStage(t, v, [2]bool{true, true})
			asker := s.own("asker")
			_, err := lahja.Handle(s.ctx, s.connect("answerer"),
				func(_ context.Context, ev lahja.Event[parcel]) (parcel, error) {
					return ev.Value, nil
				})
			s.must(err)
			took := testing.AllocsPerRun(2000, func() {
				_, err := lahja.Request[parcel, parcel](s.ctx, asker, parcel{1, data64})
				if err != nil {
					t.Error(err)
				}
			})
			t.Logf("%v allocations", took)
			if took > limit {
				t.Errorf("%v allocations, where %v are allowed", took, limit)
			}
		})
	}
}
