package core

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

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
func (in *inlet) Settle(f *window.Flight) { in.took(f.Item) }

// Took implements [window.Source].
func (in *inlet) Took(items []window.Item) { in.took(items...) }

// took is called without a detour through an interface, for which items would have to live on the
// heap.
func (in *inlet) took(items ...window.Item) {
	if in.account != nil {
		var size int64
		for i := range items {
			size += items[i].Size
		}
		in.account.Release(size)
	}
	if p := in.peer.Load(); p != nil {
		p.link.Took(items...)
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
	if in := p.recent; in != nil && in.number == number {
		return in, nil
	}
	in := p.inlets[number]
	if in == nil {
		var err error
		if in, err = p.openInlet(number); err != nil {
			return nil, err
		}
	}
	p.recent = in
	return in, nil
}

func (p *peer) openInlet(number uint64) (*inlet, error) {
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
		if err := p.openWindow(in); err != nil {
			return nil, err
		}
	}
	p.inlets[number] = in
	return in, nil
}

// openWindow gives an endpoint the window of an event. One that had several of the same event, by
// several numbers, could send so many events more, and hold up others with them.
func (p *peer) openWindow(in *inlet) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.published[in.topic] != nil {
		return fmt.Errorf("an event with the number %d, where its name has another", in.number)
	}
	if p.published == nil {
		p.published = map[*Topic]*inlet{}
	}
	in.account = in.topic.Pool.OpenRemote(in.tell)
	p.published[in.topic] = in
	return nil
}

// onlyUp and onlyDown are the flags that mean something in one direction alone.
const (
	onlyUp   = wire.FlagTo | wire.FlagExcept | wire.FlagGather | wire.FlagRetain
	onlyDown = wire.FlagOrigin | wire.FlagTarget | wire.FlagMissed | wire.FlagRetained |
		wire.FlagGone
	eitherWay = wire.FlagPrompt | wire.FlagRequest | wire.FlagKey

	filtered = wire.FlagTo | wire.FlagExcept // not everybody may get it
)

// event delivers an event of the peer.
func (p *peer) event(body []byte) error {
	e, d := &p.arrived, &p.delivery
	if err := wire.ParseEvent(body, e); err != nil {
		return err
	}
	if err := p.fits("an event", len(e.Payload), e.Key); err != nil {
		return err
	}
	in, err := p.inlet(e.Name)
	if err != nil {
		return err
	}
	*d = Delivery{Topic: in.topic, Key: e.Key, Missed: e.Missed}
	size := int64(len(e.Payload)) + window.Overhead
	if e.Flags&filtered != 0 {
		d.Filter = router.Filter{HasTo: e.Flags&wire.FlagTo != 0, To: e.To, Except: e.Except}
		size += d.Filter.Size()
	}
	if p.party == nil {
		err = p.originOf(e, d)
	} else {
		err = p.admit(e, d, in, size)
	}
	if err != nil {
		return err
	}
	item := window.Item{Size: size, Slot: e.Slot, Prompt: e.Flags&wire.FlagPrompt != 0}
	if p.passOn(e, d, in, item) {
		return nil
	}
	owner := window.Settler(in)
	if e.Flags&wire.FlagTarget != 0 {
		owner = (*addressed)(in)
		p.addressing.Lock()
		defer p.addressing.Unlock()
	}
	d.Flight = window.NewFlight(owner, item)
	err = p.deliver(e, d, size)
	d.Flight.Drop()
	if d.Call != nil {
		d.Call.Routed()
	}
	p.rest()
	return err
}

// passedOn is how large an event may be, in bytes, that is passed on. More would rather wait as a
// value than be copied twice.
const passedOn = 512

// passOn hands over, encoded, an event that only one subscription gets, and to which it is nothing
// but an event: it is decoded by who takes it, at the same time as others are read, and needs no
// Flight. False: it is not such an event, or better decoded at once.
func (p *peer) passOn(e *wire.Event, d *Delivery, in *inlet, item window.Item) bool {
	const more = wire.FlagTarget | wire.FlagRequest | wire.FlagRetain
	s := in.topic.Route().lone
	if s == nil || s.HasGap() || e.Flags&more != 0 || len(e.Payload) > passedOn {
		return false
	}
	done, waits := true, false
	if d.allows(s) {
		done, waits = s.Spec.Kind.PassOn(s, e.Payload, d, in, item)
	}
	if !done {
		return false
	}
	if !waits {
		in.took(item)
	}
	p.rest()
	return true
}

// deliver hands an event to those who are to have it. A request that cannot be made is nobody's.
func (p *peer) deliver(e *wire.Event, d *Delivery, size int64) (err error) {
	if e.Flags&wire.FlagRequest != 0 {
		if d.Call, err = p.request(e); d.Call == nil {
			return err
		}
	}
	if e.Flags&wire.FlagRetain != 0 {
		return p.retain(e, d, size)
	}
	p.route(e, d, size)
	return nil
}

// rest lets go of the event that was delivered: the next one may be long in coming.
func (p *peer) rest() {
	p.delivery.Call, p.arrived.Payload = nil, nil
	if p.arrived.Flags&filtered != 0 {
		p.delivery.Filter, p.arrived.To, p.arrived.Except = router.Filter{}, nil, nil
	}
}

// fits checks what the peer sent that is sent on: it has to fit a frame beside what others get to
// know of it.
func (p *peer) fits(what string, length int, names ...string) error {
	if limit := p.node.config().MaxFrame - frameRoom; length > limit {
		return fmt.Errorf("%s of %d bytes, where %d are allowed", what, length, limit)
	}
	for _, name := range names {
		if len(name) > wire.MaxName {
			return fmt.Errorf("%s with a name or key of %d bytes, where %d are allowed", what,
				len(name), wire.MaxName)
		}
	}
	return nil
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
	if !utf8.ValidString(e.Key) {
		// It could not be forgotten.
		return fmt.Errorf("the key %q, which is not valid UTF-8", e.Key)
	}
	k := &d.Topic.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	reserved, err := k.reserveLocked(d, size)
	if err != nil {
		return err
	}
	k.putLocked(d, encoded(bytes.Clone(e.Payload)), size, reserved)
	p.route(e, d, size)
	return nil
}

// originOf checks an event of the bus.
func (p *peer) originOf(e *wire.Event, d *Delivery) error {
	if e.Flags&^(onlyDown|eitherWay) != 0 || e.Flags&wire.FlagOrigin == 0 {
		return fmt.Errorf("an event of the bus with the flags %#x", uint64(e.Flags))
	}
	if p.origin.Number != e.Origin || p.origin.Name == "" {
		name, known := p.names[e.Origin]
		if !known {
			return fmt.Errorf("an event of an origin with the number %d, which has no name",
				e.Origin)
		}
		p.origin = wire.Name{Number: e.Origin, Name: name}
	}
	d.Origin, d.fromBus = p.origin.Name, true
	return nil
}

// contradictory reports whether an endpoint cannot mean all of the flags: see [Broadcast.check].
func contradictory(f wire.EventFlags) bool {
	kept, request := f&wire.FlagRetain != 0, f&wire.FlagRequest != 0
	return kept && (request || f&filtered != 0) ||
		f&wire.FlagKey != 0 && !kept ||
		f&wire.FlagGather != 0 && !request
}

// admit checks an event of an endpoint, and counts it.
func (p *peer) admit(e *wire.Event, d *Delivery, in *inlet, size int64) error {
	if e.Flags&^(onlyUp|eitherWay) != 0 || contradictory(e.Flags) {
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
	if !in.account.Arrived(size) {
		in.account.Release(size)
		return fmt.Errorf("more of %s than the window allows", in.topic.Name)
	}
	return nil
}
