package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// viewRecord is about how many bytes of a view are sent at once.
const viewRecord = 32 << 10

// presence is one end of watching who is there. An endpoint elsewhere says that it watches; from
// then on the bus tells it the endpoints that changed, and when what it told is complete.
type presence struct {
	// The bus's end.
	watching bool
	restart  bool                // a new view is to begin
	dirty    map[string]struct{} // the endpoints that have to be told
	marker   uint64              // the question that the next complete view answers
	due      bool                // a complete view has to be announced

	// The endpoint's end.
	watchers int
	question uint64              // the last one that was asked
	answered uint64              // the last one that view answers
	staged   map[string][]string // what has arrived
	view     []Attached          // what was staged when it was last complete
	changed  chan struct{}       // closed when view changes
}

// changedLocked notes that an endpoint has changed, for p that watches. The Node's mu is held.
func (p *peer) changedLocked(name string) {
	p.mu.Lock()
	p.presence.dirty[name] = struct{}{}
	p.presence.due = true
	if len(p.presence.dirty) > 2*p.node.table.Len()+spareNames {
		p.beginLocked() // most have gone: who does not read must not have us remember them
	}
	p.mu.Unlock()
	p.link.Poke()
}

// spareNames is how many endpoints that have gone are remembered for one that watches, and does not
// read, beside as many as are there.
const spareNames = 1024

// beginLocked begins a new view, with all who are there. The Node's mu is held as well.
func (p *peer) beginLocked() {
	s := &p.presence
	s.restart, s.dirty = true, map[string]struct{}{}
	p.node.table.Parties(func(q *router.Party) { s.dirty[q.Name] = struct{}{} })
}

// watch begins, repeats or ends the watching of an endpoint elsewhere.
func (p *peer) watch(body []byte) error {
	var on, question uint64
	if err := wire.Uvarints(body, &on, &question); err != nil {
		return err
	}
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	switch {
	case on > 1:
		return fmt.Errorf("a watch of kind %d", on)
	case on == 0:
		delete(n.watchers, p)
		s.watching, s.due, s.dirty = false, false, nil
		return nil
	case !s.watching:
		n.watchers[p] = struct{}{}
		s.watching = true
		p.beginLocked()
	}
	s.marker, s.due = question, true
	p.link.Poke()
	return nil
}

// pullPresence appends what an endpoint that watches has to be told. The view that it completes
// is that of this moment: an endpoint that changes meanwhile is told again first.
func (p *peer) pullPresence(dst []byte, count uint64) ([]byte, uint64) {
	n := p.node
	n.mu.Lock()
	defer n.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	if !s.due {
		return dst, count
	}
	if s.restart {
		s.restart = false
		dst = wire.AppendUvarints(dst, wire.TypePeers, s.marker, 0)
		count++
	}
	start := len(dst)
	for name := range s.dirty {
		if len(dst)-start > viewRecord {
			p.link.Poke()
			return dst, count
		}
		delete(s.dirty, name)
		m := wire.Peer{Name: name, Gone: true}
		if q := n.table.Find(name); q != nil {
			m = wire.Peer{Name: name, Events: q.Events()}
		}
		dst = wire.AppendControl(dst, wire.TypePeer, m)
		count++
	}
	s.due = false
	return wire.AppendUvarints(dst, wire.TypePeers, s.marker, 1), count + 1
}

// peerSeen takes one endpoint of a view.
func (p *peer) peerSeen(body []byte) error {
	var m wire.Peer
	if err := wire.ParseControl(body, &m); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s := &p.presence; {
	case s.staged == nil: // nobody watches any more
	case m.Gone:
		delete(s.staged, m.Name)
	default:
		s.staged[m.Name] = m.Events
	}
	return nil
}

// viewComplete begins a view, or completes it.
func (p *peer) viewComplete(body []byte) error {
	var question, complete uint64
	if err := wire.Uvarints(body, &question, &complete); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	switch {
	case complete > 1:
		return fmt.Errorf("a view of kind %d", complete)
	case s.watchers == 0:
	case complete == 0:
		s.staged = map[string][]string{}
	case s.staged != nil:
		s.answered = question
		s.view = make([]Attached, 0, len(s.staged))
		for name, events := range s.staged {
			s.view = append(s.view, Attached{name, events})
		}
		if s.changed != nil {
			close(s.changed)
			s.changed = nil
		}
	}
	return nil
}

// Attached is an endpoint as others see it.
type Attached struct {
	Name   string
	Events []string // what it subscribes to, sorted, each once
}

// Equal reports whether a and b are the same.
func (a Attached) Equal(b Attached) bool {
	return a.Name == b.Name && slices.Equal(a.Events, b.Events)
}

// sortAttached sorts view by name, but self comes first.
func sortAttached(view []Attached, self string) {
	slices.SortFunc(view, func(a, b Attached) int {
		switch {
		case a.Name == self:
			return -1
		case b.Name == self:
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
}

// Peers returns every endpoint, this one first.
func (ep *Endpoint) Peers(ctx context.Context) (peers []Attached, err error) {
	err = ep.WaitUntil(ctx, func(view []Attached) bool {
		peers = view
		return true
	})
	return peers, err
}

// WaitUntil calls cond with every endpoint, this one first: now, and after each change until it
// returns true. What cond sees is never older than the call of WaitUntil.
func (ep *Endpoint) WaitUntil(ctx context.Context, cond func([]Attached) bool) error {
	if ctx.Err() != nil {
		return fault.Ended(ctx)
	}
	for {
		up, err := ep.session(ctx)
		if err != nil {
			return err
		}
		if up == nil {
			return ep.watchUntil(ctx, cond, ep.node.look, nil)
		}
		question := up.startWatching()
		look := func() ([]Attached, <-chan struct{}) { return up.look(question) }
		err = ep.watchUntil(ctx, cond, look, up.ended)
		up.stopWatching()
		if err != errSessionOver {
			return err
		}
	}
}

// watchUntil is WaitUntil for the time of one session, the end of which over tells.
func (ep *Endpoint) watchUntil(
	ctx context.Context, cond func([]Attached) bool,
	look func() ([]Attached, <-chan struct{}), over <-chan struct{},
) error {
	for {
		if err := ep.Err(); err != nil {
			return err
		}
		view, changed := look()
		if view != nil {
			sortAttached(view, ep.name)
			if cond(view) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("lahja: endpoint %q waited for others; %s: %w", ep.name, there(view),
				fault.Ended(ctx))
		case <-ep.closing:
		case <-over:
			return errSessionOver
		}
	}
}

// there says who is in a view, of many the first ones.
func there(view []Attached) string {
	const enough = 8
	if view == nil {
		return "the bus has not told who is there"
	}
	names := make([]string, 0, enough)
	for _, p := range view[:min(len(view), enough)] {
		names = append(names, p.Name)
	}
	if more := len(view) - len(names); more > 0 {
		return fmt.Sprintf("there are %q and %d more", names, more)
	}
	return fmt.Sprintf("there are %q", names)
}

// look returns the bus's own view, and a channel that is closed when it changes.
func (n *Node) look() ([]Attached, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	view := []Attached{}
	n.table.Parties(func(p *router.Party) { view = append(view, Attached{p.Name, p.Events()}) })
	if n.changed == nil {
		n.changed = make(chan struct{})
	}
	return view, n.changed
}

// look returns the last view if it answers the question, and a channel that is closed when there
// is another.
func (p *peer) look(question uint64) ([]Attached, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	if s.answered < question {
		return nil, s.changed
	}
	return append([]Attached{}, s.view...), s.changed
}

// startWatching asks the bus for a view that is not older than this moment. What is sent to the
// bus is queued under p.mu, so that it arrives in the order of the calls.
func (p *peer) startWatching() (question uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	s.watchers++
	s.question++
	p.sendWatchLocked(1)
	return s.question
}

func (p *peer) stopWatching() {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.presence
	if s.watchers--; s.watchers == 0 {
		s.staged, s.view = nil, nil
		p.sendWatchLocked(0)
	}
}

func (p *peer) sendWatchLocked(on uint64) {
	question := p.presence.question
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendUvarints(dst, wire.TypeWatch, on, question)
	})
}
