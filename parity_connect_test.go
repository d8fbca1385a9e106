package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityConnecting(t *testing.T) {
	everywhereOnce(t, []behaviour{
		{"P1 who connects sees the others", (*stage).seesOthers},
		{"P2 L6 a name is taken once, and who comes second is told", (*stage).nameTakenOnce},
		{"P3 P49 whoever was there sees who connects", (*stage).isSeen},
		{"P27 a wait for a change of who is there", (*stage).waitForConnection},
		{"P33 P34 P35 an endpoint is in its own view, first", (*stage).seesItself},
		{"P41 an endpoint runs from when it is attached until it is closed", (*stage).runs},
		{"P42 P44 a program that fails with an error ends what it has opened",
			(*stage).failsInside},
		{"P43 a bus serves until its context ends", (*stage).serves},
		{"P45 a wait for an endpoint that comes later", (*stage).waitForEndpoint},
		{"P46 an endpoint cannot connect to itself", (*stage).cannotConnectToItself},
	})
}

func (s *stage) seesOthers() {
	s.own("main")
	ep := s.connect("worker")
	peers, err := ep.Peers(s.ctx)
	s.must(err)
	if !lahja.Present("main")(peers) {
		s.Fatalf("it sees %v", peers)
	}
}

func (s *stage) nameTakenOnce() {
	first := s.connect("worker")
	items := lahja.Stream[item](s.ctx, first)
	_, err := s.attach("worker")
	s.wantErr(err, lahja.ErrNameTaken)
	if _, err = s.bus.Endpoint("worker"); !errors.Is(err, lahja.ErrNameTaken) {
		s.Fatal("in the bus's process:", err)
	}
	say(s, s.connect("other"), item{1}) // the first is as it was
	hear(s, items, item{1})
}

func (s *stage) isSeen() {
	main := s.own("main")
	s.connect("worker")
	s.until(main, lahja.Present("worker"))
}

func (s *stage) waitForConnection() {
	main := s.own("main")
	views := main.WatchPeers(s.ctx)
	if first := take(s, views); len(first) != 1 {
		s.Fatalf("it sees %v first", first)
	}
	worker := s.connect("worker")
	for view := range views {
		if lahja.Present("worker")(view) {
			break
		}
	}
	s.must(worker.Close())
	for view := range views {
		if len(view) == 1 {
			return
		}
	}
	s.Fatal("the endpoint that has closed is seen for ever")
}

func (s *stage) seesItself() {
	ep := s.connect("worker")
	s.connect("a") // sorts before it
	s.own("z")
	s.until(ep, lahja.Present("worker"))
	peers, err := ep.Peers(s.ctx)
	s.must(err)
	var names []string
	for _, p := range peers {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"worker", "a", "z"}) {
		s.Fatalf("it sees %v", names)
	}
}

func (s *stage) runs() {
	ep := s.connect("worker")
	select {
	case <-ep.Done():
		s.Fatal("it has ended")
	default:
	}
	if ep.Name() != "worker" || ep.Err() != nil {
		s.Fatalf("name %q, error %v", ep.Name(), ep.Err())
	}
	s.must(ep.Close())
	takeEnd(s, ep.Done())
	s.wantErr(ep.Err(), lahja.ErrClosed)
	s.wantErr(lahja.Broadcast(s.ctx, ep, item{1}), lahja.ErrClosed)
	_, err := ep.Peers(s.ctx)
	s.wantErr(err, lahja.ErrClosed)
	s.must(ep.Close()) // again
}

func (s *stage) failsInside() {
	errInside := errors.New("the program failed")
	var ep *lahja.Endpoint
	program := func() (err error) {
		if ep, err = s.attach("worker"); err != nil {
			return err
		}
		defer ep.Close()
		return errInside
	}
	s.wantErr(program(), errInside)
	takeEnd(s, ep.Done())
	s.until(s.own("main"), not(lahja.Present("worker")))
	s.connect("worker") // the name is free
}

func (s *stage) serves() {
	if s.place == nil {
		s.must(s.bus.Close())
		_, err := s.bus.Endpoint("late")
		s.wantErr(err, lahja.ErrClosed)
		return
	}
	bus := lahja.NewBus()
	defer bus.Close()
	ctx, stop := context.WithCancel(s.ctx)
	l, place, err := s.venue.listen(s)
	s.must(err)
	served := beside(s, func() error { return bus.ServeListener(ctx, l) })
	ep, err := lahja.Connect(s.ctx, "worker", place)
	s.must(err)
	stop()
	s.must(take(s, served))
	takeEnd(s, ep.Done())
	s.wantErr(ep.Err(), lahja.ErrClosed)
	if _, err := lahja.Connect(s.ctx, "late", place); err == nil {
		s.Fatal("it connects where nobody listens any more")
	}
}

func (s *stage) cannotConnectToItself() {
	ep := s.connect("worker")
	_, err := s.attach(ep.Name())
	s.wantErr(err, lahja.ErrNameTaken)
}

func (s *stage) waitForEndpoint() {
	for i, ep := range []*lahja.Endpoint{s.own("main"), s.connect("worker")} {
		name := fmt.Sprint("late", i)
		there := beside(s, func() error { return ep.WaitUntil(s.ctx, lahja.Present(name)) })
		s.connect(name)
		s.must(take(s, there))
	}
}
