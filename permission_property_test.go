package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// The events of the random cases. Their names begin alike, so that patterns matter.
type (
	permA  struct{ N int }
	permAB struct{ N int }
	permAC struct{ N int }
	permD  struct{ N int }
)

func (permA) EventName() string  { return "a" }
func (permAB) EventName() string { return "a.b" }
func (permAC) EventName() string { return "a.c" }
func (permD) EventName() string  { return "d" }

// permits is the reference: whether an endpoint with these permissions may do that with an event.
func permits(p lahja.Permissions, do, event string) bool {
	has := func(names []string) bool {
		for _, n := range names {
			if n == event || strings.HasSuffix(n, "*") && strings.HasPrefix(event, n[:len(n)-1]) {
				return true
			}
		}
		return false
	}
	switch do {
	case "broadcast", "forget":
		return has(p.Broadcast)
	case "request":
		return has(p.Request)
	case "subscribe":
		return has(p.Subscribe) || has(p.Handle)
	case "handle", "reply":
		return has(p.Handle)
	case "ask":
		return has(p.Broadcast) || has(p.Request)
	}
	return true // what never leaves the endpoint
}

func randomPermissions(r *rand.Rand) lahja.Permissions {
	pick := func() (names []string) {
		for _, n := range []string{"a", "a.b", "a.c", "d", "a*", "a.*", "d*", "*", "x", "a.b.c"} {
			if r.IntN(6) == 0 {
				names = append(names, n)
			}
		}
		return names
	}
	return lahja.Permissions{Broadcast: pick(), Subscribe: pick(), Request: pick(), Handle: pick()}
}

// trial is one bus with an endpoint "own" that may do all, and one that has random permissions.
type trial struct {
	*stage
	own     *lahja.Endpoint
	limited *lahja.Endpoint
	told    lahja.Permissions // to the reference
	number  int               // of the case
}

// avenue is a path to try: do is what it needs a permission for; the try reports whether it worked.
type avenue struct {
	name, do string
	try      func(*trial) (bool, error)
}

// worked says whether a call has worked: what does not must be denied.
func worked(err error) (bool, error) {
	if errors.Is(err, lahja.ErrDenied) {
		return false, nil
	}
	return err == nil, err
}

// waysOf are the paths of one event. Whatever is sent is looked for at "own": all that comes there
// has to be of a case in which sending was allowed.
func waysOf[T permA | permAB | permAC | permD](t *trial) []avenue {
	name := lahja.EventName[T]()
	seen := lahja.Stream[T](t.ctx, t.own, lahja.Buffer(64))
	next := func() T { t.number++; return T{N: t.number} }
	arrives := func(value T, err error) (bool, error) {
		ok, err := worked(err)
		if !ok || err != nil {
			return ok, err
		}
		if ev := take(t.stage, seen); ev.Value != value || ev.Origin != "limited" {
			return ok, fmt.Errorf("%+v of %q has come, and not %+v", ev.Value, ev.Origin, value)
		}
		return ok, nil
	}
	var all []avenue
	add := func(what, do string, try func(*trial) (bool, error)) {
		all = append(all, avenue{what + " " + name, do, try})
	}
	for what, opts := range map[string][]lahja.BroadcastOption{
		"broadcast": nil, "to": {lahja.To("own")}, "except": {lahja.Except("x")},
		"nowait": {lahja.NoWait()}, "retain": {lahja.Retain()}, "key": {lahja.RetainKey("k")},
		"require": {lahja.RequireSubscriber()},
	} {
		add(what, "broadcast", func(t *trial) (bool, error) {
			v, err := next(), error(lahja.ErrWouldBlock)
			for errors.Is(err, lahja.ErrWouldBlock) { // what was sent before is not reported yet
				err = lahja.Broadcast(t.ctx, t.limited, v, opts...)
			}
			return arrives(v, err)
		})
	}
	add("forget", "broadcast", func(t *trial) (bool, error) {
		return worked(lahja.Forget[T](t.ctx, t.limited, "k"))
	})
	add("internal", "nothing", func(t *trial) (bool, error) {
		return worked(lahja.Broadcast(t.ctx, t.limited, next(), lahja.Internal()))
	})
	for what, opts := range map[string][]lahja.BroadcastOption{
		"request": nil, "request to": {lahja.To("own")},
		"request requires": {lahja.RequireSubscriber()},
	} {
		add(what, "request", func(t *trial) (bool, error) {
			v, done := next(), make(chan error, 1)
			ctx, cancel := context.WithCancel(t.ctx)
			go func() {
				_, err := lahja.Request[T, answer](ctx, t.limited, v, opts...)
				done <- err
			}()
			defer cancel()
			select {
			case err := <-done:
				return worked(err)
			case ev := <-seen:
				err := lahja.Reply(t.ctx, ev, answer{7})
				return ev.Value == v, errors.Join(err, <-done)
			}
		})
	}
	add("gather", "request", func(t *trial) (bool, error) {
		ctx, cancel := context.WithCancel(t.ctx)
		var answering sync.WaitGroup
		defer answering.Wait() // or it would take the event of the next case
		defer cancel()
		answering.Go(func() {
			select {
			case ev := <-seen:
				_ = lahja.Reply(ctx, ev, answer{7})
			case <-ctx.Done():
			}
		})
		for _, err := range lahja.Gather[T, answer](ctx, t.limited, next()) {
			return worked(err)
		}
		return false, errors.New("nobody has answered")
	})
	return append(all, receiving(name, next, seen)...)
}

// receiving are the paths by which the limited endpoint gets an event, or answers one.
func receiving[T comparable](
	name string, next func() T, seen <-chan lahja.Event[T],
) (all []avenue) {
	for what, opts := range map[string][]lahja.SubscribeOption{
		"stream": nil, "group": {lahja.Group("g")},
		"retained": {lahja.WithRetained(), lahja.From("own")},
		"drop":     {lahja.DropOldest()}, "observe": {lahja.Observe()}, "from": {lahja.From("own")},
	} {
		all = append(all, avenue{what + " " + name, "subscribe", func(t *trial) (bool, error) {
			ctx, cancel := context.WithCancelCause(t.ctx)
			defer cancel(nil)
			got := lahja.Stream[T](ctx, t.limited, append(opts, lahja.OnEnd(cancel))...)
			defer over(got, cancel)
			v := next()
			say(t.stage, t.own, v)
			take(t.stage, seen)
			ev, open := <-got
			if !open {
				return worked(context.Cause(ctx))
			}
			for ev.Value != v { // what was for the subscription before this one may still come
				ev = take(t.stage, got)
			}
			return true, nil
		}})
		if what == "retained" {
			all = append(all, avenue{"kept " + name, "subscribe", func(t *trial) (bool, error) {
				return getsKept(t, next(), seen, opts)
			}})
		}
		if what == "observe" {
			continue
		}
		handle := func(t *trial) (bool, error) {
			s, err := lahja.Handle(t.ctx, t.limited,
				func(context.Context, lahja.Event[T]) (answer, error) {
					return answer{7}, nil
				}, opts...)
			if err != nil {
				return worked(err)
			}
			defer s.Unsubscribe()
			a, err := lahja.Request[T, answer](t.ctx, t.own, next(), lahja.To("limited"))
			return a.N == 7, err
		}
		reply := func(t *trial) (bool, error) { return replies(t, next(), opts) }
		all = append(all, avenue{"handle by " + what + " " + name, "handle", handle},
			avenue{"reply by " + what + " " + name, "handle", reply})
	}
	return all
}

// getsKept looks for what was there before the subscription, and for the end of that.
func getsKept[T comparable](
	t *trial, v T, seen <-chan lahja.Event[T], opts []lahja.SubscribeOption,
) (bool, error) {
	say(t.stage, t.own, v, lahja.RetainKey("kept"))
	take(t.stage, seen)
	ctx, cancel := context.WithCancelCause(t.ctx)
	got := lahja.Stream[T](ctx, t.limited, append(opts, lahja.OnEnd(cancel))...)
	defer over(got, cancel)
	err := lahja.Forget[T](t.ctx, t.own, "kept")
	first, open := <-got
	if !open {
		_, failed := worked(context.Cause(ctx))
		return false, errors.Join(err, failed)
	}
	if last := take(t.stage, got); first.Value != v || !last.Gone {
		return true, fmt.Errorf("%+v and %+v have come", first, last)
	}
	return true, err
}

// over ends a subscription and waits until it has: it would still take a request of the next case,
// and leave it unanswered.
func over[T any](c <-chan lahja.Event[T], cancel context.CancelCauseFunc) {
	cancel(nil)
	for range c {
	}
}

// replies has the limited endpoint stream an event and answer it, which may fail at each step.
func replies[T any](
	t *trial, v T, opts []lahja.SubscribeOption,
) (bool, error) {
	ctx, cancel := context.WithCancelCause(t.ctx)
	defer cancel(nil)
	got := lahja.Stream[T](ctx, t.limited, append(opts, lahja.OnEnd(cancel))...)
	defer over(got, cancel)
	answered := make(chan error, 1)
	go func() {
		select {
		case ev, open := <-got:
			if !open {
				answered <- context.Cause(ctx)
				return
			}
			answered <- lahja.Reply(t.ctx, ev, answer{7})
		case <-ctx.Done():
			answered <- lahja.ErrDenied // a group's: it was never asked
		}
	}()
	a, err := lahja.Request[T, answer](t.ctx, t.own, v, lahja.To("limited"))
	if errors.Is(err, lahja.ErrNoSubscribers) {
		cancel(lahja.ErrDenied) // if it was not asked it is not to wait for that
		return worked(<-answered)
	}
	return a.N == 7, errors.Join(err, <-answered)
}

// tryPermissions tries so many cases, and returns those in which the bus and the reference differ.
// told is what the reference is told of the permissions that an endpoint has.
func tryPermissions(s *stage, cases int, seed uint64, given *sync.Map,
	told func(lahja.Permissions) lahja.Permissions,
) (tried int, mismatches []string) {
	r := rand.New(rand.NewPCG(seed, 6))
	t := &trial{stage: s, own: s.own("own")}
	ways := append(waysOf[permA](t), waysOf[permAB](t)...)
	ways = append(append(ways, waysOf[permAC](t)...), waysOf[permD](t)...)
	slices.SortFunc(ways, func(a, b avenue) int { return strings.Compare(a.name, b.name) })
	again := s.venue.name == "memory" || s.venue.name == "tcp"
	for tried < cases {
		p := randomPermissions(r)
		given.Store("limited", p)
		t.limited, t.told = s.connect("limited"), told(p)
		cut := r.IntN(4 * len(ways)) // often not at all
		for i, w := range r.Perm(len(ways)) {
			w := ways[w]
			event := w.name[strings.LastIndex(w.name, " ")+1:]
			ok, err := w.try(t)
			if want := permits(t.told, w.do, event); err != nil || ok != want {
				mismatches = append(mismatches, fmt.Sprintf("%s: %v instead of %v (%v), with %+v",
					w.name, ok, want, err, p))
			}
			if tried++; i == cut && again {
				s.wires.cutLast()
			}
		}
		mismatches = append(mismatches, deceive(t, r, &tried)...)
		if err := t.limited.Close(); err != nil {
			s.Fatal(err)
		}
		s.until(t.own, not(lahja.Present("limited")))
	}
	return tried, mismatches
}

// deceive tries some of it with an endpoint that believes that it may do everything.
func deceive(t *trial, r *rand.Rand, tried *int) (mismatches []string) {
	t.limited.Close()
	t.until(t.own, not(lahja.Present("limited")))
	ep, err := lahja.Connect(t.ctx, "limited", deceived{t.place})
	t.must(err)
	t.limited = ep
	for _, event := range []string{"a", "a.b", "a.c", "d"} {
		do := []string{
			"broadcast", "forget", "request", "ask", "subscribe", "handle", "reply",
		}[r.IntN(7)]
		try := map[string]func(*trial, string) bool{
			"a": deceiving[permA], "a.b": deceiving[permAB], "a.c": deceiving[permAC],
			"d": deceiving[permD],
		}[event]
		done := try(t, do)
		want := permits(t.told, do, event)
		*tried++
		if done != want {
			mismatches = append(mismatches, fmt.Sprintf(
				"%s %s in spite of what it was told: %v, %v, with %+v", do, event, done, ep.Err(),
				t.told))
		}
		if ep.Err() != nil {
			break
		}
	}
	return mismatches
}

// deceiving does something without looking at permissions, and reports whether the bus has let it.
func deceiving[T permA | permAB | permAC | permD](t *trial, do string) bool {
	ctx, cancel := context.WithTimeoutCause(t.ctx, tooLong, io.ErrNoProgress)
	defer cancel()
	switch do { // what a call returns does not count: who is caught loses the session
	case "broadcast":
		_ = lahja.Broadcast(ctx, t.limited, T{}, lahja.To("nobody"))
	case "forget":
		_ = lahja.Forget[T](ctx, t.limited, "nothing")
	case "request":
		_, _ = lahja.Request[T, answer](ctx, t.limited, T{}, lahja.To("nobody"))
	case "ask":
		_ = lahja.Broadcast(ctx, t.limited, T{}, lahja.To("nobody"), lahja.RequireSubscriber())
	case "subscribe":
		ends := make(chan error, 1)
		got := lahja.Stream[T](ctx, t.limited, lahja.OnEnd(func(err error) { ends <- err }))
		cancel()
		for range got {
		}
		return !errors.Is(<-ends, lahja.ErrDenied)
	case "handle":
		none := func(context.Context, lahja.Event[T]) (answer, error) { return answer{}, nil }
		s, err := lahja.Handle(ctx, t.limited, none)
		if err == nil {
			s.Unsubscribe()
		}
		return !errors.Is(err, lahja.ErrDenied)
	case "reply":
		return deceivesByReply[T](t)
	}
	if _, fence := t.limited.Peers(ctx); fence != nil {
		<-t.limited.Done()
	}
	return !errors.Is(t.limited.Err(), lahja.ErrDenied)
}

// deceivesByReply answers what it may perhaps only observe.
func deceivesByReply[T permA | permAB | permAC | permD](t *trial) bool {
	ctx, cancel := context.WithCancelCause(t.ctx)
	got := lahja.Stream[T](ctx, t.limited)
	var answering sync.WaitGroup
	defer answering.Wait()
	defer cancel(nil)
	answering.Go(func() {
		for ev := range got {
			_ = lahja.Reply(t.ctx, ev, answer{7})
		}
	})
	a, _ := lahja.Request[T, answer](t.ctx, t.own, T{}, lahja.To("limited"))
	return a.N == 7
}

func permissionStage(t *testing.T, v *venue, given *sync.Map) *stage {
	return newStage(t, v, [2]bool{}, lahja.Authorize(
		func(_ context.Context, name string, _ lahja.Identity) (lahja.Permissions, error) {
			p, _ := given.Load(name)
			return p.(lahja.Permissions), nil
		}))
}

// Random permissions, over every path, against a reference: what is allowed works and nothing else
// does, also for an endpoint that was not told, and after a resume.
func TestPropertyPermissions(t *testing.T) {
	captureLog(t)
	cases := 2_500
	if scale() > 1 {
		cases = 250_000
	}
	total, began := 0, time.Now()
	for _, v := range venues[1:] {
		t.Run(v.name, func(t *testing.T) {
			var given sync.Map
			s := permissionStage(t, &v, &given)
			seed := rand.Uint64()
			tried, wrong := tryPermissions(s, cases, seed, &given,
				func(p lahja.Permissions) lahja.Permissions { return p })
			total += tried
			t.Logf("%d cases, %d mismatches, seed %d", tried, len(wrong), seed)
			for _, w := range wrong[:min(10, len(wrong))] {
				t.Error(w)
			}
		})
	}
	t.Logf("%d cases in all, in %v", total, time.Since(began).Round(time.Millisecond))
}

// The check of the permissions can fail: it does when the reference is told other ones.
func TestPermissionsCheckerFails(t *testing.T) {
	captureLog(t)
	var given sync.Map
	s := permissionStage(t, &venues[1], &given)
	_, wrong := tryPermissions(s, 500, 1, &given, func(p lahja.Permissions) lahja.Permissions {
		p.Handle = nil
		return p
	})
	if len(wrong) == 0 {
		t.Error("nothing was found")
	}
}
