package core

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// Broadcast is what the options of a broadcast add up to.
type Broadcast struct {
	Filter            router.Filter
	Internal          bool
	RequireSubscriber bool
	NoWait            bool
	Retain            bool
	Key               string
}

// Plain reports whether b asks for nothing special.
func (b *Broadcast) Plain() bool {
	return !b.Filter.HasTo && b.Filter.Except == nil &&
		!b.Internal && !b.RequireSubscriber && !b.NoWait && !b.Retain
}

// check fails when the options of an event, or of a request, cannot be.
func (b *Broadcast) check(request bool) error {
	switch {
	case b.Retain && request:
		return fault.Errorf(fault.Denied,
			"a request cannot be retained: who comes later could not answer it")
	case b.Internal && b.Filter.HasTo:
		return fault.Errorf(fault.Denied,
			"Internal and To contradict each other: an internal event reaches only its own "+
				"endpoint")
	case b.RequireSubscriber && b.NoWait:
		return fault.Errorf(fault.Denied,
			"RequireSubscriber and NoWait contradict each other: the bus has to be asked first")
	case b.Retain && (b.Internal || b.Filter.HasTo || len(b.Filter.Except) > 0):
		return fault.Errorf(fault.Denied,
			"what is retained is for everyone: Retain and Internal, To or Except contradict "+
				"each other")
	}
	if err := checkKey(b.Key); err != nil {
		return err
	}
	if err := CheckNames("To", b.Filter.To); err != nil {
		return err
	}
	return CheckNames("Except", b.Filter.Except)
}

// checkKey says what is wrong with a key.
func checkKey(key string) error {
	switch {
	case len(key) > wire.MaxName:
		return fault.Errorf(fault.Denied, "a key of %d bytes, where %d are allowed: %.32q…",
			len(key), wire.MaxName, key)
	case !utf8.ValidString(key):
		return fault.Errorf(fault.Denied, "the key %q is not valid UTF-8", key)
	}
	return nil
}

// Publication is one event from the options of its broadcast to its delivery:
//
//	err := outlet.Begin(...)        whether anyone can get it
//	err = p.Admit(...)              the only step that waits
//	err = p.SendUp(payload)         to the bus, if that is elsewhere
//	push to p.Route.Groups of the event's own Go type
//	p.Send(payload)                 everyone else
//	p.End()
type Publication struct {
	Delivery
	Route *Route

	outlet *Outlet
	noWait bool
	retain bool
	uplink *peer // it goes to the bus; nil: it does not
}

// Begin starts a publication; call is the request that it is, or nil. It fails when the endpoint
// has ended or may not send it, the options contradict each other or a required subscriber is
// missing.
func (o *Outlet) Begin(
	ctx context.Context, b *Broadcast, call *Call, p *Publication,
) error {
	ep := o.Endpoint
	if err := ep.Usable(); err != nil {
		return err
	}
	p.outlet, p.noWait = o, b.NoWait
	p.Topic, p.Origin, p.originID = o.Topic, ep.name, ep.party.ID
	p.Call = call
	p.Route = o.Topic.Route()
	p.uplink = ep.node.up()
	p.Charge.Account = o.Account() // looked at later, so that it is none of a session before
	if b.Plain() {
		return p.connect(ctx)
	}
	if err := b.check(call != nil); err != nil {
		return err
	}
	p.Filter, p.retain, p.Key = b.Filter, b.Retain, b.Key
	if b.Internal {
		p.only, p.uplink = ep, nil
	}
	if p.uplink != nil && p.stays() {
		p.uplink = nil
	}
	if err := p.connect(ctx); err != nil {
		return err
	}
	if b.RequireSubscriber {
		return p.require(ctx)
	}
	return nil
}

// connect waits for a session with the bus, if the event goes there, and fails if the endpoint may
// not send it there.
func (p *Publication) connect(ctx context.Context) (err error) {
	switch {
	case p.uplink == nil:
		return nil
	case !p.uplink.over():
	case p.noWait:
		return fault.Errorf(fault.WouldBlock, "there is no session with the bus")
	default:
		if p.uplink, err = p.outlet.Endpoint.session(ctx); err != nil {
			return err
		}
		p.Charge.Account = p.outlet.Account()
	}
	if p.Call != nil {
		return p.uplink.permit(requesting, p.Topic.Name)
	}
	return p.uplink.permit(broadcasting, p.Topic.Name)
}

// stays reports whether the event is by its To for nobody but its own endpoint, and for no group
// there: the bus alone chooses among the members.
func (p *Publication) stays() bool {
	if !p.Filter.HasTo {
		return false
	}
	for _, n := range p.Filter.To {
		if n != p.Origin || p.Route.grouped {
			return false
		}
	}
	return true
}

// require fails unless somebody would get the event.
func (p *Publication) require(ctx context.Context) error {
	count := p.Route.recipients(&p.Delivery, nil)
	if count == 0 && p.uplink != nil {
		err := p.CheckSize(0) // the question has the same names
		if err != nil {
			return err
		}
		if count, err = p.outlet.Endpoint.ask(ctx, p.Topic.Name, &p.Filter); err != nil {
			return err
		}
	}
	if count == 0 {
		return p.outlet.noSubscribers(&p.Filter)
	}
	return nil
}

func (o *Outlet) noSubscribers(f *router.Filter) error {
	if f.HasTo {
		return fault.Errorf(fault.NoSubscribers, "no endpoint named in To %q subscribes to %s",
			f.To, o.Topic.Name)
	}
	return fault.Errorf(fault.NoSubscribers, "nobody subscribes to %s", o.Topic.Name)
}

// Unanswered says what err, with which a request has ended, does not say by itself: which request
// that was. b is how it was broadcast.
func (o *Outlet) Unanswered(ctx context.Context, err error, b *Broadcast) error {
	switch err {
	case error(fault.NoSubscribers):
		return o.noSubscribers(&b.Filter)
	case error(fault.ResponderGone):
		return fault.Errorf(fault.ResponderGone, "nobody is left who could answer %s", o.Topic.Name)
	case context.Canceled, context.DeadlineExceeded:
		return fmt.Errorf("lahja: endpoint %q waited for an answer to %s: %w",
			o.Endpoint.name, o.Topic.Name, fault.Because(ctx, err)) // it may be a moment early
	}
	return err
}

// Encoded reports whether somebody needs the event in its encoded form: an endpoint elsewhere, or
// a subscription here to the same event by another Go type.
func (p *Publication) Encoded(kind Kind) bool {
	if p.uplink != nil || p.retain || p.only == nil && p.Route.encodes() {
		return true // what is retained may be wanted elsewhere at any time
	}
	return len(p.Route.Groups) > 1 || len(p.Route.Groups) == 1 && p.Route.Groups[0].Kind != kind
}

// Goes reports whether an event that nobody needs encoded, of size bytes as a Go value, may be
// pushed at once: nothing that the endpoint broadcast before waits, or there is room for more.
// Admit has to be called otherwise.
func (p *Publication) Goes(size func() int64) bool {
	return len(p.Route.posts) == 0 && (p.Charge.Account.Idle() || p.Charge.Pay(size()))
}

// Hand calls push, which hands the event over, or fails and has then done nothing. One that is to
// be retained is kept as well; that fails when the endpoint has too much retained, or has ended:
// what it retained may be forgotten already, and nothing is to come after that.
func (p *Publication) Hand(body func() Body, push func() error) error {
	if !p.retain {
		return p.hand(body, push)
	}
	k := &p.Topic.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := p.outlet.Endpoint.Err(); err != nil {
		return err
	}
	reserved, err := k.reserveLocked(&p.Delivery, p.Flight.Size)
	if err != nil {
		return err
	}
	p.Route = p.Topic.Route() // who comes from now on has it from what is kept
	if err := p.hand(body, push); err != nil {
		p.Topic.node.kept.add(p.originID, -reserved)
		return err
	}
	k.putLocked(&p.Delivery, body(), p.Flight.Size, reserved)
	return nil
}

func (p *Publication) hand(body func() Body, push func() error) error {
	if err := push(); err != nil {
		return err
	}
	p.outlet.Accepted()
	p.post(body)
	return nil
}

// Accepted counts an event: it cannot fail any more.
func (o *Outlet) Accepted() { o.broadcast.Add(1) }

// post offers the event to where events wait for room.
func (p *Publication) post(body func() Body) {
	if len(p.Route.posts) > 0 && p.only == nil {
		f := &p.Filter // the event may wait for longer than the caller keeps the names
		f.To, f.Except = slices.Clone(f.To), slices.Clone(f.Except)
		p.Route.offer(body(), p.Flight.Size, &p.Delivery, nil)
	}
}

// Admit waits until there is room for an event of size bytes, beside the names in To and Except,
// in the window of its endpoint and type. Once it has returned nil only the end of the endpoint can
// make it fail.
func (p *Publication) Admit(ctx context.Context, size int64) error {
	size += p.Filter.Size() // for as long as the event waits for a member of a group
	if !p.Charge.Account.TryAcquire(size) {
		if err := p.await(ctx, size); err != nil {
			return err
		}
	}
	p.Flight = window.NewFlight(p.Charge.Account, window.Item{
		Size: size, Prompt: p.Charge.Account.Prompt(),
	})
	return nil
}

// await waits for room, if it may. A request that nobody would get fails before that: those who lag
// are others.
func (p *Publication) await(ctx context.Context, size int64) error {
	if p.Call != nil && (!p.noWait || p.uplink == nil) {
		if err := p.require(ctx); err != nil {
			return err
		}
	}
	if !p.noWait {
		return p.outlet.wait(ctx, p.Charge.Account, size)
	}
	if err := p.outlet.Endpoint.Usable(); err != nil {
		return err
	}
	return fault.Errorf(fault.WouldBlock, "subscriptions to %s lag behind by %d bytes",
		p.Topic.Name, p.Charge.Account.Used())
}

// wait waits for room in a, and lets it be known.
func (o *Outlet) wait(ctx context.Context, a *window.Account, size int64) error {
	start := time.Now()
	o.Topic.hold(o)
	defer func() {
		o.Topic.release(o)
		o.waited.Add(int64(time.Since(start)))
	}()
	err := a.Acquire(ctx, size)
	if err != nil && err == ctx.Err() {
		err = fmt.Errorf("lahja: endpoint %q waited to broadcast %s: subscriptions to it lag "+
			"behind (Bus.Stats says whose): %w", o.Endpoint.name, o.Topic.Name,
			fault.Ended(ctx))
	}
	return err
}

// CheckSize fails when an encoded event is longer than the bus allows.
func (p *Publication) CheckSize(length int) error {
	for _, names := range [][]string{p.Filter.To, p.Filter.Except} {
		for _, n := range names {
			length += len(n) + 2
		}
	}
	return p.outlet.Endpoint.node.checkSize("an event", p.Topic.Name, length)
}

func (n *Node) checkSize(what, name string, length int) error {
	if limit := n.config().MaxFrame - frameRoom; length > limit {
		return fault.Errorf(fault.TooLarge, "%s %s has %d bytes when encoded, where %d are allowed",
			what, name, length, limit)
	}
	return nil
}

// frameRoom is how much of a frame is left for what is not payload.
const frameRoom = 4 << 10

// Send hands the encoded event to everyone who does not share the Go type of kind.
func (p *Publication) Send(payload []byte, kind Kind) {
	for _, g := range p.Route.Groups {
		if g.Kind != kind {
			d := p.Delivery // the copy may live longer than p
			g.Kind.Deliver(g.Subs, payload, &d)
		}
	}
	if p.only == nil {
		p.Route.forward(payload, &p.Delivery, nil)
	}
}

// SendUp sends the event to the bus, if it leaves the process; the bus finds who else gets it. It
// goes first, for it fails when the endpoint or the bus has said goodbye meanwhile.
func (p *Publication) SendUp(payload []byte) error {
	if p.uplink == nil {
		return nil
	}
	e := wire.Event{Name: p.Topic.ID, Payload: payload}
	if p.Flight.Prompt {
		e.Flags |= wire.FlagPrompt
	}
	if p.Filter.HasTo {
		e.Flags |= wire.FlagTo
		e.To = p.Filter.To
	}
	if len(p.Filter.Except) > 0 {
		e.Flags |= wire.FlagExcept
		e.Except = p.Filter.Except
	}
	if p.retain {
		e.Flags |= wire.FlagRetain
	}
	p.mark(&e)
	var wanted []wire.Name
	if p.Call != nil {
		if !p.Call.add(p.uplink) {
			return nil
		}
		wanted = []wire.Name{p.Call.describe(&e, p.Call.ID)}
	}
	if p.uplink.link.Event(&e, p.Flight, p.Topic.Name, wanted...) {
		return nil
	}
	if p.Call != nil {
		p.Call.retract(p.uplink)
	}
	if p.uplink.over() {
		return errSessionOver // and perhaps followed by another one
	}
	if err := p.uplink.link.Err(); err != nil {
		return linkError("the connection to the bus has ended", err)
	}
	return fault.Errorf(fault.Closed, "endpoint %q is closing, or its bus is", p.Origin)
}

// End ends the publication: from here on only those who got the event hold it.
func (p *Publication) End() {
	p.Flight.Drop()
	p.Charge.Refund()
	if p.Call != nil {
		p.Call.Routed()
	}
}
