package core

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/mailbox"
	"github.com/lahja-go/lahja/internal/window"
)

// handledAtTheEnd is how many of three events are handled when ctx ends while the first one is.
func handledAtTheEnd(t *testing.T, ctx context.Context) (handled int) {
	n := NewNode(Config{MaxFrame: 1 << 20})
	defer n.Close()
	ep, err := n.Attach("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var box *mailbox.Mailbox[int]
	spec := Spec{Event: "event", Kind: anything, Workers: 1, Work: func(s *Sub) {
		events := box.Taker(s.AtOnce())
		for _, open := events.Next(); open; _, open = events.Next() {
			if !s.Begin(nil) {
				continue
			}
			if handled++; handled == 1 {
				end()
				synctest.Wait()
			}
		}
	}}
	s, err := ep.Subscribe(ctx, spec, func(s *Sub) Box {
		box = mailbox.New(mailbox.Options[int]{
			Handled: true, Buffer: 3, Owner: s,
			Events: &mailbox.Events[int]{
				Stale: func(*int) bool { return false }, Lost: func(*int) {},
				Alone: func(*int) bool { return false },
			},
		})
		for i := range 3 {
			box.Push(&i, nil, &window.Charge{})
		}
		return box
	})
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("it has ended with %v", err)
	}
	return handled
}

// The end of ctx discards what waits, except where that is to be finished.
func TestFinishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if n := handledAtTheEnd(t, t.Context()); n != 1 {
			t.Errorf("%d were handled of 3, want the first", n)
		}
		if n := handledAtTheEnd(t, Finishing(t.Context())); n != 3 {
			t.Errorf("%d were handled of 3, want all", n)
		}
	})
}
