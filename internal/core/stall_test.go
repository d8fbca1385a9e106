package core

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja/internal/wire"
)

// stuck is a mailbox that takes nothing.
type stuck struct{ sink }

func (*stuck) Lag() int64 { return 100 }

// A publisher elsewhere says once that it waits, perhaps at a moment at which all that it has sent
// is taken. If it is held up then, by whoever, that counts all the same.
func TestHeldUpSinceItSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNode(Config{Stall: 5 * time.Second})
		defer n.Close()
		p, err := n.join(&wire.Hello{Name: "far"}, Caller{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		own, err := n.Attach("own")
		if err != nil {
			t.Fatal(err)
		}
		box := func(s *Sub) Box { return &stuck{sink{sub: s}} }
		s, err := own.Subscribe(t.Context(), anything.spec("event"), box)
		if err != nil {
			t.Fatal(err)
		}
		p.names[1] = "event"
		in, err := p.inlet(1)
		if err != nil {
			t.Fatal(err)
		}
		waits := wire.Held{Number: 1, Publishers: []string{"far"}}
		f, _, err := wire.Next(wire.AppendControl(nil, wire.TypeHeld, waits), 1<<10)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.heldBy(f.Body); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if in.topic.waitsElsewhere(p) != 0 || s.Err() != nil {
			t.Errorf("where nothing is outstanding the subscription has ended: %v", s.Err())
		}
		in.account.Arrived(100)
		time.Sleep(6 * time.Second)
		if in.topic.waitsElsewhere(p) != 1 || s.Err() == nil {
			t.Error("the subscription holds the publisher up for good")
		}
	})
}
