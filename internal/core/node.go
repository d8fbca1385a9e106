// Package core is the bus without its type parameter: what the typed functions of the root
// package stand on.
//
// A [Node] is one process's part of a bus. The bus itself is a Node with endpoints of its own
// process and links to endpoints elsewhere. An endpoint that connected from elsewhere is a Node
// as well, with itself as the only endpoint and one link: the uplink to the bus. Both deliver,
// count, and keep requests in the same way.
//
// Locks are held for short, and no function of a user runs under one. Where one is taken while
// another is held, it is in this order: kept, Node, post, Call, peer, and then one of those of the
// packages below, which take no other.
package core

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/codec"
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/wire"
)

// Conn is what a transport provides.
type Conn = io.ReadWriteCloser

// Node is one process's part of a bus.
type Node struct {
	cfg         atomic.Pointer[Config] // of an endpoint elsewhere, what the bus states
	incarnation []byte
	tasks       tasks         // what serves links
	journal     journal       // what is to be logged
	door        door          // who comes by a listener
	draining    atomic.Bool   // endpoints are asked to send their last
	unpaced     atomic.Bool   // they have: what waits for a member waits for no room
	line        *line         // to the bus elsewhere; nil on the bus itself
	self        *router.Party // the endpoint of a line
	kept        keptSizes

	life    context.Context // ends when Close or Shutdown begins
	endLife context.CancelFunc

	mu        sync.Mutex // guards what follows
	table     *router.Table
	topics    map[string]*Topic
	used      map[*router.Party]topicSet // which of them each endpoint that is attached has used
	calls     map[uint64]counterpart     // by the numbers that links know them by
	peers     map[*peer]struct{}         // links to endpoints elsewhere
	watchers  map[*peer]struct{}         // those of them that watch presence
	sessions  map[string]*peer           // those that may be resumed, by their numbers
	lastID    uint64                     // of topics, parties, subscriptions and calls
	closed    bool                       // no endpoint may join
	failures  []error                    // of sessions that have ended since then
	changed   chan struct{}              // closed at the next change of presence; nil: nobody waits
	endpoints map[*Endpoint]struct{}
}

// NewNode returns a Node without endpoints.
func NewNode(cfg Config) *Node {
	incarnation := make([]byte, 16)
	rand.Read(incarnation) // never fails
	life, end := context.WithCancel(context.Background())
	n := &Node{
		incarnation: incarnation,
		life:        life,
		endLife:     end,
		table:       router.New(),
		topics:      map[string]*Topic{},
		used:        map[*router.Party]topicSet{},
		calls:       map[uint64]counterpart{},
		peers:       map[*peer]struct{}{},
		watchers:    map[*peer]struct{}{},
		sessions:    map[string]*peer{},
		endpoints:   map[*Endpoint]struct{}{},
	}
	n.cfg.Store(cfg.withDefaults())
	return n
}

func (n *Node) config() *Config { return n.cfg.Load() }

// nextLocked returns a number that was never used on this Node.
func (n *Node) nextLocked() uint64 {
	n.lastID++
	return n.lastID
}

func (n *Node) next() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nextLocked()
}

// maxFromBytes is how much memory the names in From of all subscriptions of an endpoint may take.
const maxFromBytes = 1 << 20

// checkRoom fails when a party has as many subscriptions as it may, or as can be told to those who
// watch, or with s too many names in From. Of one elsewhere the bus says so.
func (n *Node) checkRoom(p *router.Party, s *router.Sub) error {
	const (
		listed = 3       // beside each name
		beside = 1 << 10 // the list
	)
	limit := min(n.config().Subscriptions, codec.ControlElements)
	if n.line != nil {
		return nil
	}
	if p.Subs() >= limit {
		return fault.Errorf(fault.Denied,
			"endpoint %q has %d subscriptions, which is as many as it may", p.Name, limit)
	}
	if from := p.FromBytes() + s.FromBytes(); from > maxFromBytes {
		return fault.Errorf(fault.Denied,
			"endpoint %q would have %d bytes of names in From of its subscriptions, where %d "+
				"are allowed", p.Name, from, maxFromBytes)
	}
	all := p.NameBytes() + len(s.Event) + listed*(p.Subs()+1)
	if most := n.config().MaxFrame - beside; all > most {
		return fault.Errorf(fault.Denied,
			"endpoint %q has %d subscriptions to events with names of %d bytes in all, which is "+
				"as many as fit a frame", p.Name, p.Subs(), p.NameBytes())
	}
	return nil
}

// CheckNames says what is wrong with the names that an option has.
func CheckNames(option string, names []string) error {
	if len(names) > wire.MaxNames {
		return fault.Errorf(fault.Denied, "%s has %d names, where %d are allowed",
			option, len(names), wire.MaxNames)
	}
	for _, n := range names {
		if len(n) > wire.MaxName || !utf8.ValidString(n) {
			return fault.Errorf(fault.Denied,
				"%s has %.64q, which cannot be the name of an endpoint", option, n)
		}
	}
	return nil
}

// CheckName says what is wrong with the name of an endpoint or a group.
func CheckName(what, name string) error {
	switch {
	case name == "":
		return fault.Errorf(fault.Denied, "the name of %s is empty", what)
	case len(name) > wire.MaxName:
		return fault.Errorf(fault.Denied,
			"the name of %s has %d bytes, where %d are allowed: %.32q…",
			what, len(name), wire.MaxName, name)
	case !utf8.ValidString(name):
		return fault.Errorf(fault.Denied, "the name of %s is not valid UTF-8: %q", what, name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fault.Errorf(fault.Denied,
				"the name of %s has a control character: %q", what, name)
		}
	}
	return nil
}

// joinLocked adds a party under a name, which must be free.
func (n *Node) joinLocked(name string, ref any) (*router.Party, error) {
	if n.closed {
		return nil, fault.Errorf(fault.Closed, "the bus takes no more endpoints")
	}
	p := &router.Party{ID: n.nextLocked(), Name: name, Ref: ref}
	if !n.table.Join(p) {
		return nil, fault.Errorf(fault.NameTaken,
			"an endpoint named %q is attached already; names are unique on a bus", name)
	}
	n.used[p] = nil
	n.changedLocked(name)
	return p, nil
}

// leave removes a party and tells who knows of it.
func (n *Node) leave(p *router.Party) {
	n.mu.Lock()
	subs := n.table.Leave(p)
	topics := slices.Collect(maps.Keys(n.used[p]))
	quitting := map[*member]*Topic{}
	for _, s := range subs {
		t := n.topics[s.Event]
		t.route.Store(nil)
		if m, posted := s.Ref.(*member); posted {
			m.post.expel(m)
			quitting[m] = t
		}
	}
	n.changedLocked(p.Name)
	n.mu.Unlock()
	for m, t := range quitting {
		m.quit(t)
	}
	for _, t := range topics {
		t.forgetAll(p.Name, p.ID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disuseLocked(p)
	for peer := range n.peers {
		peer.link.Retire(p.ID)
	}
}

// changedLocked wakes those who watch presence. Where nobody does, many who attach cost each other
// nothing.
func (n *Node) changedLocked(name string) {
	if n.changed != nil {
		close(n.changed)
		n.changed = nil
	}
	for p := range n.watchers {
		p.changedLocked(name)
	}
}

// topicByID finds the topic that a frame of the bus speaks of.
func (n *Node) topicByID(id uint64) *Topic {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.topics {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// begin marks the Node as closing; false: it was already.
func (n *Node) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.closed = true
	n.endLife()
	return true
}

// Close ends all endpoints and links, which are given a second to take what was accepted. When it
// returns none of the Node's goroutines is left. It may be called any number of times.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	n.begin()
	_ = n.cutOff() // whoever wants to know calls Shutdown
	n.drain(ctx)
	n.handOut(ctx)
	_ = n.farewell(ctx)
	for _, ep := range n.ownEndpoints() {
		ep.Close()
	}
	n.tasks.wait()
	n.journal.wait()
	return nil
}

// Shutdown refuses new endpoints and events, delivers what was accepted, and closes. At the end
// of ctx it closes at once and says what was not delivered.
//
// First what own endpoints had accepted is taken, for an endpoint elsewhere that has sent its last
// does not report any more; then those elsewhere send theirs; then own handlers finish.
func (n *Node) Shutdown(ctx context.Context) error {
	n.begin()
	failed := n.cutOff()
	own := n.ownEndpoints()
	stuck := each(own, func(ep *Endpoint) error {
		ep.shut.Store(true)
		return ep.flush(ctx)
	})
	n.drain(ctx)
	n.handOut(ctx)
	if stuck == nil {
		stuck = each(own, func(ep *Endpoint) error { return ep.Shutdown(ctx) })
	}
	failed = errors.Join(failed, stuck, n.farewell(ctx))
	n.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(append(n.failures, failed)...)
}

// failed notes what an endpoint has not got because its session has ended, for Shutdown.
func (n *Node) failed(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		n.failures = append(n.failures, err)
	}
}

// each calls f for all endpoints at once, and returns the errors.
func each(eps []*Endpoint, f func(*Endpoint) error) error {
	failed := make([]error, len(eps))
	var all sync.WaitGroup
	for i, ep := range eps {
		all.Go(func() { failed[i] = f(ep) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// drain has the endpoints elsewhere send what they had accepted, so that others still get it.
func (n *Node) drain(ctx context.Context) {
	n.draining.Store(true)
	peers := n.links()
	for _, p := range peers {
		p.link.Send(func(dst []byte) []byte { return wire.AppendUvarints(dst, wire.TypeDrain) })
	}
	half, cancel := context.WithTimeout(ctx, n.drainTime(ctx))
	defer cancel()
	for _, p := range peers {
		select {
		case <-p.drained:
		case <-p.ended:
		case <-half.Done():
		}
	}
}

// handOut gives what waits for members that have room to those that there are: an endpoint that has
// sent its last does not report what it takes any more, and an own one that ends takes no more.
func (n *Node) handOut(ctx context.Context) {
	n.unpaced.Store(true)
	n.mu.Lock()
	topics := slices.Collect(maps.Values(n.topics))
	n.mu.Unlock()
	for _, t := range topics {
		for _, p := range t.Route().posts {
			p.flush(ctx)
		}
	}
}

// cutOff ends the sessions without a connection: they cannot be resumed any more.
func (n *Node) cutOff() error {
	var failed []error
	for _, p := range n.links() {
		if !p.link.Connected() {
			failed = append(failed, p.cut(errNoConnection))
		}
	}
	return errors.Join(failed...)
}

// errNoConnection is why what an endpoint has not got cannot be delivered.
var errNoConnection = errors.New("it has no connection")

// farewell ends all links: it says goodbye, waits for the answers under ctx, and cuts what is left.
// It returns what was cut and had not taken everything.
func (n *Node) farewell(ctx context.Context) error {
	peers := n.links()
	for _, p := range peers {
		p.link.Goodbye(wire.Goodbye{Code: string(fault.Closed), Message: "the bus has closed"})
	}
	var failed []error
	for _, p := range peers {
		failed = append(failed, p.await(ctx))
	}
	return errors.Join(failed...)
}

func (n *Node) links() []*peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.peers))
}

// drainTime is how long endpoints may take to send what they had accepted: half of what is left.
func (n *Node) drainTime(ctx context.Context) time.Duration {
	deadline, limited := ctx.Deadline()
	if !limited {
		return time.Hour
	}
	return time.Until(deadline) / 2
}

func (n *Node) ownEndpoints() []*Endpoint {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*Endpoint, 0, len(n.endpoints))
	for ep := range n.endpoints {
		list = append(list, ep)
	}
	return list
}

// Life is a context that ends when Close or Shutdown begins.
func (n *Node) Life() context.Context { return n.life }
