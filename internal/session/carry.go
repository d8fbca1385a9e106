package session

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/wire"
)

// farewell is how long a peer that is told of its mistake is given to read it.
const farewell = time.Second

// lone is how many bytes a request or an answer takes that goes alone: its sender waits for nothing
// else, and pays for each change of goroutine.
const lone = 512

// calm is after how many records with one frame each the peer is taken to send such alone.
const calm = 16

// carrier is one connection of a Link.
type carrier struct {
	link   *Link
	conn   io.ReadWriteCloser
	again  []*chunk      // written to connections before, and lacked by the peer; the writer's own
	parted bool          // our Goodbye was written; the writer's own
	mute   chan struct{} // closed when nothing can be written any more
	down   chan struct{} // closed when it is about to end
	done   chan struct{} // closed when neither its reader nor its writer is left

	// few is of the last records how many in a row had one numbered frame; at most calm.
	few atomic.Int32

	began time.Time
	heard atomic.Int64   // when bytes came last, in nanoseconds since began
	wrote atomic.Int64   // when a record was written last
	beat  *time.Timer    // nil: silence means nothing
	looks sync.WaitGroup // of the timer's function, where it does more than to look

	// self is how beat's function finds the carrier, and nothing once that has ended: the runtime
	// keeps a timer that was stopped for a while, and must not keep all of this with it.
	self *atomic.Pointer[carrier]

	// Guarded by link.mu.
	err    error // why it has ended, or is about to; the first one
	closed bool
	asked  time.Duration // since began: when the peer was asked last for a sign of life
	silent bool          // it has given none
}

// Start says where a connection goes on.
type Start struct {
	Attempt  uint64 // of the Claim that it follows; 0: the link is new
	Received uint64 // how many numbered frames the peer has
}

// Claim makes ready for another connection: it lets go of the present one, if there is one still,
// and returns how many numbered frames have arrived. Of several attempts the highest counts; it
// fails with ErrDisplaced for one that is not higher than those before.
func (l *Link) Claim(attempt uint64) (received uint64, err error) {
	l.mu.Lock()
	if l.ended || attempt <= l.attempt {
		defer l.mu.Unlock()
		return 0, l.displacedLocked()
	}
	l.attempt = attempt
	last := l.conn
	l.mu.Unlock()
	if last != nil {
		last.close(ErrDisplaced)
		<-last.done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.attempt != attempt {
		return 0, l.displacedLocked()
	}
	l.due = true
	return l.received, nil
}

// Disclaim says that no Carry follows the Claim of that attempt.
func (l *Link) Disclaim(attempt uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attempt == attempt && l.conn == nil {
		l.due = false
	}
}

func (l *Link) displacedLocked() error {
	if l.ended && l.err != nil {
		return l.err
	}
	return ErrDisplaced
}

// CanResume reports whether the link can go on from where the peer has received that many frames.
// It is asked between Claim and Carry.
func (l *Link) CanResume(received uint64) bool { return l.out.has(received) }

// Carry moves frames over conn, which it closes in the end, and returns why it has ended: nil after
// a Goodbye in both directions. Nothing of it is left when it returns, and nothing of the link if
// that has ended too, see [Link.Over].
func (l *Link) Carry(conn io.ReadWriteCloser, s Start) error {
	c := &carrier{
		link: l, conn: conn, began: time.Now(), self: new(atomic.Pointer[carrier]),
		mute: make(chan struct{}), down: make(chan struct{}), done: make(chan struct{}),
	}
	if err := l.attach(c, s); err != nil {
		conn.Close()
		if l.life.Err() != nil {
			<-l.over
		}
		return err
	}
	c.run()
	return l.detach(c)
}

// attach makes c the connection of the link.
func (l *Link) attach(c *carrier, s Start) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.conn != nil || l.attempt != s.Attempt {
		return l.displacedLocked()
	}
	var known bool
	if c.again, known = l.out.rewind(s.Received); !known {
		return ErrPosition
	}
	l.conn, l.due, c.parted = c, false, l.sentBye
	if l.lapse != nil {
		l.lapse.Stop()
	}
	if l.opt.Heartbeat > 0 {
		self := c.self
		c.self.Store(c)
		c.beat = time.AfterFunc(l.opt.Heartbeat, func() {
			if c := self.Load(); c != nil {
				c.look()
			}
		})
	}
	return nil
}

// detach is what follows the end of c. A link that can be resumed waits for another connection.
func (l *Link) detach(c *carrier) error {
	l.mu.Lock()
	if c.beat != nil {
		c.beat.Stop()
		c.self.Store(nil)
	}
	l.conn = nil
	if l.opt.Window == 0 {
		l.endLocked(c.err)
	}
	ended, err := l.ended, c.err
	if !ended {
		l.waitLocked()
	}
	l.mu.Unlock()
	c.looks.Wait()
	close(c.done)
	if !ended {
		return err
	}
	<-l.over
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// waitLocked gives the link the time of its window.
func (l *Link) waitLocked() {
	l.lapses = time.Now().Add(l.opt.Window)
	if l.lapse == nil {
		l.lapse = time.AfterFunc(l.opt.Window, l.lapsed)
		return
	}
	l.lapse.Reset(l.opt.Window)
}

// lapsed ends the link if it is without a connection, and has been for its window: the timer may
// have fired for the time before the last connection.
func (l *Link) lapsed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil && !time.Now().Before(l.lapses) {
		l.endLocked(ErrLapsed)
	}
}

// run reads and writes until the connection has ended.
func (c *carrier) run() {
	l := c.link
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	err := c.read()
	var fouled *ProtocolError
	if errors.As(err, &fouled) && fouled.Damaged && l.opt.Window > 0 {
		fouled = nil // what was damaged comes again by the next connection
	}
	if fouled != nil {
		l.tell(fouled)
	}
	if fouled != nil || l.left {
		c.linger()
	}
	c.close(err)
	if fouled != nil {
		l.Kill(err)
	}
	<-written
}

// close ends the connection, for the reason err; the first one counts.
func (c *carrier) close(err error) {
	c.link.mu.Lock()
	first := !c.closed
	c.closed = true
	if c.err == nil {
		c.err = err
	}
	c.link.mu.Unlock()
	if first {
		close(c.down)
		c.conn.Close()
	}
}

// tell says to the peer what it did wrong.
func (l *Link) tell(fouled *ProtocolError) {
	l.mu.Lock()
	if !l.ended { // before the Goodbye, which may end the link as soon as it is queued
		l.err, l.heardBye = fouled, true
	}
	l.mu.Unlock()
	l.Goodbye(wire.Goodbye{Code: string(fouled.Class()), Message: fouled.Reason})
}

// linger waits, when nothing more is read, until our Goodbye is written or a second is over: a
// peer may close the connection as soon as it has it, before our writer has noted that.
func (c *carrier) linger() {
	l := c.link
	l.mu.Lock()
	sent := l.sentBye
	l.mu.Unlock()
	if !sent && l.out.isSealed() {
		c.grace(c.mute)
	}
}

// grace waits a second, unless the connection or something else ends before.
func (c *carrier) grace(end <-chan struct{}) {
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-end:
	case <-c.down:
	}
}

// fail ends the connection because nothing can be written any more. What has arrived is read
// before: the peer may have said why it is gone.
func (c *carrier) fail(err error) {
	l := c.link
	l.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	last := l.opt.Window == 0
	if last && l.err == nil && !c.closed {
		l.err = err
	}
	l.mu.Unlock()
	if last {
		l.out.seal()
	}
	close(c.mute)
	c.grace(nil)
	c.close(err)
}

// said notes a Goodbye in one direction, and ends the link when there was one in both.
func (c *carrier) said(direction *bool) {
	l := c.link
	l.mu.Lock()
	*direction = true
	both := l.sentBye && l.heardBye
	if both {
		l.endLocked(nil)
	}
	l.mu.Unlock()
	if both {
		c.close(nil)
	}
}

// write is the writer. After our Goodbye nothing may follow.
func (c *carrier) write() {
	l := c.link
	written := 0 // bytes, since the last pause
	for !c.parted || len(c.again) > 0 {
		k := c.next()
		if k == nil {
			select {
			case <-l.wake:
				if written > lone || c.few.Load() < calm {
					// Who is ready to queue more does so first: one write for all.
					runtime.Gosched()
				}
				written = 0
				continue
			case <-c.down:
				return
			}
		}
		n, err := c.conn.Write(k.buf)
		written += n
		if c.beat != nil {
			c.wrote.Store(int64(time.Since(c.began)))
		}
		last := k.goodbye
		l.out.written(k)
		if err != nil {
			c.fail(fmt.Errorf("writing: %w", err))
			return
		}
		if last {
			c.parted = true
			c.said(&l.sentBye)
		}
	}
	<-c.down
}

// next is the next record to be written: what is written again, or else what is queued.
func (c *carrier) next() *chunk {
	if k := pop(&c.again); k != nil {
		return k
	}
	k := c.link.nextChunk()
	if k != nil {
		c.link.out.number(k)
	}
	return k
}

// nextChunk is what is queued, and what rides on it.
func (l *Link) nextChunk() *chunk {
	if !l.poke.Load() && !l.ping.Load() && !l.pong.Load() {
		return l.acks.report(l.out.next())
	}
	c := newChunk()
	if l.ping.Swap(false) {
		c.buf = wire.AppendUvarints(c.buf, wire.TypePing)
	}
	if l.pong.Swap(false) {
		c.buf = wire.AppendUvarints(c.buf, wire.TypePong)
	}
	if l.poke.Swap(false) {
		var count uint64
		c.buf, count = l.handler.Pull(c.buf)
		c.frames += count
	}
	if c.empty() {
		c.recycle()
		c = l.out.next()
	}
	return l.acks.report(c)
}
