package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lahja-go/lahja"
)

// This is the benchmark of Python's lahja, with its parameters and its report: a driver that sends
// as it can, consumers that note when each event was sent and received, all processes of their
// own, over Unix sockets.

// PerfMeasure is the event that is measured, and the request.
type PerfMeasure struct {
	Payload []byte
	Index   int
	SentAt  int64 // nanoseconds, on the clock that all processes share
}

// PerfMeasured answers it.
type PerfMeasured PerfMeasure

// Total is what one process has to report.
type Total struct {
	Caption                  string
	Events                   int
	FirstSent, LastReceived  int64
	Fastest, Slowest, Summed time.Duration
}

// add counts an event that was sent then and received now.
func (t *Total) add(sent int64) {
	now := time.Now().UnixNano()
	took := time.Duration(now - sent)
	if t.Events == 0 {
		t.FirstSent, t.Fastest = sent, took
	}
	t.Events++
	t.LastReceived = now
	t.Fastest, t.Slowest = min(t.Fastest, took), max(t.Slowest, took)
	t.Summed += took
}

func (t *Total) mean() time.Duration { return t.Summed / time.Duration(max(1, t.Events)) }

const (
	driver  = "driver"
	mayTake = time.Minute
)

func init() {
	networks["lahja own"] = network{host: lahjaHost("unix"), join: joinOwn}
}

func consumer(i int) string { return fmt.Sprint("consumer", i) }

// runOwn measures the time for each event or, with the metric "latency", from sending to receiving.
func runOwn(j *job) (*result, error) {
	totals, err := own(j)
	if err != nil {
		return nil, err
	}
	g := summary(totals)
	r := &result{Ops: j.Events, Value: float64(g.duration()) / float64(j.Events)}
	if j.Metric == "latency" {
		r.Value = float64(g.mean())
	}
	return r, nil
}

// own runs the benchmark.
func own(j *job) ([]Total, error) {
	ctx, cancel := context.WithTimeout(context.Background(), mayTake)
	defer cancel()
	j.System = "lahja own"
	s, err := openStage(j)
	if err != nil {
		return nil, err
	}
	reports := j.Count
	if j.AtOnce > 0 {
		reports = 1 // the driver's
	}
	totals := lahja.Stream[Total](ctx, s.endpoint)
	if err := s.hire(j, consuming, j.Count, s.place); err != nil {
		return nil, err
	}
	if err := s.hire(j, driving, 1, s.place); err != nil {
		return nil, err
	}
	var all []Total
	for range reports {
		select {
		case ev := <-totals:
			all = append(all, ev.Value)
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d have reported: %w", len(all), reports, ctx.Err())
		}
	}
	slices.SortFunc(all, func(a, b Total) int { return strings.Compare(a.Caption, b.Caption) })
	return all, s.end()
}

// summary adds totals up.
func summary(totals []Total) *Total {
	sum := totals[0]
	for _, t := range totals[1:] {
		sum.Events += t.Events
		sum.FirstSent = min(sum.FirstSent, t.FirstSent)
		sum.LastReceived = max(sum.LastReceived, t.LastReceived)
		sum.Summed += t.Summed
	}
	return &sum
}

func (t *Total) duration() time.Duration { return time.Duration(t.LastReceived - t.FirstSent) }

// joinOwn is a consumer or the driver.
func joinOwn(t *task) (*party, error) {
	ctx := context.Background()
	name := driver
	if t.Role == consuming {
		name = consumer(t.Number)
	}
	ep, err := lahja.Connect(ctx, name, lahjaTransport("unix", t.Place))
	if err != nil {
		return nil, err
	}
	switch {
	case t.Role == driving:
		go drive(ctx, ep, t)
	case t.AtOnce > 0:
		_, err = lahja.Handle(ctx, ep,
			func(_ context.Context, ev lahja.Event[PerfMeasure]) (PerfMeasured, error) {
				return PerfMeasured(ev.Value), nil
			})
	default:
		go consume(ctx, ep, lahja.Stream[PerfMeasure](ctx, ep, lahja.Take(t.Events)))
	}
	return &party{close: ep.Close}, err
}

func consume(ctx context.Context, ep *lahja.Endpoint, events <-chan lahja.Event[PerfMeasure]) {
	total := Total{Caption: ep.Name()}
	for ev := range events {
		total.add(ev.Value.SentAt)
	}
	tellTotal(ctx, ep, total)
}

func tellTotal(ctx context.Context, ep *lahja.Endpoint, total Total) {
	if err := lahja.Broadcast(ctx, ep, total); err != nil && !errors.Is(err, lahja.ErrClosed) {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// drive sends all events, when all consumers subscribe.
func drive(ctx context.Context, ep *lahja.Endpoint, t *task) {
	names := make([]string, t.Count)
	for i := range names {
		names[i] = consumer(i)
	}
	if err := ep.WaitUntil(ctx, lahja.SubscribedBy[PerfMeasure](names...)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return
	}
	total := Total{Caption: ep.Name()}
	m := PerfMeasure{Payload: make([]byte, t.Size)}
	for i := range t.Events {
		time.Sleep(t.Throttle)
		m.Index, m.SentAt = i, time.Now().UnixNano()
		var err error
		if t.AtOnce > 0 {
			if _, err = lahja.Request[PerfMeasure, PerfMeasured](ctx, ep, m); err == nil {
				total.add(m.SentAt)
			}
		} else {
			err = lahja.Broadcast(ctx, ep, m)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return
		}
	}
	if t.AtOnce > 0 {
		tellTotal(ctx, ep, total)
	}
}

// ownMain is the benchmark as a program.
func ownMain(args []string) error {
	flags := flag.NewFlagSet("own", flag.ExitOnError)
	var j job
	flags.IntVar(&j.Count, "num-processes", 10, "the number of processes listening for events")
	flags.IntVar(&j.Events, "num-events", 100, "the number of events propagated")
	flags.DurationVar(&j.Throttle, "throttle", 0, "the time to wait between propagating events")
	flags.IntVar(&j.Size, "payload-bytes", 1, "the payload of each event in bytes")
	mode := flags.String("mode", "broadcast", "broadcast, or request for round trips")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch *mode {
	case "broadcast":
	case "request":
		j.AtOnce = 1
	default:
		return fmt.Errorf("there is no mode %q; use broadcast or request", *mode)
	}
	totals, err := own(&j)
	if err != nil {
		return err
	}
	printOwn(&j, totals)
	return nil
}

func printOwn(j *job, totals []Total) {
	g := summary(totals)
	seconds := g.duration().Seconds()
	fmt.Printf("| consumer processes | total time | total aggregated time | propagated events | "+
		"received events | propagated EPS | received EPS |\n"+
		"| %d | %v | %v | %d | %d | %.0f | %.0f |\n\n",
		j.Count, g.duration(), g.Summed, j.Events, g.Events, float64(j.Events)/seconds,
		float64(g.Events)/seconds)
	fmt.Println("| process | processed events | first sent | last received | fastest | slowest | " +
		"average | total duration | total aggregated time |")
	clock := func(t int64) string { return time.Unix(0, t).UTC().Format("15:04:05.000") }
	for _, t := range totals {
		fmt.Printf("| %s | %d | %s | %s | %v | %v | %v | %v | %v |\n", t.Caption, t.Events,
			clock(t.FirstSent), clock(t.LastReceived), t.Fastest, t.Slowest, t.mean(),
			t.duration(), t.Summed)
	}
}
