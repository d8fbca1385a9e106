package session

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja/internal/wire"
)

// keeps is how much is kept for a resume.
func (o *outbox) keeps() (records int, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.kept), o.keptSize
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
