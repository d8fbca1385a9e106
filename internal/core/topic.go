package core

import (
	"slices"
	"sync/atomic"

	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// Topic is one event type on one Node.
type Topic struct {
	ID   uint64 // its number on all links of the Node
	Name string
	Pool *window.Pool

	node   *Node
	route  atomic.Pointer[Route] // nil: to be made anew; set under node.mu
	groups map[string]*post      // guarded by node.mu
	users  int                   // endpoints that have used it; guarded by node.mu
	kept   kept
	held   held
	lost   atomic.Uint64 // events that were on their way to a member of a group that died
}

// Route says who gets events of a topic. It does not change; a new one takes its place.
type Route struct {
	Groups   []Group    // the subscriptions of this process that are served directly
	links    []interest // the endpoints elsewhere that are
	posts    []*post    // where events wait for room
	retained []*post    // those of posts whose member wants what is kept
	lone     *Sub       // the only one who gets anything; nil: there are others, or more to it
	grouped  bool       // elsewhere than at the bus: a subscription here is a member of a group
}

// Group is the subscriptions of one Go type. Almost always there is one.
type Group struct {
	Kind Kind
	Subs []*Sub
}

// interest is what an endpoint elsewhere wants of a topic.
type interest struct {
	peer *peer
	sent *atomic.Uint64 // events that went there
	subs []*router.Sub
	all  bool // at least one of them counts as a subscriber and wants all origins
	mute bool // the endpoint may not answer requests: it only observes them
}

// accepts reports whether events of origin are wanted, and whether by one who counts as a
// subscriber.
func (i *interest) accepts(origin string) (wanted, counting bool) {
	if i.all {
		return true, true
	}
	for _, s := range i.subs {
		if s.Accepts(origin) {
			wanted, counting = true, counting || !s.Observe
		}
	}
	return wanted, counting
}

// Kind is what the typed shell knows of one Go type. Kinds are compared by ==.
type Kind interface {
	// Deliver decodes payload once and pushes it to those of subs that d is for. The subs are of
	// this Kind.
	Deliver(subs []*Sub, payload []byte, d *Delivery)

	// PassOn lists payload for s, which is of this Kind, to be decoded when it is taken. False: it
	// has to be delivered. waits: source will be told of item; otherwise nobody has it any more.
	PassOn(
		s *Sub, payload []byte, d *Delivery, source window.Source, item window.Item,
	) (done, waits bool)

	// Gone pushes to those of subs that d is for that what was kept has ended.
	Gone(subs []*Sub, d *Delivery)
}

// Route returns who gets events of t at this moment.
func (t *Topic) Route() *Route {
	if r := t.route.Load(); r != nil {
		return r
	}
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	if r := t.route.Load(); r != nil {
		return r
	}
	r := t.makeRoute(t.node.table.Subs(t.Name))
	t.route.Store(r)
	return r
}

func (t *Topic) makeRoute(subs []*router.Sub) *Route {
	r := &Route{}
	links := map[*peer]int{}
	for _, s := range subs {
		if m, posted := s.Ref.(*member); posted {
			r.addPost(m)
			continue
		}
		switch ref := s.Party.Ref.(type) {
		case *Endpoint:
			r.addOwn(s.Ref.(*Sub))
		case *peer:
			i, known := links[ref]
			if !known {
				i = len(r.links)
				links[ref] = i
				r.links = append(r.links, interest{peer: ref, sent: ref.sentOf(t)})
			}
			in := &r.links[i]
			in.subs = append(in.subs, s)
			in.mute = s.Mute
			in.all = in.all || s.From == nil && !s.Observe
		}
	}
	if broken := t.node.config().Break; broken != nil {
		broken(r)
	}
	if len(r.Groups) == 1 && len(r.links) == 0 && len(r.posts) == 0 {
		if subs := r.Groups[0].Subs; len(subs) == 1 && !subs[0].Spec.posted() {
			r.lone = subs[0]
		}
	}
	return r
}

func (r *Route) addPost(m *member) {
	if slices.Contains(r.posts, m.post) {
		return
	}
	r.posts = append(r.posts, m.post)
	if m.retained {
		r.retained = append(r.retained, m.post)
	}
}

func (r *Route) addOwn(s *Sub) {
	if s.Spec.Group != "" {
		r.grouped = true
		return // elsewhere than at the bus: only the bus chooses among a group
	}
	for i := range r.Groups {
		if r.Groups[i].Kind == s.Spec.Kind {
			r.Groups[i].Subs = append(r.Groups[i].Subs, s)
			return
		}
	}
	r.Groups = append(r.Groups, Group{Kind: s.Spec.Kind, Subs: []*Sub{s}})
}

// recipients counts who would get an event as a subscriber.
func (r *Route) recipients(d *Delivery, not *peer) int {
	count := 0
	for _, g := range r.Groups {
		for _, s := range g.Subs {
			if !s.Spec.Observe && d.allows(s) {
				count++
			}
		}
	}
	if d.only != nil {
		return count
	}
	for _, p := range r.posts {
		if p.peer == nil || p.peer != not {
			if _, counts := p.wants(d); counts {
				count++
			}
		}
	}
	for i := range r.links {
		in := &r.links[i]
		if _, counts := in.accepts(d.Origin); counts && in.peer != not &&
			d.Filter.Selects(in.peer.party.Name) {
			count++
		}
	}
	return count
}

// forward sends an encoded event to the endpoints elsewhere that want it. d's flight is held for
// each of them.
func (r *Route) forward(payload []byte, d *Delivery, not *peer) {
	for i := range r.links {
		in := &r.links[i]
		wants, counts := in.accepts(d.Origin)
		if !wants || in.peer == not || !d.Filter.Selects(in.peer.party.Name) {
			continue
		}
		e := wire.Event{Flags: wire.FlagOrigin, Name: d.Topic.ID, Origin: d.originID,
			Payload: payload}
		if d.Flight.Prompt {
			e.Flags |= wire.FlagPrompt
		}
		d.mark(&e)
		others := append(make([]wire.Name, 0, 2), wire.Name{Number: d.originID, Name: d.Origin})
		if d.Call != nil {
			if counts && !in.mute && !d.Call.add(in.peer) {
				return
			}
			others = append(others, d.Call.describe(&e, d.Call.ID))
		}
		in.sent.Add(1)
		in.peer.link.Event(&e, d.Flight, d.Topic.Name, others...)
	}
}

// offer offers an event to the posts.
func (r *Route) offer(body Body, size int64, d *Delivery, not *peer) {
	for _, p := range r.posts {
		if p.peer == nil || p.peer != not {
			p.offer(d, body, size, 0)
		}
	}
}

// Here returns the subscriptions that get every event without options, if they are all of this
// process, the bus's, and of the Go type of kind; false: there is more to it.
func (t *Topic) Here(r *Route, kind Kind) (subs []*Sub, all bool) {
	if t.node.line != nil || len(r.posts) > 0 || len(r.links) > 0 || len(r.Groups) > 1 {
		return nil, false
	}
	for _, g := range r.Groups {
		if g.Kind != kind {
			return nil, false
		}
		subs = g.Subs
	}
	return subs, !slices.ContainsFunc(subs, func(s *Sub) bool { return s.Spec.From != nil })
}

// encodes reports whether somebody elsewhere gets events.
func (r *Route) encodes() bool {
	return len(r.links) > 0 || slices.ContainsFunc(r.posts, (*post).elsewhere)
}

// Delivery is one event on its way into subscriptions.
type Delivery struct {
	Topic  *Topic
	Origin string
	Flight *window.Flight // nil: the publisher's account is charged
	Charge window.Charge
	Filter router.Filter
	Key    string
	Missed uint64
	Call   *Call // nil: it is no request

	originID uint64
	fromBus  bool      // it is for the subscriptions that the bus serves directly
	only     *Endpoint // Internal: its subscriptions alone
}

// For reports whether the event is for s. A handler of a request that would answer with another
// type than is wanted refuses it.
func (d *Delivery) For(s *Sub) bool {
	if !d.allows(s) {
		return false
	}
	if d.Call == nil || s.Spec.Response == "" || s.Spec.Response == d.Call.wanted ||
		s.Spec.Observe || s.mute() { // who cannot answer refuses nothing
		return true
	}
	d.Call.refuse(s)
	return false
}

func (d *Delivery) allows(s *Sub) bool {
	return (!d.fromBus || !s.Spec.posted()) && (s.Spec.From == nil || s.acceptsFrom(d.Origin)) &&
		(d.only == nil || d.only == s.Endpoint) &&
		(!d.Filter.HasTo && d.Filter.Except == nil || d.Filter.Selects(s.Endpoint.name))
}

// Back returns what the event has for s beside its value; nil: nothing. With gap it says that there
// is one before it.
func (d *Delivery) Back(s *Sub, gap bool) *Inbound {
	in := d.assigned(s)
	if !gap {
		return in
	}
	switch {
	case in == nil:
		in = &Inbound{gap: s}
	case s.Spec.Group != "": // it is for this subscription alone
		in.gap = s
	default:
		in = &Inbound{
			call: in.call, gap: s, of: in, endpoint: in.endpoint, observer: in.observer,
			mute: in.mute,
		}
	}
	return in
}

// assigned returns the way back from s to the requester, and to the group; nil: neither.
func (d *Delivery) assigned(s *Sub) *Inbound {
	var in *Inbound
	if d.Call != nil {
		in = d.Call.inbound(s)
	}
	if s.Spec.Group == "" || in == nil && !s.Spec.reclaims() {
		return in
	}
	assigned := &Inbound{shared: in}
	if in != nil {
		assigned.call, assigned.endpoint = in.call, in.endpoint
	}
	if s.Spec.reclaims() {
		d.Flight.Hold()
		assigned.flight = d.Flight
	}
	return assigned
}
