package core

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// Call is a request on one Node, from the moment it is routed until it is answered or nobody is
// left who could. Its recipients are fixed when it is routed: endpoints of this Node and links.
//
//	routing ──Routed──▶ open ──first answer, Cancel, or nobody left──▶ over
//
// One that gathers stays open when it is answered, until nobody is left.
type Call struct {
	ID       uint64
	node     *Node
	wanted   string // the name of the response's type
	wantedID uint64 // its number on the links of this Node; guarded by Node.mu
	deadline time.Time
	gather   bool        // every recipient's answer is wanted
	over     atomic.Bool // whoever still has it queued drops it

	// Who asked: an endpoint elsewhere that has its own number for the call, or, with nil, one of
	// this Node.
	peer   *peer
	remote uint64
	asker  *router.Party // the endpoint, if calls go on from here

	mu       sync.Mutex           // guards what follows
	routing  bool                 // recipients may still be added
	asked    int                  // recipients there ever were
	left     parties              // those that may still answer: *Endpoint, or *peer with nil
	refusals []*fault.RemoteError // of recipients whose handlers answer with another type
	cut      error                // the session with the bus was lost, and answers with it
	handlers []*handler           // that are running
	answers  []Answer             // for one of this Node, not yet taken
	answer1  [1]Answer            // memory for the first of them: mostly there is one

	// Of a call that gathers.
	held    map[*Endpoint]*Inbound // recipients that do not go before all is routed
	several bool                   // an endpoint may have the request in several ways
	own     bool                   // the bus has yet to say what the asker elsewhere does there
	told    map[string]bool        // endpoints of which an outcome was passed on; true: silence
	silent  []string               // recipients that have not answered, and not been told of

	more chan struct{} // one slot: answers has grown; nil: who asked is elsewhere
}

// Answer is how a call ends for who asked: a value of this process, an encoded one, or an error.
type Answer struct {
	Origin  string
	Name    string // of the response's type; empty: Err is set
	Value   any    // in this process; Encode makes it a payload for others
	Encode  func(*bytes.Buffer) error
	Payload []byte
	Err     error

	returned  bool // by a handler that has returned, so that no other of its endpoint goes on
	silent    bool // Origin has not answered and will not
	nobody    bool // the last one: nobody is left who could answer, and Err says why
	cancelled bool // the last one: nobody waits any more
}

// NewCall starts a call of the endpoint, whose answers Next returns.
func (ep *Endpoint) NewCall(ctx context.Context, wanted string, gather bool) *Call {
	c := ep.node.newCall(wanted)
	c.asker, c.gather, c.more = ep.party, gather, make(chan struct{}, 1)
	c.deadline, _ = ctx.Deadline()
	ep.node.register(c)
	return c
}

// Next waits for the next answer; a call that does not gather has one. It fails with the answer's
// error, when nobody is left who could answer, or when ctx or the endpoint ends; the last two end
// the call.
func (ep *Endpoint) Next(ctx context.Context, c *Call) (a Answer, last bool, err error) {
	for {
		if a, ok := c.take(); ok {
			if err := ep.Err(); (a.nobody || a.cancelled) && err != nil {
				return Answer{}, true, err // because ep has ended
			}
			return a, a.nobody || a.cancelled || !c.gather, a.Err
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return ep.abandon(c, ctx.Err())
		case <-ep.closing:
			return ep.abandon(c, ep.Err())
		}
	}
}

// abandon withdraws a call for the reason err, unless an answer came at the same moment.
func (ep *Endpoint) abandon(c *Call, err error) (Answer, bool, error) {
	c.Cancel()
	if a, ok := c.take(); ok && !c.gather && !a.cancelled && !a.nobody {
		return a, true, a.Err
	}
	return Answer{}, true, err
}

func (c *Call) take() (a Answer, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) == 0 {
		return a, false
	}
	a = c.answers[0]
	c.answers = c.answers[1:]
	return a, true
}

func (n *Node) newCall(wanted string) *Call {
	return &Call{node: n, wanted: wanted, routing: true}
}

// counterpart is what a number stands for that a link knows a call by.
type counterpart struct {
	call  *Call
	party *parcel // the recipient that has a number of its own; nil: the link itself is
}

func (n *Node) register(c *Call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.ID = n.nextLocked()
	n.calls[c.ID] = counterpart{call: c}
}

// call returns the call that p knows by a number, and who of its recipients p speaks for.
func (n *Node) call(id uint64, p *peer) (c *Call, party any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.calls[id]
	switch {
	case found.party == nil:
		return found.call, p
	case found.party.holder == p:
		return found.call, found.party
	}
	return nil, nil // it is not p's to answer
}

// partyGone ends what an endpoint or a link that has ended still owed or wanted; reason is why it
// does not answer.
func (n *Node) partyGone(party any, reason error) {
	n.mu.Lock()
	calls := maps.Clone(n.calls)
	n.mu.Unlock()
	for number, c := range calls {
		switch {
		case c.party != nil && any(c.party.holder) == party:
			n.forget(number)
			c.call.gone(c.party, reason)
		case c.party == nil && c.call.peer != nil && any(c.call.peer) == party:
			c.call.Cancel()
		case c.party == nil && c.call.peer == nil && c.call.askedBy(party):
			c.call.Cancel()
		case c.party == nil:
			c.call.gone(party, reason)
		}
	}
}

// askedBy reports whether it is a call of that endpoint of this Node.
func (c *Call) askedBy(party any) bool {
	ep, own := party.(*Endpoint)
	return own && ep.party == c.asker
}

// Over reports whether nobody waits for an answer any more.
func (c *Call) Over() bool { return c.over.Load() }

// expired reports whether the time to answer is over.
func (c *Call) expired() bool {
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

// describe completes the frame of the call's event, and returns the name that goes with it.
func (c *Call) describe(e *wire.Event, id uint64) wire.Name {
	e.Flags |= wire.FlagRequest
	if c.gather && c.peer == nil && c.node.line != nil {
		e.Flags |= wire.FlagGather
	}
	e.Call, e.Wanted = id, c.wantedNumber()
	if !c.deadline.IsZero() {
		left := (time.Until(c.deadline) + time.Microsecond - 1) / time.Microsecond
		e.Remaining = uint64(max(1, left))
	}
	return wire.Name{Number: e.Wanted, Name: c.wanted}
}

// wantedNumber is the number of the response's name on the links of this Node.
func (c *Call) wantedNumber() uint64 {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.wantedID == 0 {
		c.wantedID = n.useLocked(c.asker, c.wanted).ID
	}
	return c.wantedID
}

// answer passes on an answer: the first, or with gather each. It fails when it comes too late, or
// from one who was not asked.
func (c *Call) answer(party any, a Answer) error {
	c.mu.Lock()
	if !c.left.has(party) || c.over.Load() {
		c.mu.Unlock()
		return fault.Errorf(fault.UnexpectedResponse,
			"the request has been answered, has ended, or was never this endpoint's to answer")
	}
	c.left.drop(party)
	if c.gather {
		c.collectLocked(a)
		c.finishIfDeserted() // unlocks
		return nil
	}
	by := party
	if a.returned {
		by = nil
	}
	c.finish(a, by) // unlocks
	return nil
}

// pass passes on one answer of several that come over the same link. What the bus says of the asker
// itself is about one way in which it may have the request.
func (c *Call) pass(p *peer, a Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.left.has(p) {
		return
	}
	own := a.Origin == c.asker.Name
	if own {
		c.own = false
	}
	switch {
	case !own || !a.silent:
		c.collectLocked(a)
	case !errors.Is(a.Err, fault.NoSubscribers):
		c.silent = append(c.silent, a.Origin)
	}
	c.tellSilentLocked()
}

// collectLocked passes on one answer of several. It is queued under the lock, so that the end of
// the call does not overtake it.
func (c *Call) collectLocked(a Answer) {
	if c.gather && a.Origin != "" {
		if _, twice := c.told[a.Origin]; twice {
			return
		}
		if c.told == nil {
			c.told = map[string]bool{}
		}
		c.told[a.Origin] = a.silent
	}
	if c.peer != nil {
		c.peer.sendAnswer(c.remote, a, false)
		return
	}
	if len(c.answers) == 0 {
		c.answers = c.answer1[:0]
	}
	c.answers = append(c.answers, a)
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// Cancel ends the call for who asked: nobody waits for an answer any more.
func (c *Call) Cancel() {
	c.mu.Lock()
	c.finish(Answer{cancelled: true}, nil) // unlocks
}

// finish ends the call once, tells who asked, and withdraws it from all others but by; it unlocks.
func (c *Call) finish(a Answer, by any) {
	if !c.over.CompareAndSwap(false, true) {
		c.mu.Unlock()
		return
	}
	left, handlers := c.left, c.handlers
	c.left, c.handlers, c.silent = parties{}, nil, nil
	c.mu.Unlock()

	c.node.mu.Lock()
	delete(c.node.calls, c.ID)
	c.node.mu.Unlock()
	for _, h := range handlers {
		if any(h.endpoint) != by {
			h.stop()
		}
	}
	left.each(func(party any) {
		switch p := party.(type) {
		case *peer:
			p.cancel(c.ID)
		case *parcel:
			c.withdraw(p)
		}
	})
	if c.peer != nil {
		c.peer.answered(c, a)
		return
	}
	c.mu.Lock()
	c.collectLocked(a)
	c.mu.Unlock()
}

// forget forgets the number that a recipient has of its own.
func (n *Node) forget(number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls[number].party != nil {
		delete(n.calls, number)
	}
}

// withdraw takes the request back from whoever has the parcel.
func (c *Call) withdraw(p *parcel) {
	if p.id == 0 {
		p.post.withdraw(p)
		return
	}
	c.node.forget(p.id)
	p.holder.cancel(p.id)
}
