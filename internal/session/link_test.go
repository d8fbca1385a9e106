package session

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

func numbered(n int) (words []string) {
	for i := range n {
		words = append(words, fmt.Sprintf("%d", i))
	}
	return words
}

func TestOrder(t *testing.T) {
	for _, size := range []int{1, 1000, roomy} {
		linked(t, size, func(t *testing.T, a, b *side) {
			there, back := numbered(2000), numbered(1500)
			go a.say(there...)
			go b.say(back...)
			synctest.Wait()
			if got := b.words(); !slices.Equal(got, there) {
				t.Errorf("a connection of %d bytes: arrived %.200q", size, got)
			}
			if got := a.words(); !slices.Equal(got, back) {
				t.Errorf("a connection of %d bytes: arrived %.200q", size, got)
			}
		})
	}
}

// Each of many senders has its order kept.
func TestOrderOfMany(t *testing.T) {
	linked(t, 10_000, func(t *testing.T, a, b *side) {
		const senders, each = 10, 300
		var sending sync.WaitGroup
		for sender := range senders {
			sending.Go(func() {
				for i := range each {
					a.say(fmt.Sprintf("%d %d", sender, i))
				}
			})
		}
		sending.Wait()
		synctest.Wait()
		next := [senders]int{}
		for _, w := range b.words() {
			var sender, i int
			fmt.Sscan(w, &sender, &i)
			if i != next[sender] {
				t.Fatalf("%d of sender %d, where %d was due", i, sender, next[sender])
			}
			next[sender]++
		}
		if next != [senders]int{each, each, each, each, each, each, each, each, each, each} {
			t.Errorf("arrived: %d", next)
		}
	})
}

// A byte at a time is as good as all at once.
func TestByteAtATime(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		a.in().reads(1)
		b.in().reads(1)
		words := []string{"", "a", strings.Repeat("b", 5000), strings.Repeat("c", testFrame), "d"}
		a.say(words...)
		synctest.Wait()
		if got := b.words(); !slices.Equal(got, words) {
			t.Errorf("arrived %.200q", got)
		}
		a.link.Goodbye(wire.Goodbye{})
		<-a.done
		<-b.done
		if a.err != nil || b.err != nil {
			t.Errorf("ended with %v and %v", a.err, b.err)
		}
	})
}

// A lone frame leaves at once, and what queues while a record is written leaves in few.
func TestBatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(100)
		a := newSide(x)
		go a.run()
		defer finish(a)
		a.say("alone")
		synctest.Wait()
		if x.out.writes != 1 || len(x.out.log) != wire.HeaderSize+wire.FrameHeader+5 {
			t.Fatalf("%d writes of %d bytes", x.out.writes, len(x.out.log))
		}
		a.say(strings.Repeat("fills what the connection holds", 10))
		synctest.Wait()
		const frames = 10_000
		for range frames {
			a.say("one of many")
		}
		if want := int64(frames * (wire.FrameHeader + 11)); a.link.Backlog() != want {
			t.Errorf("%d bytes wait, of %d", a.link.Backlog(), want)
		}
		go io.Copy(io.Discard, y)
		synctest.Wait()
		records := parsed(t, x.out.log)
		if want := 2 + 1 + frames*(wire.FrameHeader+11)/fill; len(records) != want {
			t.Errorf("%d records, where %d are enough", len(records), want)
		}
		if x.out.writes != len(records) || a.link.Backlog() != 0 {
			t.Errorf("%d records, %d writes, %d bytes wait", len(records), x.out.writes,
				a.link.Backlog())
		}
	})
}

// A peer whose frames come one by one is answered at once; from one whose frames come many at a
// time on, what is sent waits for its like, until so many have come alone again.
func TestGauge(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		arrive := func(first uint64, words ...string) int32 {
			var body []byte
			for _, w := range words {
				body = word(w)(body)
			}
			peer.Write(record(first, body))
			synctest.Wait()
			a.link.mu.Lock()
			defer a.link.mu.Unlock()
			return a.link.conn.few.Load()
		}
		for n := range uint64(calm + 1) {
			if few, want := arrive(n, "alone"), int32(min(n+1, calm)); few != want {
				t.Fatalf("%d have come alone, where %d have", few, want)
			}
		}
		if few := arrive(calm+1, "one", "of two"); few != 0 {
			t.Errorf("%d have come alone, where two came together", few)
		}
		if few := arrive(calm+3, "alone"); few != 1 {
			t.Errorf("%d have come alone, where one has", few)
		}
	})
}

// Frames that go ahead do so in their order, and in records that the peer accepts, however many
// there are.
func TestSendAhead(t *testing.T) {
	linked(t, 1, func(t *testing.T, a, b *side) {
		b.in().reads(0)
		a.say("being written")
		synctest.Wait()
		a.say(numbered(1000)...)
		var ahead []string
		for i := range 100 {
			w := fmt.Sprintf("ahead %d %s", i, strings.Repeat("x", testFrame/2))
			ahead = append(ahead, w)
			a.link.SendAhead(word(w))
		}
		b.in().change(func() { b.in().size = roomy })
		b.in().reads(roomy)
		synctest.Wait()
		want := append(append([]string{"being written"}, ahead...), numbered(1000)...)
		if got := b.words(); !slices.Equal(got, want) {
			t.Errorf("arrived %d of %d frames: %.20q", len(got), len(want), got)
		}
		parsed(t, b.in().log)
	})
}

// The largest frames are accepted, whatever they come with, and larger ones are not.
func TestLargestFrames(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		largest := strings.Repeat("x", testFrame)
		filling := strings.Repeat("y", fill-wire.HeaderSize-2*wire.FrameHeader)
		words := []string{largest, "small", largest, filling, largest}
		o := newOwner()
		const events = 6000
		for range events {
			b.event(o, 1, false, nil)
		}
		synctest.Wait()
		a.took(1, scattered(a.arrived(t))...) // reports that ride on what follows
		a.say(slices.Concat(words, words)...)
		synctest.Wait()
		if got, want := b.words(), slices.Concat(words, words); !slices.Equal(got, want) {
			t.Errorf("arrived %d frames of %d: %v", len(got), len(want), b.err)
		}
		if o.count() != events {
			t.Errorf("%d events of %d are settled", o.count(), events)
		}
		parsed(t, b.in().log)
	})
}

// scattered returns events in an order in which no two neighbours follow each other, so that a
// report of them is long.
func scattered(events []wire.Event) (mixed []wire.Event) {
	for i := len(events) - 1; i >= 0; i-- {
		mixed = append(mixed, events[i])
	}
	return mixed
}

func TestNames(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		topic, origin := wire.Name{Number: 4, Name: "topic"}, wire.Name{Number: 2, Name: "origin"}
		send := func(names ...wire.Name) {
			f := window.NewFlight(discard{}, window.Item{Size: 1})
			a.link.Event(&wire.Event{Name: 4}, f, "topic", names...)
			f.Drop()
		}
		send(topic)
		send(topic, origin)
		send(topic, origin)
		a.link.Retire(2)
		a.link.Retire(2)
		a.link.Retire(3)
		send(topic, origin)
		synctest.Wait()
		var got []string
		for _, f := range b.taken() {
			if f.Type != wire.TypeName {
				got = append(got, "event")
				continue
			}
			n, err := wire.ParseName(f.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d %s", n.Number, n.Name))
		}
		want := []string{"4 topic", "event", "2 origin", "event", "event", "2 ", "2 origin",
			"event"}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

// What the handler adds is asked for once for each Poke, and counted.
func TestPoke(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		pulls := 0
		a.pull = func(dst []byte) ([]byte, uint64) {
			if pulls++; pulls == 2 {
				return dst, 0
			}
			return word("two")(word("one")(dst)), 2
		}
		for range 3 {
			a.link.Poke()
			synctest.Wait()
		}
		a.say("three")
		synctest.Wait()
		if got, want := b.words(), []string{"one", "two", "one", "two", "three"}; pulls != 3 ||
			!slices.Equal(got, want) {
			t.Errorf("%d pulls; arrived %q", pulls, got)
		}
	})
}

func TestPing(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		for i := range 3 {
			for _, typ := range []wire.Type{wire.TypePong, wire.TypeVoid, wire.TypePing} {
				raw(a, uint64(i), wire.Append(nil, typ, []byte("any")))
			}
			b.say("between")
			synctest.Wait()
			raw(a, uint64(i), word("after")(nil))
			synctest.Wait()
		}
		pongs := 0
		for _, frames := range parsed(t, a.in().log) {
			for _, f := range frames {
				if f.Type == wire.TypePong {
					pongs++
				}
			}
		}
		if got := b.words(); pongs != 3 || !slices.Equal(got, []string{"after", "after", "after"}) {
			t.Errorf("%d answers, %q arrived", pongs, got)
		}
	})
}

// Ping asks, and whatever arrives then is heard.
func TestHeard(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		for i := range uint64(3) {
			if got := a.link.Heard(); got != i {
				t.Errorf("%d records heard, of %d", got, i)
			}
			a.link.Ping()
			synctest.Wait()
		}
		b.say("anything")
		synctest.Wait()
		if got := a.link.Heard(); got != 4 {
			t.Errorf("%d records heard, of 4", got)
		}
	})
}

// What the peer owes is what it has not reported.
func TestOwed(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		for name := range uint64(3) {
			for i := range int64(name + 1) {
				f := window.NewFlight(discard{}, window.Item{Size: 100 + i})
				a.link.Event(&wire.Event{Name: name}, f, "event")
				f.Drop()
			}
		}
		synctest.Wait()
		events := b.arrived(t)
		want := map[uint64]Debt{0: {1, 100}, 1: {2, 201}, 2: {3, 303}}
		if got := a.link.Owing(); a.link.Owed() != 6 || !maps.Equal(got, want) {
			t.Errorf("%d events are owed: %v", a.link.Owed(), got)
		}
		b.took(ackBytes, events[0], events[2], events[3])
		synctest.Wait()
		want = map[uint64]Debt{1: {1, 100}, 2: {2, 203}}
		if got := a.link.Owing(); a.link.Owed() != 3 || !maps.Equal(got, want) {
			t.Errorf("%d events are owed: %v", a.link.Owed(), got)
		}
	})
}

// raw writes a record past the link.
func raw(s *side, first uint64, frames ...[]byte) { s.conn.Write(record(first, frames...)) }

// A request that is still queued is taken back, and what was written is not.
func TestWithdraw(t *testing.T) {
	for _, leave := range []bool{false, true} {
		linked(t, 1, func(t *testing.T, a, b *side) {
			o := newOwner()
			b.in().reads(0)
			a.request(o, 1)
			synctest.Wait()
			a.say("before")
			for id := range int64(4) {
				a.request(o, 2+id)
			}
			a.say("after")
			if leave {
				a.link.Goodbye(wire.Goodbye{})
			}
			for _, call := range []uint64{1, 3, 4, 4, 7} {
				a.link.Withdraw(call)
			}
			if o.count() > 0 {
				t.Errorf("%d settled while their bytes are queued", o.count())
			}
			b.in().reads(roomy)
			b.in().change(func() { b.in().size = roomy })
			synctest.Wait()
			var got []string
			for _, f := range b.taken() {
				var e wire.Event
				if f.Type != wire.TypeEvent {
					got = append(got, string(f.Body))
				} else if err := wire.ParseEvent(f.Body, &e); err == nil {
					got = append(got, fmt.Sprint(e.Call))
				}
			}
			if want := []string{"1", "before", "2", "5", "after"}; !slices.Equal(got, want) {
				t.Errorf("arrived %q", got)
			}
			if !leave && (o.count() != 2 || o.settled[3] != 1 || o.settled[4] != 1) {
				t.Errorf("settled: %d", o.settled)
			}
			finish(a, b)
			if o.count() != 5 || len(o.settled) != 5 {
				t.Errorf("settled in the end: %d", o.settled)
			}
		})
	}
}

// A request that is withdrawn when the link has ended is not there any more.
func TestWithdrawAfterTheEnd(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.cut()
		c.wait()
		o := newOwner()
		c.a.request(o, 7) // it waits for another connection
		c.a.link.Kill(nil)
		<-c.a.link.Over()
		c.a.link.Withdraw(7)
		if o.count() != 1 {
			t.Errorf("%d settled", o.count())
		}
	})
}
