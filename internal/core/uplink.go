package core

import (
	"cmp"
	"context"
	"fmt"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// fromBus handles the frames that only a bus sends.
func (p *peer) fromBus(f wire.Frame) (known bool, err error) {
	switch f.Type {
	case wire.TypeSubscribed:
		return true, p.subscriptionAnswered(f.Body)
	case wire.TypeWindow:
		return true, p.window(f.Body)
	case wire.TypeAnswer:
		return true, p.askAnswered(f.Body)
	case wire.TypePeer:
		return true, p.peerSeen(f.Body)
	case wire.TypePeers:
		return true, p.viewComplete(f.Body)
	case wire.TypeDrain:
		p.drain()
		return true, nil
	}
	return false, nil
}

// drain takes no more broadcasts and sends the last of what was accepted, for the bus is about to
// close. What others had accepted still comes.
func (p *peer) drain() {
	for _, ep := range p.node.ownEndpoints() {
		ep.refuse(fault.Errorf(fault.Closed, "the bus is closing"))
	}
	p.link.Goodbye(wire.Goodbye{})
}

// ack is an answer of the bus that is awaited.
type ack struct {
	sub    *Sub
	answer chan error // takes one
}

// announce tells the bus of s, and waits until it counts there.
func (ep *Endpoint) announce(ctx context.Context, s *Sub) error {
	for {
		up, err := ep.session(ctx)
		if err != nil {
			return err
		}
		err = up.subscribe(ctx, s)
		if s.hasEnded() { // perhaps before the bus was told that it begins
			up.unsubscribe(s.ID)
		}
		if err != errSessionOver {
			return err
		}
	}
}

// subscribe announces s to the bus and waits until it counts there.
func (p *peer) subscribe(ctx context.Context, s *Sub) error {
	if err := p.permitSubscription(s.Spec.Event, s.Spec.Response); err != nil {
		return err
	}
	a := p.announce(s)
	defer func() {
		p.mu.Lock()
		delete(p.acks, s.ID)
		p.mu.Unlock()
	}()
	refusal, err := wait(ctx, p, s.Endpoint, a.answer)
	return cmp.Or(err, refusal)
}

// announce announces s to the bus. One with so many names in From that its frame would be too long
// is refused as by the bus, which may be a new one that allows less.
func (p *peer) announce(s *Sub) *ack {
	a := &ack{s, make(chan error, 1)}
	m := wire.Subscribe{
		ID: s.ID, Event: s.Spec.Event, From: s.Spec.From, Observe: s.Spec.Observe,
		Response: s.Spec.Response, Group: s.Spec.Group, DropOldest: s.Spec.Lossy,
		Retained: s.Spec.Retained, Room: uint64(s.Spec.Buffer),
	}
	if s.Spec.Group != "" {
		m.Room = uint64(s.Spec.ahead())
	}
	frame := wire.AppendControl(nil, wire.TypeSubscribe, m)
	if err := p.node.checkSize("a subscription to", s.Spec.Event, len(frame)); err != nil {
		a.settle(err)
		return a
	}
	p.mu.Lock()
	p.acks[s.ID] = a
	p.mu.Unlock()
	p.link.Send(func(dst []byte) []byte { return append(dst, frame...) })
	return a
}

// settle says whether the subscription counts in the session. It ends if it has in another one: a
// new session does not want what the last one did.
func (a *ack) settle(err error) {
	if a.sub.announced.Swap(err == nil) && err != nil {
		a.sub.end(err, false)
	}
	a.answer <- err
}

// wait waits for an answer of the bus, the end of ctx, that of the endpoint or of the session.
func wait[A any](ctx context.Context, p *peer, ep *Endpoint, answer <-chan A) (a A, err error) {
	select {
	case a = <-answer:
		return a, nil
	case <-ctx.Done():
		return a, fault.Ended(ctx)
	case <-ep.closing:
		return a, ep.Err()
	case <-p.ended:
	}
	select {
	case a = <-answer: // the last that came
		return a, nil
	default:
		return a, errSessionOver
	}
}

func (p *peer) unsubscribe(id uint64) {
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeLeave, wire.Leave{ID: id})
	})
}

func (p *peer) subscriptionAnswered(body []byte) error {
	var m wire.Subscribed
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	p.mu.Lock()
	a := p.acks[m.ID]
	delete(p.acks, m.ID)
	p.mu.Unlock()
	if a == nil {
		return nil // whoever subscribed has given up
	}
	var err error
	if m.Code != "" {
		err = fault.Errorf(fault.Code(m.Code), "the bus refuses the subscription: %s", m.Message)
	}
	a.settle(err)
	return nil
}

// window takes a new window for what this endpoint publishes of one type.
func (p *peer) window(body []byte) error {
	var number, change, bytes uint64
	if err := wire.Uvarints(body, &number, &change, &bytes); err != nil {
		return err
	}
	t := p.node.topicByID(number)
	if t == nil || bytes > 1<<40 {
		return fmt.Errorf("a window of %d bytes for the number %d", bytes, number)
	}
	t.Pool.SetLimit(int64(bytes))
	// In the order of events, so that the bus knows which were sent under the old window.
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendUvarints(dst, wire.TypeWindowAck, number, change)
	})
	return nil
}

// ask asks the bus how many other endpoints would get an event.
func (ep *Endpoint) ask(ctx context.Context, event string, f *router.Filter) (int, error) {
	for {
		up, err := ep.session(ctx)
		if err != nil {
			return 0, err
		}
		if count, err := up.ask(ctx, ep, event, f); err != errSessionOver {
			return count, err
		}
	}
}

func (p *peer) ask(ctx context.Context, ep *Endpoint, event string, f *router.Filter) (int, error) {
	p.node.mu.Lock()
	id := p.node.nextLocked()
	p.node.mu.Unlock()
	count := make(chan uint64, 1)
	p.mu.Lock()
	p.asks[id] = count
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.asks, id)
		p.mu.Unlock()
	}()
	m := wire.Ask{ID: id, Event: event, HasTo: f.HasTo, To: f.To, Except: f.Except}
	p.link.Send(func(dst []byte) []byte { return wire.AppendControl(dst, wire.TypeAsk, m) })
	n, err := wait(ctx, p, ep, count)
	return int(n), err
}

func (p *peer) askAnswered(body []byte) error {
	var m wire.Answer
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	p.mu.Lock()
	count := p.asks[m.ID]
	delete(p.asks, m.ID)
	p.mu.Unlock()
	if count != nil {
		count <- m.Count
	}
	return nil
}
