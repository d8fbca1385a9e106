package core

import (
	"testing"

	"github.com/lahja-go/lahja/internal/fault"
)

// The last state says that the endpoint has ended, also when it ends as soon as somebody watches.
func TestLastStateSaysTheEnd(t *testing.T) {
	n := NewNode(config)
	defer n.Close()
	ep, err := n.Attach("name")
	if err != nil {
		t.Fatal(err)
	}
	var last State
	for last = range WatchState(t.Context(), ep, func(s State) State {
		ep.lost(fault.Closed) // Close would wait for who tells the last state
		return s
	}) {
	}
	if last.Connected || last.Err == nil {
		t.Errorf("the last state is %+v", last)
	}
}
