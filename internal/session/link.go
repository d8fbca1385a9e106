// Package session moves frames between a bus and an endpoint: the handshake, an outbox that nobody
// waits for, one goroutine that writes it and one that reads, and what makes a session outlive a
// connection that breaks.
//
// A [Link] is a session. It goes through these states:
//
//	    ┌──────── Carry ────────┐
//	    ▼                       │
//	connected ──it breaks──▶ waiting ──the window is over──▶ ended
//	    │                                                      ▲
//	    └─Goodbye in both directions, a mistake, or Kill───────┘
//
// While it waits, what is sent is queued. Where connections are not resumed there is no window, and
// one that breaks ends the session. A Goodbye in each direction ends it in order: all that was
// accepted has then been handled by the other side.
package session

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

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

	// Silent is called when nothing was heard for twice the heartbeat, once until something is.
	Silent(since time.Duration)

	// Ended is called when the link has ended and no other method is called any more: err is why,
	// nil after a Goodbye in both directions, and lost how many events it had accepted of which it
	// is not known that they arrived.
	Ended(err error, lost int)
}

// ProtocolError says that the peer sent what it must not.
type ProtocolError struct {
	Reason  string
	Code    fault.Code // it travels under; empty: that of a protocol error
	Damaged bool       // on its way, by changed, lost or doubled bytes: the peer is not to blame
}

func (e *ProtocolError) Error() string { return e.Reason }

// Class is the code under which e travels.
func (e *ProtocolError) Class() fault.Code { return cmp.Or(e.Code, fault.Protocol) }

// Why a link or a connection ends.
var (
	// ErrOverflow: the peer does not read, and the outbox has reached a limit.
	ErrOverflow = errors.New("the outbound queue is full: the peer does not read")
	// ErrSilent: nothing was heard for twice the heartbeat.
	ErrSilent = errors.New("nothing was heard for twice the heartbeat")
	// ErrLapsed: the link had no connection for as long as it may.
	ErrLapsed = errors.New("the connection was not resumed in time")
	// ErrDisplaced: another connection has taken the place of this one.
	ErrDisplaced = errors.New("another connection has taken over the session")
	// ErrPosition: a resume from a position that this side cannot go on from.
	ErrPosition = errors.New("the session cannot go on from that position")
)

// Options are what a Link keeps to.
type Options struct {
	MaxFrame  int           // bytes
	Limit     int64         // bytes that wait to be written or confirmed, for each event name
	Answers   int           // that wait so; 0: any number
	Replies   int64         // bytes of answers to requests that wait so, beside Limit
	Window    time.Duration // how long it lives without a connection; 0: it is not resumed
	Heartbeat time.Duration // after which silence is suspicious; 0: it never is
	Dials     bool          // this side makes the connections
}

// Link is a session with the peer after its handshake. Its methods may be called concurrently.
type Link struct {
	handler Handler
	opt     Options

	out     outbox
	acks    acks
	poke    atomic.Bool   // the handler has something to pull
	ping    atomic.Bool   // the peer is to be asked whether it lives
	pong    atomic.Bool   // the peer has asked
	records atomic.Uint64 // that have arrived
	parting atomic.Bool   // our Goodbye is queued or was sent
	wake    chan struct{} // one slot: there may be something to write

	life context.Context // ends when the link is about to end
	end  context.CancelFunc
	over chan struct{} // closed when Ended has returned

	// Of the peer, which one reader at a time looks after.
	received uint64 // numbered frames
	left     bool   // its Goodbye has arrived
	first    bool   // it came before ours was queued

	mu       sync.Mutex // guards what follows
	conn     *carrier   // that moves frames now; nil: the link waits for a connection
	due      bool       // which is about to be carried
	attempt  uint64     // the highest at a connection
	lapse    *time.Timer
	lapses   time.Time // when the link is over unless it has a connection
	err      error     // why it ended, or is about to; the first one
	ended    bool
	sentBye  bool          // our Goodbye was written
	heardBye bool          // nothing more is to be heard: the peer's Goodbye, or its mistake
	sign     chan struct{} // closed at the next Pong; nil: nobody waits
}

// New returns a Link without a connection. [Link.Carry] gives it one; Kill ends it without.
func New(handler Handler, opt Options) *Link {
	l := &Link{
		handler: handler, opt: opt,
		wake: make(chan struct{}, 1), over: make(chan struct{}), due: true,
	}
	l.out.known, l.out.calls = map[uint64]*named{}, map[uint64]place{}
	l.out.keep = opt.Window > 0
	l.acks.due, l.acks.confirms = l.nudge, opt.Window > 0
	l.acks.overflow, l.acks.limit = func() { l.Kill(ErrOverflow) }, opt.Limit
	l.life, l.end = context.WithCancel(context.Background())
	context.AfterFunc(l.life, l.finish)
	return l
}

// finish is what follows the end, when the last connection has been let go.
func (l *Link) finish() {
	l.mu.Lock()
	last, err := l.conn, l.err
	if l.lapse != nil {
		l.lapse.Stop()
	}
	l.mu.Unlock()
	if last != nil {
		<-last.done
	}
	l.acks.stop()
	lost := l.out.close(l.fate())
	if err == nil {
		lost = 0 // the peer has read everything before it said goodbye
	}
	l.handler.Ended(err, lost)
	close(l.over)
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

// Kill ends the link at once, for the reason err; the first reason counts.
func (l *Link) Kill(err error) {
	l.mu.Lock()
	l.endLocked(err)
	last := l.conn
	l.mu.Unlock()
	if last != nil {
		last.close(err)
	}
}

// endLocked marks the link as ended, for the first reason that was given.
func (l *Link) endLocked(err error) {
	if l.ended {
		return
	}
	l.ended = true
	if l.err == nil {
		l.err = err
	}
	l.end()
}

// Down is closed when the link is about to end.
func (l *Link) Down() <-chan struct{} { return l.life.Done() }

// Over is closed when it has ended.
func (l *Link) Over() <-chan struct{} { return l.over }

// Err is why the link has ended, or is about to; nil: it has not, or as it was meant to.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Life ends when the link is about to end.
func (l *Link) Life() context.Context { return l.life }

// Parting reports whether Goodbye was called.
func (l *Link) Parting() bool { return l.parting.Load() }

// Progress changes with every frame that arrives for the first time in either direction. It is
// asked between connections.
func (l *Link) Progress() uint64 {
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	return l.received + l.out.confirmed
}

// Connected reports whether the link has a connection, or is about to have one.
func (l *Link) Connected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil || l.due
}

// Sign asks the peer for a sign of life. spoke is closed when it has answered, broke when the
// connection that it would come over has ended; it is nil if that is only about to be carried.
func (l *Link) Sign() (spoke, broke <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil && !l.due {
		return nil, closed
	}
	if l.sign == nil {
		l.sign = make(chan struct{})
	}
	l.Ping()
	if l.conn != nil {
		broke = l.conn.done
	}
	return l.sign, broke
}

// signed tells who waits for a sign of life.
func (l *Link) signed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sign != nil {
		close(l.sign)
		l.sign = nil
	}
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
