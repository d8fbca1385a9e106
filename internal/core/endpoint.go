package core

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// goodbyeTime is how long Close gives the other side to take what was accepted. With what is to be
// logged it takes a second at most.
const goodbyeTime = time.Second - logTime

// Endpoint is a named place on a bus that broadcasts and subscribes.
//
//	open ──Shutdown──▶ shut ──Close, or the link ended──▶ closing ──▶ handed ──handlers──▶ done
//
// It also goes from open to closing. After the end of the link what has arrived can still be
// read; Close discards it.
type Endpoint struct {
	name  string
	node  *Node
	party *router.Party
	tasks tasks

	shut    atomic.Bool   // no more broadcasts: Shutdown has begun, or closing is closed
	closing chan struct{} // closed when the endpoint begins to end
	handed  chan struct{} // closed when what was accepted is handed over, or will not be
	done    chan struct{} // closed when the last handler has returned

	mu      sync.Mutex // guards what follows
	err     error      // why it ended; set before closing is closed
	ended   bool
	subs    map[*Sub]struct{}  // those whose channel is not closed yet
	outlets map[*Topic]*Outlet // nil before the first
}

// Attach adds an endpoint of this process.
func (n *Node) Attach(name string) (*Endpoint, error) {
	if err := CheckName("an endpoint", name); err != nil {
		return nil, err
	}
	ep := &Endpoint{
		name: name, node: n,
		closing: make(chan struct{}), handed: make(chan struct{}), done: make(chan struct{}),
		subs: map[*Sub]struct{}{},
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	party, err := n.joinLocked(name, ep)
	if err != nil {
		return nil, err
	}
	ep.party = party
	n.endpoints[ep] = struct{}{}
	return ep, nil
}

// Name is the endpoint's name.
func (ep *Endpoint) Name() string { return ep.name }

// Done is closed when the endpoint has ended and its last handler has returned.
func (ep *Endpoint) Done() <-chan struct{} { return ep.done }

// Closing is closed when the endpoint begins to end.
func (ep *Endpoint) Closing() <-chan struct{} { return ep.closing }

// Err says why the endpoint has ended; nil: it has not.
func (ep *Endpoint) Err() error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.err
}

// Usable returns the error of a call that cannot be made any more.
func (ep *Endpoint) Usable() error {
	if !ep.shut.Load() {
		return nil
	}
	if err := ep.Err(); err != nil {
		return err
	}
	return fault.Errorf(fault.Closed, "endpoint %q is shutting down", ep.name)
}

// Outlet is through which an endpoint broadcasts one event type.
type Outlet struct {
	Endpoint *Endpoint
	Topic    *Topic

	account atomic.Pointer[window.Account] // replaced when a session with the bus is lost
	before  []*window.Account              // of lost sessions; guarded by Endpoint.mu

	broadcast atomic.Uint64 // events that were accepted
	waited    atomic.Int64  // nanoseconds that calls have waited for room
}

// Outlet returns the one for events of that name.
func (ep *Endpoint) Outlet(event string) (*Outlet, error) {
	t := ep.node.use(ep.party, event)
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.ended {
		return nil, ep.err
	}
	o := ep.outlets[t]
	if o == nil {
		o = &Outlet{Endpoint: ep, Topic: t}
		o.account.Store(t.Pool.Open())
		if ep.outlets == nil {
			ep.outlets = map[*Topic]*Outlet{}
		}
		ep.outlets[t] = o
	}
	return o, nil
}

// Account is charged for what is broadcast now.
func (o *Outlet) Account() *window.Account { return o.account.Load() }

// accountsLocked returns all of which something may be outstanding. The Endpoint's mu is held.
func (o *Outlet) accountsLocked() []*window.Account {
	return append(slices.Clone(o.before), o.Account())
}

// reopenLocked begins another account, for the next session. The bus opens the window there when an
// event comes, and the first one must not wait for own subscriptions that have yet to take those of
// the session before. The Endpoint's mu is held.
func (o *Outlet) reopenLocked() {
	last := o.account.Swap(o.Topic.Pool.Open())
	last.Close(errSessionOver) // who waits does so again in the next session
	o.before = slices.DeleteFunc(append(o.before, last), (*window.Account).Idle)
}

// Close ends the endpoint; what was accepted is handed over first, for a second at most. When it
// returns none of the endpoint's goroutines is left but those inside a user's function.
func (ep *Endpoint) Close() error { return ep.closeBy(context.Background()) }

// closeBy is Close, which hands nothing over any more when ctx has ended.
func (ep *Endpoint) closeBy(ctx context.Context) error {
	if ep.begin(fault.Errorf(fault.Closed, "endpoint %q was closed", ep.name)) {
		ep.release(false)
		ep.handOver(ctx)
		close(ep.handed)
	}
	<-ep.handed
	for _, s := range ep.openSubs() {
		s.end(nil, false)
	}
	if ep.node.line != nil {
		ep.node.tasks.wait()
	}
	ep.tasks.wait()
	ep.tasks.finish(ep.done)
	if ep.node.line != nil {
		ep.node.journal.wait()
	}
	return nil
}

// lost ends the endpoint because its link has ended.
func (ep *Endpoint) lost(err error) {
	if ep.begin(err) {
		ep.release(true)
		close(ep.handed)
		ep.tasks.finish(ep.done)
	}
}

// begin makes the endpoint closing, for the reason err; false: it was already.
func (ep *Endpoint) begin(err error) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.ended {
		return false
	}
	ep.ended, ep.err = true, err
	ep.shut.Store(true)
	close(ep.closing)
	if ep.node.line != nil {
		ep.node.endLife()
	}
	return true
}

// refuse lets no more be broadcast; calls that wait fail with err.
func (ep *Endpoint) refuse(err error) {
	ep.shut.Store(true)
	var accounts []*window.Account
	ep.mu.Lock()
	for _, o := range ep.outlets {
		accounts = append(accounts, o.Account())
	}
	ep.mu.Unlock()
	for _, a := range accounts {
		a.Close(err)
	}
}

// release ends all that hangs on the endpoint. With rest, what has arrived can still be read.
func (ep *Endpoint) release(rest bool) {
	err := ep.Err()
	ep.refuse(err)
	for _, s := range ep.openSubs() {
		s.end(err, rest)
	}
	ep.node.leave(ep.party)
	ep.node.mu.Lock()
	delete(ep.node.endpoints, ep)
	ep.node.mu.Unlock()
	ep.node.partyGone(ep, fault.ResponderGone)
}

// handOver gives the bus a second to take what was accepted.
func (ep *Endpoint) handOver(ctx context.Context) {
	l := ep.node.line
	if l == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	for _, p := range []*peer{l.current.Load(), l.coming.Load()} {
		if p != nil {
			p.takeLeave(ctx)
		}
	}
}

// takeLeave says goodbye to the bus, after all that was taken of it.
func (p *peer) takeLeave(ctx context.Context) {
	p.addressing.Lock()
	p.leaving = true
	p.addressing.Unlock()
	p.node.self.Ref.(*Endpoint).tasks.wait() // so that it is reported before the goodbye
	p.link.Goodbye(wire.Goodbye{})
	_ = p.await(ctx) // whoever wants to know calls Shutdown
}

func (ep *Endpoint) openSubs() []*Sub {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	list := make([]*Sub, 0, len(ep.subs))
	for s := range ep.subs {
		list = append(list, s)
	}
	return list
}

// Shutdown takes no more events, lets the handlers finish what has arrived and channels be read,
// hands over what was broadcast, and closes. At the end of ctx it closes at once and returns why.
// It also fails when the session with the bus is lost meanwhile, and perhaps events with it. An
// endpoint whose link has ended still lets its handlers finish.
func (ep *Endpoint) Shutdown(ctx context.Context) error {
	ended := ep.closing
	state, _ := ep.look()
	before := state.Lost
	if ep.shut.Swap(true) && ep.Err() != nil {
		ended = nil // by the link, or by a Close that leaves no handler to wait for
	}
	for _, s := range ep.openSubs() {
		s.end(fault.Errorf(fault.Closed, "endpoint %q is shutting down", ep.name), true)
	}
	err := ep.drain(ctx, ended)
	ep.closeBy(ctx)
	if state, _ = ep.look(); err == nil && state.Lost > before {
		err = fault.Errorf(fault.SessionLost, "endpoint %q: %d events that it broadcast have "+
			"perhaps not arrived, for its session with the bus was lost",
			ep.name, state.Lost-before)
	}
	return err
}

// drain waits until the handlers have returned and what was broadcast is taken.
func (ep *Endpoint) drain(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ep.tasks.quiet():
	case <-ctx.Done():
		return fault.Errorf(fault.Closed, "endpoint %q: a handler has not returned: %w",
			ep.name, fault.Ended(ctx))
	case <-ended:
		return ep.Err()
	}
	left := map[string]int64{}
	for _, s := range ep.openSubs() { // those that are read by a channel
		if lag := s.Box.Lag(); s.drain(ctx) != nil {
			left[s.Spec.Event] += lag
		}
	}
	if len(left) > 0 {
		return undelivered("to endpoint", ep.name, left, fault.Ended(ctx))
	}
	return ep.flush(ctx)
}

// flush waits until what was broadcast is taken.
func (ep *Endpoint) flush(ctx context.Context) error {
	accounts := map[*window.Account]string{}
	ep.mu.Lock()
	for _, o := range ep.outlets {
		for _, a := range o.accountsLocked() {
			accounts[a] = o.Topic.Name
		}
	}
	ep.mu.Unlock()
	left := map[string]int64{}
	for a, event := range accounts {
		if a.Drained(ctx) == nil {
			continue
		}
		if used := a.Used(); used > 0 {
			left[event] += used
		}
	}
	if len(left) > 0 {
		return undelivered("of endpoint", ep.name, left, fault.Ended(ctx))
	}
	return nil
}

// undelivered says how many bytes of which events were not delivered.
func undelivered(what, name string, left map[string]int64, err error) error {
	var list []string
	for _, event := range slices.Sorted(maps.Keys(left)) {
		list = append(list, fmt.Sprintf("%d bytes of %s", left[event], event))
	}
	return fault.Errorf(fault.Closed, "%s %q %s were not delivered: %w",
		what, name, strings.Join(list, ", "), err)
}
