package lahja_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lahja-go/lahja"
)

// Of each of the goals for speed there is one benchmark here, of lahja alone; bench has it beside
// others. For a profile:
//
//	go test -run '^$' -bench InProcess/1 -cpuprofile cpu.prof .

// small is an event of 64 bytes, and parcel one with a payload of 64 bytes.
type (
	small struct {
		N    int
		Data [56]byte
	}
	parcel struct {
		N    int
		Data []byte
	}
)

// toll counts events, which have to come in order.
type toll struct {
	n    atomic.Int64
	want atomic.Int64
	done chan struct{} // gets one when so many have come
}

func newToll() *toll { return &toll{done: make(chan struct{}, 1)} }

// add is called by one goroutine.
func (c *toll) add(n int) {
	if int64(n) != c.n.Load() {
		panic(fmt.Sprintf("event %d has come, where %d was due", n, c.n.Load()))
	}
	if c.n.Add(1) == c.want.Load() {
		c.done <- struct{}{}
	}
}

// await waits until n events have come in all.
func (c *toll) await(ctx context.Context, n int) error {
	c.want.Store(int64(n))
	for c.n.Load() < int64(n) {
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events have come: %w", c.n.Load(), n, ctx.Err())
		}
	}
	return nil
}

func BenchmarkInProcess(b *testing.B) {
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newStage(b, &venues[0], [2]bool{true, true})
			pub := s.own("pub")
			tallies := make([]*toll, n)
			for i := range tallies {
				c := newToll()
				tallies[i] = c
				events := lahja.Stream[small](s.ctx, s.own(fmt.Sprint("sub", i)))
				s.group.Go(func() {
					for ev := range events {
						c.add(ev.Value.N)
					}
				})
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if err := lahja.Broadcast(s.ctx, pub, small{N: i}); err != nil {
					b.Fatal(err)
				}
			}
			for _, c := range tallies {
				s.must(c.await(s.ctx, b.N))
			}
		})
	}
}

// everyConduit runs a benchmark where endpoints can be in other processes.
func everyConduit(b *testing.B, f func(b *testing.B, s *stage)) {
	for _, v := range venues[2:] {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			f(b, newStage(b, &v, [2]bool{true, true}))
		})
	}
}

// tallies is the role of a process that counts what comes. It answers an order to await so many
// with the number of its allocations since it began to count.
func tallies(ctx context.Context, ep *lahja.Endpoint) error {
	return tallying(ctx, ep, func(c *toll) error {
		_, err := lahja.Subscribe(ctx, ep, func(_ context.Context, ev lahja.Event[parcel]) {
			c.add(ev.Value.N)
		})
		return err
	})
}

// streams is the same by Stream.
func streams(ctx context.Context, ep *lahja.Endpoint) error {
	return tallying(ctx, ep, func(c *toll) error {
		events := lahja.Stream[parcel](ctx, ep)
		go func() {
			for ev := range events {
				c.add(ev.Value.N)
			}
		}()
		return nil
	})
}

func tallying(ctx context.Context, ep *lahja.Endpoint, start func(*toll) error) error {
	c := newToll()
	if err := start(c); err != nil {
		return err
	}
	var before runtime.MemStats
	_, err := lahja.Handle(ctx, ep,
		func(ctx context.Context, ev lahja.Event[order]) (report, error) {
			if ev.Value.Do == "begin" {
				runtime.ReadMemStats(&before)
				return report{}, nil
			}
			err := c.await(ctx, ev.Value.N)
			return report{N: allocationsSince(&before)}, err
		})
	return err
}

// allocationsSince is how many there were in the whole process.
func allocationsSince(before *runtime.MemStats) int {
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	return int(now.Mallocs - before.Mallocs)
}

// data64 is the data of an event.
var data64 = make([]byte, 64)

// throws is the role of a process that broadcasts as many events as it is ordered to.
func throws(ctx context.Context, ep *lahja.Endpoint) error {
	next := 0
	_, err := lahja.Handle(ctx, ep,
		func(ctx context.Context, ev lahja.Event[order]) (report, error) {
			for range ev.Value.N {
				if err := lahja.Broadcast(ctx, ep, parcel{next, data64}); err != nil {
					return report{}, err
				}
				next++
			}
			return report{}, nil
		})
	return err
}

// employ starts a process with that role, and waits until it takes orders.
func (s *stage) employ(boss *lahja.Endpoint, role, name string) {
	s.Helper()
	s.start(role, name)
	s.until(boss, lahja.SubscribedBy[order](name))
}

// broadcastAll broadcasts n events, without the cost of say.
func broadcastAll(s *stage, ep *lahja.Endpoint, n int) {
	for i := range n {
		if err := lahja.Broadcast(s.ctx, ep, parcel{i, data64}); err != nil {
			s.Fatal(err)
		}
	}
}

func BenchmarkParentToChild(b *testing.B) {
	for _, role := range []string{"tallies", "streams"} {
		b.Run(role, func(b *testing.B) {
			everyConduit(b, func(b *testing.B, s *stage) {
				boss := s.own("boss")
				s.employ(boss, role, "child")
				b.ResetTimer()
				broadcastAll(s, boss, b.N)
				s.tell(boss, "child", "await", b.N)
			})
		})
	}
}

func BenchmarkChildToChild(b *testing.B) {
	everyConduit(b, func(b *testing.B, s *stage) {
		boss := s.own("boss")
		s.employ(boss, "tallies", "to")
		s.employ(boss, "throws", "from")
		b.ResetTimer()
		s.tell(boss, "from", "throw", b.N)
		s.tell(boss, "to", "await", b.N)
	})
}

// echoes is the role of a process that answers requests with what they ask.
func echoes(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep,
		func(_ context.Context, ev lahja.Event[parcel]) (parcel, error) {
			return ev.Value, nil
		})
	return err
}

func BenchmarkRequest(b *testing.B) {
	for _, atOnce := range []int{1, 64} {
		b.Run(fmt.Sprint(atOnce), func(b *testing.B) {
			everyConduit(b, func(b *testing.B, s *stage) {
				boss := s.own("boss")
				s.start("echoes", "child")
				s.until(boss, lahja.SubscribedBy[parcel]("child"))
				b.ResetTimer()
				var all sync.WaitGroup
				for w := range atOnce {
					all.Go(func() {
						for i := w; i < b.N; i += atOnce {
							got, err := lahja.Request[parcel, parcel](s.ctx, boss,
								parcel{i, data64})
							if err != nil || got.N != i {
								b.Error(got.N, err)
								return
							}
						}
					})
				}
				all.Wait()
			})
		})
	}
}

func BenchmarkOneToTen(b *testing.B) {
	everyConduit(b, func(b *testing.B, s *stage) {
		boss := s.own("boss")
		for i := range 10 {
			s.employ(boss, "tallies", fmt.Sprint("child", i))
		}
		b.ResetTimer()
		broadcastAll(s, boss, b.N)
		for i := range 10 {
			s.tell(boss, fmt.Sprint("child", i), "await", b.N)
		}
	})
}

// What attaching costs, and the memory that each endpoint takes.
func BenchmarkAttach(b *testing.B) {
	attach := func(b *testing.B, s *stage) {
		before := footprint()
		b.ResetTimer()
		h, err := gatherHerd(b.N, 1, s.attach)
		b.StopTimer()
		s.must(err)
		b.ReportMetric(float64(footprint()-before)/float64(b.N), "bytes/endpoint")
		runtime.KeepAlive(h)
	}
	b.Run("in-process", func(b *testing.B) {
		attach(b, newStage(b, &venues[0], [2]bool{true, true}))
	})
	everyConduit(b, attach)
}
