package session

import (
	"errors"
	"fmt"
	"io"
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
