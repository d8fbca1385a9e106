package session

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja/internal/wire"
)

// beating are the options of links that look for signs of life.
var beating = Options{
	MaxFrame: testFrame, Limit: testLimit, Window: time.Minute, Heartbeat: 5 * time.Second,
}

// A connection over which nothing is to be said lives on, at the cost of one sign of life a
// heartbeat in each direction.
func TestHeartbeatIdle(t *testing.T) {
	coupled(t, beating, func(t *testing.T, c *couple) {
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, p := range []*pipe{c.x.in, c.x.out} {
			if want := int(time.Hour / beating.Heartbeat); p.writes != want {
				t.Errorf("%d writes in an hour, where %d are due", p.writes, want)
			}
		}
		c.a.say("there")
		synctest.Wait()
		if got := c.b.words(); len(got) != 1 || c.a.silences+c.b.silences > 0 {
			t.Errorf("arrived: %q; %d and %d silences", got, c.a.silences, c.b.silences)
		}
	})
}

// A wire that swallows everything is found by both sides within twice the heartbeat, and given up.
func TestHeartbeatSilence(t *testing.T) {
	for _, quiet := range []time.Duration{0, time.Second, 4*time.Second + 999*time.Millisecond} {
		coupled(t, beating, func(t *testing.T, c *couple) {
			time.Sleep(quiet)
			c.a.say("last")
			c.b.say("last")
			synctest.Wait()
			c.x.in.reads(0)
			c.y.in.reads(0)
			begin := time.Now()
			err := <-c.carried
			c.running--
			if took := time.Since(begin); !errors.Is(err, ErrSilent) || took > 2*beating.Heartbeat {
				t.Errorf("after %v: %v", took, err)
			}
			synctest.Wait()
			if c.a.silences != 1 || c.b.silences != 1 {
				t.Errorf("%d and %d silences", c.a.silences, c.b.silences)
			}
			c.resume(t, roomy)
			c.b.say("on")
			time.Sleep(10 * beating.Heartbeat)
			if got := c.a.words(); !slices.Equal(got, []string{"last", "on"}) {
				t.Errorf("arrived: %q", got)
			}
		})
	}
}

// A side that has nothing to say gives signs of life without being asked: to one that talks all the
// time, and to one that has said goodbye and waits for the other's.
func TestHeartbeatUnasked(t *testing.T) {
	void := record(0, wire.Append(nil, wire.TypeVoid, nil))
	goodbye := record(0, wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}))
	for name, said := range map[string][][]byte{
		"one that talks":  slices.Repeat([][]byte{void}, int(time.Hour/time.Second)),
		"one that leaves": {goodbye},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { unasked(t, said) })
		})
	}
}

// unasked has a side hear a record a second for as long as there are any, within an hour.
func unasked(t *testing.T, said [][]byte) {
	x, y := duplex(roomy)
	b := newSideWith(x, beating)
	b.answer = false
	go b.run()
	defer finish(b)
	begin := time.Now()
	for _, record := range said {
		y.Write(record)
		time.Sleep(time.Second)
	}
	time.Sleep(time.Hour - time.Since(begin))
	synctest.Wait()
	if want := int(time.Hour / beating.Heartbeat); x.out.writes != want || b.silences > 0 {
		t.Errorf("%d writes in an hour, of %d; %d silences", x.out.writes, want, b.silences)
	}
}

// Where a connection cannot be made again, silence is told, and nothing else: it may end.
func TestHeartbeatWithoutWindow(t *testing.T) {
	opt := beating
	opt.Window = 0
	coupled(t, opt, func(t *testing.T, c *couple) {
		for n := range 3 {
			time.Sleep(time.Hour)
			c.x.in.reads(0)
			time.Sleep(time.Hour)
			c.x.in.reads(roomy)
			c.b.say("on")
			synctest.Wait()
			if got := c.a.words(); len(got) != 1 || c.a.silences != n+1 || c.b.silences != 0 {
				t.Errorf("arrived: %q; %d and %d silences", got, c.a.silences, c.b.silences)
			}
		}
	})
}

// The accepting side gives up the connection of one who stays silent, and the session when its
// window is over.
func TestHeartbeatPatience(t *testing.T) {
	for _, speaks := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			x, y := duplex(roomy)
			b := newSideWith(x, beating)
			go b.run()
			want := 2 * beating.Heartbeat
			begin := time.Now()
			if speaks {
				time.Sleep(want - 1)
				y.Write(record(0, word("late")(nil)))
				want += want - 1
			}
			<-b.done
			if took := time.Since(begin); took != want || b.silences != 1 {
				t.Errorf("speaks: %v: given up after %v of %v", speaks, took, want)
			}
			<-b.link.Over()
			want += beating.Window
			if took := time.Since(begin); took != want || b.ends[0].err != ErrLapsed {
				t.Errorf("speaks: %v: after %v of %v: %v", speaks, took, want, b.ends[0].err)
			}
		})
	}
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
