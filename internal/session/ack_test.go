package session

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// reports are the numbers of slots in the reports that were written to p.
func reports(t *testing.T, p *pipe) (counts []int) {
	t.Helper()
	for _, frames := range parsed(t, p.log) {
		for _, f := range frames {
			if f.Type != wire.TypeTaken {
				continue
			}
			n := 0
			wire.ParseTaken(f.Body, 1<<32, func(uint64) error { n++; return nil })
			counts = append(counts, n)
		}
	}
	return counts
}

// exchange sends events from a to b, and returns them as they arrive.
func exchange(t *testing.T, a, b *side, o *owner, prompt bool, n int) []wire.Event {
	t.Helper()
	for i := range n {
		a.event(o, int64(i), prompt, nil)
	}
	synctest.Wait()
	events := b.arrived(t)
	if len(events) != n {
		t.Fatalf("%d events arrived of %d", len(events), n)
	}
	return events
}

func TestReportByCount(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		events := exchange(t, a, b, o, false, ackEvents+10)
		b.took(1, events[:ackEvents-1]...)
		synctest.Wait()
		if o.count() != 0 {
			t.Errorf("%d reported too early", o.count())
		}
		b.took(1, events[ackEvents-1])
		synctest.Wait()
		got := reports(t, a.in())
		if !slices.Equal(got, []int{ackEvents}) || o.count() != ackEvents {
			t.Errorf("reports of %d, %d settled", got, o.count())
		}
	})
}

func TestReportBySize(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		events := exchange(t, a, b, o, false, 3)
		b.took(ackBytes/2-1, events[:2]...)
		synctest.Wait()
		if o.count() != 0 {
			t.Errorf("%d reported too early", o.count())
		}
		b.took(2, events[2])
		synctest.Wait()
		if got := reports(t, a.in()); !slices.Equal(got, []int{3}) {
			t.Errorf("reports of %d", got)
		}
	})
}

func TestReportAtOnce(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		calm := exchange(t, a, b, o, false, 2)
		pressing := exchange(t, a, b, o, true, 2)
		b.took(1, calm...)
		synctest.Wait()
		for _, e := range pressing {
			b.took(1, e)
			synctest.Wait()
		}
		if got := reports(t, a.in()); !slices.Equal(got, []int{3, 1}) || o.count() != 4 {
			t.Errorf("reports of %d, %d settled", got, o.count())
		}
	})
}

func TestReportInTime(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		events := exchange(t, a, b, o, false, 20)
		for round := range 4 {
			b.took(1, events[5*round:5*round+2]...)
			time.Sleep(ackDelay - time.Nanosecond)
			b.took(1, events[5*round+2:5*round+5]...) // does not put it off
			synctest.Wait()
			if o.count() != 5*round {
				t.Errorf("round %d: %d reported too early", round, o.count()-5*round)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if o.count() != 5*round+5 {
				t.Errorf("round %d: %d reported in time", round, o.count()-5*round)
			}
		}
		time.Sleep(time.Hour)
		if got := reports(t, a.in()); !slices.Equal(got, []int{5, 5, 5, 5}) {
			t.Errorf("reports of %d", got)
		}
	})
}

// A report rides on whatever is written, and the timer then has nothing to do.
func TestReportRides(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		events := exchange(t, a, b, o, false, 6)
		for i, ride := range []func(){
			func() { b.say("anything") },
			func() { b.link.SendAhead(word("anything")) },
			func() { b.event(newOwner(), 1, false, nil) },
			func() { raw(a, uint64(len(events)), wire.AppendUvarints(nil, wire.TypePing)) },
			func() {
				b.pull = func(dst []byte) ([]byte, uint64) { return word("anything")(dst), 1 }
				b.link.Poke()
			},
		} {
			b.took(1, events[i])
			synctest.Wait()
			before := len(a.in().log)
			ride()
			synctest.Wait()
			if o.count() != i+1 || len(parsed(t, a.in().log)) != i+1 {
				t.Errorf("ride %d: %d settled; % x", i, o.count(), a.in().log[before:])
			}
		}
		writes := a.in().writes
		time.Sleep(time.Hour)
		if a.in().writes != writes {
			t.Error("something was written without need")
		}
	})
}

// What was taken while nothing could be written is reported afterwards, in frames of a bounded
// size, and frames of events are not held up by it.
func TestReportOfManyScattered(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		const events = 20_000
		got := exchange(t, a, b, o, false, events)
		a.in().change(func() { a.in().size = 0 }) // nothing can be written
		b.took(1, scattered(got)...)
		b.say("something")
		synctest.Wait()
		if o.count() > 0 {
			t.Fatalf("%d reported", o.count())
		}
		a.in().change(func() { a.in().size = roomy })
		synctest.Wait()
		if o.count() != events {
			t.Errorf("%d reported of %d", o.count(), events)
		}
		for _, frames := range parsed(t, a.in().log) {
			for _, f := range frames {
				if f.Type == wire.TypeTaken && len(f.Body) > wire.MaxTaken-wire.FrameHeader {
					t.Errorf("a report of %d bytes", len(f.Body))
				}
			}
		}
	})
}

// slotsProperty compares with a plain map: a number is never given twice at once, the table is no
// longer than the most that were ever in use, and all that is left comes out in the end.
func slotsProperty(t *rapid.T) {
	var s slots
	used := map[uint64]*window.Flight{}
	most := 0
	t.Repeat(map[string]func(*rapid.T){
		"put": func(t *rapid.T) {
			f := new(window.Flight)
			n := s.put(f, new(named))
			if used[n] != nil {
				t.Fatalf("slot %d is given twice", n)
			}
			used[n] = f
			most = max(most, len(used))
		},
		"take": func(t *rapid.T) {
			if len(s.table) == 0 {
				t.Skip("no slots")
			}
			n := rapid.Uint64Range(0, uint64(len(s.table)-1)).Draw(t, "slot")
			if f := s.take(n); f != used[n] {
				t.Fatalf("slot %d held %p, put was %p", n, f, used[n])
			}
			delete(used, n)
		},
		"": func(t *rapid.T) {
			if len(s.table) > most {
				t.Fatalf("%d slots, of which %d were in use at most", len(s.table), most)
			}
			if s.free != len(s.table)-len(used) {
				t.Fatalf("%d slots are free, of %d less %d", s.free, len(s.table), len(used))
			}
		},
	})
	left := s.clear()
	for _, f := range used {
		if !slices.Contains(left, f) {
			t.Fatal("a slot is missing from what was left")
		}
	}
	if len(left) != len(used) || len(s.clear()) > 0 {
		t.Fatalf("%d slots are left, where %d are used", len(left), len(used))
	}
}

func TestSlotsProperty(t *testing.T) { rapid.Check(t, slotsProperty) }

func FuzzSlotsProperty(f *testing.F) {
	f.Add(make([]byte, 1024))
	f.Fuzz(rapid.MakeFuzz(slotsProperty))
}

// A limit beyond what an int may have on a small machine is no smaller one.
func TestReportUnderLargeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(roomy)
		a, b := newSideWith(x, Options{MaxFrame: testFrame, Limit: 1 << 32}), newSide(y)
		go a.run()
		go b.run()
		defer finish(a, b)
		a.link.Took(window.Item{Slot: 1})
		if err := a.link.Err(); err != nil {
			t.Error(err)
		}
	})
}
