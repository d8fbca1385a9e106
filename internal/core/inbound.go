package core

import (
	"context"
	"slices"

	"github.com/lahja-go/lahja/internal/codec"
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/window"
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
	mute     bool // because its endpoint may not answer
	open     int  // subscriptions that may still answer; guarded by call.mu
	silent   bool // one of them has not, and has not given it back; guarded by call.mu

	// Of a member of a group.
	shared *Inbound       // what it has in common with the endpoint's other subscriptions
	flight *window.Flight // held until its handler starts; nil then, and without a handler
}

// Request reports whether somebody waits for an answer; in may be nil.
func (in *Inbound) Request() bool { return in != nil && in.call != nil }

// take says that the handler starts, or never will.
func (in *Inbound) take() {
	in.flight.Conclude() // others may be about to let go of it
	in.flight.Drop()
	in.flight = nil
}

// Lost says that the event is discarded; in may be nil. A group gives it to another member.
func (in *Inbound) Lost() {
	if in == nil {
		return
	}
	if in.gap != nil {
		in.gap.losses.Add(1) // the next one tells
	}
	if in.flight != nil {
		if !in.Over() {
			in.flight.Meet(window.Returned)
		}
		in.take()
	}
	if in.shared != nil {
		in.done(nil)
	} else {
		in.done(fault.ResponderGone)
	}
}

// IsGap reports whether there is a gap before the event.
func (in *Inbound) IsGap() bool { return in != nil && in.gap != nil }

// Wanted is the name of the response's type.
func (in *Inbound) Wanted() string { return in.call.wanted }

// Over reports whether the request is withdrawn, because nobody waits for an answer any more; that
// its time is over is known before the requester says so. From one who only observes, nothing is
// withdrawn: requests are answered sooner than they are observed.
func (in *Inbound) Over() bool {
	return in.Request() && !in.observer && (in.call.Over() || in.call.expired())
}

// Conclude is Answer for a handler that has returned.
func (in *Inbound) Conclude(a Answer) error {
	a.returned = true
	return in.Answer(a)
}

// Answer answers the request.
func (in *Inbound) Answer(a Answer) error {
	if err := in.endpoint.Err(); err != nil {
		return err
	}
	if in.mute {
		return fault.Errorf(fault.Denied, "endpoint %q may not answer this event", in.endpoint.name)
	}
	if in.observer {
		return fault.Errorf(fault.UnexpectedResponse,
			"who only observes a request cannot answer it")
	}
	if a.Err == nil && a.Name != in.call.wanted {
		return fault.Errorf(fault.UnexpectedResponse,
			"the requester wants %s and is answered with %s", in.call.wanted, a.Name)
	}
	a.Origin = in.endpoint.name
	if a.Err != nil {
		a.Err = fault.Remote(a.Origin, a.Err)
	}
	if in.call.peer == nil || a.Err != nil {
		return in.call.answer(in.endpoint, a)
	}
	buf := codec.Buffer()
	defer codec.Recycle(buf) // what is sent to a link is copied
	if err := a.Encode(buf); err != nil {
		return err
	}
	a.Payload = buf.Bytes()
	if err := in.endpoint.node.checkSize("a response", a.Name, len(a.Payload)); err != nil {
		return err
	}
	return in.call.answer(in.endpoint, a)
}

// Done says that one subscription of the recipient has handled the request and will not answer.
func (in *Inbound) Done() { in.done(fault.ResponderGone) }

func (in *Inbound) done(reason error) {
	if !in.Request() || in.observer {
		return
	}
	if in.of != nil {
		in = in.of
	}
	if in.shared != nil {
		in = in.shared
	}
	c := in.call
	c.mu.Lock()
	in.open--
	in.silent = in.silent || reason != nil
	last := in.open == 0
	if in.silent {
		reason = fault.ResponderGone
	}
	c.mu.Unlock()
	if last {
		c.gone(in.endpoint, reason)
	}
}

// Context returns a handler's context: it ends with the deadline of the requester, and when
// nobody waits for the answer any more. The handler must call cancel when it returns.
func (in *Inbound) Context(parent context.Context) (ctx context.Context, cancel func()) {
	if in.observer || !in.Request() {
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
	h := &handler{c, in.endpoint, stop}
	c.handlers = append(c.handlers, h)
	return ctx, h.returned
}

// handler is a handler's run for a Call.
type handler struct {
	call     *Call
	endpoint *Endpoint
	stop     context.CancelFunc
}

func (h *handler) returned() {
	h.stop()
	c := h.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.handlers, h); i >= 0 {
		c.handlers = slices.Delete(c.handlers, i, i+1)
	}
}

// addressed is an inlet through which an event came that is for one subscription.
type addressed inlet

// Settle implements [window.Settler].
func (a *addressed) Settle(f *window.Flight) {
	if p := a.peer.Load(); p != nil && f.Fate() == window.Returned {
		p.link.Return(f)
		return
	}
	(*inlet)(a).Settle(f)
}
