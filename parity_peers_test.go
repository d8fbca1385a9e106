package lahja_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityPeers(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"P20 while a stream runs both sides see that it subscribes", (*stage).streamIsSeen},
		{"P21 while WaitFor waits both sides see that it subscribes", (*stage).waitForIsSeen},
		{"P23 L8 from Subscribe to Unsubscribe both sides see it", (*stage).subscriptionIsSeen},
		{"P24 a wait until anyone subscribes", (*stage).waitForAny},
		{"P26 a wait until one certain endpoint subscribes", (*stage).waitForOneEndpoint},
		{"P28 P36 a change of subscriptions is seen, also one's own", (*stage).changeIsSeen},
		{"after WaitUntil a broadcast of anyone reaches all that it saw", (*stage).seenIsReached},
		{"L2 an endpoint that has closed is gone from every view", (*stage).closedIsGone},
		{"an endpoint's state is told, to its end", (*stage).stateIsTold},
		{"a wait ends with its context and its endpoint", (*stage).waitEnds},
		{"whoever does not read its views holds nobody up", (*stage).viewsAreNotRead},
	})
	everywhereOnce(t, []behaviour{
		{"P25 a wait until all subscribe, with itself and without", (*stage).waitForAll},
		{"L2 an endpoint whose connection is cut is gone from every view", (*stage).cutIsGone},
		{"conditions on who is there and what they subscribe to", (*stage).conditions},
	})
}

func (s *stage) streamIsSeen() {
	a, b := s.pair()
	ctx, end := context.WithCancel(s.ctx)
	items := lahja.Stream[item](ctx, b)
	for _, ep := range []*lahja.Endpoint{a, b} {
		peers, err := ep.Peers(s.ctx) // at once: Stream has returned
		if s.must(err); !lahja.SubscribedBy[item]("b")(peers) {
			s.Fatalf("%q sees %v", ep.Name(), peers)
		}
	}
	end()
	takeEnd(s, items)
	s.until(a, not(lahja.SubscribedBy[item]("b")))
	s.until(b, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) waitForIsSeen() {
	a, b := s.pair()
	got := beside(s, func() error {
		_, err := lahja.WaitFor[item](s.ctx, b)
		return err
	})
	s.until(a, lahja.SubscribedBy[item]("b"))
	s.until(b, lahja.SubscribedBy[item]("b"))
	say(s, a, item{1})
	s.must(take(s, got))
	s.until(a, not(lahja.SubscribedBy[item]("b")))
	s.until(b, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) subscriptionIsSeen() {
	a, b := s.pair()
	two := []*lahja.Subscription{
		onItem(s, b, func(context.Context, int) {}), onItem(s, b, func(context.Context, int) {}),
	}
	sees := func() bool {
		peers, err := a.Peers(s.ctx)
		s.must(err)
		i := slices.IndexFunc(peers, func(p lahja.Peer) bool { return p.Name == "b" })
		return slices.Equal(peers[i].Events, []string{lahja.EventName[item]()})
	}
	if !sees() {
		s.Fatal("a does not see that b subscribes")
	}
	two[0].Unsubscribe()
	if !sees() {
		s.Fatal("a does not see that b still subscribes")
	}
	two[1].Unsubscribe()
	s.until(a, not(lahja.SubscribedBy[item]("b")))
	s.until(b, not(lahja.SubscribedBy[item]("b")))
}

func (s *stage) waitForAny() {
	a, b := s.pair()
	waited := []<-chan error{
		beside(s, func() error { return a.WaitUntil(s.ctx, lahja.SubscribedByAny[item]) }),
		beside(s, func() error { return b.WaitUntil(s.ctx, lahja.SubscribedByAny[item]) }),
	}
	_ = lahja.Stream[item](s.ctx, b)
	for _, w := range waited {
		s.must(take(s, w))
	}
	say(s, a, item{1}, lahja.RequireSubscriber())
}

func (s *stage) waitForOneEndpoint() {
	a, b := s.pair()
	_ = lahja.Stream[item](s.ctx, a)
	waited := beside(s, func() error {
		return a.WaitUntil(s.ctx, lahja.SubscribedBy[item]("b"))
	})
	peers, err := a.Peers(s.ctx)
	if s.must(err); lahja.SubscribedBy[item]("b")(peers) || len(waited) > 0 {
		s.Fatal("one is taken for the other")
	}
	_ = lahja.Stream[item](s.ctx, b)
	s.must(take(s, waited))
}

func (s *stage) waitForAll() {
	asking := s.connect("asking")
	waits := func(cond func(lahja.Peers) bool) <-chan error {
		return beside(s, func() error { return asking.WaitUntil(s.ctx, cond) })
	}
	withSelf := waits(func(p lahja.Peers) bool {
		return len(p) == 4 && lahja.SubscribedByAll[item](p)
	})
	without := waits(func(p lahja.Peers) bool {
		return len(p) == 4 && lahja.SubscribedByAll[item](p[1:])
	})
	for i := range 3 {
		if len(without) > 0 {
			s.Fatalf("it is true with %d", i)
		}
		_ = lahja.Stream[item](s.ctx, s.connect(fmt.Sprint("w", i)))
	}
	s.must(take(s, without))
	if len(withSelf) > 0 {
		s.Fatal("it is true without itself")
	}
	_ = lahja.Stream[item](s.ctx, asking)
	s.must(take(s, withSelf))
}

func (s *stage) changeIsSeen() {
	a, b := s.pair()
	for _, ep := range []*lahja.Endpoint{a, b} {
		views := a.WatchPeers(s.ctx)
		take(s, views)
		sub := onItem(s, ep, func(context.Context, int) {})
		for view := range views {
			if lahja.SubscribedBy[item](ep.Name())(view) {
				break
			}
		}
		sub.Unsubscribe()
		for view := range views {
			if !lahja.SubscribedBy[item](ep.Name())(view) {
				break
			}
		}
		s.must(s.ctx.Err())
	}
}

func (s *stage) seenIsReached() {
	a, b := s.pair()
	c := s.connect("c")
	for i := range 40 {
		streams := make(chan (<-chan lahja.Event[item]), 1)
		ctx, end := context.WithCancel(s.ctx)
		s.group.Go(func() { streams <- lahja.Stream[item](ctx, b) })
		s.until(a, lahja.SubscribedBy[item]("b"))
		from := a
		if i%2 == 0 {
			from = c // what a has seen is so for everyone
		}
		say(s, from, item{i}, lahja.RequireSubscriber())
		hear(s, take(s, streams), item{i})
		end()
		s.until(a, not(lahja.SubscribedBy[item]("b")))
	}
}

func (s *stage) closedIsGone() {
	a, b := s.pair()
	_ = lahja.Stream[item](s.ctx, b)
	c, d := s.own("c"), s.connect("d")
	for _, ep := range []*lahja.Endpoint{a, c, d} {
		s.until(ep, lahja.SubscribedBy[item]("b"))
	}
	s.must(b.Close())
	for _, ep := range []*lahja.Endpoint{a, c, d} {
		s.until(ep, not(lahja.Present("b")))
		err := lahja.Broadcast(s.ctx, ep, item{1}, lahja.RequireSubscriber())
		s.wantErr(err, lahja.ErrNoSubscribers)
	}
}

func (s *stage) cutIsGone() {
	s.mortal = true
	if s.place == nil {
		s.Skip("there is no connection")
	}
	a, c := s.own("a"), s.connect("c")
	b := s.connect("b")
	_ = lahja.Stream[item](s.ctx, b)
	s.wires.cutLast()
	takeEnd(s, b.Done())
	s.wantErr(b.Err(), lahja.ErrSessionLost)
	for _, ep := range []*lahja.Endpoint{a, c} {
		s.until(ep, not(lahja.Present("b")))
		err := lahja.Broadcast(s.ctx, ep, item{1}, lahja.RequireSubscriber())
		s.wantErr(err, lahja.ErrNoSubscribers)
	}
	s.connect("b") // the name is free
}

func (s *stage) stateIsTold() {
	_, b := s.pair()
	unread := b.WatchState(s.ctx)
	states := b.WatchState(s.ctx)
	if st := take(s, states); !st.Connected || st.Err != nil {
		s.Fatalf("%+v is first", st)
	}
	ctx, end := context.WithCancel(s.ctx)
	cancelled := b.WatchState(ctx)
	take(s, cancelled)
	end()
	takeEnd(s, cancelled)
	s.must(b.Close())
	for _, c := range []<-chan lahja.State{states, unread} {
		st := take(s, c)
		if s.wantErr(st.Err, lahja.ErrClosed); st.Connected {
			s.Fatalf("%+v is last", st)
		}
		takeEnd(s, c)
	}
	if st := take(s, b.WatchState(s.ctx)); st.Connected || st.Err == nil {
		s.Fatalf("after the end it is %+v", st)
	}
}

func (s *stage) waitEnds() {
	a, b := s.pair()
	never := func(lahja.Peers) bool { return false }
	ctx, cancel := context.WithCancel(s.ctx)
	waited := beside(s, func() error { return a.WaitUntil(ctx, never) })
	views := a.WatchPeers(ctx)
	take(s, views)
	cancel()
	s.wantErr(take(s, waited), context.Canceled)
	takeEnd(s, views)
	s.wantErr(a.WaitUntil(ctx, lahja.Present("a")), context.Canceled) // although it is true

	waited = beside(s, func() error { return b.WaitUntil(s.ctx, never) })
	views = b.WatchPeers(s.ctx)
	take(s, views)
	s.must(b.Close())
	s.wantErr(take(s, waited), lahja.ErrClosed)
	takeEnd(s, views)
}

func (s *stage) viewsAreNotRead() {
	a, b := s.pair()
	views := a.WatchPeers(s.ctx)
	for range 50 {
		sub := onItem(s, b, func(context.Context, int) {})
		sub.Unsubscribe()
	}
	_ = lahja.Stream[other](s.ctx, b)
	s.until(a, lahja.SubscribedBy[other]("b"))
	read := 0
	for view := range views {
		if read++; lahja.SubscribedBy[other]("b")(view) {
			break
		}
	}
	s.must(s.ctx.Err())
	if read > 3 {
		s.Errorf("%d views were kept for one who does not read", read)
	}
}

func (s *stage) conditions() {
	a, b := s.connect("a"), s.own("b")
	_ = lahja.Stream[item](s.ctx, a)
	_ = lahja.Stream[item](s.ctx, b)
	_ = lahja.Stream[other](s.ctx, b)
	peers, err := a.Peers(s.ctx)
	s.must(err)
	for name, c := range map[string]struct{ got, want bool }{
		"Present one":         {lahja.Present("b")(peers), true},
		"Present two":         {lahja.Present("a", "b")(peers), true},
		"Present none":        {lahja.Present()(peers), true},
		"Present nobody":      {lahja.Present("a", "nobody")(peers), false},
		"SubscribedBy two":    {lahja.SubscribedBy[item]("a", "b")(peers), true},
		"SubscribedBy one":    {lahja.SubscribedBy[other]("b")(peers), true},
		"SubscribedBy half":   {lahja.SubscribedBy[other]("a", "b")(peers), false},
		"SubscribedBy nobody": {lahja.SubscribedBy[item]("nobody")(peers), false},
		"SubscribedByAny":     {lahja.SubscribedByAny[other](peers), true},
		"SubscribedByAny no":  {lahja.SubscribedByAny[question](peers), false},
		"SubscribedByAll":     {lahja.SubscribedByAll[item](peers), true},
		"SubscribedByAll no":  {lahja.SubscribedByAll[other](peers), false},
		"all others":          {lahja.SubscribedByAll[other](peers[1:]), true},
	} {
		if c.got != c.want {
			s.Errorf("%s is %v of %v", name, c.got, peers)
		}
	}
}
