package core

import (
	"fmt"
	"math"
	"testing"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// Publishers that come and go do not fill the memory for a subscription elsewhere that wants what
// is kept and whose process does not read. What was kept when it came does not count for that.
func TestSubscriptionWithRetainedIsBounded(t *testing.T) {
	n := NewNode(Config{Lag: 64 << 10, MaxFrame: 8 << 10, RetainedKeys: 4000})
	defer n.Close()
	keeper, err := n.Attach("keeper")
	if err != nil {
		t.Fatal(err)
	}
	o, err := keeper.Outlet("event")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		b := Broadcast{Retain: true, Key: fmt.Sprint(i)}
		if err := publish(t.Context(), o, b, nil); err != nil {
			t.Fatal(err)
		}
	}
	p, err := n.join(&wire.Hello{Name: "far"}, Caller{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.add(&wire.Subscribe{ID: 1, Event: "event", Retained: true}); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if isClosed(p.link.Down()) {
			if i == 0 {
				t.Error("it has ended for what was kept")
			}
			return
		}
		passer, err := n.Attach(fmt.Sprint("passer", i))
		if err != nil {
			t.Fatal(err)
		}
		if o, err = passer.Outlet("event"); err != nil {
			t.Fatal(err)
		}
		if err := publish(t.Context(), o, Broadcast{}, nil); err != nil {
			t.Fatal(err)
		}
		passer.Close()
	}
	t.Error("so many were accepted")
}

// What a member of a group has returned goes to another one also while the bus closes. One that has
// sent its last has what it got.
func TestReturnedWhileTheBusCloses(t *testing.T) {
	n := NewNode(Config{})
	defer n.Close()
	var peers []*peer
	for _, name := range []string{"first", "second"} {
		p, err := n.join(&wire.Hello{Name: name}, Caller{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.add(&wire.Subscribe{ID: 1, Event: "event", Group: "group"}); err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	topic := n.lookUp("event")
	group := topic.Route().posts[0]
	left := group.members[0]
	group.expel(left)
	n.draining.Store(true)
	give := func() {
		c := &parcel{
			Delivery: Delivery{Topic: topic, Origin: "far"}, body: encoded{0xa0}, post: group,
		}
		f := window.NewFlight(&ticket{left, c}, window.Item{Size: 200})
		f.Meet(window.Returned)
		f.Drop()
	}
	give()
	if owed := peers[1].link.Owed(); owed != 1 {
		t.Errorf("the other member has got %d events", owed)
	}
	close(left.peer.drained)
	give()
	if owed := peers[1].link.Owed(); owed != 1 {
		t.Errorf("the other member has got %d events, one of which is not for it", owed)
	}
}

// With a Lag that is as good as no limit more may wait than with a small one.
func TestBacklogLimitOfAHugeLag(t *testing.T) {
	n := NewNode(Config{Lag: math.MaxInt64})
	defer n.Close()
	if limit := n.backlogLimit(); limit < maxStated {
		t.Errorf("%d bytes may wait in one place", limit)
	}
}

// However many wait, those that stay are not moved when the first is taken.
func TestTakingTheFirstMovesNone(t *testing.T) {
	p := &post{}
	for range 3 {
		p.waiting = append(p.waiting, &parcel{})
	}
	first, second, last := p.waiting[0], &p.waiting[1], p.waiting[2]
	if p.takeLocked(0) != first || &p.waiting[0] != second || len(p.waiting) != 2 {
		t.Error("the second has moved, or the first was not taken")
	}
	if p.takeLocked(1) != last || len(p.waiting) != 1 {
		t.Error("the last was not taken")
	}
	room := cap(p.waiting)
	if p.takeLocked(0); len(p.waiting) != 0 || cap(p.waiting) != room {
		t.Error("the last place is not kept for the next")
	}
}
