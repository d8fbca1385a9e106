package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// A model of Gather where endpoints have the request in several ways, some of them as members of
// groups that are full, who come and go meanwhile.

// poll is a request that is gathered, and what comes of it.
type poll struct {
	t       *rapid.T
	w       *world
	bubble  bool
	begun   chan struct{} // one for each member that is busy
	groups  []string      // that are asked
	direct  bool          // somebody is asked beside them
	members []*pollee
	closed  []bool          // by endpoint
	passed  bool            // the requester elsewhere is not asked by the bus any more
	dead    map[string]bool // the groups that had nobody left who might get it; see [poll.mayHave]

	mu    sync.Mutex // guards what follows
	runs  []*run
	told  map[string][]error // by origin
	last  error
	over  bool          // the loop is
	ended chan struct{} // closed then

	wasOver bool // when it was checked last
}

// pollee is a member of a group.
type pollee struct {
	at    int
	group string
	free  chan struct{} // closed when it is not busy any more
	idle  bool          // it is closed
	sub   *lahja.Subscription
	left  bool
}

// run is a handler's call with the request.
type run struct {
	at     int
	group  string // empty: it is of no group
	manner manner
	finish chan struct{} // of one that waits
	over   bool
	void   bool // its endpoint has closed before it was over
}

func (r *run) says() bool { return r.over && !r.void && r.manner != isSilent }

var ways = [][]lahja.SubscribeOption{nil, {lahja.DropOldest()}, {lahja.WithRetained()}}

// attend adds a subscription of endpoint i that treats the request in that manner, and what keeps a
// member busy as free says.
func (v *poll) attend(
	i int, m manner, group string, free <-chan struct{}, opts ...lahja.SubscribeOption,
) *lahja.Subscription {
	call := func(n int) (err error) {
		if n < 0 {
			if free != nil {
				v.begun <- struct{}{}
				v.await(free)
			}
			return nil
		}
		r := &run{at: i, group: group, manner: m, finish: make(chan struct{})}
		v.note(func() { v.runs = append(v.runs, r) })
		if m == waitsOn {
			v.await(r.finish)
		}
		v.note(func() { r.over = true })
		if m == refuses {
			return errRefused
		}
		return nil
	}
	ep := v.w.current[i].ep
	var sub *lahja.Subscription
	var err error
	if m == isSilent {
		sub, err = lahja.Subscribe(v.w.ctx, ep, func(_ context.Context, ev lahja.Event[silent]) {
			_ = call(ev.Value.N)
		}, opts...)
	} else {
		sub, err = lahja.Handle(v.w.ctx, ep,
			func(_ context.Context, ev lahja.Event[silent]) (reply, error) {
				return reply{ep.Name(), ev.Value.N}, call(ev.Value.N)
			}, opts...)
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return sub
}

func (v *poll) await(c <-chan struct{}) {
	select {
	case <-c:
	case <-v.w.ctx.Done():
	}
}

func (v *poll) note(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// join makes an endpoint a member of a group.
func (v *poll) join(group string, busy bool) {
	i := rapid.IntRange(0, len(v.w.current)-1).Draw(v.t, "member")
	m := rapid.SampledFrom([]manner{answers, refuses, isSilent, waitsOn}).Draw(v.t, "manner")
	if v.closed[i] {
		return
	}
	e := &pollee{at: i, group: group, free: make(chan struct{})}
	if !busy {
		e.release()
	}
	e.sub = v.attend(i, m, group, e.free, lahja.Group(group), lahja.Buffer(0))
	v.members = append(v.members, e)
}

func (e *pollee) release() {
	if !e.idle {
		e.idle = true
		close(e.free)
	}
}

// fill has each member of a group busy, and something at its door.
func (v *poll) fill() {
	for range 2 * len(v.members) {
		if err := lahja.Broadcast(v.w.ctx, v.w.current[0].ep, silent{-1}); err != nil {
			v.t.Fatal(err)
		}
	}
	for range v.members {
		v.await(v.begun)
	}
}

// gather is the loop.
func (v *poll) gather() {
	defer close(v.ended)
	for ev, err := range lahja.Gather[silent, reply](v.w.ctx, v.w.current[0].ep, silent{7}) {
		v.note(func() {
			if ev.Origin == "" && !errors.Is(err, lahja.ErrResponderGone) {
				v.last = err
				return
			}
			v.told[ev.Origin] = append(v.told[ev.Origin], err)
		})
	}
	v.note(func() { v.over = true })
}

// step is something that happens while the request is open.
func (v *poll) step() {
	kind := rapid.IntRange(0, 5).Draw(v.t, "step")
	at := rapid.IntRange(0, 9).Draw(v.t, "at")
	switch {
	case kind == 0 && len(v.groups) > 0:
		v.join(v.groups[at%len(v.groups)], false)
	case kind == 1 && at < len(v.w.current) && at > 0 && !v.closed[at]:
		v.close(at)
	case kind < 4 && at < len(v.members):
		if e := v.members[at]; kind == 2 {
			e.release()
		} else {
			e.left = true
			e.sub.Unsubscribe()
		}
	case kind >= 4:
		v.finish(at)
	}
}

func (v *poll) close(at int) {
	v.closed[at] = true
	for _, e := range v.members {
		e.left = e.left || e.at == at
	}
	v.note(func() {
		for _, r := range v.runs {
			r.void = r.void || r.at == at && !r.over
		}
	})
	v.w.current[at].ep.Close()
}

// finish lets a call that waits return.
func (v *poll) finish(at int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at < len(v.runs) {
		select {
		case <-v.runs[at].finish:
		default:
			close(v.runs[at].finish)
		}
	}
}

// standing is how far a group has got.
type standing struct {
	runs     int
	among    map[int]bool // the endpoints that may still get it
	answered bool         // one of them has said something, and need not be waited for
	perhaps  bool         // one may have it already, see [poll.mayHave]
}

func (v *poll) standing(group string) standing {
	s := standing{among: map[int]bool{}, perhaps: v.mayHave(group)}
	for _, r := range v.runs {
		if r.group == group {
			s.runs++
		}
	}
	for _, e := range v.members {
		if s.runs == 0 && e.group == group && !e.left && !v.isDead(group) && !v.excludes(e.at) {
			s.among[e.at] = true
			s.answered = s.answered || slices.ContainsFunc(v.runsOf(e.at), (*run).says)
		}
	}
	return s
}

func (v *poll) isDead(group string) bool {
	_, dead := v.dead[group]
	return dead
}

// mayHave reports whether a member of a group may have been given the request and not begun: its
// endpoint, which is in the bus's process, has answered by another way before.
func (v *poll) mayHave(group string) bool {
	return slices.ContainsFunc(v.members, func(e *pollee) bool {
		return e.group == group && !v.w.slots[e.at].Remote &&
			slices.ContainsFunc(v.runsOf(e.at), (*run).says)
	})
}

// excludes reports whether a group does not give the request to that endpoint any more.
func (v *poll) excludes(at int) bool {
	return at == 0 && v.passed ||
		slices.ContainsFunc(v.told[v.w.slots[at].Name], func(err error) bool {
			return errors.Is(err, lahja.ErrResponderGone)
		})
}

// pass notes whether the bus has nothing of the requester elsewhere to wait for any more. Then it
// has said so, unless it has passed on what that one answered itself.
func (v *poll) pass(among map[int]bool) {
	waits := among[0]
	for _, r := range v.runsOf(0) {
		waits = waits || r.group != "" && (!r.over || r.says())
	}
	v.passed = v.passed || v.w.slots[0].Remote && v.w.place != nil && !waits
}

// check compares what was told to what is due. When nothing moves, that has to be exactly the same.
func (v *poll) check(still bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	over := v.over
	must, may := false, false                       // be open
	among, surely := map[int]bool{}, map[int]bool{} // who may get it from a group
	for _, g := range v.groups {
		s := v.standing(g)
		if s.runs > 1 {
			return fmt.Errorf("%d members of %q have got it", s.runs, g)
		}
		if still && !v.wasOver && s.runs == 0 && len(s.among) == 0 {
			v.dead[g] = v.mayHave(g)
		}
		must = must || len(s.among) > 0 && !s.answered && !s.perhaps
		may = may || len(s.among) > 0
		maps.Copy(among, s.among)
		if !s.perhaps {
			maps.Copy(surely, s.among)
		}
	}
	for i, e := range v.w.current {
		runs := v.runsOf(i)
		if err := v.ofEndpoint(i, runs); err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
		said := slices.ContainsFunc(runs, (*run).says)
		busy := slices.ContainsFunc(runs, func(r *run) bool { return !r.over && !r.void })
		must, may = must || busy && !said, may || busy
		silent := len(runs) > 0 && !busy
		due, fine := said || silent && !among[i], said || silent && !surely[i]
		if told := len(v.told[e.name]) > 0; still && (told && !fine || due && !told) {
			return fmt.Errorf("%q is told: %v, which is due: %v, and fine: %v", e.name, told, due,
				fine)
		}
	}
	least := 0
	for _, quiet := range v.dead {
		if !quiet {
			least++
		}
	}
	gaveUp := len(v.told[""])
	wrong := gaveUp < least || gaveUp > len(v.dead)
	if still && (over && !v.wasOver && must || !over && !may || wrong) {
		return fmt.Errorf("it is over: %v; it must be open: %v, and may be: %v; groups have given "+
			"up: %v", over, must, may, v.dead)
	}
	v.wasOver = over
	v.pass(among)
	return nil
}

// story is what has happened, for a failure.
func (v *poll) story() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := fmt.Sprintf("%v, last %v", v.told, v.last)
	for _, r := range v.runs {
		s += fmt.Sprintf("; a run at %d of %q, over %v, void %v", r.at, r.group, r.over, r.void)
	}
	return s
}

func (v *poll) runsOf(at int) (all []*run) {
	for _, r := range v.runs {
		if r.at == at {
			all = append(all, r)
		}
	}
	return all
}

// ofEndpoint checks what was told of an endpoint, which may be nothing yet.
func (v *poll) ofEndpoint(at int, runs []*run) error {
	told := v.told[v.w.slots[at].Name]
	if len(told) == 0 {
		return nil
	}
	has := func(m manner) bool {
		return slices.ContainsFunc(runs, func(r *run) bool { return r.over && r.manner == m })
	}
	switch err := told[0]; {
	case len(told) > 1:
		return fmt.Errorf("it is told %d times: %v", len(told), told)
	case err == nil && (has(answers) || has(waitsOn)):
	case errors.Is(err, errRefused) && has(refuses):
	case errors.Is(err, lahja.ErrResponderGone) && v.closed[at]:
	case errors.Is(err, lahja.ErrResponderGone) && len(runs) > 0 &&
		!slices.ContainsFunc(runs, (*run).says):
	default:
		return fmt.Errorf("%v is told", err)
	}
	return nil
}

// settle waits until nothing moves, where that can be known, and checks.
func (v *poll) settle() {
	if v.bubble {
		time.Sleep(time.Second) // of the bubble's time, in which what is taken is reported
		synctest.Wait()
	}
	if err := v.check(v.bubble); err != nil {
		v.t.Fatalf("%v; it was told %v", err, v.story())
	}
}

// end lets everybody go, and checks the outcome.
func (v *poll) end() {
	for _, e := range v.members {
		e.release()
	}
	for over := false; !over; {
		v.mu.Lock()
		runs := len(v.runs)
		v.mu.Unlock()
		for at := range runs {
			v.finish(at)
		}
		select {
		case <-v.ended:
			over = true
		case <-time.After(time.Millisecond): // others may have begun meanwhile
		case <-v.w.ctx.Done():
			v.t.Fatalf("it does not end; it was told %v", v.story())
		}
	}
	if err := v.check(v.bubble); err != nil {
		v.t.Fatal(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, e := range v.w.current {
		if len(v.runsOf(i)) > 0 && len(v.told[e.name]) == 0 {
			v.t.Fatalf("nothing is told of %q", e.name)
		}
	}
	nobody := errors.Is(v.last, lahja.ErrNoSubscribers)
	switch left := slices.Contains(v.closed, true) ||
		slices.ContainsFunc(v.members, func(e *pollee) bool { return e.left }); {
	case !v.direct && len(v.groups) == 0 && nobody:
	case v.last == nil && (v.direct || len(v.groups) > 0):
	case nobody && left && !v.bubble: // before they were asked
	default:
		v.t.Fatalf("it ends with %v", v.last)
	}
}

// Gather, with groups: one outcome of each endpoint that has the request, its answer if it gives
// one to any of the ways in which it has it; silence exactly when none is left in which it may get
// it; a group has it once; and the end when nobody is left.
func TestPropertyGatherGroups(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		w, done := opened(t, p, dir, script{Slots: someSlots(t, 4)})
		defer done()
		v := &poll{t: t, w: w, bubble: p.bubble, begun: make(chan struct{}, 99),
			closed: make([]bool, len(w.current)), dead: map[string]bool{},
			told: map[string][]error{}, ended: make(chan struct{})}
		for g := range rapid.IntRange(0, 2).Draw(t, "groups") {
			v.groups = append(v.groups, string(rune('g'+g)))
			for range rapid.IntRange(1, 3).Draw(t, "members") {
				v.join(v.groups[g], true)
			}
		}
		if full := rapid.IntRange(0, 3).Draw(t, "full") > 0; full {
			v.fill()
		} else {
			for _, e := range v.members {
				e.release()
			}
		}
		for i := range w.current {
			manners := []manner{isSilent, isSilent, answers, refuses, waitsOn}
			for _, m := range rapid.SliceOfN(rapid.SampledFrom(manners), 0, 2).Draw(t, "manners") {
				v.direct = true
				v.attend(i, m, "", nil, rapid.SampledFrom(ways).Draw(t, "way")...)
			}
		}
		w.group.Go(v.gather)
		v.settle()
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			v.step()
			v.settle()
		}
		v.end()
	})
}
