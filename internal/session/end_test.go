package session

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// A Goodbye is the last word, and the link ends in order when it is answered.
func TestGoodbye(t *testing.T) {
	bye := wire.Goodbye{Code: "a", Message: "why"}
	for name, leave := range map[string]func(a, b *side){
		"from one side":  func(a, b *side) { a.link.Goodbye(bye) },
		"from the other": func(a, b *side) { b.link.Goodbye(bye) },
		"from both": func(a, b *side) {
			go a.link.Goodbye(bye)
			go b.link.Goodbye(bye)
		},
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, 100, func(t *testing.T, a, b *side) {
				there, back := numbered(500), numbered(600)
				a.say(there...)
				b.say(back...)
				leave(a, b)
				<-a.done
				<-b.done
				if a.err != nil || b.err != nil {
					t.Errorf("ended with %v and %v", a.err, b.err)
				}
				if !slices.Equal(b.words(), there) || !slices.Equal(a.words(), back) {
					t.Error("what was sent before did not arrive")
				}
				said := slices.Concat(a.goodbyes(), b.goodbyes())
				if len(said) != 2 || !slices.Contains(said, bye) {
					t.Errorf("said: %q", said)
				}
			})
		})
	}
}

func TestNothingFollowsGoodbye(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		b.answer = false
		a.link.Goodbye(wire.Goodbye{})
		o := newOwner()
		for i := range 2 {
			a.event(o, int64(i), false, nil)
			a.say("late")
			a.link.SendAhead(word("late"))
			a.link.Retire(1)
			a.link.Goodbye(wire.Goodbye{Message: "again"})
			a.link.Poke()
			a.took(1, wire.Event{Slot: 1, Flags: wire.FlagPrompt})
			synctest.Wait()
		}
		if o.count() != 2 {
			t.Error("an event that is not sent is held")
		}
		raw(b, 0, wire.AppendUvarints(nil, wire.TypePing))
		synctest.Wait()
		if got := b.words(); len(got) > 0 || len(b.goodbyes()) != 1 {
			t.Errorf("%q and %d goodbyes", got, len(b.goodbyes()))
		}
		b.say("may still come")
		synctest.Wait()
		if got := a.words(); !slices.Equal(got, []string{"may still come"}) {
			t.Errorf("%q", got)
		}
		select {
		case <-a.link.Down():
			t.Error("it has ended without an answer")
		default:
		}
		b.link.Goodbye(wire.Goodbye{})
		<-a.done
		if a.err != nil {
			t.Error(a.err)
		}
	})
}

// abrupt is a connection whose Write returns when the other side, which has it all, is gone.
type abrupt struct {
	*end
	gone chan struct{} // closed when Read has failed
	once sync.Once
}

func (c *abrupt) Read(b []byte) (int, error) {
	n, err := c.end.Read(b)
	if err != nil {
		c.once.Do(func() { close(c.gone) })
	}
	return n, err
}

func (c *abrupt) Write(b []byte) (int, error) {
	n, err := c.end.Write(b)
	<-c.gone
	return n, err
}

// A peer may close the connection as soon as it has read our Goodbye, before Write has returned.
func TestGoodbyeAndGone(t *testing.T) {
	for _, first := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			x, y := duplex(roomy)
			a := newSide(&abrupt{end: x, gone: make(chan struct{})})
			b := newSide(y)
			if first {
				a.link.Goodbye(wire.Goodbye{})
			} else {
				b.link.Goodbye(wire.Goodbye{})
			}
			go a.run()
			go b.run()
			<-a.done
			<-b.done
			if a.err != nil || b.err != nil {
				t.Errorf("ended with %v and %v", a.err, b.err)
			}
		})
	}
}

// A peer that has said goodbye and is gone without reading ours.
func TestGoodbyeUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(1)
		a := newSide(x)
		go a.run()
		go io.Copy(y, strings.NewReader(string(record(0, goodbye("")))))
		synctest.Wait()
		y.out.change(func() { y.out.ended = true })
		begin := time.Now()
		<-a.done
		if !errors.Is(a.err, io.EOF) || time.Since(begin) != farewell {
			t.Errorf("after %v: %v", time.Since(begin), a.err)
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

func goodbye(message string) []byte {
	return wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{Message: message})
}

// Kill may be called from anywhere, also by what the link calls; the first reason counts.
func TestKill(t *testing.T) {
	reason := errors.New("enough")
	for name, arrange := range map[string]func(a, b *side){
		"idle":    func(a, b *side) {},
		"busy":    func(a, b *side) { go a.say(numbered(5000)...); go b.say(numbered(5000)...) },
		"writing": func(a, b *side) { b.in().reads(0); a.say("x") },
		"leaving": func(a, b *side) { b.answer = false; a.link.Goodbye(wire.Goodbye{}) },
		"by a handler": func(a, b *side) {
			a.handle = func(wire.Frame) error { a.link.Kill(reason); return nil }
			b.say("x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			linked(t, 1000, func(t *testing.T, a, b *side) {
				arrange(a, b)
				var killing sync.WaitGroup
				for range 100 {
					killing.Go(func() { a.link.Kill(reason) })
				}
				killing.Wait()
				<-a.link.Down()
				<-a.done
				b.in().reads(roomy)
				<-b.done
				a.link.Kill(errors.New("later"))
				if a.err != reason {
					t.Errorf("it ended with %v", a.err)
				}
				if b.err == nil {
					t.Error("the other side ended in order")
				}
			})
		})
	}
}

// Whoever still sends to a link that has ended is not held up, and nothing is held.
func TestAfterTheEnd(t *testing.T) {
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		a.event(o, 1, false, nil)
		a.link.Kill(io.EOF)
		<-a.done
		a.event(o, 2, false, nil)
		a.say("late")
		a.link.SendAhead(word("late"))
		a.link.Retire(1)
		a.link.Poke()
		a.link.Goodbye(wire.Goodbye{})
		a.took(1, wire.Event{Slot: 1}, wire.Event{Slot: 2, Flags: wire.FlagPrompt})
		if a.link.acks.timer != nil || a.link.acks.taken.Len() > 0 {
			t.Error("a report is under way")
		}
		if a.link.Backlog() != 0 || o.count() != 2 {
			t.Errorf("%d bytes wait, %d events of 2 are settled", a.link.Backlog(), o.count())
		}
	})
}

// A peer that does not read costs the limit and is then cut off; nobody waits for it.
func TestOverflow(t *testing.T) {
	for _, names := range []int{1, 3} {
		t.Run(fmt.Sprint(names, " names"), func(t *testing.T) { overflows(t, names) })
	}
}

// overflows has a link whose peer does not read end after as many bytes as its limit is for each of
// the names of its events.
func overflows(t *testing.T, names int) {
	limit := int64(names * testLimit)
	linked(t, 100, func(t *testing.T, a, b *side) {
		b.in().reads(0)
		o := newOwner()
		payload := make([]byte, 10_000)
		sent, most := 0, int64(0)
		for (a.link.Backlog() > 0 || sent < 2) && sent < 2*int(limit)/len(payload) {
			most = max(most, a.link.Backlog())
			f := window.NewFlight(o, window.Item{Size: int64(sent)})
			e := wire.Event{Name: uint64(1 + sent%names), Payload: payload}
			a.link.Event(&e, f, "event")
			f.Drop()
			sent++
			synctest.Wait()
		}
		<-a.done
		if a.err != ErrOverflow || most < limit-20_000 || most > limit {
			t.Errorf("with %d bytes: %v", most, a.err)
		}
		if o.count() != sent {
			t.Errorf("%d events of %d are settled", o.count(), sent)
		}
	})
}

func TestCannotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(roomy)
		a := newSide(x)
		go a.run()
		y.in.change(func() { y.in.cut = true })
		a.say("x")
		begin := time.Now()
		<-a.done
		if !errors.Is(a.err, io.ErrClosedPipe) || !strings.HasPrefix(a.err.Error(), "writing: ") {
			t.Error(a.err)
		}
		if took := time.Since(begin); took != farewell { // the peer might say something
			t.Errorf("it took %v", took)
		}
	})
}

// A peer that is gone may have said why: that is heard before its connection counts as broken.
func TestLastWordsAreHeard(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		a.in().reads(0)
		peer.Write(record(0, word("one")(nil), word("two")(nil)))
		peer.Write(record(2, word("three")(nil), goodbye("why")))
		peer.Close()
		a.say("nobody is there")
		synctest.Wait() // it has failed to write
		a.say("nobody is there")
		a.in().reads(10)
		begin := time.Now()
		<-a.done
		if !errors.Is(a.err, io.ErrClosedPipe) || time.Since(begin) > 0 {
			t.Errorf("after %v it ended with %v", time.Since(begin), a.err)
		}
		if got := a.words(); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Errorf("arrived: %q", got)
		}
		if got := a.goodbyes(); len(got) != 1 || got[0].Message != "why" {
			t.Errorf("the last word: %q", got)
		}
		if a.link.Backlog() > 0 {
			t.Error("something is still queued")
		}
	})
}

func TestConnectionEnds(t *testing.T) {
	for _, c := range []struct {
		sent string
		want error
	}{
		{"", io.EOF},
		{string(record(0, word("whole")(nil))), io.EOF},
		{string(record(0, word("half")(nil)))[:10], io.ErrUnexpectedEOF},
		{string(record(0, word("half")(nil)))[:25], io.ErrUnexpectedEOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			x, y := duplex(roomy)
			a := newSide(x)
			go a.run()
			io.WriteString(y, c.sent)
			y.Close()
			<-a.done
			if !errors.Is(a.err, c.want) || !strings.HasPrefix(a.err.Error(), "reading: ") {
				t.Errorf("after %d bytes: %v", len(c.sent), a.err)
			}
		})
	}
}
