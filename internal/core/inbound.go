package core

import (
	"context"

	"github.com/lahja-go/lahja/internal/fault"
)

// Inbound is what an event has beside its value: for a request, as one of its recipients has it,
// the way back; for the first event after a lost session, that there is a gap. With nil it has
// neither.
type Inbound struct {
	call     *Call    // nil: it is no request
	gap      *Sub     // the subscription that has the gap; nil: there is none
	of       *Inbound // the request, of one that has a gap as well
	endpoint *Endpoint
	observer bool // it does not count
	open     int  // subscriptions that may still answer; guarded by call.mu
}

// IsRequest reports whether the event is a request.
func (in *Inbound) IsRequest() bool { return in != nil && in.call != nil }

// IsGap reports whether there is a gap before the event.
func (in *Inbound) IsGap() bool { return in != nil && in.gap != nil }

// Wanted is the name of the response's type.
func (in *Inbound) Wanted() string { return in.call.wanted }

// Over reports whether the request is withdrawn, because nobody waits for an answer any more; that
// its time is over is known before the requester says so. From one who only observes, nothing is
// withdrawn: requests are answered sooner than they are observed.
func (in *Inbound) Over() bool {
	return in.IsRequest() && !in.observer && (in.call.Over() || in.call.expired())
}

// Answer answers the request.
func (in *Inbound) Answer(a Answer) error {
	if err := in.endpoint.Err(); err != nil {
		return err
	}
	if in.observer {
		return fault.Errorf(fault.UnexpectedResponse, "who only observes a request cannot answer it")
	}
	if a.Err == nil && a.Name != in.call.wanted {
		return fault.Errorf(fault.UnexpectedResponse,
			"the requester wants %s and is answered with %s", in.call.wanted, a.Name)
	}
	a.Origin = in.endpoint.name
	if a.Err != nil {
		a.Err = fault.Remote(a.Origin, a.Err)
	}
	if in.call.peer != nil && a.Err == nil {
		var err error
		if a.Payload, err = a.Encode(); err != nil {
			return err
		}
		if err = in.endpoint.node.checkSize("a response", a.Name, len(a.Payload)); err != nil {
			return err
		}
	}
	return in.call.answer(in.endpoint, a)
}

// Dropped says that the event does not reach its subscription after all.
func (in *Inbound) Dropped() {
	if in.IsGap() {
		in.gap.gap.Store(true) // the next one tells
	}
	in.Done()
}

// Done says that one subscription of the recipient has handled the request and will not answer.
func (in *Inbound) Done() {
	if !in.IsRequest() || in.observer {
		return
	}
	if in.of != nil {
		in = in.of
	}
	c := in.call
	c.mu.Lock()
	in.open--
	last := in.open == 0
	c.mu.Unlock()
	if last {
		c.gone(in.endpoint, fault.ResponderGone)
	}
}

// Context returns a handler's context: it ends with the deadline of the requester, and when
// nobody waits for the answer any more. The handler must call cancel when it returns.
func (in *Inbound) Context(parent context.Context) (ctx context.Context, cancel func()) {
	if in.observer {
		return parent, func() {}
	}
	c := in.call
	var stop context.CancelFunc
	if c.deadline.IsZero() {
		ctx, stop = context.WithCancel(parent)
	} else {
		ctx, stop = context.WithDeadline(parent, c.deadline)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Load() {
		stop()
		return ctx, stop
	}
	h := &handler{in.endpoint, stop}
	c.handlers[h] = struct{}{}
	return ctx, func() {
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.handlers, h)
	}
}

// handler is a handler's run for a Call.
type handler struct {
	endpoint *Endpoint
	stop     context.CancelFunc
}
