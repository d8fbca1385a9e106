package core

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// The time of a request may be over a moment before the timer of its ctx has noticed.
func TestUnansweredBeforeItsContextEnds(t *testing.T) {
	bus := NewNode(config)
	defer bus.Close()
	ep, err := bus.Attach("requester")
	if err != nil {
		t.Fatal(err)
	}
	o, err := ep.Outlet("event")
	if err != nil {
		t.Fatal(err)
	}
	err = o.Unanswered(t.Context(), context.DeadlineExceeded, &Broadcast{})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "nil") {
		t.Errorf("the request ended with %v", err)
	}
}
