package lahja

import (
	"bytes"
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/lahja-go/lahja/internal/codec"
	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/mailbox"
	"github.com/lahja-go/lahja/internal/window"
)

// kind is what the package knows of an event type T. There is one of each T in a process.
type kind[T any] struct {
	codec   *codec.Type
	fixed   int64     // what each value counts for; 0: it depends on the value
	holders sync.Pool // of *Event[T]: what is encoded or decoded must live on the heap
	events  mailbox.Events[Event[T]]
}

// kinds has what was found out about types, by reflect.Type. It only grows, with the program's
// types.
var kinds sync.Map

func kindOf[T any]() (*kind[T], error) {
	t := reflect.TypeFor[T]()
	if known, found := kinds.Load(t); found {
		return known.(*kind[T]), nil
	}
	c, err := codec.EventFor[T]()
	if err != nil {
		return nil, err
	}
	k := &kind[T]{
		codec:   c,
		holders: sync.Pool{New: func() any { return new(Event[T]) }},
		events: mailbox.Events[Event[T]]{
			Decode: func(o mailbox.Owner, ev *Event[T], payload []byte) bool {
				err := c.Decode(payload, &ev.Value)
				if err != nil {
					o.(*core.Sub).Unreadable(ev.Origin, err)
				}
				return err == nil
			},
			Missed: func(ev *Event[T]) *uint64 { return &ev.Missed },
			Stale:  func(ev *Event[T]) bool { return ev.back.Over() },
			Lost:   func(ev *Event[T]) { ev.back.Lost() },
			Alone:  func(ev *Event[T]) bool { return ev.back.Request() }, // its requester waits
		},
	}
	if size, fixed := c.FixedSize(); fixed {
		k.fixed = int64(size) + window.Overhead
	}
	known, _ := kinds.LoadOrStore(t, k)
	return known.(*kind[T]), nil
}

func responseOf[Resp any]() (*codec.Type, error) {
	return codec.Response(reflect.TypeFor[Resp]())
}

func answerOf[Resp any](response *codec.Type, resp Resp) core.Answer {
	return core.Answer{
		Name:   response.Name(),
		Value:  resp,
		Encode: func(buf *bytes.Buffer) error { return response.Encode(buf, resp) },
	}
}

func (k *kind[T]) name() string { return k.codec.Name() }

// size is what an event that is not encoded counts for.
func (k *kind[T]) size(value T) int64 {
	if k.fixed > 0 {
		return k.fixed
	}
	return k.measure(value)
}

//go:noinline
func (k *kind[T]) measure(value T) int64 {
	return int64(k.codec.Size(reflect.ValueOf(&value).Elem())) + window.Overhead
}

// encode returns value in a buffer that the caller recycles.
func (k *kind[T]) encode(value T) (*bytes.Buffer, error) {
	buf := codec.Buffer()
	h := k.holders.Get().(*Event[T])
	h.Value = value
	err := k.codec.Encode(buf, &h.Value)
	k.letGo(h)
	if err != nil {
		codec.Recycle(buf)
		return nil, err
	}
	return buf, nil
}

// box makes the mailbox of a subscription.
func (k *kind[T]) box(o SubscribeOption) func(*core.Sub) core.Box {
	return func(s *core.Sub) core.Box {
		return mailbox.New(mailbox.Options[Event[T]]{
			Handled:    s.Spec.Workers > 0,
			Buffer:     o.buffer,
			Take:       o.take,
			DropOldest: o.dropOldest,
			Limit:      s.BacklogLimit(),
			Events:     &k.events,
			Owner:      s,
		})
	}
}

// Deliver implements [core.Kind].
func (k *kind[T]) Deliver(subs []*core.Sub, payload []byte, d *core.Delivery) {
	ev := k.holders.Get().(*Event[T])
	defer k.letGo(ev)
	if err := k.codec.Decode(payload, &ev.Value); err != nil {
		for _, s := range subs {
			if d.For(s) {
				s.Unreadable(d.Origin, err)
			}
		}
		return
	}
	ev.Origin = d.Origin
	k.push(subs, ev, d)
}

// PassOn implements [core.Kind].
func (k *kind[T]) PassOn(
	s *core.Sub, payload []byte, d *core.Delivery, source window.Source, item window.Item,
) (done, waits bool) {
	ev := Event[T]{Origin: d.Origin, Key: d.Key, Missed: d.Missed}
	result := s.Box.(*mailbox.Mailbox[Event[T]]).PushEncoded(&ev, payload, source, item)
	if result == mailbox.Overflow {
		s.Overflow()
	}
	return result != mailbox.NeedsValue, result == mailbox.Listed
}

func (k *kind[T]) letGo(holder *Event[T]) {
	*holder = Event[T]{}
	k.holders.Put(holder)
}

// Gone implements [core.Kind].
func (k *kind[T]) Gone(subs []*core.Sub, d *core.Delivery) {
	k.push(subs, &Event[T]{Origin: d.Origin, Gone: true}, d)
}

// letter is an event that waits, or is kept.
type letter[T any] struct {
	kind    *kind[T]
	value   T
	payload []byte // encoded, if it was when the letter was made
}

// Payload implements [core.Body].
func (l *letter[T]) Payload() ([]byte, error) {
	if l.payload != nil {
		return l.payload, nil
	}
	buf, err := l.kind.encode(l.value)
	if err != nil {
		return nil, err
	}
	defer codec.Recycle(buf)
	return bytes.Clone(buf.Bytes()), nil
}

// Push implements [core.Body].
func (l *letter[T]) Push(s *core.Sub, d *core.Delivery) {
	if s.Spec.Kind == core.Kind(l.kind) {
		l.kind.push([]*core.Sub{s}, &Event[T]{Value: l.value, Origin: d.Origin}, d)
		return
	}
	payload, err := l.Payload()
	if err != nil {
		s.Unreadable(d.Origin, err)
		return
	}
	s.Spec.Kind.Deliver([]*core.Sub{s}, payload, d)
}

// push hands ev to those of subs that it is for. It is generic to the end: an event that went
// through an interface would cost an allocation.
func (k *kind[T]) push(subs []*core.Sub, ev *Event[T], d *core.Delivery) {
	ev.Key, ev.Missed = d.Key, d.Missed
	for _, s := range subs {
		if !d.For(s) {
			continue
		}
		var result mailbox.Result
		if s.HasGap() {
			s.TellGap(func(gap bool) { result = k.pushTo(s, ev, d, gap) })
		} else {
			result = k.pushTo(s, ev, d, false)
		}
		if result == mailbox.Overflow {
			s.Overflow()
		}
		if result > mailbox.Listed {
			d.Flight.Meet(window.Returned)
			ev.back.Lost()
		}
	}
}

func (k *kind[T]) pushTo(
	s *core.Sub, ev *Event[T], d *core.Delivery, gap bool,
) mailbox.Result {
	box := s.Box.(*mailbox.Mailbox[Event[T]])
	ev.back = d.Back(s, gap)
	result := box.Push(ev, d.Flight, &d.Charge)
	if result == mailbox.NeedsSize {
		d.Charge.Size = k.size(ev.Value)
		result = box.Push(ev, d.Flight, &d.Charge)
	}
	return result
}

// outlet is through which an endpoint broadcasts events of type T.
type outlet[T any] struct {
	*core.Outlet
	kind *kind[T]
	here atomic.Pointer[here[T]] // of the route that was taken last
}

// here is who gets an event without options as long as a route holds, if that is easily said: some
// mailboxes of the bus's own process, and all that is pushed.
type here[T any] struct {
	route *core.Route
	all   bool // nobody else gets it
	subs  []*core.Sub
	boxes []*mailbox.Mailbox[Event[T]] // of subs
}

func (o *outlet[T]) look() *here[T] {
	route := o.Topic.Route()
	if h := o.here.Load(); h != nil && h.route == route {
		return h
	}
	h := &here[T]{route: route}
	h.subs, h.all = o.Topic.Here(route, o.kind)
	for _, s := range h.subs {
		h.boxes = append(h.boxes, s.Box.(*mailbox.Mailbox[Event[T]]))
	}
	o.here.Store(h)
	return h
}

// outletOf returns the one of ep. The one that was used last is found without a search.
func outletOf[T any](ep *Endpoint) (*outlet[T], error) {
	if recent := ep.recent.Load(); recent != nil {
		if o, same := (*recent).(*outlet[T]); same {
			return o, nil
		}
	}
	t := reflect.TypeFor[T]()
	found, known := ep.outlets.Load(t)
	if !known {
		k, err := kindOf[T]()
		if err != nil {
			return nil, err
		}
		o, err := ep.core.Outlet(k.name())
		if err != nil {
			return nil, err
		}
		found, _ = ep.outlets.LoadOrStore(t, &outlet[T]{Outlet: o, kind: k})
	}
	ep.recent.Store(&found)
	return found.(*outlet[T]), nil
}

// publish broadcasts value; call is the request that it is, or nil. What meets the end of a session
// with the bus has reached nobody, and is broadcast in the next.
func (o *outlet[T]) publish(
	ctx context.Context, value T, b *core.Broadcast, call *core.Call,
) error {
	if call == nil && b.Plain() {
		if done, err := o.publishHere(value); done {
			return err
		}
	}
	err := o.publishOnce(ctx, value, b, call)
	for core.SessionOver(err) {
		err = o.publishOnce(ctx, value, b, call)
	}
	return err
}

// publishHere is the short way of most events within one process; false: it has done nothing.
func (o *outlet[T]) publishHere(value T) (done bool, err error) {
	h := o.look()
	if !h.all {
		return false, nil
	}
	if err := o.Endpoint.Usable(); err != nil {
		return true, err
	}
	charge := window.Charge{Account: o.Account()}
	if !charge.Account.Idle() && !charge.Pay(o.kind.size(value)) {
		return false, nil
	}
	o.Accepted()
	ev := Event[T]{Value: value, Origin: o.Endpoint.Name()}
	for i, box := range h.boxes {
		result := box.Push(&ev, nil, &charge)
		if result == mailbox.NeedsSize {
			charge.Size = o.kind.size(value)
			result = box.Push(&ev, nil, &charge)
		}
		if result == mailbox.Overflow {
			h.subs[i].Overflow()
		}
	}
	charge.Refund()
	return true, nil
}

func (o *outlet[T]) publishOnce(
	ctx context.Context, value T, b *core.Broadcast, call *core.Call,
) error {
	var p core.Publication
	if err := o.Begin(ctx, b, call, &p); err != nil {
		return err
	}
	encoded := p.Encoded(o.kind)
	if encoded || !p.Goes(func() int64 { return o.kind.size(value) }) {
		return o.publishWaiting(ctx, value, p, encoded)
	}
	o.Accepted()
	o.push(value, &p)
	p.End()
	return nil
}

// push hands value to the subscriptions of this process that have the same Go type.
func (o *outlet[T]) push(value T, p *core.Publication) {
	for i := range p.Route.Groups {
		if p.Route.Groups[i].Kind == core.Kind(o.kind) {
			ev := Event[T]{Value: value, Origin: p.Origin}
			o.kind.push(p.Route.Groups[i].Subs, &ev, &p.Delivery)
		}
	}
}

// publishWaiting is publish where there may be something to wait for or to encode.
//
//go:noinline
func (o *outlet[T]) publishWaiting(
	ctx context.Context, value T, p core.Publication, encoded bool,
) error {
	size, payload := int64(0), []byte(nil)
	if encoded {
		buf, err := o.kind.encode(value)
		if err != nil {
			return err
		}
		defer codec.Recycle(buf)
		if err := p.CheckSize(buf.Len()); err != nil {
			return err
		}
		payload = buf.Bytes()
		size = int64(len(payload)) + window.Overhead
	} else {
		size = o.kind.size(value)
	}
	if err := p.Admit(ctx, size); err != nil {
		return err
	}
	defer p.End()
	var body *letter[T]
	err := p.Hand(func() core.Body {
		if body == nil {
			body = &letter[T]{o.kind, value, bytes.Clone(payload)}
		}
		return body
	}, func() error {
		if err := p.SendUp(payload); err != nil {
			return err
		}
		o.push(value, &p)
		if encoded {
			p.Send(payload, o.kind)
		}
		return nil
	})
	if core.SessionOver(err) {
		p.Call = nil // a request that has gone nowhere is not over: it goes by the next session
	}
	return err
}
