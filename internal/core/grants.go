package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/wire"
)

// action is what an endpoint does with an event, and needs a permission for.
type action uint8

const (
	broadcasting action = 1 << iota
	subscribing
	requesting
	handling

	everything = broadcasting | subscribing | requesting | handling
)

func (a action) String() string {
	switch a {
	case broadcasting:
		return "broadcast"
	case requesting:
		return "request"
	case handling:
		return "handle"
	case broadcasting | requesting:
		return "broadcast or request"
	}
	return "subscribe to"
}

// grants are the permissions of an endpoint elsewhere, the same for the whole of a session; nil:
// everything is allowed. Both ends have them: the bus, which obeys nothing else, and the endpoint,
// so that a call which is not allowed fails without a round trip.
type grants struct {
	encoded []byte // as they are told to the endpoint
	exact   map[string]action
	starts  []start
}

// start is what is allowed with all events whose names begin so.
type start struct {
	prefix  string
	actions action
}

// Permissions is what a user's function allows an endpoint.
type Permissions wire.Permissions

// maxGrants is how long encoded permissions may be: they have to fit into a Welcome.
const maxGrants = 3 << 10

// newGrants makes grants of what a user's function has said.
func newGrants(allowed *Permissions) (*grants, error) {
	p := (*wire.Permissions)(allowed)
	encoded := wire.Encode(p)
	if len(encoded) > maxGrants {
		return nil, fault.Errorf(fault.TooLarge,
			"the permissions have %d bytes when encoded, where %d are allowed: let a * stand for "+
				"the end of several names", len(encoded), maxGrants)
	}
	for _, name := range slices.Concat(p.Broadcast, p.Subscribe, p.Request, p.Handle) {
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("the permissions name the event %q, which is not valid UTF-8",
				name)
		}
	}
	g := index(p)
	g.encoded = encoded
	return g, nil
}

// parseGrants reads what the bus has told.
func parseGrants(encoded []byte) (*grants, error) {
	if len(encoded) == 0 {
		return nil, nil
	}
	var p wire.Permissions
	if err := wire.ParseControl(encoded, &p); err != nil {
		return nil, fault.Errorf(fault.Protocol, "%w", err)
	}
	return index(&p), nil
}

func index(p *wire.Permissions) *grants {
	g := &grants{exact: map[string]action{}}
	starts := map[string]action{}
	for allowed, names := range map[action][]string{
		broadcasting: p.Broadcast, subscribing: p.Subscribe, requesting: p.Request,
		handling: p.Handle,
	} {
		for _, name := range names {
			if prefix, several := strings.CutSuffix(name, "*"); several {
				starts[prefix] |= allowed
			} else {
				g.exact[name] |= allowed
			}
		}
	}
	for _, prefix := range slices.Sorted(maps.Keys(starts)) {
		g.starts = append(g.starts, start{prefix, starts[prefix]})
	}
	return g
}

// of returns what is allowed with an event.
func (g *grants) of(event string) action {
	if g == nil {
		return everything
	}
	allowed := g.exact[event]
	for _, s := range g.starts {
		if strings.HasPrefix(event, s.prefix) {
			allowed |= s.actions
		}
	}
	return allowed
}

// include reports whether g allows all that old does.
func (g *grants) include(old *grants) bool {
	if g == nil || old == nil {
		return g == nil
	}
	for name, allowed := range old.exact {
		if allowed&^g.of(name) != 0 {
			return false
		}
	}
	for _, s := range old.starts {
		// A name that is not there has what all names with that start have.
		if s.actions&^(&grants{starts: g.starts}).of(s.prefix) != 0 {
			return false
		}
	}
	return true
}

// permit fails when the endpoint of the session may do none of what is needed with an event.
func (p *peer) permit(needed action, event string) error {
	if p.grants.of(event)&needed != 0 {
		return nil
	}
	party := p.party
	if party == nil {
		party = p.node.self
	}
	return fault.Errorf(fault.Denied, "endpoint %q may not %v %s", party.Name, needed, event)
}

// permitSubscription is permit for a subscription. Who may answer the requests of an event may
// subscribe to it.
func (p *peer) permitSubscription(event, response string) error {
	if response != "" {
		return p.permit(handling, event)
	}
	return p.permit(subscribing|handling, event)
}

// mutes reports whether the endpoint of the session only observes the requests of an event: it may
// not answer them.
func (p *peer) mutes(event string) bool { return p.grants.of(event)&handling == 0 }

// breach is that an endpoint has done what it was told that it may not.
type breach struct{ error }

// forbid is permit for what has been done already.
func (p *peer) forbid(needed action, event string) error {
	if err := p.permit(needed, event); err != nil {
		return breach{err}
	}
	return nil
}
