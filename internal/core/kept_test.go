package core

import (
	"errors"
	"testing"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
)

// What an endpoint retains is kept, although the end of another, which had its name before, is
// noted only afterwards; what that one had retained is gone.
func TestSuccessorKeepsWhatItRetains(t *testing.T) {
	n := NewNode(Config{Lag: 1 << 20, MaxFrame: 1 << 20, Handshake: time.Second})
	defer n.Close()
	first, err := n.Attach("name")
	if err != nil {
		t.Fatal(err)
	}
	retain := func(ep *Endpoint, key string) {
		o, err := ep.Outlet("event")
		if err != nil {
			t.Fatal(err)
		}
		if err := publish(t.Context(), o, Broadcast{Retain: true, Key: key}, nil); err != nil {
			t.Fatal(err)
		}
	}
	retain(first, "old")
	topic := n.lookUp("event")
	n.table.Leave(first.party) // its name is free now
	second, err := n.Attach("name")
	if err != nil {
		t.Fatal(err)
	}
	retain(second, "new")
	topic.forgetAll("name", first.party.ID)
	if got := topic.kept.of("name"); len(got) != 1 || got[0].key != "new" {
		t.Errorf("kept: %v", got)
	}
	topic.forgetAll("name", second.party.ID)
	if got := topic.kept.of("name"); len(got) > 0 {
		t.Errorf("kept after the end: %v", got)
	}
}

// An event that was about to be retained when its endpoint ended is not: nothing would ever end it.
func TestNothingIsRetainedAfterTheEnd(t *testing.T) {
	n := NewNode(Config{Lag: 1 << 20, MaxFrame: 1 << 20, Handshake: time.Second})
	defer n.Close()
	ep, err := n.Attach("name")
	if err != nil {
		t.Fatal(err)
	}
	o, err := ep.Outlet("event")
	if err != nil {
		t.Fatal(err)
	}
	var p Publication
	if err := o.Begin(t.Context(), &Broadcast{Retain: true}, nil, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Admit(t.Context(), 200); err != nil {
		t.Fatal(err)
	}
	defer p.End()
	ep.Close()
	err = p.Hand(func() Body { return encoded{} }, func() error {
		t.Error("it is handed over")
		return nil
	})
	if !errors.Is(err, fault.Closed) {
		t.Errorf("the error is %v", err)
	}
	if got := o.Topic.kept.of("name"); len(got) > 0 {
		t.Errorf("kept after the end: %v", got)
	}
}
