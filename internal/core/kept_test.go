package core

import (
	"testing"
	"time"
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
