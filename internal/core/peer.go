package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
)

// peer is what a Node knows of the other end of a link: an endpoint elsewhere, or the bus.
type peer struct {
	node  *Node
	link  *session.Link
	party *router.Party // the endpoint; nil: the peer is the bus
	ended chan struct{} // closed when the link has ended and all is cleaned up
	lost  atomic.Bool   // to the bus: it has ended, and is followed by another
	told  atomic.Bool   // Shutdown knows what an endpoint has not taken

	caller         Caller  // whom the transport has seen
	grants         *grants // what the endpoint may do
	session, token []byte  // what it takes to resume; empty: it cannot be

	drained chan struct{} // closed when it has said goodbye because it was asked to
	broken  bool          // to the bus: it has no connection; guarded by line.mu

	// What follows is the link's reader's own.
	names    map[uint64]string // that the peer has given numbers
	inlets   map[uint64]*inlet // by the number of the event's name
	recent   *inlet            // the one that was used last
	origin   wire.Name         // that was looked up last
	arrived  wire.Event        // the event that is being delivered; kept to save an allocation
	delivery Delivery          // of it

	// addressing is held while an event for one subscription is handed over, until it is reported.
	addressing sync.Mutex
	leaving    bool // the endpoint takes no more of them; guarded by addressing

	mu        sync.Mutex                // guards what follows
	gone      bool                      // it has left
	sent      map[*Topic]*atomic.Uint64 // events that it was sent
	granted   []*inlet                  // whose window has to be told
	published map[*Topic]*inlet         // of an endpoint: one for each event
	requests  map[uint64]*Call          // that the peer has made, by its own numbers
	presence  presence                  // of an endpoint that watches, or of a bus that is watched
	unserve   func() bool               // stops watching the context that it is served under
	acks      map[uint64]*ack           // subscriptions that the bus has not answered yet
	asks      map[uint64]chan uint64    // questions that the bus has not answered yet
	dismissed error                     // why the bus has said goodbye; nil: it has closed
}

func (n *Node) newPeer(party *router.Party, opt session.Options) *peer {
	p := &peer{
		node: n, party: party, ended: make(chan struct{}), drained: make(chan struct{}),
		names: map[uint64]string{}, inlets: map[uint64]*inlet{},
		requests: map[uint64]*Call{},
		acks:     map[uint64]*ack{}, asks: map[uint64]chan uint64{},
	}
	p.link = session.New(p, opt)
	return p
}

// backlogLimit is how many bytes may wait in one place, whatever the windows say: twice the lag or
// 8 MiB more than it, whichever is less, and in any case some of the largest events.
func (n *Node) backlogLimit() int64 {
	const beyond = 8 << 20
	cfg := n.config()
	return max(min(2*cfg.Lag, cfg.Lag+beyond), 4*int64(cfg.MaxFrame))
}

// await waits until the link has ended; at the end of ctx it cuts it, and says what the other side
// had not taken.
func (p *peer) await(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return p.cut(fault.Ended(ctx))
	}
}

// cut ends the link for that reason, and says what the other side had not taken.
func (p *peer) cut(reason error) (err error) {
	if left := p.owed(); len(left) > 0 {
		err = undelivered("to endpoint", p.party.Name, left, reason)
		p.told.Store(true)
	}
	p.link.Kill(reason)
	<-p.ended
	return err
}

// leave forgets the peer: its subscriptions, its requests, and what it owes.
func (p *peer) leave() {
	p.mu.Lock()
	if p.gone {
		p.mu.Unlock()
		return
	}
	p.gone = true
	p.mu.Unlock()
	p.node.mu.Lock()
	delete(p.node.peers, p)
	delete(p.node.watchers, p)
	delete(p.node.sessions, string(p.session))
	p.node.mu.Unlock()
	for _, in := range p.inlets {
		in.topic.heldElsewhere(p, claim{})
	}
	if p.party != nil {
		p.node.leave(p.party)
	}
	p.node.partyGone(p, p.gonerReason())
}

// gonerReason is why nobody answers what was asked of the peer.
func (p *peer) gonerReason() error {
	if p.party == nil {
		return errSessionOver
	}
	return fault.ResponderGone
}

// hasLeft reports whether leave has begun.
func (p *peer) hasLeft() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// Goodbye implements [session.Handler].
func (p *peer) Goodbye(g wire.Goodbye) {
	if p.party != nil && p.node.draining.Load() {
		close(p.drained) // it still gets what others had accepted, and then our goodbye
		return
	}
	if p.party != nil {
		p.leave()
	} else if code := fault.Code(g.Code); code != "" && code != fault.Closed {
		p.mu.Lock()
		p.dismissed = fault.Errorf(code, "the bus has ended the session: %s", g.Message)
		p.mu.Unlock()
	}
	p.link.Goodbye(wire.Goodbye{})
}

// Frame implements [session.Handler].
func (p *peer) Frame(f wire.Frame) error {
	known, err := p.both(f)
	switch {
	case known:
	case p.party == nil:
		known, err = p.fromBus(f)
	default:
		known, err = p.fromEndpoint(f)
	}
	switch {
	case err != nil:
		return mistake(err)
	case !known && !f.Type.Ignorable():
		return &session.ProtocolError{Reason: fmt.Sprintf("a frame of type %#02x, which has no "+
			"meaning here", uint8(f.Type))}
	}
	return nil
}

// mistake is err as the link ends with it. It is apart from Frame because what errors.As fills
// lives on the heap, and would for each frame.
func mistake(err error) error {
	var forbidden breach
	if errors.As(err, &forbidden) {
		return &session.ProtocolError{Reason: fault.Brief(err.Error()), Code: fault.Denied}
	}
	return &session.ProtocolError{Reason: fault.Brief(err.Error())}
}

// both handles the frames that either side may send.
func (p *peer) both(f wire.Frame) (known bool, err error) {
	switch f.Type {
	case wire.TypeEvent:
		return true, p.event(f.Body)
	case wire.TypeName:
		return true, p.name(f.Body)
	case wire.TypeReply:
		return true, p.reply(f.Body)
	case wire.TypeEnd:
		return true, p.end(f.Body)
	case wire.TypeCancel:
		return true, p.cancelled(f.Body)
	case wire.TypeHeld:
		return true, p.heldBy(f.Body)
	}
	return false, nil
}

func (p *peer) name(body []byte) error {
	n, err := wire.ParseName(body)
	if err != nil {
		return err
	}
	if n.Name == "" {
		if p.party != nil && p.inlets[n.Number] != nil {
			return fmt.Errorf("the number %d is that of an event, whose windows hang on it",
				n.Number)
		}
		delete(p.names, n.Number)
		p.origin = wire.Name{}
		return nil
	}
	if _, taken := p.names[n.Number]; taken {
		return fmt.Errorf("a second name for the number %d", n.Number)
	}
	if limit := p.node.config().Names; p.party != nil && len(p.names) >= limit {
		return fmt.Errorf("more than %d names of events", limit)
	}
	p.names[n.Number] = n.Name
	return nil
}
