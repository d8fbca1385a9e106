package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// fromEndpoint handles the frames that only an endpoint sends.
func (p *peer) fromEndpoint(f wire.Frame) (known bool, err error) {
	switch f.Type {
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
	case wire.TypeForget:
		return true, p.forget(f.Body)
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
	if err := checkSubscribe(&m); err != nil {
		answer.Code, answer.Message = string(fault.CodeOf(err)), err.Error()
	} else if err := p.add(&m); errors.Is(err, fault.Denied) {
		answer.Code, answer.Message = string(fault.Denied), err.Error()
	} else if err != nil {
		return err
	}
	p.link.Answer(func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeSubscribed, answer)
	})
	return nil
}

func checkSubscribe(m *wire.Subscribe) error {
	if err := CheckNames("From", m.From); err != nil {
		return err
	}
	if m.Group == "" {
		return nil
	}
	if m.DropOldest || m.Retained || m.Observe {
		return fault.Errorf(fault.Denied, "a member of a group takes part in no other way")
	}
	return CheckName("a group", m.Group)
}

// add adds a subscription: served directly, or by a post of its own or of its group.
func (p *peer) add(m *wire.Subscribe) error {
	if m.Event == "" || len(m.Event) > wire.MaxName {
		return fmt.Errorf("a subscription to an event with a name of %d bytes", len(m.Event))
	}
	if err := p.permitSubscription(m.Event, m.Response); err != nil {
		return err
	}
	s := &router.Sub{
		ID: m.ID, Party: p.party, Event: m.Event, From: m.From, Observe: m.Observe,
		Mute: p.mutes(m.Event),
	}
	t, err := p.use(m.Event)
	if err != nil {
		return err
	}
	var own *post
	switch served := (&member{entry: s, peer: p, retained: m.Retained}); {
	case m.Group != "":
		served.room = 1 + int(min(m.Room, pacedRoom))
		s.Ref = served
	case m.DropOldest || m.Retained:
		own = &post{node: p.node, peer: p}
		served.room = pacedRoom
		if m.DropOldest {
			own.drop = int(min(max(m.Room, 1), pacedRoom))
		}
		own.join(served)
		s.Ref = served
	}
	if m.Retained {
		slices.Sort(m.From) // s is looked at before it is added
		t.kept.mu.Lock()
		defer t.kept.mu.Unlock()
		t.kept.replayLocked(t, p.party.Name, func(d *Delivery, body Body, size int64) {
			own.offer(d, body, size, wire.FlagRetained)
		})
	}
	if err := p.register(s, t, m.Group); err != nil {
		return err
	}
	if served, posted := s.Ref.(*member); posted && served.post != nil {
		served.post.serve() // something may wait for a member with room
	}
	return nil
}

// pacedRoom is how many events a subscription elsewhere may have on its way that is served by a
// post of its own. It is large, so that only one whose process does not read is paced by it.
const pacedRoom = 512

func (p *peer) register(s *router.Sub, t *Topic, group string) error {
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.table.Find(p.party.Name) != p.party {
		return nil // it is leaving
	}
	if err := n.checkRoom(p.party, s); err != nil {
		return err
	}
	if !n.table.Add(s) {
		return fmt.Errorf("a second subscription with the number %d", s.ID)
	}
	if group != "" {
		t.groupLocked(group).join(s.Ref.(*member))
	}
	t.route.Store(nil)
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
	s := n.table.Remove(p.party, m.ID)
	if s == nil {
		n.mu.Unlock()
		return nil
	}
	t := n.topics[s.Event]
	t.route.Store(nil)
	served, posted := s.Ref.(*member)
	if posted {
		served.post.expel(served)
	}
	n.changedLocked(p.party.Name)
	n.mu.Unlock()
	if posted {
		served.quit(t)
	}
	return nil
}

// forget ends what the endpoint has retained under a key.
func (p *peer) forget(body []byte) error {
	var m wire.Forget
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	if err := p.forbid(broadcasting, m.Event); err != nil {
		return err
	}
	if t := p.node.lookUp(m.Event); t != nil {
		t.forget(p.party.Name, p.party.ID, m.Key)
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
	if err := p.forbid(broadcasting|requesting, m.Event); err != nil {
		return err
	}
	if err := errors.Join(CheckNames("To", m.To), CheckNames("Except", m.Except)); err != nil {
		return err
	}
	answer := wire.Answer{ID: m.ID}
	if t := p.node.lookUp(m.Event); t != nil {
		d := Delivery{Topic: t, Origin: p.party.Name}
		d.Filter = router.Filter{HasTo: m.HasTo, To: m.To, Except: m.Except}
		answer.Count = uint64(t.Route().recipients(&d, p))
	}
	p.link.Answer(func(dst []byte) []byte {
		return wire.AppendControl(dst, wire.TypeAnswer, answer)
	})
	return nil
}

// pullAtOnce is how many windows go into a record; each takes 36 bytes at most.
const pullAtOnce = 1024

// Pull implements [session.Handler]: it appends the windows and the views that are to be told.
func (p *peer) Pull(dst []byte) (frames []byte, count uint64) {
	p.mu.Lock()
	granted := p.granted[:min(len(p.granted), pullAtOnce)]
	if p.granted = p.granted[len(granted):]; len(p.granted) > 0 {
		p.link.Poke() // the rest comes in the next record
	} else {
		p.granted = nil
	}
	for _, in := range granted {
		in.told = true
	}
	p.mu.Unlock()
	for _, in := range granted {
		bytes, change := in.account.Grant()
		dst = wire.AppendUvarints(dst, wire.TypeWindow, in.number, change, uint64(bytes))
		count++
	}
	return p.pullPresence(dst, count)
}
