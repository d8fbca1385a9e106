package lahja_test

import (
	"context"

	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// weather is what one case of the property does: rounds of acts and faults at the same time, with
// a calm after each.
type weather struct {
	Crews  int // beside the one of the bus's process
	Lag    int64
	Rounds []gusts
}

// gusts are what happens in a round: each list one after the other, all lists at the same time.
type gusts struct {
	Acts   [][]deed
	Faults []blow
}

// deed is something that an endpoint's user does.
type deed struct {
	Crew int // 0: the one of the bus's process
	What int // a kindOfWords, or to subscribe, or to end a subscription
	To   int // -1: everyone
	Key  int
	Wait time.Duration // before
}

const (
	subscribes = int(pleas) + 1 + iota
	unsubscribes
	kindsOfDeeds
)

// blow is a fault.
type blow struct {
	What blowKind
	Crew int
	Dir  faulty.Direction
	How  faulty.Ending
	Wait time.Duration // before
	Long time.Duration // that it lasts
}

type blowKind int

const (
	breaks blowKind = iota
	standstills
	swallows
	denials
	outages // longer than the window
	crashes // of the bus
	kindsOfBlows
)

func weathers() *rapid.Generator[weather] {
	return rapid.Custom(func(t *rapid.T) weather {
		w := weather{
			Crews: rapid.IntRange(1, 3).Draw(t, "crews"),
			Lag:   rapid.SampledFrom([]int64{0, 300, 2000}).Draw(t, "lag"),
		}
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			var g gusts
			for range rapid.IntRange(1, 4).Draw(t, "threads") {
				g.Acts = append(g.Acts, rapid.SliceOfN(deeds(w.Crews), 1, 12).Draw(t, "acts"))
			}
			g.Faults = rapid.SliceOfN(blows(w.Crews), 0, 6).Draw(t, "faults")
			w.Rounds = append(w.Rounds, g)
		}
		return w
	})
}

func pauses(longest time.Duration) *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		if rapid.Bool().Draw(t, "at once") {
			return 0
		}
		return time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "time"))
	})
}

func deeds(crews int) *rapid.Generator[deed] {
	return rapid.Custom(func(t *rapid.T) deed {
		return deed{
			Crew: rapid.IntRange(0, crews).Draw(t, "crew"),
			What: rapid.IntRange(0, kindsOfDeeds-1).Draw(t, "what"),
			To:   rapid.IntRange(-1, crews).Draw(t, "to"),
			Key:  rapid.IntRange(0, 2).Draw(t, "key"),
			Wait: pauses(2*time.Second).Draw(t, "wait"),
		}
	})
}

func blows(crews int) *rapid.Generator[blow] {
	return rapid.Custom(func(t *rapid.T) blow {
		return blow{
			What: blowKind(rapid.IntRange(0, int(kindsOfBlows)-1).Draw(t, "what")),
			Crew: rapid.IntRange(1, crews).Draw(t, "crew"),
			Dir:  faulty.Direction(rapid.IntRange(1, 3).Draw(t, "dir")),
			How:  faulty.Ending(rapid.IntRange(0, 1).Draw(t, "how")),
			Wait: pauses(2*time.Second).Draw(t, "wait"),
			Long: pauses(2*time.Second).Draw(t, "long"),
		}
	})
}

var stormLimits = lahja.Limits{Resume: 5 * time.Second, Heartbeat: time.Second}

// Survival, and Delivery, Order and No silent loss around it: whatever breaks and when, each
// subscription gets each event once and in order as long as sessions live; what a lost session
// takes with it is told as a gap to the one side and counted for the other; and nothing hangs.
func TestPropertySurvival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := weathers().Draw(t, "weather")
		rapid.SyncTest(t, func(t *rapid.T) {
			if err := w.storm(t, nil); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// storm has all of w happen.
func (w *weather) storm(
	t interface{ Log(...any) }, tamper func(*hearing, heard) []heard,
) (err error) {
	limits := stormLimits
	limits.Lag = w.Lag
	s := newStorm(context.Background(), limits)
	s.tamper = tamper
	s.start()
	for i := range w.Crews {
		s.board(string(rune('a'+i)), uint64(i), nil)
	}
	defer func() {
		if err != nil {
			s.eachWire(func(w *faulty.Transport) { t.Log(w) })
		}
		s.finish()
	}()
	for _, g := range append([]gusts{{}}, w.Rounds...) {
		var all sync.WaitGroup
		for _, deeds := range g.Acts {
			all.Go(func() {
				for _, d := range deeds {
					d.do(s)
				}
			})
		}
		for _, b := range g.Faults {
			b.do(s)
		}
		s.eachWire(func(w *faulty.Transport) { w.Refuse(false); w.Resume() })
		all.Wait()
		if err := s.calm(); err != nil {
			return err
		}
	}
	return nil
}

// crewAt returns a crew by its place: 0 is the bus's process.
func (s *storm) crewAt(i int) *crew {
	if i == 0 {
		return s.own()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.crews {
		if c.name == string(rune('a'+i-1)) {
			return c
		}
	}
	return nil
}

func (d deed) do(s *storm) {
	time.Sleep(d.Wait)
	c := s.crewAt(d.Crew)
	if c == nil {
		return // the bus has crashed
	}
	to := ""
	if d.To == 0 {
		to = "own"
	} else if d.To > 0 {
		to = string(rune('a' + d.To - 1))
	}
	switch d.What {
	case subscribes:
		s.hear(c, words)
	case unsubscribes:
		s.hushOne(c)
	case int(pleas):
		if to == "" {
			to = "a"
		}
		s.say(c, pleas, to, "", false)
	case int(tasks), int(signs):
		s.say(c, kindOfWords(d.What), "", string(rune('k'+d.Key)), false)
	default:
		s.say(c, words, to, "", false)
	}
}

// hushOne ends the latest subscription of c but for the first.
func (s *storm) hushOne(c *crew) {
	s.mu.Lock()
	var found *hearing
	first := true
	for _, h := range s.heard {
		if h.at == c && h.kind == words && h.ending == 0 && h.returned != 0 {
			if !first {
				found = h
			}
			first = false
		}
	}
	s.mu.Unlock()
	if found != nil {
		s.hush(found)
	}
}

func (b blow) do(s *storm) {
	time.Sleep(b.Wait)
	if b.What == crashes {
		s.crash(b.Long)
		return
	}
	w := s.crewAt(b.Crew).wire
	switch b.What {
	case breaks:
		w.Cut(b.How)
	case standstills:
		w.Stall(b.Dir)
	case swallows:
		w.Swallow(b.Dir)
	case denials, outages:
		w.Refuse(true)
		w.Cut(b.How)
	}
	if b.What == outages {
		b.Long += s.limits.Resume
	}
	time.Sleep(b.Long)
	if b.What != breaks {
		w.Refuse(false)
		w.Resume()
	}
}
