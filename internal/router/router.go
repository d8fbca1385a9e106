// Package router knows who is attached to a bus and who subscribes to what. It is plain data:
// no goroutine, no lock; its user guards it.
package router

import "slices"

// Party is an endpoint that is attached.
type Party struct {
	ID   uint64
	Name string
	Ref  any // its user's own

	subs      map[uint64]*Sub
	nameBytes int
	fromBytes int
}

// Sub is a subscription of a Party.
type Sub struct {
	ID      uint64 // unique within the Party
	Party   *Party
	Event   string
	From    []string // the origins that alone count; nil: all; Table.Add sorts a copy
	Observe bool     // it does not count as a subscriber
	Mute    bool     // it may not answer requests
	Ref     any      // its user's own

	index int // in Table.events[Event]
}

// Subs is the number of subscriptions of p.
func (p *Party) Subs() int { return len(p.subs) }

// NameBytes is how long the names of the events are that p subscribes to, each as often as it does.
func (p *Party) NameBytes() int { return p.nameBytes }

// FromBytes is about how much memory the names in From of all subscriptions of p take.
func (p *Party) FromBytes() int { return p.fromBytes }

// FromBytes is about how much memory the names in From take.
func (s *Sub) FromBytes() int { return sizeOf(s.From) }

// sizeOf is about how much memory names take.
func sizeOf(names []string) (n int) {
	const header = 16 // of a string
	for _, name := range names {
		n += header + len(name)
	}
	return n
}

// Accepts reports whether events of origin are for s, which has been added. Others pay for how long
// that takes: From may be long.
func (s *Sub) Accepts(origin string) bool {
	if s.From == nil {
		return true
	}
	_, found := slices.BinarySearch(s.From, origin)
	return found
}

// Filter is what a broadcast says of its recipients.
type Filter struct {
	HasTo  bool     // To was given, and may be empty
	To     []string // the endpoints that alone may get it
	Except []string // those that may not
}

// Selects reports whether the endpoint of that name may get the event.
func (f *Filter) Selects(name string) bool {
	return (!f.HasTo || slices.Contains(f.To, name)) && !slices.Contains(f.Except, name)
}

// Size is about how much memory the names take.
func (f *Filter) Size() int64 { return int64(sizeOf(f.To) + sizeOf(f.Except)) }

// Table holds parties and their subscriptions.
type Table struct {
	parties map[string]*Party
	events  map[string][]*Sub
}

// New returns an empty Table.
func New() *Table {
	return &Table{parties: map[string]*Party{}, events: map[string][]*Sub{}}
}

// Join adds a party, unless its name is taken.
func (t *Table) Join(p *Party) bool {
	if _, taken := t.parties[p.Name]; taken {
		return false
	}
	p.subs = map[uint64]*Sub{}
	t.parties[p.Name] = p
	return true
}

// Leave removes a party and all its subscriptions, which it returns.
func (t *Table) Leave(p *Party) []*Sub {
	if t.parties[p.Name] != p {
		return nil
	}
	delete(t.parties, p.Name)
	subs := make([]*Sub, 0, len(p.subs))
	for _, s := range p.subs {
		t.remove(s)
		subs = append(subs, s)
	}
	p.subs = nil
	return subs
}

// Add adds a subscription of a party that has joined; false: the party has left, or has one with
// that ID already.
func (t *Table) Add(s *Sub) bool {
	if t.parties[s.Party.Name] != s.Party {
		return false
	}
	if _, taken := s.Party.subs[s.ID]; taken {
		return false
	}
	s.Party.subs[s.ID] = s
	s.Party.nameBytes += len(s.Event)
	s.Party.fromBytes += s.FromBytes()
	s.From = slices.Clone(s.From)
	slices.Sort(s.From)
	s.index = len(t.events[s.Event])
	t.events[s.Event] = append(t.events[s.Event], s)
	return true
}

// Remove removes the subscription of p with that ID and returns it; nil: there is none.
func (t *Table) Remove(p *Party, id uint64) *Sub {
	s := p.subs[id]
	if s == nil {
		return nil
	}
	delete(p.subs, id)
	p.nameBytes -= len(s.Event)
	p.fromBytes -= s.FromBytes()
	t.remove(s)
	return s
}

// Sub returns the subscription of p with that ID; nil: there is none.
func (t *Table) Sub(p *Party, id uint64) *Sub { return p.subs[id] }

// remove takes s out of its event's list; the last one takes its place.
func (t *Table) remove(s *Sub) {
	list := t.events[s.Event]
	last := len(list) - 1
	list[s.index] = list[last]
	list[s.index].index = s.index
	list[last] = nil
	if last == 0 {
		delete(t.events, s.Event)
		return
	}
	t.events[s.Event] = list[:last]
}

// Subs returns the subscriptions to an event. The caller must not keep or change the slice.
func (t *Table) Subs(event string) []*Sub { return t.events[event] }

// Find returns the party of that name; nil: there is none.
func (t *Table) Find(name string) *Party { return t.parties[name] }

// Len is the number of parties.
func (t *Table) Len() int { return len(t.parties) }

// Parties calls f with each party, in no order.
func (t *Table) Parties(f func(*Party)) {
	for _, p := range t.parties {
		f(p)
	}
}

// Events returns what p subscribes to, sorted, each once.
func (p *Party) Events() []string {
	events := make([]string, 0, len(p.subs))
	for _, s := range p.subs {
		if !s.Observe {
			events = append(events, s.Event)
		}
	}
	slices.Sort(events)
	return slices.Compact(events)
}
