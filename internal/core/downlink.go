package core

import (
	"fmt"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// fromEndpoint handles the frames that only an endpoint sends.
func (p *peer) fromEndpoint(f wire.Frame) (known bool, err error) {
	switch f.Type {
	case wire.TypeEvent:
		return true, p.event(f.Body)
	case wire.TypeSubscribe:
		return true, p.subscribed(f.Body)
	case wire.TypeLeave:
		return true, p.unsubscribed(f.Body)
	case wire.TypeWindowAck:
		return true, p.windowAck(f.Body)
	case wire.TypeAsk:
		return true, p.asked(f.Body)
	case wire.TypeWatch:
		return true, p.watch(f.Body)
	}
	return false, nil
}

// subscribed adds a subscription of the endpoint. The answer follows in the order of events, so
// that what comes after it is what the subscription gets.
func (p *peer) subscribed(body []byte) error {
	var m wire.Subscribe
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	answer := wire.Subscribed{ID: m.ID}
	if m.Group != "" || m.Retained || m.DropOldest || m.Observe {
		answer.Code, answer.Message = string(fault.Denied), "this bus does not know the option"
	} else if err := p.add(&m); err != nil {
		return err
	}
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeSubscribed, answer)
	})
	return nil
}

func (p *peer) add(m *wire.Subscribe) error {
	if m.Event == "" || len(m.Event) > wire.MaxName {
		return fmt.Errorf("a subscription to an event with a name of %d bytes", len(m.Event))
	}
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table.Find(p.party.Name) != p.party {
		return nil // it is leaving
	}
	s := &router.Sub{ID: m.ID, Party: p.party, Event: m.Event, From: m.From}
	if !n.table.Add(s) {
		return fmt.Errorf("a second subscription with the number %d", m.ID)
	}
	n.topicLocked(m.Event).route.Store(nil)
	n.changedLocked(p.party.Name)
	return nil
}

func (p *peer) unsubscribed(body []byte) error {
	var m wire.Leave
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.table.Remove(p.party, m.ID); s != nil {
		n.topicLocked(s.Event).route.Store(nil)
		n.changedLocked(p.party.Name)
	}
	return nil
}

func (p *peer) windowAck(body []byte) error {
	var number, change uint64
	if err := wire.Uvarints(body, &number, &change); err != nil {
		return err
	}
	in := p.inlets[number]
	if in == nil {
		return fmt.Errorf("a window of the number %d, which was never granted", number)
	}
	in.account.Acknowledge(change)
	return nil
}

// asked says how many endpoints an event would go to, the asking one left out.
func (p *peer) asked(body []byte) error {
	var m wire.Ask
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	p.node.mu.Lock()
	t := p.node.topicLocked(m.Event)
	p.node.mu.Unlock()
	d := Delivery{Topic: t, Origin: p.party.Name}
	d.Filter = router.Filter{HasTo: m.HasTo, To: m.To, Except: m.Except}
	answer := wire.Answer{ID: m.ID, Count: uint64(t.Route().recipients(&d, p))}
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeAnswer, answer)
	})
	return nil
}

// Pull implements [session.Handler]: it appends the windows and the views that are to be told.
func (p *peer) Pull(dst []byte) (frames []byte, count uint64) {
	p.mu.Lock()
	granted := p.granted
	p.granted = nil
	p.mu.Unlock()
	for _, in := range granted {
		bytes, change := in.account.Grant()
		dst = wire.AppendUvarints(dst, wire.TypeWindow, in.number, change, uint64(bytes))
		count++
	}
	return p.pullPresence(dst, count)
}
