package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/tcp"
)

// Cuts in great number, at random bytes of all connections and under load, show nowhere.
func TestCutsUnderLoad(t *testing.T) {
	g := gale{publishers: 8, subscribers: 4, cuts: 100, events: 10_000}
	if scale() > 1 {
		g.cuts, g.events = 10_000, 1_000_000
	}
	t.Run("memory", func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.blow(t, l, place)
	})
	t.Run("tcp", func(t *testing.T) {
		l, err := tcp.New("127.0.0.1:0").Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.blow(t, l, tcp.New(l.Addr()))
	})
}

// gale is publishers and subscribers whose connections are cut all the time.
type gale struct {
	publishers, subscribers int
	cuts                    uint64 // at least
	events                  int64  // that are broadcast, at least; requests are besides
}

// blown is a gale that blows.
type blown struct {
	*gale
	testing.TB
	ctx   context.Context
	wires []*faulty.Transport
	done  atomic.Int64 // events
	sent  []int        // events, by publisher
	over  atomic.Bool

	handled sync.Map // questions, by who has answered them
	twice   atomic.Int64
	asked   atomic.Int64
	failed  atomic.Int64
}

// blow runs until there were as many cuts and events as are asked for.
func (g *gale) blow(t *testing.T, l lahja.Listener, place lahja.Transport) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(scale())*2*time.Minute)
	defer cancel()
	// A short queue, so that requests do not wait for long.
	bus := lahja.NewBus(lahja.Limits{Resume: time.Minute, Lag: 64 << 10})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := bus.ServeListener(ctx, l); err != nil {
			t.Error(err)
		}
	})
	defer serving.Wait()
	defer bus.Close()
	b := &blown{gale: g, TB: t, ctx: ctx, sent: make([]int, g.publishers)}
	begun := time.Now()
	eps := make([]*lahja.Endpoint, 0, g.publishers+g.subscribers)
	for i := range g.subscribers {
		eps = append(eps, b.attach(place, fmt.Sprint("sub", i), uint64(i)))
	}
	heard, read := b.listen(eps)
	for i := range g.publishers {
		eps = append(eps, b.attach(place, fmt.Sprint("pub", i), uint64(100+i)))
	}
	b.publish(eps[g.subscribers:])
	for _, done := range read {
		<-done
	}
	b.report(eps, heard, time.Since(begun))
}

// attach connects by a wire of its own, of which each connection is cut somewhere, in the handshake
// as well.
func (b *blown) attach(place lahja.Transport, name string, seed uint64) *lahja.Endpoint {
	// Far enough apart for all the events, near enough for all the cuts.
	span := 1000 * b.events / int64(b.cuts)
	plan := func(_ int, random *rand.Rand) (faults []faulty.Fault) {
		within := span
		if random.IntN(4) == 0 {
			within = 500
		}
		for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
			how := faulty.Ending(random.IntN(2))
			faults = append(faults, faulty.CutAt(d, random.Int64N(within), how))
		}
		return faults
	}
	wire := faulty.New(place, seed, plan)
	b.wires = append(b.wires, wire)
	for {
		ep, err := lahja.Connect(b.ctx, name, wire)
		if err == nil {
			b.Cleanup(func() { ep.Close() })
			return ep
		}
		if b.ctx.Err() != nil || errors.Is(err, lahja.ErrDenied) {
			b.Fatal(err)
		}
	}
}

func (b *blown) cut() (n uint64) {
	for _, w := range b.wires {
		n += w.Stats().Cut
	}
	return n
}

// listen has each subscriber answer questions and note what comes, until each publisher has said
// that it was the last.
func (b *blown) listen(subs []*lahja.Endpoint) (heard [][]int, read []chan struct{}) {
	// By subscriber and publisher.
	heard = make([][]int, b.subscribers*b.publishers)
	for i, ep := range subs {
		_, err := lahja.Handle(b.ctx, ep,
			func(_ context.Context, ev lahja.Event[question]) (answer, error) {
				if _, twice := b.handled.LoadOrStore(ev.Value.N, i); twice {
					b.twice.Add(1)
				}
				return answer{-ev.Value.N}, nil
			}, lahja.Concurrency(4))
		if err != nil {
			b.Fatal(err)
		}
		events := lahja.Stream[load](b.ctx, ep)
		done := make(chan struct{})
		read = append(read, done)
		go func() {
			defer close(done)
			b.read(events, heard[i*b.publishers:])
		}()
	}
	return heard, read
}

// last is the number of each publisher's last event.
const last = -1

func (b *blown) read(events <-chan lahja.Event[load], heard [][]int) {
	for open := b.publishers; open > 0; {
		ev, ok := <-events
		if !ok {
			b.Error("a channel is closed, or the time is over")
			return
		}
		p := ev.Value.Publisher
		if ev.Value.N == last {
			open--
			continue
		}
		if ev.Gap() || ev.Origin != fmt.Sprint("pub", p) {
			b.Errorf("got %+v, gap: %v", ev, ev.Gap())
		}
		heard[p] = append(heard[p], ev.Value.N)
	}
}

// publish broadcasts and asks from everywhere at once.
func (b *blown) publish(pubs []*lahja.Endpoint) {
	var publishing sync.WaitGroup
	for i, ep := range pubs {
		publishing.Go(func() {
			for n := 0; !b.enough(1); n++ {
				b.broadcast(ep, load{i, n, make([]byte, 40)})
				b.sent[i]++
			}
			b.broadcast(ep, load{i, last, nil})
		})
		for asker := range 8 {
			publishing.Go(func() {
				for n := 10*i + asker; !b.enough(0); n += 100 {
					b.ask(ep, n)
				}
			})
		}
	}
	publishing.Wait()
}

// enough counts events, and reports whether there was enough of everything.
func (b *blown) enough(events int64) bool {
	n := b.done.Add(events)
	if n > b.events && n%16 == 0 && b.cut() >= b.cuts || b.ctx.Err() != nil {
		b.over.Store(true)
	}
	return b.over.Load()
}

func (b *blown) broadcast(ep *lahja.Endpoint, l load) {
	if err := lahja.Broadcast(b.ctx, ep, l); err != nil {
		b.failed.Add(1)
		b.Error(err)
	}
}

// ask asks one of the subscribers.
func (b *blown) ask(ep *lahja.Endpoint, n int) {
	b.asked.Add(1)
	to := lahja.To(fmt.Sprint("sub", n/100%b.subscribers))
	a, err := lahja.Request[question, answer](b.ctx, ep, question{n}, to)
	if err != nil || a.N != -n {
		b.failed.Add(1)
		b.Errorf("question %d: %v, %v", n, a, err)
	}
}

// report compares what was sent with what has come.
func (b *blown) report(eps []*lahja.Endpoint, heard [][]int, took time.Duration) {
	var sum flaws
	sent, events := 0, 0
	for _, n := range b.sent {
		sent += n
	}
	for i, got := range heard {
		sum.add(compare(upTo(b.sent[i%b.publishers]), got))
		events += len(got)
	}
	answered := 0
	b.handled.Range(func(any, any) bool { answered++; return true })
	var state lahja.State
	for _, ep := range eps {
		s := <-ep.WatchState(b.ctx)
		state.Resumes += s.Resumes
		state.Restarts += s.Restarts
		state.Lost += s.Lost
	}
	b.Logf("%d cuts and %d resumes in %v, %d events broadcast, %d delivered, %d requests: %+v; "+
		"%d requests handled, %d of them twice, %d calls failed; %d sessions lost",
		b.cut(), state.Resumes, took.Round(time.Millisecond), sent, events, b.asked.Load(), sum,
		answered, b.twice.Load(), b.failed.Load(), state.Restarts)
	if sum != (flaws{}) || b.twice.Load() > 0 || int64(answered) != b.asked.Load() ||
		state.Restarts > 0 || state.Lost > 0 || int64(sent) < b.events {
		b.Errorf("the wires: %v", b.wires)
	}
}
