package core

import (
	"context"
	"errors"
	"testing"

	"github.com/lahja-go/lahja/internal/fault"
)

// Who may subscribe and not handle only observes a request that comes before the bus was told of
// the subscription.
func TestMuteBeforeItIsAnnounced(t *testing.T) {
	bus := NewNode(config)
	defer bus.Close()
	ep, served := connectAs(t, bus, "limited", Caller{
		Authorize: func(context.Context, string) (*Permissions, error) {
			return &Permissions{Subscribe: []string{"*"}, Handle: []string{"other"}}, nil
		},
	})
	for event, mute := range map[string]bool{"event": true, "other": false} {
		s := &Sub{Endpoint: ep, Spec: anything.spec(event), done: make(chan struct{})}
		s.ctx, s.cancel = context.Background(), func(error) {}
		s.Box = anything.box(s)
		if err := ep.add(s); err != nil {
			t.Fatal(err)
		}
		call := ep.NewCall(context.Background(), "answer", false)
		err := call.inbound(s).Answer(Answer{Name: "answer"})
		if denied := errors.Is(err, fault.Denied); denied != mute {
			t.Errorf("an answer to %q is met with %v", event, err)
		}
		s.end(nil, false)
	}
	ep.Close()
	<-served
}
