package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// steady is a publisher that broadcasts at a steady rate while one of ten subscribers has stopped.
type steady struct {
	rate   int // events a second, of 64 bytes
	time   time.Duration
	limits lahja.Limits
}

// Isolation: nobody notices one of ten subscribers that has stopped until it lags by the limit;
// then the publisher is held up for the stall limit at most, and the others get everything.
func TestIsolatedFromAStoppedSubscriber(t *testing.T) {
	test := steady{1000, 3 * time.Second,
		lahja.Limits{Lag: 64 << 10, Stall: 1500 * time.Millisecond}}
	if scale() > 1 {
		test = steady{20_000, 20 * time.Second,
			lahja.Limits{Lag: 32 << 20, Stall: 5 * time.Second}}
	}
	log := captureLog(t)
	for _, v := range venues {
		t.Run(v.name, func(t *testing.T) {
			if scale() == 1 {
				t.Parallel() // it waits for the most part
			}
			test.run(newStage(t, &v, [2]bool{true, true}, test.limits), log)
		})
	}
}

func (c *steady) run(s *stage, log *logText) {
	total := c.rate * int(c.time/time.Second)
	ended := make(chan error, 1)
	stopped := "stopped over " + s.venue.name
	lahja.Stream[load](s.ctx, s.connect(stopped), lahja.OnEnd(func(err error) { ended <- err }))
	var others sync.WaitGroup
	for i := range 9 {
		events := lahja.Stream[load](s.ctx, s.connect(fmt.Sprint("sub", i)))
		others.Go(func() {
			for n := range total {
				if ev := take(s, events); ev.Value.N != n {
					s.Errorf("event %d has come, where %d was due", ev.Value.N, n)
					return
				}
			}
		})
	}
	early, late := c.publish(s, s.connect("pub"), total)
	err := take(s, ended)
	others.Wait()
	s.Logf("the longest broadcast took %v before the limit, and %v after it; %v",
		early.Round(time.Microsecond), late.Round(time.Millisecond), err)
	s.wantErr(err, lahja.ErrStalled)
	if early > c.limits.Stall/2 {
		s.Error("the publisher was held up before the limit was reached")
	}
	if late > c.limits.Stall+slack() {
		s.Error("the publisher was held up for too long")
	}
	_, warning, _ := strings.Cut(log.String(), `subscriber="`+stopped)
	warning, _, _ = strings.Cut(warning, "\n")
	for _, want := range []string{
		lahja.EventName[load](), "publishers=[pub]", "isolated_test.go:",
	} {
		if !strings.Contains(warning, want) {
			s.Errorf("the log does not say %s of it: %s", want, log)
		}
	}
}

// publish returns how long broadcasts took at most: before subscriptions lagged by half of the
// limit, and after that.
func (c *steady) publish(s *stage, pub *lahja.Endpoint, total int) (early, late time.Duration) {
	start := time.Now()
	for n := range total {
		time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / time.Duration(c.rate))))
		before := time.Now()
		say(s, pub, load{N: n, Data: make([]byte, 64)})
		took := time.Since(before)
		if int64(n)*250 < c.limits.Lag/2 {
			early = max(early, took)
		} else {
			late = max(late, took)
		}
	}
	return early, late
}

// neighbours are a subscription that may stall, and the 99 to another type at its endpoint.
type neighbours struct {
	*stage
	ep, pub *lahja.Endpoint
	got     chan struct{} // one for each event that one of the 99 has read
}

const neighbourCount = 99

// Isolation: a stalled subscription slows those to other types down at the same endpoint neither in
// throughput nor in delay, and requests between the two endpoints go on.
func TestIsolatedFromAnotherType(t *testing.T) {
	limits := lahja.Limits{Lag: 1 << 20, Stall: -1}
	everywhereOnceWith(t, []behaviour{{"99 beside a stalled one", func(s *stage) {
		n := &neighbours{s, s.connect("sub"), s.connect("pub"), make(chan struct{}, 1<<16)}
		for range neighbourCount {
			events := lahja.Stream[item](s.ctx, n.ep)
			s.group.Go(func() {
				for range events {
					n.got <- struct{}{}
				}
			})
		}
		answerWith(s, n.ep, func(_ context.Context, n int) (answer, error) {
			return answer{n}, nil
		})
		rounds, events := 5, 50
		if scale() > 1 {
			// A tenth of a second each: less is as fast as the scheduler likes.
			rounds, events = 15, 3000
		}
		n.measure(events) // warms up
		n.compare(rounds, events)
	}}}, limits)
}

// compare measures with and without a stalled subscription in turn, so many times, and checks the
// medians.
func (n *neighbours) compare(rounds, events int) {
	least, most := 0.9, 3.0
	if scale() == 1 { // few events tell whether somebody is held up, and not how fast they are
		least, most = 0.2, 20
	}
	var rates, delays, requests [2][]float64
	for round := range rounds {
		for _, i := range []int{round % 2, 1 - round%2} {
			release := n.stall(i == 1)
			rate, delay, request := n.measure(events)
			release()
			rates[i] = append(rates[i], rate)
			delays[i] = append(delays[i], delay)
			requests[i] = append(requests[i], request)
		}
	}
	rate := median(rates[1]) / median(rates[0])
	delay := median(delays[1]) / median(delays[0])
	request := median(requests[1]) / median(requests[0])
	n.Logf("with a stalled one: %.2f times the throughput of %.0f events a second, %.2f times the "+
		"p99 of %.0f µs, for requests %.2f times %.0f µs; medians of %d rounds", rate,
		median(rates[0]), delay, median(delays[0]), request, median(requests[0]), rounds)
	if rate < least || delay > most || request > most {
		n.Errorf("at least %.1f times the throughput and at most %.1f times the p99 are allowed",
			least, most)
	}
}

// stall adds a subscription that reads nothing, for which a publisher waits until release; or else
// it does what costs as much time.
func (n *neighbours) stall(really bool) (release func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	if !really {
		time.Sleep(100 * time.Millisecond)
		return cancel
	}
	lahja.Stream[load](ctx, n.ep)
	fill(n.stage, n.pub)
	waited := beside(n.stage, func() error {
		for ctx.Err() == nil {
			err := lahja.Broadcast(ctx, n.pub, load{Data: make([]byte, 1<<10)})
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
		}
		return nil
	})
	event := lahja.EventName[load]()
	for statOf(n.stage, n.pub.Stats(), "pub", event).Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	return func() {
		if statOf(n.stage, n.pub.Stats(), "pub", event).Waiting == 0 {
			n.Error("nobody waits for the stalled one any more")
		}
		cancel()
		n.must(take(n.stage, waited))
	}
}

// measure returns the events a second that all read, and the p99 in microseconds of the time until
// all have read one, and until a request is answered.
func (n *neighbours) measure(events int) (rate, delay, request float64) {
	start := time.Now()
	go func() {
		for i := range events {
			if lahja.Broadcast(n.ctx, n.pub, item{i}) != nil {
				return
			}
		}
	}()
	n.await(events)
	rate = float64(events) / time.Since(start).Seconds()
	delay = n.p99(2*events, func() {
		say(n.stage, n.pub, item{})
		n.await(1)
	})
	request = n.p99(2*events, func() { n.wantAnswer(n.pub, 1, 1) })
	return rate, delay, request
}

func (n *neighbours) await(events int) {
	for range events * neighbourCount {
		take(n.stage, n.got)
	}
}

func (n *neighbours) p99(times int, f func()) float64 {
	took := make([]float64, times)
	for i := range took {
		start := time.Now()
		f()
		took[i] = float64(time.Since(start).Microseconds())
	}
	slices.Sort(took)
	return took[times*99/100]
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
