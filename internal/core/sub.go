package core

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
)

// Spec says what a subscription is to be.
type Spec struct {
	Event    string
	Kind     Kind
	From     []string
	Response string      // what its handlers answer; empty: no matter
	Observe  bool        // it does not count as a subscriber
	Group    string      // it competes with the others of the group; empty: it does not
	Lossy    bool        // its mailbox drops the oldest event for a new one
	Retained bool        // it gets what is kept first
	Buffer   int         // of its mailbox
	Workers  int         // goroutines that run Work
	Work     func(*Sub)  // takes from the mailbox until its channel is closed
	OnEnd    func(error) // of the user
}

// posted reports whether a bus elsewhere serves such a subscription apart from others, each event
// addressed to it.
func (s *Spec) posted() bool { return s.Group != "" || s.Lossy || s.Retained }

// ahead is how many events a member of a group gets before its handler asks for them. One without
// a handler has taken what is in its channel.
func (s *Spec) ahead() int {
	if s.Group == "" || s.Workers == 0 {
		return 0
	}
	return min(s.Buffer, pacedRoom)
}

// reclaims reports whether events count as taken only when their handler starts.
func (s *Spec) reclaims() bool { return s.Group != "" && s.Workers > 0 }

// Box is the mailbox of a Sub.
type Box interface {
	End()
	Abandon()
	Seal()
	Lag() int64   // bytes that wait
	Sent() uint64 // events that waited and were taken
	Counts() (delivered, missed uint64)
}

// Sub is a subscription of an Endpoint. It has ended when it gets no more; its mailbox may still
// hold what it got before. It is finished when its mailbox has closed its channel.
type Sub struct {
	ID       uint64
	Endpoint *Endpoint
	Spec     Spec
	Box      Box

	entry   *router.Sub
	ctx     context.Context // of its handlers; ends when no handler call may start any more
	cancel  context.CancelCauseFunc
	stopped atomic.Bool   // no handler call may start
	done    chan struct{} // closed when it has ended and its workers have returned

	busy      atomic.Int32  // handlers that run
	announced atomic.Bool   // a bus elsewhere knows it, or knew it before its session was lost
	losses    atomic.Uint64 // after which its next event says that there is a gap
	told      atomic.Uint64 // of them, those of which an event has said so; changed under telling
	telling   sync.Mutex    // held while such an event is handed over, so that none overtakes it
	callers   callers       // who made it

	mu       sync.Mutex // guards what follows
	stall    stall
	ended    bool
	finished bool
	emptied  chan struct{} // closed when it is finished; nil: nobody waits
	err      error         // why it ended
	workers  int           // that have not returned
	detach   func() bool   // stops watching ctx
}

// Subscribe adds a subscription; box makes its mailbox. Every event that is broadcast anywhere
// after it has returned is for the subscription. It lives until ctx ends. When it fails, the
// mailbox is ended as well.
func (ep *Endpoint) Subscribe(ctx context.Context, spec Spec, box func(*Sub) Box) (*Sub, error) {
	s := &Sub{Endpoint: ep, Spec: spec, done: make(chan struct{}), workers: spec.Workers}
	s.callers.fill()
	s.ctx, s.cancel = ctx, func(error) {}
	if s.handled() {
		s.ctx, s.cancel = context.WithCancelCause(ctx)
	}
	s.Box = box(s)
	err := fault.Ended(ctx)
	if err == nil {
		err = ep.add(s)
	}
	if err == nil {
		for range spec.Workers {
			ep.tasks.startHandler(s.work)
		}
		if ep.node.line != nil {
			err = ep.announce(ctx, s)
		}
	}
	if err != nil {
		s.end(err, false)
		return s, err
	}
	s.watch(ctx)
	return s, nil
}

// finishing is the key of what Finishing adds to a context.
type finishing struct{}

// Finishing returns a context whose subscriptions still finish what has arrived by its end. It is
// for lahjatest, which has to tell of all that came.
func Finishing(ctx context.Context) context.Context {
	return context.WithValue(ctx, finishing{}, true)
}

// watch ends s with ctx.
func (s *Sub) watch(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		s.end(fault.Ended(ctx), ctx.Value(finishing{}) != nil)
	})
	s.mu.Lock()
	finished := s.finished
	s.detach = stop
	s.mu.Unlock()
	if finished {
		stop()
	}
}

// add makes s known to this Node.
func (ep *Endpoint) add(s *Sub) error {
	if err := ep.Usable(); err != nil {
		return err
	}
	ep.mu.Lock()
	if ep.ended {
		defer ep.mu.Unlock()
		return ep.err
	}
	ep.subs[s] = struct{}{}
	ep.mu.Unlock()
	if s.Spec.Retained {
		t := ep.node.use(ep.party, s.Spec.Event)
		t.kept.mu.Lock()
		defer t.kept.mu.Unlock()
		t.kept.replayLocked(t, "", func(d *Delivery, body Body, _ int64) {
			pushOwn(s, d, body, uncounted)
		})
	}
	if err := ep.register(s); err != nil {
		return err
	}
	if m, posted := s.entry.Ref.(*member); posted {
		m.post.serve() // something may wait for a member with room
	}
	return nil
}

func (ep *Endpoint) register(s *Sub) error {
	n := ep.node
	n.mu.Lock()
	defer n.mu.Unlock()
	s.ID = n.nextLocked()
	s.entry = &router.Sub{
		ID: s.ID, Party: ep.party, Event: s.Spec.Event, From: s.Spec.From,
		Observe: s.Spec.Observe, Ref: s,
	}
	t := n.useLocked(ep.party, s.Spec.Event)
	if s.hasEnded() { // what was kept may have been all that it wanted
		return nil
	}
	if err := n.checkRoom(ep.party, s.entry); err != nil {
		return err
	}
	if !n.table.Add(s.entry) {
		return ep.Err()
	}
	if s.Spec.Group != "" && n.line == nil {
		m := &member{entry: s.entry, own: s, room: 1 + s.Spec.ahead()}
		t.groupLocked(s.Spec.Group).join(m)
		s.entry.Ref = m
	}
	t.route.Store(nil)
	n.changedLocked(ep.name)
	return nil
}

// mute reports whether the endpoint of s may not answer requests: it only observes them. Requests
// come by the session that was begun last, perhaps before the bus was told of s.
func (s *Sub) mute() bool {
	if s.Endpoint.node.line == nil {
		return false
	}
	p := s.Endpoint.node.line.latest()
	return p != nil && p.mutes(s.Spec.Event)
}

// remove makes s unknown again.
func (ep *Endpoint) remove(s *Sub) {
	n := ep.node
	n.mu.Lock()
	entry := n.table.Remove(ep.party, s.ID)
	if entry == nil {
		n.mu.Unlock()
		return
	}
	t := n.topics[s.Spec.Event]
	t.route.Store(nil)
	m, posted := entry.Ref.(*member)
	if posted {
		m.post.expel(m)
	}
	n.changedLocked(ep.name)
	n.mu.Unlock()
	if posted {
		m.quit(t)
	}
	if n.line != nil {
		n.up().unsubscribe(s.ID)
	}
}

func (s *Sub) acceptsFrom(origin string) bool { return slices.Contains(s.Spec.From, origin) }

func (s *Sub) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *Sub) handled() bool { return s.Spec.Workers > 0 }

// end ends s for the reason err. With rest, what has arrived can still be taken.
func (s *Sub) end(err error, rest bool) {
	s.mu.Lock()
	discards := !rest && !s.stopped.Swap(true)
	first := !s.ended
	if first || discards && !s.finished && s.err == nil { // what still waits: say why
		s.ended, s.err = true, err
	}
	s.mu.Unlock()
	if first {
		s.Endpoint.remove(s)
	}
	if !rest {
		s.cancel(err)
	}
	if rest {
		s.Box.Seal()
	} else {
		s.Box.End()
	}
	if first && !s.handled() {
		close(s.done)
	}
}

// Finished is called by the mailbox when it is about to close its channel. Whoever sees that
// closed sees the subscription gone as well, even if another call of end is still about to remove
// it.
func (s *Sub) Finished() {
	s.Endpoint.remove(s)
	s.mu.Lock()
	s.finished = true
	if s.emptied != nil {
		close(s.emptied)
	}
	detach := s.detach
	s.mu.Unlock()
	if detach != nil {
		detach()
	}
	s.Endpoint.mu.Lock()
	delete(s.Endpoint.subs, s)
	s.Endpoint.mu.Unlock()
}

// drain waits, after the end of s, until what waited in its mailbox is taken.
func (s *Sub) drain(ctx context.Context) error {
	s.mu.Lock()
	if s.finished {
		s.mu.Unlock()
		return nil
	}
	if s.emptied == nil {
		s.emptied = make(chan struct{})
	}
	emptied := s.emptied
	s.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Complete ends s because it has got all that it asked for.
func (s *Sub) Complete() { s.end(nil, true) }

// Overflow ends s because its backlog has reached its limit.
func (s *Sub) Overflow() {
	s.end(fault.Errorf(fault.Stalled, "a subscription of %q to %s does not take its events",
		s.Endpoint.name, s.Spec.Event), false)
}

// Unreadable ends s because an event of origin could not be decoded: it must not be lost in
// silence. It came before an end that lets it still be taken, and so did the reason.
func (s *Sub) Unreadable(origin string, err error) {
	err = fault.Errorf(fault.Protocol, "endpoint %q: an event %s of %q cannot be read: %w",
		s.Endpoint.name, s.Spec.Event, origin, err)
	s.mu.Lock()
	if s.ended && !s.finished && !s.stopped.Load() {
		s.err = err
	}
	s.mu.Unlock()
	s.end(err, false)
}

// AtOnce is how many events one of its handlers takes at once: several only if there is nobody else
// who could have them.
func (s *Sub) AtOnce() int {
	const several = 16
	if s.Spec.Workers > 1 || s.Spec.Group != "" || s.Spec.Lossy {
		return 1
	}
	return min(several, max(1, s.Spec.Buffer))
}

// BacklogLimit is the most bytes that may wait in its mailbox.
func (s *Sub) BacklogLimit() int64 { return s.Endpoint.node.backlogLimit() }

// HasGap reports whether there is a gap that no event has told of yet.
func (s *Sub) HasGap() bool { return s.losses.Load() != s.told.Load() }

// TellGap has push hand over an event after a lost session; gap says whether it is still the first.
func (s *Sub) TellGap(push func(gap bool)) {
	s.telling.Lock()
	defer s.telling.Unlock()
	losses := s.losses.Load()
	push(losses != s.told.Load())
	s.told.Store(losses)
}

// Context returns the context for a handler's call, which must call cancel when it has returned.
// It ends with s, and for a request with its requester.
func (s *Sub) Context(in *Inbound) (ctx context.Context, cancel func()) {
	if !in.Request() {
		return s.ctx, func() {}
	}
	return in.Context(s.ctx)
}

// Unsubscribe ends s. No handler call starts after it.
func (s *Sub) Unsubscribe() { s.end(nil, false) }

// Abandon is Unsubscribe for one whose channel nobody reads any more.
func (s *Sub) Abandon() {
	s.Unsubscribe()
	s.Box.Abandon()
}

// Begin reports whether the handler may be called with an event, and says so to who holds it.
func (s *Sub) Begin(in *Inbound) bool {
	if !s.Spec.reclaims() {
		return !s.stopped.Load() && !in.Over()
	}
	if s.stopped.Load() {
		return false
	}
	in.take()
	return !in.Over()
}

// Done is closed when s has ended and its workers have returned.
func (s *Sub) Done() <-chan struct{} { return s.done }

// Err says why s has ended; nil: it has not, or as it was meant to.
func (s *Sub) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Closing calls the user's OnEnd, and is nil when there is none.
func (s *Sub) Closing() func() {
	if s.Spec.OnEnd == nil {
		return nil
	}
	return func() { s.User(func() { s.Spec.OnEnd(s.Err()) }) }
}

// Go starts a goroutine that the endpoint's Close waits for.
func (s *Sub) Go(f func()) { s.Endpoint.tasks.start(f) }

// Ending is called by the mailbox when it is sure to call Closing and Defer: who ends the endpoint
// from then on, and perhaps does not find s there any more, waits for OnEnd all the same.
func (s *Sub) Ending() {
	if s.Spec.OnEnd != nil {
		s.Endpoint.tasks.expectHandler()
	}
}

// Defer starts one that calls functions of the user, for which Done has waited since Ending.
func (s *Sub) Defer(f func()) { s.Endpoint.tasks.startExpected(f) }

// User calls a function of the user from one that was started by Defer, or runs Work.
func (s *Sub) User(f func()) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	s.Endpoint.tasks.leave()
	defer s.Endpoint.tasks.enter()
	f()
}

// work runs a handler's goroutine. A handler may end it by runtime.Goexit, as t.FailNow does.
func (s *Sub) work() {
	returned := false
	defer func() {
		if !returned {
			s.end(fault.Errorf(fault.Closed, "a handler of %q for %s has ended its goroutine",
				s.Endpoint.name, s.Spec.Event), false)
		}
		s.worked()
	}()
	s.Spec.Work(s)
	returned = true
}

// worked notes that a handler's goroutine ends.
func (s *Sub) worked() {
	s.cancel(nil)
	s.mu.Lock()
	s.workers--
	last := s.workers == 0
	s.mu.Unlock()
	if last {
		close(s.done)
	}
}
