package session

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/wire"
)

// lasting are the options of links that outlive their connections.
var lasting = Options{MaxFrame: testFrame, Limit: testLimit, Window: time.Minute}

// couple is two links whose connections break and are made again.
type couple struct {
	a, b    *side
	x, y    *end
	attempt uint64
	carried chan error // what a Carry has returned
	running int        // calls of Carry
}

func newCouple(opt Options) *couple {
	x, y := duplex(roomy)
	dials := opt
	dials.Dials = true
	c := &couple{
		a: newSideWith(x, dials), b: newSideWith(y, opt), x: x, y: y,
		carried: make(chan error, 2),
	}
	c.carry(Start{}, Start{})
	return c
}

func (c *couple) carry(a, b Start) {
	c.running = 2
	go func() { c.carried <- c.a.link.Carry(c.x, a) }()
	go func() { c.carried <- c.b.link.Carry(c.y, b) }()
}

// wait waits until both ends of the connection have returned.
func (c *couple) wait() (errs []error) {
	for ; c.running > 0; c.running-- {
		errs = append(errs, <-c.carried)
	}
	return errs
}

// cut breaks the connection; what is on its way is lost.
func (c *couple) cut() {
	for _, p := range []*pipe{c.x.in, c.x.out} {
		p.change(func() { p.cut = true })
	}
}

// resume gives the links another connection, which holds size bytes in each direction.
func (c *couple) resume(t interface{ Fatal(...any) }, size int) {
	c.attempt++
	atA, errA := c.a.link.Claim(c.attempt)
	atB, errB := c.b.link.Claim(c.attempt)
	if errA != nil || errB != nil || !c.a.link.CanResume(atB) || !c.b.link.CanResume(atA) {
		t.Fatal("it cannot be resumed: ", errA, errB, atA, atB)
	}
	c.wait()
	c.x, c.y = duplex(size)
	c.a.conn, c.b.conn = c.x, c.y
	c.carry(Start{c.attempt, atB}, Start{c.attempt, atA})
}

func (c *couple) finish() {
	c.a.link.Kill(nil)
	c.b.link.Kill(nil)
	c.wait()
	<-c.a.link.Over()
	<-c.b.link.Over()
}

func coupled(t *testing.T, opt Options, test func(t *testing.T, c *couple)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCouple(opt)
		defer c.finish()
		test(t, c)
	})
}

// keeps is how much is kept for a resume.
func (o *outbox) keeps() (records int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.kept), o.keptSize
}

// What was written and not received is written again, and nothing else.
func TestResume(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.a.say("one")
		synctest.Wait()
		c.y.in.reads(0)
		c.a.say("two")
		synctest.Wait()
		c.cut()
		c.wait()
		c.a.say("three")
		c.b.say("back")
		c.resume(t, roomy)
		c.a.say("four")
		synctest.Wait()
		if got := c.b.words(); !slices.Equal(got, []string{"one", "two", "three", "four"}) {
			t.Errorf("arrived: %q", got)
		}
		if got := c.a.words(); !slices.Equal(got, []string{"back"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

// What is confirmed is not kept, and on an idle link that is everything.
func TestConfirm(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		for range 100 {
			c.a.say(strings.Repeat("x", 5000))
			time.Sleep(ackDelay / 10)
			synctest.Wait()
			if records, bytes := c.a.link.out.keeps(); bytes > 2*ackBytes {
				t.Fatalf("%d bytes are kept in %d records", bytes, records)
			}
		}
		time.Sleep(2 * ackDelay)
		synctest.Wait()
		if records, bytes := c.a.link.out.keeps(); records != 0 || bytes != 0 {
			t.Errorf("%d bytes are kept in %d records", bytes, records)
		}
		writes := c.x.in.writes
		time.Sleep(time.Hour)
		if c.x.in.writes != writes {
			t.Error("something was written without need")
		}
	})
}

// What was never sent cannot be confirmed; what was confirmed before may be again.
func TestConfirmTooMuch(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.a.say("one", "two")
		time.Sleep(2 * ackDelay)
		synctest.Wait()
		c.y.Write(record(0, wire.AppendUvarints(nil, wire.TypeConfirm, 3)))
		<-c.a.link.Over()
		var fouled *ProtocolError
		if err := c.a.ends[0].err; !errors.As(err, &fouled) ||
			!strings.Contains(err.Error(), "it confirms 3 frames") {
			t.Errorf("it ended with %v", err)
		}
	})
}

// A link without a connection ends with its window, and says how much did not arrive.
func TestLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		o := newOwner()
		c.a.event(o, 1, false, nil)
		time.Sleep(2 * ackDelay) // it is confirmed, and not taken
		c.cut()
		synctest.Wait()
		for i := range 4 {
			c.a.event(o, int64(i+2), false, nil)
		}
		begin := time.Now()
		<-c.a.link.Over()
		if took := time.Since(begin); took != lasting.Window {
			t.Errorf("it took %v", took)
		}
		if got := c.a.ends[0]; got != (ended{ErrLapsed, 4}) || o.count() != 5 {
			t.Errorf("ended: %v; %d of 5 events are settled", got, o.count())
		}
		if _, err := c.a.link.Claim(9); err != ErrLapsed {
			t.Errorf("it can be claimed: %v", err)
		}
	})
}

// One that is resumed in time lives on, as often as that happens.
func TestNoLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		for range 10 {
			c.cut()
			c.wait()
			time.Sleep(lasting.Window - 1)
			c.resume(t, roomy)
		}
		time.Sleep(10 * lasting.Window)
		c.a.say("there")
		synctest.Wait()
		if got := c.b.words(); len(got) != 1 || len(c.a.ends)+len(c.b.ends) > 0 {
			t.Errorf("arrived: %q; ends: %v %v", got, c.a.ends, c.b.ends)
		}
	})
}

// A timer that fires late, when the link has been resumed and has broken again, ends nothing.
func TestLateLapse(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.cut()
		c.wait()
		time.Sleep(lasting.Window - 1)
		c.resume(t, roomy)
		c.cut()
		c.wait()
		c.a.link.lapsed()
		c.resume(t, roomy)
		c.a.say("there")
		synctest.Wait()
		if got := c.b.words(); len(got) != 1 {
			t.Errorf("arrived: %q", got)
		}
	})
}

// The highest attempt counts, whatever is connected.
func TestClaim(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.a.say("one")
		synctest.Wait()
		at, err := c.b.link.Claim(3)
		if at != 1 || err != nil {
			t.Fatalf("claimed at %d: %v", at, err)
		}
		for attempt := range uint64(4) {
			if _, err := c.b.link.Claim(attempt); err != ErrDisplaced {
				t.Errorf("attempt %d: %v", attempt, err)
			}
		}
		for _, err := range c.wait() {
			if !errors.Is(err, ErrDisplaced) && !errors.Is(err, io.EOF) &&
				!errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the first connection ended with %v", err)
			}
		}
		if _, err := c.b.link.Claim(4); err != nil {
			t.Fatal(err)
		}
		x, _ := duplex(roomy)
		if err := c.b.link.Carry(x, Start{Attempt: 3}); err != ErrDisplaced {
			t.Errorf("the older attempt is carried: %v", err)
		}
		if err := c.b.link.Carry(x, Start{Attempt: 4, Received: 1}); err != ErrPosition {
			t.Errorf("it goes on from what was never sent: %v", err)
		}
		c.attempt = 4
		c.a.say("two")
		c.resume(t, roomy)
		synctest.Wait()
		if got := c.b.words(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

// Positions from which a link can go on are ends of records of which the rest is kept.
func TestCanResume(t *testing.T) {
	coupled(t, lasting, func(t *testing.T, c *couple) {
		c.a.say("one", "two")
		time.Sleep(2 * ackDelay)
		c.y.in.reads(0)
		synctest.Wait()
		c.a.say("three")
		synctest.Wait()
		c.x.in.change(func() { c.x.in.size = 0 })
		c.a.say("four", "five")
		synctest.Wait()
		c.cut()
		c.wait()
		c.a.say("six") // has no position yet
		var can []uint64
		for at := range uint64(10) {
			if c.a.link.CanResume(at) {
				can = append(can, at)
			}
		}
		if got := fmt.Sprint(can); got != "[2 3 5]" && got != "[2 3 4 5]" {
			t.Errorf("it can go on from %v", got)
		}
	})
}

// A Goodbye that was lost with its connection is said again, and nothing after it.
func TestGoodbyeAgain(t *testing.T) {
	for _, lose := range []string{"the first", "the answer"} {
		coupled(t, lasting, func(t *testing.T, c *couple) {
			p := c.y.in
			if lose == "the answer" {
				p = c.x.in
			}
			p.reads(0)
			c.a.say("before")
			c.a.link.Goodbye(wire.Goodbye{Message: "why"})
			synctest.Wait()
			c.cut()
			c.wait()
			c.a.took(1, wire.Event{Flags: wire.FlagPrompt}) // must not be reported any more
			if lose == "the answer" {
				if _, err := c.b.link.Claim(1); err != nil {
					<-c.b.link.Over() // it had heard and said everything
					return
				}
				c.attempt = 1
			}
			c.resume(t, roomy)
			<-c.a.link.Over()
			<-c.b.link.Over()
			if c.a.ends[0].err != nil || c.b.ends[0].err != nil {
				t.Errorf("%s is lost: ended with %v and %v", lose, c.a.ends, c.b.ends)
			}
			if got := c.b.words(); !slices.Equal(got, []string{"before"}) {
				t.Errorf("%s is lost: arrived: %q", lose, got)
			}
		})
	}
}

// A record that was damaged on its way breaks the connection and not the link.
func TestDamageIsRepaired(t *testing.T) {
	for at := range wire.HeaderSize + wire.FrameHeader + 3 {
		for bit := range 8 {
			coupled(t, lasting, func(t *testing.T, c *couple) {
				c.y.in.reads(0)
				c.a.say("one")
				synctest.Wait()
				c.y.in.change(func() { c.y.in.buf[at] ^= 1 << bit })
				c.y.in.reads(roomy)
				errs := c.wait()
				if !slices.ContainsFunc(errs, func(err error) bool {
					var fouled *ProtocolError
					return errors.As(err, &fouled) && fouled.Damaged
				}) {
					t.Errorf("byte %d, bit %d: it broke with %v", at, bit, errs)
				}
				c.resume(t, roomy)
				synctest.Wait()
				if got := c.b.words(); !slices.Equal(got, []string{"one"}) {
					t.Errorf("byte %d, bit %d: arrived: %q", at, bit, got)
				}
			})
		}
	}
}

// Bytes of a link that is resumed count towards the limit until they are confirmed.
func TestKeptIsBounded(t *testing.T) {
	opt := lasting
	opt.Limit = 100_000
	coupled(t, opt, func(t *testing.T, c *couple) {
		c.y.in.reads(0)
		for i := 0; len(c.a.ends) == 0; i++ {
			if i > 100 {
				t.Fatal("it does not end")
			}
			c.a.say(strings.Repeat("x", 1000))
			synctest.Wait()
		}
		if got := c.a.ends[0].err; got != ErrOverflow {
			t.Errorf("it ended with %v", got)
		}
	})
}

// deep is a connection that swallows what is written.
type deep struct{ end chan struct{} }

func (d *deep) Write(b []byte) (int, error) { return len(b), nil }
func (d *deep) Close() error                { close(d.end); return nil }

func (d *deep) Read([]byte) (int, error) {
	<-d.end
	return 0, io.EOF
}

// What is kept takes memory by its size, however few bytes each record has.
func TestKeptIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newSideWith(&deep{make(chan struct{})}, lasting)
		go a.run()
		defer finish(a)
		o, payload := newOwner(), make([]byte, 64)
		const events = 10_000
		before := heapInUse()
		for range events {
			a.event(o, 1, false, payload)
			synctest.Wait() // it is written alone
		}
		each := (heapInUse() - before) / events
		records, bytes := a.link.out.keeps()
		t.Logf("%d bytes in %d records take %d bytes each", bytes, records, each)
		if records != events || each > 600 {
			t.Errorf("%d records are kept, which take %d bytes each", records, each)
		}
	})
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what a sync.Pool has as well
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resumeProperty: whatever is cut, wherever, each side gets what the other has sent, once and in
// order, and each event is settled once.
func resumeProperty(t *rapid.T) {
	c := newCouple(lasting)
	defer c.finish()
	sides := []*side{c.a, c.b}
	owners := []*owner{newOwner(), newOwner()}
	var sent, taken [2]int
	receive := func(at int) {
		for _, e := range sides[at].arrived(t) {
			if got := string(e.Payload[:8]); got != fmt.Sprintf("%08d", taken[at]) {
				t.Fatalf("event %s arrives, where %d is due", got, taken[at])
			}
			taken[at]++
			sides[at].took(100, e)
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"send": func(t *rapid.T) {
			from := aSide(t)
			filler := strings.Repeat("x", rapid.IntRange(0, 3000).Draw(t, "bytes"))
			for range rapid.IntRange(1, 50).Draw(t, "events") {
				payload := fmt.Sprintf("%08d%s", sent[from], filler)
				sides[from].event(owners[from], int64(sent[from]), sent[from]%5 == 0,
					[]byte(payload))
				sent[from]++
			}
		},
		"receive": func(t *rapid.T) {
			synctest.Wait()
			receive(aSide(t))
		},
		"pass": func(t *rapid.T) { time.Sleep(2 * ackDelay) },
		"cut":  func(t *rapid.T) { c.cut() },
		"cut later": func(t *rapid.T) {
			p := c.x.in
			if rapid.Bool().Draw(t, "up") {
				p = c.x.out
			}
			after := rapid.IntRange(0, 20_000).Draw(t, "after")
			p.change(func() { p.fuse = after + 1 })
		},
		"resume": func(t *rapid.T) {
			c.resume(t, rapid.SampledFrom([]int{10, 1000, roomy}).Draw(t, "size"))
		},
	})
	c.resume(t, roomy)
	for range 3 {
		time.Sleep(2 * ackDelay)
		synctest.Wait()
		receive(0)
		receive(1)
	}
	for i := range sides {
		if taken[1-i] != sent[i] || owners[i].count() != sent[i] ||
			len(owners[i].settled) != sent[i] {
			t.Fatalf("%d events were sent, %d arrived, %d are settled", sent[i], taken[1-i],
				owners[i].count())
		}
		if records, bytes := sides[i].link.out.keeps(); records != 0 || bytes != 0 {
			t.Fatalf("%d bytes are kept in %d records on an idle link", bytes, records)
		}
	}
}

func TestResumeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, resumeProperty) })
}

// A link whose connection is only about to be carried is asked for a sign of life over that one;
// one that has lost its connection has none to give.
func TestSignBeforeConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(roomy)
		a, b := newSideWith(x, lasting), newSideWith(y, lasting)
		spoke, broke := a.link.Sign()
		if broke != nil {
			t.Fatal("it has no connection yet, and that has ended")
		}
		go a.run()
		go b.run()
		synctest.Wait()
		select {
		case <-spoke:
		default:
			t.Error("it does not give a sign of life")
		}
		x.Close()
		<-a.done
		if _, broke = a.link.Sign(); broke == nil {
			t.Fatal("its connection has not ended")
		}
		<-broke
		a.link.Kill(nil)
		b.link.Kill(nil)
		<-b.done
		<-a.link.Over()
		<-b.link.Over()
	})
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
