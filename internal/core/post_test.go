package core

import (
	"fmt"
	"testing"

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
