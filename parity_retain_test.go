package lahja_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityRetained(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"who comes later gets the latest first, then what follows", (*stage).latestFirst},
		{"each key and each origin has a latest", (*stage).latestOfEach},
		{"who does not want what is kept gets only what follows", (*stage).keptIsNotWanted},
		{"WaitFor gets what is kept at once", (*stage).waitForKept},
		{"Forget ends one value, and tells", (*stage).forgetOne},
		{"the end of its owner ends a value, and tells", (*stage).ownerCloses},
		{"what is kept is filtered by origin", (*stage).keptFrom},
		{"by several, in any order", (*stage).keptFromSeveral},
		{"an endpoint may keep 1024 keys", (*stage).keyLimit},
		{"an endpoint may keep 1 MiB", (*stage).byteLimit},
		{"between what is kept and what follows is no gap and no double", (*stage).noGapNoDouble},
	})
	everywhereOnce(t, []behaviour{
		{"an owner whose connection is cut keeps nothing", (*stage).ownerIsCut},
		{"what cannot be combined with Retain is refused", (*stage).retainRefused},
	})
}

// Who comes later gets all that is kept, also if it is more than a subscription may lag behind.
func TestMuchIsKept(t *testing.T) {
	const owners, each = 8, 2
	for _, v := range venues {
		t.Run(v.name, func(t *testing.T) {
			s := newStage(t, &v, [2]bool{}, lahja.Limits{Lag: 1 << 20, Frame: 1 << 20})
			for i := range owners {
				ep := s.own(fmt.Sprint("owner ", i))
				for key := range each {
					value := blob{strings.Repeat("x", 400<<10)}
					say(s, ep, value, lahja.RetainKey(fmt.Sprint(key)))
				}
			}
			blobs := lahja.Stream[blob](s.ctx, s.connect("late"), lahja.WithRetained(),
				lahja.Buffer(0))
			for range owners * each {
				take(s, blobs)
			}
		})
	}
}

// What an endpoint retains of all types together is bounded, however many calls do so at once: each
// has its error, and the session goes on.
func TestRetainedAtOnce(t *testing.T) {
	everywhereInPairsWith(t, []behaviour{{"what is retained at once", func(s *stage) {
		a, _ := s.pair()
		var both sync.WaitGroup
		both.Go(func() { retainInTurn[freightA](s, a) })
		both.Go(func() { retainInTurn[freightB](s, a) })
		both.Wait()
		s.settle(a)
		say(s, a, freightC{make([]byte, 2000)}, lahja.Retain()) // nothing is counted twice
	}}}, lahja.Limits{Retained: 3000})
}

// retainInTurn retains events of which there is no room for two, and forgets each.
func retainInTurn[T freightA | freightB](s *stage, ep *lahja.Endpoint) {
	for n := range 300 {
		err := lahja.Broadcast(s.ctx, ep, T{make([]byte, 1900)}, lahja.Retain())
		if err == nil && n%2 == 0 {
			err = lahja.Broadcast(s.ctx, ep, T{}, lahja.Retain()) // it takes less
		} else if err == nil {
			err = lahja.Forget[T](s.ctx, ep, "")
		}
		if err != nil && !errors.Is(err, lahja.ErrTooLarge) {
			s.Error(err)
			return
		}
	}
	if err := lahja.Forget[T](s.ctx, ep, ""); err != nil {
		s.Error(err)
	}
}

// kept is an event of a subscription that wants what is kept.
type kept struct {
	origin, key string
	n           int
	gone        bool
}

// hearKept checks that the next events of c are these.
func hearKept(s *stage, c <-chan lahja.Event[item], all ...kept) {
	s.Helper()
	for _, want := range all {
		ev := take(s, c)
		if got := (kept{ev.Origin, ev.Key, ev.Value.N, ev.Gone}); got != want {
			s.Fatalf("%+v has come, and not %+v", got, want)
		}
	}
}

// hearKeptOf is hearKept for events of which the order is not promised.
func hearKeptOf(s *stage, c <-chan lahja.Event[item], all ...kept) {
	s.Helper()
	for range all {
		ev := take(s, c)
		got := kept{ev.Origin, ev.Key, ev.Value.N, ev.Gone}
		i := slices.Index(all, got)
		if i < 0 {
			s.Fatalf("%+v has come, and not one of %+v", got, all)
		}
		all = slices.Delete(slices.Clone(all), i, i+1)
	}
}

// settle waits until the bus has what the endpoints have broadcast.
func (s *stage) settle(endpoints ...*lahja.Endpoint) {
	s.Helper()
	for _, ep := range endpoints {
		_, err := ep.Peers(s.ctx) // asks the bus, behind all that was sent to it
		s.must(err)
	}
}

func (s *stage) latestFirst() {
	a, b := s.pair()
	say(s, a, item{1}, lahja.Retain())
	say(s, a, item{2}, lahja.Retain())
	say(s, a, item{3}) // is not kept
	s.settle(a)
	for _, ep := range []*lahja.Endpoint{b, a, s.own("c"), s.connect("d")} {
		items := lahja.Stream[item](s.ctx, ep, lahja.WithRetained())
		hearKept(s, items, kept{origin: "a", n: 2})
		say(s, a, item{4})
		hearKept(s, items, kept{origin: "a", n: 4})
		s.settle(a)
	}
}

func (s *stage) latestOfEach() {
	a, b := s.pair()
	for n, key := range []string{"x", "y", "x", "", "y"} {
		say(s, a, item{n}, lahja.RetainKey(key))
	}
	say(s, b, item{9}, lahja.RetainKey("x"))
	want := []kept{
		{"a", "x", 2, false}, {"a", "y", 4, false}, {"a", "", 3, false}, {"b", "x", 9, false},
	}
	for _, ep := range []*lahja.Endpoint{b, a, s.own("c"), s.connect("d")} {
		s.settle(a, b)
		items := lahja.Stream[item](s.ctx, ep, lahja.WithRetained())
		hearKeptOf(s, items, want...)
		say(s, a, item{5}, lahja.RetainKey("y"))
		hearKept(s, items, kept{"a", "y", 5, false})
		say(s, a, item{4}, lahja.RetainKey("y"))
		hearKept(s, items, kept{"a", "y", 4, false})
	}
}

func (s *stage) keptIsNotWanted() {
	a, b := s.pair()
	say(s, a, item{1}, lahja.RetainKey("x"))
	s.settle(a)
	items := lahja.Stream[item](s.ctx, b)
	say(s, a, item{2}, lahja.RetainKey("x"))
	hearKept(s, items, kept{"a", "x", 2, false}) // like any other event, with its key
	s.must(lahja.Forget[item](s.ctx, a, "x"))
	say(s, a, item{3})
	hearKept(s, items, kept{"a", "", 3, false})
}

func (s *stage) waitForKept() {
	a, b := s.pair()
	say(s, a, item{1}, lahja.Retain())
	s.settle(a)
	for range 3 {
		ev, err := lahja.WaitFor[item](s.ctx, b, lahja.WithRetained())
		if s.must(err); ev.Value.N != 1 {
			s.Fatalf("%+v has come", ev)
		}
	}
	s.until(a, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) forgetOne() {
	a, b := s.pair()
	say(s, a, item{1}, lahja.RetainKey("x"))
	say(s, a, item{2}, lahja.RetainKey("y"))
	s.settle(a)
	inB := lahja.Stream[item](s.ctx, b, lahja.WithRetained())
	inA := lahja.Stream[item](s.ctx, a, lahja.WithRetained())
	s.must(lahja.Forget[item](s.ctx, a, "x"))
	s.must(lahja.Forget[item](s.ctx, a, "x"))  // again
	s.must(lahja.Forget[item](s.ctx, b, "y"))  // not b's
	s.must(lahja.Forget[other](s.ctx, a, "y")) // of another type
	for _, key := range []string{"\xff", strings.Repeat("x", 256), strings.Repeat("x", 2<<20)} {
		s.must(lahja.Forget[item](s.ctx, a, key)) // what cannot be one
	}
	for _, items := range []<-chan lahja.Event[item]{inA, inB} {
		hearKeptOf(s, items, kept{"a", "x", 1, false}, kept{"a", "y", 2, false})
		hearKept(s, items, kept{"a", "x", 0, true})
	}
	say(s, a, item{3})
	for _, items := range []<-chan lahja.Event[item]{inA, inB} {
		hearKept(s, items, kept{"a", "", 3, false})
	}
	s.settle(a)
	late := lahja.Stream[item](s.ctx, b, lahja.WithRetained())
	say(s, a, item{4})
	hearKept(s, late, kept{"a", "y", 2, false}, kept{"a", "", 4, false})
}

func (s *stage) ownerCloses() {
	a, b := s.pair()
	s.ownerEnds(a, b, func() { s.must(a.Close()) })
}

func (s *stage) ownerIsCut() {
	s.mortal = true
	if s.place == nil {
		s.Skip("there is no connection")
	}
	b := s.own("b")
	a := s.connect("a")
	s.ownerEnds(a, b, s.wires.cutLast)
}

// ownerEnds checks what becomes of what a has retained when end ends a.
func (s *stage) ownerEnds(a, b *lahja.Endpoint, end func()) {
	s.Helper()
	say(s, b, item{9}, lahja.Retain())
	say(s, a, item{1}, lahja.RetainKey("x"))
	say(s, a, item{2}, lahja.RetainKey("y"))
	s.settle(a, b)
	items := lahja.Stream[item](s.ctx, b, lahja.WithRetained())
	hearKeptOf(s, items, kept{"b", "", 9, false}, kept{"a", "x", 1, false},
		kept{"a", "y", 2, false})
	end()
	hearKeptOf(s, items, kept{"a", "x", 0, true}, kept{"a", "y", 0, true})
	for _, ep := range []*lahja.Endpoint{b, s.own("late"), s.connect("later")} {
		s.settle(b)
		late := lahja.Stream[item](s.ctx, ep, lahja.WithRetained())
		say(s, b, item{10})
		hearKept(s, late, kept{"b", "", 9, false}, kept{"b", "", 10, false})
	}
}

func (s *stage) keptFrom() {
	a, b := s.pair()
	c := s.own("c")
	for n, ep := range []*lahja.Endpoint{a, b, c} {
		say(s, ep, item{n}, lahja.Retain())
	}
	s.settle(a, b)
	items := lahja.Stream[item](s.ctx, b, lahja.WithRetained(), lahja.From("c"))
	s.must(a.Close())
	s.must(lahja.Forget[item](s.ctx, c, ""))
	hearKept(s, items, kept{"c", "", 2, false}, kept{"c", "", 0, true})
}

func (s *stage) keptFromSeveral() {
	a, b := s.pair()
	say(s, a, item{1}, lahja.Retain())
	s.settle(a)
	for _, from := range [][]string{{"z", "a"}, {"z", "y", "a"}, {"a", "y"}, {"a", "a"}} {
		items := lahja.Stream[item](s.ctx, b, lahja.WithRetained(), lahja.From(from...))
		say(s, a, item{2})
		hearKept(s, items, kept{origin: "a", n: 1}, kept{origin: "a", n: 2})
	}
}

func (s *stage) keyLimit() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b, lahja.From("a"))
	key := func(n int) lahja.BroadcastOption { return lahja.RetainKey(fmt.Sprint("key ", n)) }
	for n := range 1024 {
		say(s, a, item{n}, key(n))
	}
	err := lahja.Broadcast(s.ctx, a, item{-1}, key(1024))
	s.wantErr(err, lahja.ErrTooLarge)
	say(s, a, item{1024}, key(7))        // takes the place of another
	say(s, b, item{-2}, key(1024))       // of another endpoint
	say(s, a, other{-3}, lahja.Retain()) // of another type
	s.must(lahja.Forget[item](s.ctx, a, "key 8"))
	say(s, a, item{1025}, key(1024))
	for n := range 1026 {
		hear(s, items, item{n})
	}
	s.settle(a)
	late := lahja.Stream[item](s.ctx, b, lahja.WithRetained(), lahja.From("a"))
	say(s, a, item{1026})
	for range 1024 {
		if ev := take(s, late); ev.Key == "" || ev.Value.N < 0 {
			s.Fatalf("%+v was kept", ev)
		}
	}
	hear(s, late, item{1026})
}

// blob is a big event.
type blob struct{ Data string }

func (s *stage) byteLimit() {
	a, b := s.pair()
	half := blob{strings.Repeat("x", 500<<10)}
	blobs := lahja.Stream[blob](s.ctx, b)
	say(s, a, half, lahja.RetainKey("1"))
	say(s, a, half, lahja.RetainKey("2"))
	err := lahja.Broadcast(s.ctx, a, half, lahja.RetainKey("3"))
	s.wantErr(err, lahja.ErrTooLarge)
	say(s, a, half, lahja.RetainKey("2"))
	say(s, a, half)
	s.must(lahja.Forget[blob](s.ctx, a, "1"))
	say(s, a, half, lahja.RetainKey("3"))
	for _, key := range []string{"1", "2", "2", "", "3"} {
		if ev := take(s, blobs); ev.Key != key || ev.Value != half {
			s.Fatalf("the event with key %q has come, and not %q", ev.Key, key)
		}
	}
}

func (s *stage) noGapNoDouble() {
	a, b := s.pair()
	// Who subscribes lets the others broadcast: some times while it subscribes, and then as long as
	// it lacks events. Without that they would be far ahead.
	credit := make(chan struct{}, 32)
	var both sync.WaitGroup
	for _, ep := range []*lahja.Endpoint{a, b} {
		both.Go(func() {
			n := 0
			for range credit {
				if err := lahja.Broadcast(s.ctx, ep, item{n}, lahja.Retain()); err != nil {
					s.Error(err)
				}
				n++
			}
		})
	}
	defer both.Wait()
	defer close(credit)
	for range 40 {
		s.contiguous(b, credit, 40)
	}
}

// contiguous subscribes ep and checks that what it gets of each origin has no gap and no double.
func (s *stage) contiguous(ep *lahja.Endpoint, credit chan<- struct{}, count int) {
	for range cap(credit) {
		credit <- struct{}{}
	}
	items := lahja.Stream[item](s.ctx, ep, lahja.WithRetained(), lahja.Take(count))
	next := map[string]int{}
	for got := 0; got < count; {
		select {
		case ev := <-items:
			if want, known := next[ev.Origin]; known && ev.Value.N != want {
				s.Fatalf("%q has broadcast %d, where %d was due", ev.Origin, ev.Value.N, want)
			}
			next[ev.Origin] = ev.Value.N + 1
			got++
		case credit <- struct{}{}:
		case <-s.ctx.Done():
			s.Fatalf("%d of %d events have come", got, count)
		}
	}
	takeEnd(s, items)
}

func (s *stage) retainRefused() {
	a, b := s.connect("a"), s.own("b")
	items := lahja.Stream[item](s.ctx, b)
	for name, opts := range map[string][]lahja.BroadcastOption{
		"Internal":   {lahja.Retain(), lahja.Internal()},
		"To":         {lahja.Retain(), lahja.To("b")},
		"Except":     {lahja.Retain(), lahja.Except("c")},
		"a long key": {lahja.RetainKey(strings.Repeat("k", 256))},
	} {
		if err := lahja.Broadcast(s.ctx, a, item{-1}, opts...); !errors.Is(err, lahja.ErrDenied) {
			s.Errorf("%s: %v", name, err)
		}
	}
	answerWith(s, b, double)
	_, err := request(s, a, 1, lahja.Retain())
	s.wantErr(err, lahja.ErrDenied)
	got := gathered(s, a, 1, lahja.RetainKey("k"))
	s.wantErr(got[""].err, lahja.ErrDenied)
	say(s, a, item{1}, lahja.RetainKey(strings.Repeat("k", 255)))
	say(s, a, item{2}, lahja.Retain(), lahja.Except([]string{}...)) // nobody is excepted
	hear(s, items, item{1}, item{2})
}
