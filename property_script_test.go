package lahja_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// script is what one case of the properties does. It is drawn as a whole before anything runs, so
// that the same script can run on every transport.
type script struct {
	Lag    int64 // of the bus; 0: as large as usual
	Slots  []slot
	Rounds []round
}

// slot is a name on the bus, with an endpoint of that name from the start.
type slot struct {
	Name   string
	Remote bool // it connects by the transport, if the place has one
}

// round is threads that run at the same time; the round is over when all have done all their acts
// and everything that they have caused has arrived.
type round []thread

type thread []act

// act is one call of one endpoint's user.
type act interface{ do(w *world) }

type (
	// subscribing starts a subscription.
	subscribing struct {
		Slot int
		ID   int
		Plan plan
	}
	// ending ends a subscription, as its plan says.
	ending struct{ ID int }
	// sending broadcasts or requests.
	sending struct {
		Slot  int
		Color int
		How   options
	}
	// closing closes the endpoint of a slot.
	closing struct{ Slot int }
	// opening attaches an endpoint under the name of a slot, which may still be taken.
	opening struct{ Slot int }
)

// plan is what a subscription is to be.
type plan struct {
	Color  int
	Way    way
	From   []string
	Buffer int  // -1: as it comes
	Limit  int  // it ends after so many events, by Take, or by break in a loop; 0: it does not
	Cancel bool // it is ended by its ctx, even if it can be unsubscribed

	Observe bool
}

// apart returns s with each act in a round of its own.
func (s script) apart() script {
	var rounds []round
	for _, r := range s.Rounds {
		for _, th := range r {
			for _, a := range th {
				rounds = append(rounds, round{thread{a}})
			}
		}
	}
	s.Rounds = rounds
	return s
}

// way is how a subscription is made.
type way int

const (
	bySubscribe way = iota
	byStream
	byEvents
	byWaitFor
	byHandle      // answers requests
	byFailing     // answers with an error
	byHandleOther // would answer with another type than is wanted
	byReply       // answers from a Stream
	byFail        // refuses from a Stream
)

func (w way) String() string {
	return []string{"Subscribe", "Stream", "Events", "WaitFor", "Handle", "Handle that fails",
		"Handle with another response", "Stream and Reply", "Stream and Fail"}[w]
}

func (w way) handles() bool {
	return w == bySubscribe || w == byHandle || w == byFailing || w == byHandleOther
}

// options are those of a broadcast.
type options struct {
	HasTo                     bool
	To, Except                []string
	Internal, Require, NoWait bool
	Dead/* its ctx has ended */ bool
}

func (o *options) contradict() bool { return o.Internal && o.HasTo || o.Require && o.NoWait }

func (o *options) list() (opts []lahja.BroadcastOption) {
	if o.HasTo {
		opts = append(opts, lahja.To(o.To...))
	}
	if o.Except != nil {
		opts = append(opts, lahja.Except(o.Except...))
	}
	if o.Internal {
		opts = append(opts, lahja.Internal())
	}
	if o.Require {
		opts = append(opts, lahja.RequireSubscriber())
	}
	if o.NoWait {
		opts = append(opts, lahja.NoWait())
	}
	return opts
}

// The event types by their place in colors.
const (
	redColor = iota
	greenColor
	goldColor  // for WaitFor alone, so that Peers shows when that has subscribed
	queryColor // for requests
)

// drawing draws a script.
type drawing struct {
	t      *rapid.T
	slots  []slot
	names  []string
	subs   int
	waited []bool // slots that have their one WaitFor
	plain  bool   // nothing whose outcome depends on the moment
}

// scripts draws what can happen on a bus. With plain, one thread acts at a time and nothing is
// drawn of which the outcome depends on the moment: the same is then observed whenever it runs.
func scripts(plain bool) *rapid.Generator[script] {
	return rapid.Custom(func(t *rapid.T) script {
		d := &drawing{t: t, plain: plain}
		s := script{Lag: rapid.SampledFrom([]int64{0, 200, 1500}).Draw(t, "lag")}
		for i := range rapid.IntRange(2, 5).Draw(t, "endpoints") {
			d.slots = append(d.slots, slot{string(rune('a' + i)), d.chance(60, "remote")})
			d.names = append(d.names, d.slots[i].Name)
		}
		s.Slots, d.waited = d.slots, make([]bool, len(d.slots))
		s.Rounds = append(s.Rounds, round{d.thread(d.first)})
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			s.Rounds = append(s.Rounds, d.round())
		}
		s.Rounds = append(s.Rounds, d.last())
		return s
	})
}

func (d *drawing) chance(percent int, label string) bool {
	return rapid.IntRange(1, 100).Draw(d.t, label) > 100-percent
}

func (d *drawing) slot() int { return rapid.IntRange(0, len(d.slots)-1).Draw(d.t, "slot") }

func (d *drawing) round() round {
	var r round
	threads := 1
	if !d.plain {
		threads = rapid.IntRange(1, 4).Draw(d.t, "threads")
	}
	for range threads {
		r = append(r, d.thread(d.act))
	}
	return r
}

func (d *drawing) thread(draw func() act) (th thread) {
	for range rapid.IntRange(1, 7).Draw(d.t, "acts") {
		th = append(th, draw())
	}
	return th
}

// first draws the acts of the first round.
func (d *drawing) first() act { return d.subscribe() }

// last broadcasts each type from everywhere, so that nothing that would come too much is missed.
func (d *drawing) last() (r round) {
	var th thread
	for color := range colors {
		for i := range d.slots {
			th = append(th, sending{Slot: i, Color: color})
		}
	}
	return round{th}
}

func (d *drawing) act() act {
	switch n := rapid.IntRange(0, 99).Draw(d.t, "act"); {
	case n < 60:
		return d.send()
	case n < 78:
		return d.subscribe()
	case n < 88 && d.subs > 0:
		return ending{rapid.IntRange(0, d.subs-1).Draw(d.t, "subscription")}
	case n < 94:
		return closing{d.slot()}
	}
	return opening{d.slot()}
}

func (d *drawing) send() act {
	s := sending{Slot: d.slot()}
	s.Color = rapid.SampledFrom([]int{redColor, redColor, redColor, greenColor, greenColor,
		queryColor, queryColor, goldColor}).Draw(d.t, "color")
	if !d.chance(50, "plain") {
		s.How = d.options()
	}
	return s
}

func (d *drawing) options() (o options) {
	if d.chance(40, "to") {
		o.HasTo, o.To = true, d.some("to")
	}
	if d.chance(30, "except") {
		o.Except = d.some("except")
	}
	o.Internal = d.chance(15, "internal")
	o.Require = d.chance(30, "require")
	o.NoWait = !d.plain && d.chance(15, "no wait")
	o.Dead = d.chance(5, "dead")
	return o
}

// some draws names, of which one may be nobody's.
func (d *drawing) some(label string) []string {
	names := append(slices.Clone(d.names), "nobody")
	return rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, len(names), rapid.ID[string]).
		Draw(d.t, label)
}

func (d *drawing) subscribe() act {
	s := subscribing{Slot: d.slot(), ID: d.subs}
	d.subs++
	p := &s.Plan
	p.Color = rapid.SampledFrom([]int{redColor, redColor, redColor, greenColor, greenColor,
		queryColor, queryColor, goldColor}).Draw(d.t, "color")
	if p.Color == goldColor && d.waited[s.Slot] {
		p.Color = greenColor
	}
	switch p.Color {
	case goldColor:
		d.waited[s.Slot] = true
		p.Way = byWaitFor
	case queryColor:
		p.Way = way(rapid.IntRange(int(byHandle), int(byFail)).Draw(d.t, "way"))
	default:
		p.Way = way(rapid.IntRange(int(bySubscribe), int(byEvents)).Draw(d.t, "way"))
	}
	if d.chance(30, "from") {
		p.From = append(d.some("from"), "a")
	}
	p.Buffer = rapid.IntRange(-1, 3).Draw(d.t, "buffer")
	if p.Color != queryColor && d.chance(25, "limit") {
		p.Limit = rapid.IntRange(1, 4).Draw(d.t, "limit")
	}
	if p.Way == byWaitFor {
		p.Limit = 1
	}
	p.Observe = p.Way <= byEvents && d.chance(15, "observe")
	p.Cancel = d.chance(50, "cancel")
	return s
}

func (s subscribing) String() string {
	return fmt.Sprintf("#%d at %d: %v %+v", s.ID, s.Slot, s.Plan.Way, s.Plan)
}
