package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/lahja-go/lahja"
)

// crowd is many endpoints, of which each has a subscription that is read by a goroutine.
type crowd struct {
	eps      []*lahja.Endpoint
	counters []*counter
	attach   time.Duration // of all
	bytes    int64         // of all, on this side
}

// footprint is what the heap and the stacks take, in bytes.
func footprint() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// gatherCrowd attaches n endpoints, width at a time.
func gatherCrowd(
	n, width int, attach func(name string) (*lahja.Endpoint, error),
) (*crowd, error) {
	eps := make([]*lahja.Endpoint, n)
	c := &crowd{eps: eps, counters: make([]*counter, n)}
	streams := make([]<-chan lahja.Event[Message], n)
	before, start := footprint(), time.Now()
	failed := make([]error, width)
	var all sync.WaitGroup
	for w := range width {
		all.Go(func() {
			for i := w; i < n && failed[w] == nil; i += width {
				eps[i], failed[w] = attach(fmt.Sprint("e", i))
				if failed[w] == nil {
					streams[i] = lahja.Stream[Message](context.Background(), eps[i])
				}
			}
		})
	}
	all.Wait()
	c.attach = time.Since(start)
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	c.bytes = footprint() - before
	for i := range n {
		c.counters[i] = &counter{next: 1, reached: make(chan error, 1)}
		go func() {
			for ev := range streams[i] {
				c.counters[i].take(ev.Value.Seq)
			}
		}()
	}
	return c, nil
}

// expect and await are for n messages from number first on.
func (c *crowd) expect(first uint64, n int) {
	for _, k := range c.counters {
		k.target.Store(first + uint64(n) - 1)
	}
}

func (c *crowd) await() error {
	for _, k := range c.counters {
		if err := <-k.reached; err != nil {
			return err
		}
	}
	return nil
}

// others adds the other figures of a crowd to r, for each of its endpoints.
func (j *job) others(r *result, attach time.Duration, bytes int64) {
	n := float64(j.Count)
	r.Extra["attach"], r.Extra["bytes"] = float64(attach)/n, float64(bytes)/n
}

// runCrowd is a crowd within the process.
func runCrowd(j *job) (*result, error) {
	bus := lahja.NewBus()
	defer bus.Close()
	pub, err := bus.Endpoint("publisher")
	if err != nil {
		return nil, err
	}
	c, err := gatherCrowd(j.Count, 1, func(name string) (*lahja.Endpoint, error) {
		return bus.Endpoint(name)
	})
	if err != nil {
		return nil, err
	}
	p := lahjaParty(pub)
	r, err := j.perDelivery(func(first uint64, n int) error {
		c.expect(first, n)
		if err := sendAll(&p, j.Size, first, n); err != nil {
			return err
		}
		return c.await()
	})
	if err != nil {
		return nil, err
	}
	j.others(r, c.attach, c.bytes)
	return r, nil
}

// perDelivery measures the time for each of Count deliveries of a broadcast.
func (j *job) perDelivery(run func(first uint64, n int) error) (*result, error) {
	next := uint64(1)
	r, err := j.lasting(1<<20, func(n int) (time.Duration, error) {
		start := time.Now()
		err := run(next, n)
		next += uint64(n)
		return time.Since(start), err
	})
	if err != nil {
		return nil, err
	}
	r.Value /= float64(j.Count)
	r.Extra["cpu"] /= float64(j.Count)
	return r, nil
}

// runFarCrowd is a crowd in another process, over Unix sockets. Its memory is that of the side
// where it takes more.
func runFarCrowd(j *job) (*result, error) {
	s, err := openStage(j)
	if err != nil {
		return nil, err
	}
	before := footprint()
	if err := s.hire(j, crowding, 1, s.place); err != nil {
		return nil, err
	}
	here := footprint() - before
	var attach time.Duration
	var there int64
	if _, err := fmt.Sscan(s.children[0].place, &attach, &there); err != nil {
		return nil, err
	}
	j.spent = s.spent
	r, err := j.perDelivery(func(first uint64, n int) error {
		if err := expect(s.children, first+uint64(n)-1); err != nil {
			return err
		}
		if err := sendAll(&s.party, j.Size, first, n); err != nil {
			return err
		}
		return awaitAll(s.children, "reached")
	})
	if err != nil {
		return nil, err
	}
	j.others(r, attach, max(here, there))
	return r, s.end()
}

// joinCrowd is the process of such a crowd. Its sink is reached when all have got everything.
func joinCrowd(kind string, t *task) (*party, error) {
	ctx := context.Background()
	c, err := gatherCrowd(t.Count, 4, func(name string) (*lahja.Endpoint, error) {
		return lahja.Connect(ctx, name, lahjaTransport(kind, t.Place))
	})
	if err != nil {
		return nil, err
	}
	p := &party{place: fmt.Sprint(int64(c.attach), " ", c.bytes)}
	p.expect = func(last uint64) {
		for _, k := range c.counters {
			k.target.Store(last)
		}
		go func() { t.sink.fail(c.await()) }()
	}
	p.close = func() error {
		var all sync.WaitGroup
		for _, ep := range c.eps {
			all.Go(func() { ep.Close() })
		}
		all.Wait()
		return nil
	}
	return p, nil
}

// runSubscriptions measures a broadcast to one endpoint with Count subscriptions. With the metric
// "others" these want the events of another origin, and one more takes all.
func runSubscriptions(j *job) (*result, error) {
	ctx, bus := context.Background(), lahja.NewBus()
	defer bus.Close()
	pub, err := bus.Endpoint("publisher")
	if err != nil {
		return nil, err
	}
	ep, err := bus.Endpoint("subscriber")
	if err != nil {
		return nil, err
	}
	c := &crowd{}
	add := func(opts ...lahja.SubscribeOption) {
		k := &counter{next: 1, reached: make(chan error, 1)}
		events := lahja.Stream[Message](ctx, ep, opts...)
		go func() {
			for ev := range events {
				k.take(ev.Value.Seq)
			}
		}()
		if len(opts) == 0 {
			c.counters = append(c.counters, k)
		}
	}
	for range j.Count {
		if j.Metric == "others" {
			add(lahja.From("nobody"))
		} else {
			add()
		}
	}
	if j.Metric == "others" {
		add()
	}
	p := lahjaParty(pub)
	return j.perDelivery(func(first uint64, n int) error {
		c.expect(first, n)
		if err := sendAll(&p, j.Size, first, n); err != nil {
			return err
		}
		return c.await()
	})
}
