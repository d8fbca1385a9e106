// Package session moves frames over one connection: the handshake, an outbox that nobody waits
// for, one goroutine that writes it and one that reads.
//
// A connection goes through these states:
//
//	handshake ──Welcome──▶ open ──Goodbye sent──▶ leaving ──▶ ended
//	                        └──Goodbye received──▶ left ─────▶ ended
//
// and from each of them to ended when the connection breaks, the peer breaks the protocol or Kill
// is called. It ends in order when a Goodbye was sent and received: all that was accepted has then
// been handled by the other side.
package session

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// farewell is how long a peer that is told of its mistake is given to read it.
const farewell = time.Second

// Handler is told what arrives. Its methods are called by the Link's own goroutines and must not
// wait for anything but short locks.
type Handler interface {
	// Frame handles one frame, in the order of arrival; its body is valid during the call. An
	// error ends the link.
	Frame(f wire.Frame) error

	// Pull appends frames that replace each other, such as windows, when Link.Poke was called. It
	// is called by the writer and returns their number.
	Pull(dst []byte) (frames []byte, count uint64)

	// Goodbye is called when the peer has sent its last frame, with the reason it gave.
	Goodbye(g wire.Goodbye)
}

// ProtocolError says that the peer sent what it must not.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return e.Reason }

// ErrOverflow ends a link whose peer does not read: its outbox has reached the limit.
var ErrOverflow = errors.New("the outbound queue is full: the peer does not read")

// Link is one connection after its handshake. Its methods may be called concurrently.
type Link struct {
	conn     io.ReadWriteCloser
	handler  Handler
	maxFrame int   // bytes
	limit    int64 // bytes in the outbox

	out     outbox
	acks    acks
	poke    atomic.Bool   // the handler has something to pull
	ping    atomic.Bool   // the peer is to be asked whether it lives
	pong    atomic.Bool   // the peer has asked
	records atomic.Uint64 // that have arrived
	wake    chan struct{} // one slot: there may be something to write
	mute    chan struct{} // closed when nothing can be written any more
	down    chan struct{} // closed by Kill

	left  bool // the peer's Goodbye has arrived; the reader's own
	first bool // it came before ours was queued; the reader's own

	mu       sync.Mutex // guards what follows
	err      error      // why it ended, or is about to; the first one
	killed   bool
	sentBye  bool // our Goodbye was written
	heardBye bool // nothing more is to be heard: the peer's Goodbye, or a mistake of the peer
}

// New returns a Link on a connection whose handshake is over. maxFrame and limit are in bytes.
func New(conn io.ReadWriteCloser, handler Handler, maxFrame int, limit int64) *Link {
	l := &Link{
		conn: conn, handler: handler, maxFrame: maxFrame, limit: limit,
		wake: make(chan struct{}, 1), mute: make(chan struct{}), down: make(chan struct{}),
	}
	l.out.known, l.out.calls = map[uint64]struct{}{}, map[uint64]place{}
	l.acks.due = l.nudge
	return l
}

// Run reads and writes until the link has ended, and returns why; nil after a Goodbye in both
// directions. No goroutine is left when it returns.
func (l *Link) Run() error {
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.write()
	}()
	err := l.read()
	var fouled *ProtocolError
	if errors.As(err, &fouled) {
		l.tell(fouled)
	}
	if fouled != nil || l.left {
		l.linger()
	}
	l.Kill(err)
	<-written
	l.acks.stop()
	l.out.close(l.fate())
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// fate is what has become of the events that the peer has not reported. A peer that leaves reports
// before what it has taken; one that answers our Goodbye has all, and need not report it.
func (l *Link) fate() window.Fate {
	switch {
	case l.first:
		return window.Returned
	case l.left:
		return window.Taken
	}
	return window.Lost
}

// tell says to the peer what it did wrong.
func (l *Link) tell(fouled *ProtocolError) {
	l.mu.Lock()
	if !l.killed { // before the Goodbye, which may end the link as soon as it is queued
		l.err, l.heardBye = fouled, true
	}
	l.mu.Unlock()
	l.Goodbye(wire.Goodbye{Code: string(fault.Protocol), Message: fouled.Reason})
}

// linger waits, when nothing more is read, until our Goodbye is written or a second is over: a
// peer may close the connection as soon as it has it, before our writer has noted that.
func (l *Link) linger() {
	l.mu.Lock()
	sent := l.sentBye
	l.mu.Unlock()
	if !sent && l.out.isSealed() {
		l.grace(l.mute)
	}
}

// grace waits a second, unless the link or something else ends before.
func (l *Link) grace(end <-chan struct{}) {
	timer := time.NewTimer(farewell)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-end:
	case <-l.down:
	}
}

// fail ends the link because nothing can be written any more. What has arrived is read before: the
// peer may have said why it is gone.
func (l *Link) fail(err error) {
	l.mu.Lock()
	if !l.killed && l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
	l.out.seal()
	close(l.mute)
	l.grace(nil)
	l.Kill(err)
}

// Kill ends the link at once, for the reason err; the first reason counts.
func (l *Link) Kill(err error) {
	l.mu.Lock()
	first := l.endLocked(err)
	l.mu.Unlock()
	if first {
		l.conn.Close()
	}
}

// endLocked marks the link as ended, for the first reason that was given; false: it was already.
func (l *Link) endLocked(err error) bool {
	if l.killed {
		return false
	}
	l.killed = true
	if l.err == nil {
		l.err = err
	}
	close(l.down)
	return true
}

// Down is closed when the link is about to end.
func (l *Link) Down() <-chan struct{} { return l.down }

// Err is why the link ended, or is about to; nil: it has not, or as it was meant to.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Event queues e. The link holds flight until the peer reports that the event was taken, or the
// link has ended. names are told to the peer before, where it does not know them. It queues nothing
// after a Goodbye, or when nothing can be written any more.
func (l *Link) Event(e *wire.Event, flight *window.Flight, names ...wire.Name) (queued bool) {
	o := &l.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return false
	}
	for _, n := range names {
		o.nameLocked(n)
	}
	flight.Hold()
	e.Slot = o.slots.put(flight, e.Name)
	c := o.tailLocked(&o.queue, len(e.Payload)+64)
	before := len(c.buf)
	c.buf = wire.AppendEvent(c.buf, e)
	c.frames++
	if e.Flags&wire.FlagRequest != 0 {
		c.calls = append(c.calls, e.Call)
		o.calls[e.Call] = place{c, before, e.Slot}
	}
	o.size += int64(len(c.buf) - before)
	l.unlockAndWrite()
	return true
}

// Withdraw takes a request back that is still queued, as if it had never been sent.
func (l *Link) Withdraw(call uint64) { l.out.withdraw(call) }

// Send queues one numbered frame behind the events.
func (l *Link) Send(frame func(dst []byte) []byte) {
	l.out.mu.Lock()
	if l.out.sealed {
		l.out.mu.Unlock()
		return
	}
	l.out.appendLocked(l.out.tailLocked(&l.out.queue, wire.FrameHeader), frame)
	l.unlockAndWrite()
}

// SendAhead queues one numbered frame that goes ahead of the events.
func (l *Link) SendAhead(frame func(dst []byte) []byte) {
	l.out.mu.Lock()
	if l.out.sealed {
		l.out.mu.Unlock()
		return
	}
	l.out.appendLocked(l.out.tailLocked(&l.out.urgent, wire.FrameHeader), frame)
	l.unlockAndWrite()
}

// Retire tells the peer, if it knows it, that the name behind a number is used no more.
func (l *Link) Retire(number uint64) {
	o := &l.out
	o.mu.Lock()
	_, known := o.known[number]
	if !known || o.sealed {
		o.mu.Unlock()
		return
	}
	delete(o.known, number)
	o.appendLocked(o.tailLocked(&o.queue, 4*wire.FrameHeader), func(dst []byte) []byte {
		return wire.AppendName(dst, wire.Name{Number: number})
	})
	l.unlockAndWrite()
}

// Goodbye queues the last frame. The link ends when the peer has answered with its own.
func (l *Link) Goodbye(g wire.Goodbye) {
	o := &l.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return
	}
	o.sealed = true
	l.acks.flush(o)
	c := o.tailLocked(&o.queue, len(g.Code)+len(g.Message)+64)
	o.appendLocked(c, func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeGoodbye, g)
	})
	c.goodbye = true
	l.unlockAndWrite()
}

func (l *Link) unlockAndWrite() {
	over := l.out.size > l.limit
	l.out.mu.Unlock()
	if over {
		l.Kill(ErrOverflow)
	}
	l.nudge()
}

// Return reports to the peer that nobody here has taken the event behind f.
func (l *Link) Return(f *window.Flight) {
	slot := f.Slot
	l.Send(func(dst []byte) []byte { return wire.AppendUvarints(dst, wire.TypeReturn, slot) })
}

// Took reports to the peer that everyone here has taken the event behind f.
func (l *Link) Took(f *window.Flight) { l.acks.add(f) }

// Ping asks the peer for a sign of life, which Heard counts.
func (l *Link) Ping() {
	l.ping.Store(true)
	l.nudge()
}

// Heard counts what has arrived, in records.
func (l *Link) Heard() uint64 { return l.records.Load() }

// Owed is the number of events that the peer has not yet reported as taken.
func (l *Link) Owed() int {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return len(l.out.slots.table) - l.out.slots.free
}

// OwedBytes is the size of those events, by the numbers of their names.
func (l *Link) OwedBytes() map[uint64]int64 {
	owed := map[uint64]int64{}
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	for i := range l.out.slots.table {
		if s := &l.out.slots.table[i]; s.flight != nil {
			owed[s.name] += s.flight.Size
		}
	}
	return owed
}

// Poke asks the writer to call the handler's Pull.
func (l *Link) Poke() {
	l.poke.Store(true)
	l.nudge()
}

func (l *Link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Backlog is the number of bytes that wait to be written.
func (l *Link) Backlog() int64 {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.out.size
}

// write is the writer. It owns the position of the next numbered frame.
func (l *Link) write() {
	var position uint64
	for {
		c := l.nextChunk()
		if c == nil {
			select {
			case <-l.wake:
				continue
			case <-l.down:
				return
			}
		}
		wire.PutHeader(c.buf, c.buf[wire.HeaderSize:], position)
		position += c.frames
		_, err := l.conn.Write(c.buf)
		last := c.goodbye
		c.recycle()
		switch {
		case err != nil:
			l.fail(fmt.Errorf("writing: %w", err))
			return
		case last:
			l.said(&l.sentBye)
			<-l.down // nothing may follow
			return
		}
	}
}

// nextChunk is the next record to be written: what is queued, and what rides on it.
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

// said notes a Goodbye in one direction, and ends the link when there was one in both.
func (l *Link) said(direction *bool) {
	l.mu.Lock()
	*direction = true
	ended := l.sentBye && l.heardBye && l.endLocked(nil)
	l.mu.Unlock()
	if ended {
		l.conn.Close()
	}
}
