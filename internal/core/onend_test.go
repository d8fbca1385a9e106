package core

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/mailbox"
	"github.com/lahja-go/lahja/internal/window"
)

// observed is a subscription whose mailbox is seen just after it has let go of it.
type observed struct {
	*Sub
	after func()
}

func (o observed) Finished() {
	o.Sub.Finished()
	o.after()
}

// Done waits for OnEnd of a subscription that ends at the same moment: when its mailbox has ended
// and is about to close, when its pump has yet to return, and when the endpoint does not know it
// any more.
func TestDoneWaitsForOnEnd(t *testing.T) {
	ends := map[string]func(*Endpoint){
		"Close":    func(ep *Endpoint) { ep.Close() },
		"the link": func(ep *Endpoint) { ep.lost(errors.New("it broke")) },
	}
	for name, end := range ends {
		for _, moment := range []string{"has ended", "is gone", "ends its pump"} {
			t.Run(name+" when it "+moment, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { endsMeanwhile(t, moment, end) })
			})
		}
	}
}

func endsMeanwhile(t *testing.T, moment string, end func(*Endpoint)) {
	n := NewNode(Config{MaxFrame: 1 << 20})
	defer n.Close()
	ep, err := n.Attach("a")
	if err != nil {
		t.Fatal(err)
	}
	var told atomic.Bool
	checked := make(chan struct{})
	check := func(now string) {
		if now != moment {
			return
		}
		go end(ep)
		synctest.Wait()
		select {
		case <-ep.Done():
			t.Errorf("Done is closed; OnEnd has been called: %v", told.Load())
		default:
		}
		close(checked)
	}
	var box *mailbox.Mailbox[int]
	spec := Spec{Event: "event", Kind: anything, OnEnd: func(error) { told.Store(true) }}
	s, err := ep.Subscribe(t.Context(), spec, func(s *Sub) Box {
		box = mailbox.New(mailbox.Options[int]{
			Buffer: 1, Limit: 100,
			Events: &mailbox.Events[int]{
				Stale: func(*int) bool { return false },
				Lost: func(ev *int) {
					check(map[int]string{1: "has ended", 2: "ends its pump"}[*ev])
				},
			},
			Owner: observed{s, func() { check("is gone") }},
		})
		return box
	})
	if err != nil {
		t.Fatal(err)
	}
	events := []int{1}
	if moment == "ends its pump" {
		events = append(events, 2)
	}
	account := window.NewPool(100, 0).Open()
	for _, ev := range events {
		box.Push(&ev, nil, &window.Charge{Account: account, Size: 1})
	}
	box.Abandon() // as s.Abandon does, but for what is in the channel, which comes first then
	<-checked
	s.Unsubscribe()
	ep.Close()
	<-ep.Done()
	if !told.Load() {
		t.Error("OnEnd was not called")
	}
}
