package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// peer is what a Node knows of the other end of a link: an endpoint elsewhere, or the bus.
type peer struct {
	node  *Node
	link  *session.Link
	party *router.Party // the endpoint; nil: the peer is the bus
	ended chan struct{} // closed when the link has ended and all is cleaned up
	lost  atomic.Bool   // to the bus: it has ended, and is followed by another

	caller         Caller  // whom the transport has seen
	grants         *grants // what the endpoint may do
	session, token []byte  // what it takes to resume; empty: it cannot be

	drained chan struct{} // closed when it has said goodbye because it was asked to

	// What follows is the link's reader's own.
	names    map[uint64]string // that the peer has given numbers
	inlets   map[uint64]*inlet // by the number of the event's name
	delivery Delivery          // the event that is being delivered; kept to save an allocation

	// addressing is held while an event for one subscription is handed over, until it is reported.
	addressing sync.Mutex
	leaving    bool // the endpoint takes no more of them; guarded by addressing

	mu        sync.Mutex                // guards what follows
	gone      bool                      // it has left
	sent      map[*Topic]*atomic.Uint64 // events that it was sent
	granted   []*inlet                  // whose window has to be told
	published []*inlet                  // of an endpoint
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

// backlogLimit is how many bytes may wait in one place, whatever the windows say: twice the lag,
// and in any case some of the largest events.
func (n *Node) backlogLimit() int64 {
	cfg := n.config()
	return max(2*cfg.Lag, 4*int64(cfg.MaxFrame))
}

// await waits until the link has ended; at the end of ctx it cuts it, and says what the other side
// had not taken.
func (p *peer) await(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return p.cut(ctx.Err())
	}
}

// cut ends the link for that reason, and says what the other side had not taken.
func (p *peer) cut(reason error) (err error) {
	if left := p.owed(); len(left) > 0 {
		err = undelivered("to endpoint", p.party.Name, left, reason)
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
	delete(p.node.sessions, string(p.session))
	p.node.mu.Unlock()
	for _, in := range p.inlets {
		in.topic.heldElsewhere(p, nil)
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
	if !known {
		if p.party == nil {
			known, err = p.fromBus(f)
		} else {
			known, err = p.fromEndpoint(f)
		}
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

// mistake is err as the link ends with it. It is apart from Frame because what errors.As fills lives
// on the heap, and would for each frame.
func mistake(err error) error {
	var forbidden breach
	if errors.As(err, &forbidden) {
		return &session.ProtocolError{Reason: err.Error(), Code: fault.Denied}
	}
	return &session.ProtocolError{Reason: err.Error()}
}

// both handles the frames that either side may send.
func (p *peer) both(f wire.Frame) (known bool, err error) {
	switch f.Type {
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
		delete(p.names, n.Number)
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

// inlet is through which a peer publishes one event type.
type inlet struct {
	peer    atomic.Pointer[peer] // nil: it has ended
	number  uint64               // of the event's name, given by the peer
	topic   *Topic
	account *window.Account // nil: the peer is the bus, whose windows are not ours
	allowed action          // with events of the topic
	told    bool            // its window is not among those that have to be; guarded by peer.mu

	broadcast atomic.Uint64 // events that came through it
	heldSince atomic.Int64  // since when its publisher says that it waits, in Unix nanoseconds
	waited    atomic.Int64  // how long it has waited before that, in nanoseconds
}

// Settle implements [window.Settler].
func (in *inlet) Settle(f *window.Flight) {
	if in.account != nil {
		in.account.Release(f.Size)
	}
	if p := in.peer.Load(); p != nil {
		p.link.Took(f)
	}
}

// tell sees to it that the peer is told its window.
func (in *inlet) tell() {
	p := in.peer.Load()
	if p == nil {
		return
	}
	p.mu.Lock()
	if in.told {
		in.told = false
		p.granted = append(p.granted, in)
	}
	p.mu.Unlock()
	p.link.Poke()
}

// inlet returns the one for a number that the peer uses for an event's name.
func (p *peer) inlet(number uint64) (*inlet, error) {
	if in := p.inlets[number]; in != nil {
		return in, nil
	}
	name, known := p.names[number]
	if !known {
		return nil, fmt.Errorf("an event with the number %d, which has no name", number)
	}
	t, err := p.use(name)
	if err != nil {
		return nil, err
	}
	in := &inlet{number: number, topic: t, allowed: p.grants.of(name), told: true}
	in.peer.Store(p)
	if p.party != nil {
		in.account = t.Pool.OpenRemote(in.tell)
		p.mu.Lock()
		p.published = append(p.published, in)
		p.mu.Unlock()
	}
	p.inlets[number] = in
	return in, nil
}

// onlyUp and onlyDown are the flags that mean something in one direction alone.
const (
	onlyUp    = wire.FlagTo | wire.FlagExcept | wire.FlagGather | wire.FlagRetain
	onlyDown  = wire.FlagOrigin | wire.FlagTarget | wire.FlagMissed | wire.FlagRetained | wire.FlagGone
	eitherWay = wire.FlagPrompt | wire.FlagRequest | wire.FlagKey
)

// event delivers an event of the peer.
func (p *peer) event(body []byte) error {
	var e wire.Event
	if err := wire.ParseEvent(body, &e); err != nil {
		return err
	}
	in, err := p.inlet(e.Name)
	if err != nil {
		return err
	}
	d := &p.delivery
	*d = Delivery{Topic: in.topic, Key: e.Key, Missed: e.Missed}
	defer func() { p.delivery = Delivery{} }()
	if p.party == nil {
		err = p.originOf(&e, d)
	} else {
		err = p.admit(&e, d, in)
	}
	if err != nil {
		return err
	}
	size := int64(len(e.Payload)) + window.Overhead
	owner := window.Settler(in)
	if e.Flags&wire.FlagTarget != 0 {
		owner = (*addressed)(in)
		p.addressing.Lock()
		defer p.addressing.Unlock()
	}
	d.Flight = window.NewFlight(owner, size, e.Slot, e.Flags&wire.FlagPrompt != 0)
	if e.Flags&wire.FlagRequest != 0 {
		if d.Call, err = p.request(&e); err != nil {
			d.Flight.Drop()
			return err
		}
		if d.Call == nil {
			d.Flight.Drop()
			return nil
		}
	}
	if e.Flags&wire.FlagRetain != 0 {
		err = p.retain(&e, d, size)
	} else {
		p.route(&e, d, size)
	}
	d.Flight.Drop()
	if d.Call != nil {
		d.Call.Routed()
	}
	return err
}

// route hands an event to everyone who gets it. The payload is copied only if it has to wait.
func (p *peer) route(e *wire.Event, d *Delivery, size int64) {
	if e.Flags&wire.FlagTarget != 0 {
		p.target(e, d)
		return
	}
	r := d.Topic.Route()
	for _, g := range r.Groups {
		g.Kind.Deliver(g.Subs, e.Payload, d)
	}
	r.forward(e.Payload, d, p)
	if len(r.posts) > 0 {
		r.offer(encoded(bytes.Clone(e.Payload)), size, d, p)
	}
}

// target hands an event to the one subscription that it is for.
func (p *peer) target(e *wire.Event, d *Delivery) {
	p.node.mu.Lock()
	entry := p.node.table.Sub(p.node.self, e.Target)
	p.node.mu.Unlock()
	if entry == nil || p.leaving {
		d.Flight.Meet(window.Returned) // it has ended meanwhile
		return
	}
	d.fromBus = false
	s := entry.Ref.(*Sub)
	if e.Flags&wire.FlagGone != 0 {
		s.Spec.Kind.Gone([]*Sub{s}, d)
	} else {
		s.Spec.Kind.Deliver([]*Sub{s}, e.Payload, d)
	}
}

// retain keeps an event of an endpoint and hands it to everyone who gets it.
func (p *peer) retain(e *wire.Event, d *Delivery, size int64) error {
	k := &d.Topic.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fitsLocked(d, size); err != nil {
		return err
	}
	k.putLocked(d, encoded(bytes.Clone(e.Payload)), size)
	p.route(e, d, size)
	return nil
}

// originOf checks an event of the bus.
func (p *peer) originOf(e *wire.Event, d *Delivery) error {
	if e.Flags&^(onlyDown|eitherWay) != 0 || e.Flags&wire.FlagOrigin == 0 {
		return fmt.Errorf("an event of the bus with the flags %#x", uint64(e.Flags))
	}
	origin, known := p.names[e.Origin]
	if !known {
		return fmt.Errorf("an event of an origin with the number %d, which has no name", e.Origin)
	}
	d.Origin, d.fromBus = origin, true
	return nil
}

// admit checks an event of an endpoint, and counts it.
func (p *peer) admit(e *wire.Event, d *Delivery, in *inlet) error {
	if e.Flags&^(onlyUp|eitherWay) != 0 ||
		e.Flags&wire.FlagRequest != 0 && e.Flags&(wire.FlagRetain|wire.FlagKey) != 0 ||
		e.Flags&wire.FlagGather != 0 && e.Flags&wire.FlagRequest == 0 {
		return fmt.Errorf("an event of an endpoint with the flags %#x", uint64(e.Flags))
	}
	needed := broadcasting
	if e.Flags&wire.FlagRequest != 0 {
		needed = requesting
	}
	if in.allowed&needed == 0 {
		return p.forbid(needed, in.topic.Name)
	}
	in.broadcast.Add(1)
	d.Origin, d.originID = p.party.Name, p.party.ID
	d.Filter = router.Filter{HasTo: e.Flags&wire.FlagTo != 0, To: e.To, Except: e.Except}
	if size := int64(len(e.Payload)) + window.Overhead; !in.account.Arrived(size) {
		in.account.Release(size)
		return fmt.Errorf("more of %s than the window allows", in.topic.Name)
	}
	return nil
}

// request makes the call that belongs to an event of the peer; nil: it has as many as it may, and is
// told so.
func (p *peer) request(e *wire.Event) (*Call, error) {
	wanted, known := p.names[e.Wanted]
	if !known {
		return nil, fmt.Errorf("a request for a response with the number %d, which has no name", e.Wanted)
	}
	c := p.node.newCall(wanted)
	c.peer, c.remote, c.gather = p, e.Call, e.Flags&wire.FlagGather != 0
	c.asker = p.party
	if e.Remaining > 0 {
		left := time.Duration(min(e.Remaining, uint64(maxRemaining/time.Microsecond)))
		c.deadline = time.Now().Add(left * time.Microsecond)
	}
	limit := p.node.config().Requests
	p.mu.Lock()
	_, taken := p.requests[e.Call]
	full := p.party != nil && len(p.requests) >= limit
	if !taken && !full {
		p.requests[e.Call] = c
	}
	p.mu.Unlock()
	switch {
	case taken:
		return nil, fmt.Errorf("a second request with the number %d", e.Call)
	case full:
		p.answered(c, Answer{nobody: true, Err: fault.Remote("bus", fault.Errorf(fault.Denied,
			"endpoint %q has %d requests that wait for answers, which is as many as it may",
			p.party.Name, limit))})
		return nil, nil
	}
	p.node.register(c)
	return c, nil
}

// maxRemaining is the longest time that a requester is taken to wait: more is as good as no limit.
const maxRemaining = 10 * 365 * 24 * time.Hour

// answered tells the peer how a call that it made has ended.
func (p *peer) answered(c *Call, a Answer) {
	p.mu.Lock()
	delete(p.requests, c.remote)
	p.mu.Unlock()
	switch {
	case a.cancelled:
	case a.nobody:
		e := wire.End{Call: c.remote, Code: string(fault.CodeOf(a.Err)), Message: a.Err.Error()}
		var said *fault.RemoteError
		if errors.As(a.Err, &said) {
			e.Origin, e.Message = said.Endpoint, said.Message
		}
		p.link.Answer(func(dst []byte) []byte { return wire.AppendEnd(dst, e) })
	default:
		p.sendAnswer(c.remote, a, true)
	}
}

// sendAnswer tells the peer an answer to the call that it knows by that number.
func (p *peer) sendAnswer(remote uint64, a Answer, final bool) {
	r := wire.Reply{Call: remote, Final: final, Origin: a.Origin, Name: a.Name, Payload: a.Payload}
	var said *fault.RemoteError
	switch {
	case errors.As(a.Err, &said):
		r.Origin, r.Code, r.Message = said.Endpoint, string(said.Code), said.Message
	case a.Err != nil:
		r.Gone = true
	}
	frame := func(dst []byte) []byte { return wire.AppendReply(dst, &r) }
	if final {
		p.link.AnswerAhead(frame)
	} else {
		p.link.SendAhead(frame) // as many come as there are endpoints: that is not for who asks to say
	}
}

// reply takes an answer to a call of this Node.
func (p *peer) reply(body []byte) error {
	var r wire.Reply
	if err := wire.ParseReply(body, &r); err != nil {
		return err
	}
	c, party := p.node.call(r.Call, p)
	if c == nil {
		return nil // it has been answered or cancelled meanwhile
	}
	p.node.forget(r.Call)
	if p.party != nil {
		r.Origin = p.party.Name
	}
	a := Answer{Origin: r.Origin, Name: r.Name}
	switch {
	case r.Gone:
		a.Err = fault.Errorf(fault.ResponderGone, "endpoint %q has not answered", r.Origin)
	case r.Name == "":
		a.Err = &fault.RemoteError{Endpoint: r.Origin, Code: fault.Code(r.Code), Message: r.Message}
	case r.Name != c.wanted:
		return fmt.Errorf("an answer with %s, where %s is wanted", r.Name, c.wanted)
	default:
		a.Payload = append([]byte(nil), r.Payload...)
	}
	if p.party == nil && c.gather {
		c.pass(p, a)
	} else {
		_ = c.answer(party, a) // too late is no fault of the peer
	}
	return nil
}

// end notes that the peer will not answer a call of this Node.
func (p *peer) end(body []byte) error {
	e, err := wire.ParseEnd(body)
	if err != nil {
		return err
	}
	c, party := p.node.call(e.Call, p)
	if c == nil {
		return nil
	}
	p.node.forget(e.Call)
	if p.party != nil {
		e.Origin = p.party.Name
	}
	code := fault.Code(e.Code)
	if code == fault.NoSubscribers && p.party != nil {
		code = fault.ResponderGone // it was asked because it subscribed, and has ended that meanwhile
	}
	switch code {
	case fault.NoSubscribers:
		c.none(party)
	case "", fault.ResponderGone:
		c.gone(party, p.silence())
	default:
		c.gone(party, &fault.RemoteError{Endpoint: e.Origin, Code: code, Message: e.Message})
	}
	return nil
}

// silence is why the peer does not answer. The bus has said before who of its endpoints do not.
func (p *peer) silence() error {
	if p.party == nil {
		return nil
	}
	return fault.ResponderGone
}

// cancelled ends a call that the peer has made.
func (p *peer) cancelled(body []byte) error {
	var remote uint64
	if err := wire.Uvarints(body, &remote); err != nil {
		return err
	}
	p.mu.Lock()
	c := p.requests[remote]
	p.mu.Unlock()
	if c != nil {
		c.Cancel()
	}
	return nil
}

// cancel tells the peer that a call of this Node is over.
func (p *peer) cancel(id uint64) {
	p.link.Withdraw(id)
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendUvarints(dst, wire.TypeCancel, id)
	})
}
