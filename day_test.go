package lahja_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// A day on which something breaks every second: the promises hold, and what is kept does not grow.
// In CI it is an hour.
func TestFaultEverySecond(t *testing.T) {
	calms := 12
	if scale() > 1 {
		calms *= 24
	}
	synctest.Test(t, func(t *testing.T) {
		d := newDay(t)
		defer d.finish()
		var before, after calmHolds
		for n := range calms {
			d.work(300)
			if err := d.calm(); err != nil {
				d.eachWire(func(w *faulty.Transport) { t.Log(w) })
				t.Fatalf("after %d faults: %v", d.faults, err)
			}
			if after = d.measure(); n == 3 {
				before = after
			}
		}
		var wires faulty.Stats
		d.eachWire(func(w *faulty.Transport) {
			s := w.Stats()
			wires.Cut += s.Cut
			wires.Stalled += s.Stalled
			wires.Flipped += s.Flipped
			wires.Swallowed += s.Swallowed
			wires.Connections += s.Connections
		})
		t.Logf("%v with %d faults (%v; %d connections were made, %d cut, %d bytes were "+
			"flipped): %+v",
			time.Since(d.begun).Round(time.Second), d.faults, d.kinds, wires.Connections, wires.Cut,
			wires.Flipped, d.totals)
		t.Logf("held at first %+v, at last %+v; %.1f MiB amid faults", before, after, d.amid)
		if after.heap > before.heap+1 || after.goroutines > before.goroutines ||
			d.amid > before.heap+2 {
			t.Errorf("it grows from %+v to %+v", before, after)
		}
	})
}

// day is a storm that goes on.
type day struct {
	*storm
	random *rand.Rand
	faults int
	kinds  [4]int // cut, stall, black hole, refusal
	begun  time.Time
	amid   float64 // MiB: the largest heap while something was broken
}

// calmHolds is what is held at a calm.
type calmHolds struct {
	heap       float64 // MiB
	goroutines int
	stats      int // rows of the bus's Stats
}

func newDay(t *testing.T) *day {
	limits := lahja.Limits{Resume: 10 * time.Second, Heartbeat: time.Second, Lag: 64 << 10}
	d := &day{
		storm: newStorm(context.Background(), limits), random: rand.New(rand.NewPCG(7, 7)),
		begun: time.Now(),
	}
	d.start()
	for i := range 3 {
		d.board(string(rune('a'+i)), uint64(i), dayPlan)
	}
	return d
}

// dayPlan has some bytes flipped and some connections slow.
func dayPlan(_ int, random *rand.Rand) (faults []faulty.Fault) {
	if random.IntN(2) == 0 {
		at := 500 + random.Int64N(20_000)
		faults = append(faults, faulty.FlipAt(faulty.Both, at, byte(1+random.IntN(255))))
	}
	if random.IntN(8) == 0 {
		faults = append(faults, faulty.Delay(faulty.Both, 20*time.Millisecond))
	}
	return faults
}

// work lets everyone say something every second, and something break.
func (d *day) work(seconds int) {
	var saying sync.WaitGroup
	d.mu.Lock()
	crews := d.crews
	d.mu.Unlock()
	for i, c := range crews {
		random := rand.New(rand.NewPCG(uint64(d.faults), uint64(i)))
		saying.Go(func() {
			for range seconds {
				d.talk(c, random, crews)
				time.Sleep(time.Second)
			}
		})
	}
	for range seconds {
		d.harm()
	}
	saying.Wait()
}

func (d *day) talk(c *crew, random *rand.Rand, crews []*crew) {
	d.say(c, words, "", "", false)
	d.say(c, tasks, "", "", false)
	other := crews[random.IntN(len(crews))].name
	switch random.IntN(4) {
	case 0:
		d.say(c, words, other, "", false)
	case 1:
		d.say(c, signs, "", fmt.Sprint(random.IntN(3)), false)
	case 2:
		d.say(c, pleas, other, "", false)
	}
}

// harm lets one of the wires break, in a second.
func (d *day) harm() {
	d.faults++
	d.mu.Lock()
	wire := d.crews[1+d.random.IntN(len(d.crews)-1)].wire
	d.mu.Unlock()
	kind := d.random.IntN(len(d.kinds))
	d.kinds[kind]++
	direction := faulty.Direction(1 + d.random.IntN(3))
	long := time.Duration(d.random.Int64N(int64(time.Second)))
	how := faulty.Ending(d.random.IntN(2))
	switch kind {
	case 0:
		wire.Cut(how)
	case 1:
		wire.Stall(direction)
	case 2:
		wire.Swallow(direction)
	case 3:
		wire.Refuse(true)
		wire.Cut(how)
	}
	time.Sleep(long)
	if d.faults%60 == 0 {
		d.amid = max(d.amid, heap())
	}
	if kind > 0 {
		wire.Refuse(false)
		wire.Resume()
	}
	time.Sleep(time.Second - long)
}

func (d *day) measure() calmHolds {
	return calmHolds{heap(), runtime.NumGoroutine(), len(d.bus.Stats())}
}
