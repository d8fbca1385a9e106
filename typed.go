package lahja

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"runtime/debug"

	"github.com/lahja-go/lahja/internal/codec"
	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/mailbox"
)

// Event is an event that a subscription got.
type Event[T any] struct {
	Value  T      // as it was broadcast
	Origin string // the endpoint that broadcast it, stamped by the bus
	Key    string // of a retained event
	Missed uint64 // events dropped by DropOldest that no earlier event has counted
	Gone   bool   // what was retained under Origin and Key has ended; Value is zero

	back *core.Inbound // the way back for a reply, or a gap; nil: neither
}

// Gap reports whether events for this subscription may be missing before this one, because the
// endpoint's session with its bus was lost. Only the first event of each subscription after that
// reports it. For a subscription WithRetained the events from there on begin with all that other
// endpoints have retained; what is not among it has ended, and no event with Gone says so.
func (e Event[T]) Gap() bool { return e.back.IsGap() }

// EventName returns the name that events of type T have on the wire: what T's method EventName()
// string returns, if T itself declares it, or the type's package path and name. Both sides must
// use the same name; their Go types may differ. It panics if T cannot be an event.
func EventName[T any]() string {
	k, err := kindOf[T]()
	if err != nil {
		panic(err)
	}
	return k.codec.Name()
}

// Broadcast sends value to everyone who subscribes to T. When it returns nil, every matching
// subscription whose call had returned before gets it exactly once; when it returns an error,
// nobody does. It is no error if nobody subscribes, unless RequireSubscriber is given.
//
// It waits while subscriptions to T lag too far behind, and then fails when ctx or the endpoint
// ends. It fails at once, with a description, when T cannot be an event or the value cannot be
// encoded; with [ErrTooLarge]; with [ErrDenied] when options contradict each other or the bus does
// not permit it; with [ErrClosed]; and with [ErrNoSubscribers] and [ErrWouldBlock] where options
// ask for it. Calls that run at the same time have no order.
func Broadcast[T any](ctx context.Context, ep *Endpoint, value T, opts ...BroadcastOption) error {
	if ctx.Err() != nil {
		return fault.Ended(ctx)
	}
	o, err := outletOf[T](ep)
	if err != nil {
		return err
	}
	var b core.Broadcast
	if len(opts) > 0 {
		b = merge(opts)
	}
	return o.publish(ctx, value, &b, nil)
}

// Request broadcasts req and returns the first answer. Its recipients are those who get the event
// now; it fails with [ErrNoSubscribers] when there are none, and with [ErrResponderGone] as soon as
// none is left who could answer. An error of the handler arrives as a [RemoteError], and so does
// [ErrUnexpectedResponse] of one who answers with another type. Request waits and fails as
// Broadcast does, and then waits for the answer. When ctx or the endpoint ends it fails and is
// withdrawn; it fails with [ErrSessionLost] when the session is lost and nobody can know whether it
// was answered.
func Request[Req, Resp any](
	ctx context.Context, ep *Endpoint, req Req, opts ...BroadcastOption,
) (resp Resp, err error) {
	q, err := ask[Req, Resp](ctx, ep, req, opts, false)
	if err != nil {
		return resp, err
	}
	answer, _, err := q.next(ctx)
	if err != nil {
		return resp, err
	}
	return valueOf[Resp](q.response, answer)
}

// Gather broadcasts req and yields one answer of each endpoint that gets the event now, in the
// order in which the answers come. It ends when nobody is left who could answer. For an endpoint
// that fails or goes it yields an error, with the endpoint's name as the event's Origin; for a
// group of which no member has taken it, one without. When there are no recipients, or ctx or ep
// ends, the last pair has that error and no Origin. Leaving the loop withdraws the request from
// those who have not answered. It may be ranged over once.
//
// An endpoint may have the request in several ways, or get it yet as a member of a group that has
// no room: its first answer or error counts, others are dropped, and [ErrResponderGone] is told of
// it only when none of the ways is left. From then on no group gives it the request, nor gives it
// to ep if ep joins later. An endpoint that has answered may be waited for until its other handlers
// have returned; they are not cancelled.
func Gather[Req, Resp any](
	ctx context.Context, ep *Endpoint, req Req, opts ...BroadcastOption,
) iter.Seq2[Event[Resp], error] {
	return func(yield func(Event[Resp], error) bool) {
		q, err := ask[Req, Resp](ctx, ep, req, opts, true)
		if err != nil {
			yield(Event[Resp]{}, err)
			return
		}
		defer q.call.Cancel()
		for {
			answer, last, err := q.next(ctx)
			if last {
				// A ctx may have been ended for that very reason.
				if !errors.Is(err, ErrResponderGone) || errors.Is(err, ctx.Err()) {
					yield(Event[Resp]{}, err)
				}
				return
			}
			ev := Event[Resp]{Origin: answer.Origin}
			if err == nil {
				ev.Value, err = valueOf[Resp](q.response, answer)
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// query is a request that was broadcast.
type query struct {
	response *codec.Type
	call     *core.Call
	outlet   *core.Outlet
	how      core.Broadcast
}

// ask broadcasts req as a call for one answer, or for all.
func ask[Req, Resp any](
	ctx context.Context, ep *Endpoint, req Req, opts []BroadcastOption, all bool,
) (q query, err error) {
	if ctx.Err() != nil {
		return q, fault.Ended(ctx)
	}
	if q.response, err = responseOf[Resp](); err != nil {
		return q, err
	}
	o, err := outletOf[Req](ep)
	if err != nil {
		return q, err
	}
	b := merge(opts)
	q.call, q.outlet, q.how = ep.core.NewCall(ctx, q.response.Name(), all), o.Outlet, b
	if err := o.publish(ctx, req, &b, q.call); err != nil {
		q.call.Cancel()
		return q, err
	}
	return q, nil
}

// next waits for the next answer. The last error says which request has come to nothing.
func (q *query) next(ctx context.Context) (a core.Answer, last bool, err error) {
	if a, last, err = q.outlet.Endpoint.Next(ctx, q.call); last && err != nil {
		err = q.outlet.Unanswered(ctx, err, &q.how)
	}
	return a, last, err
}

// valueOf returns what an answer carries: the value itself, if it comes from this process.
func valueOf[Resp any](response *codec.Type, a core.Answer) (resp Resp, err error) {
	if v, ok := a.Value.(Resp); ok {
		return v, nil
	}
	if a.Encode != nil { // it is of this process; what has come may have no bytes at all
		var buf bytes.Buffer
		if err = a.Encode(&buf); err != nil {
			return resp, err
		}
		a.Payload = buf.Bytes()
	}
	if err := response.Decode(a.Payload, &resp); err != nil {
		var zero Resp
		return zero, fault.Errorf(fault.Protocol, "the answer of endpoint %q cannot be read: %w",
			a.Origin, err)
	}
	return resp, nil
}

// Subscription is a function that is called with events. Make it with [Subscribe] or [Handle].
type Subscription struct{ sub *core.Sub }

// Unsubscribe ends the subscription: no call of the handler starts after it. It does not wait for
// one that runs, and the handler may call it.
func (s *Subscription) Unsubscribe() { s.sub.Unsubscribe() }

// Done returns a channel that is closed when the subscription has ended and its handler has
// returned.
func (s *Subscription) Done() <-chan struct{} { return s.sub.Done() }

// Err returns why the subscription has ended: nil after Take and Unsubscribe, and while it lives.
func (s *Subscription) Err() error { return s.sub.Err() }

// Subscribe calls handler with each event of type T, one at a time and in order, until ctx ends.
// When it returns, it is subscribed: an event that is broadcast anywhere afterwards arrives. The
// handler's context ends with the subscription, and for a request with its requester. The handler
// may do anything, close its endpoint included.
//
// It fails with a description when T cannot be an event; with [ErrDenied] when options contradict
// each other, when it is not permitted, or when the endpoint has too many subscriptions; and when
// ctx or the endpoint has ended.
func Subscribe[T any](
	ctx context.Context, ep *Endpoint, handler func(context.Context, Event[T]),
	opts ...SubscribeOption,
) (*Subscription, error) {
	return handle(ctx, ep, handler, "", opts)
}

// Handle subscribes as Subscribe does, and answers the requests among the events with what handler
// returns. An error reaches the requester as a [RemoteError]. For an event that is not a request,
// what handler returns is dropped. A request that wants another type of response is refused with
// [ErrUnexpectedResponse], without calling handler.
func Handle[Req, Resp any](
	ctx context.Context, ep *Endpoint, handler func(context.Context, Event[Req]) (Resp, error),
	opts ...SubscribeOption,
) (*Subscription, error) {
	response, err := responseOf[Resp]()
	if err != nil {
		return nil, err
	}
	answer := func(ctx context.Context, ev Event[Req]) {
		resp, err := handler(ctx, ev)
		if !ev.back.Request() {
			return
		}
		if err == nil {
			err = ev.back.Conclude(answerOf(response, resp))
		}
		if err != nil { // also when the response cannot be sent; too late does no harm
			_ = ev.back.Conclude(core.Answer{Err: err})
		}
	}
	return handle(ctx, ep, answer, response.Name(), opts)
}

func handle[T any](
	ctx context.Context, ep *Endpoint, handler func(context.Context, Event[T]),
	response string, opts []SubscribeOption,
) (*Subscription, error) {
	k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	spec := o.spec(k)
	spec.Response, spec.Workers = response, max(1, o.concurrency)
	if o.recover {
		handler = recovering(handler)
	}
	spec.Work = func(s *core.Sub) { work(s, handler) }
	sub, err := ep.core.Subscribe(ctx, spec, k.box(o))
	if err != nil {
		return nil, err
	}
	return &Subscription{sub}, nil
}

// work calls handler with what arrives until the mailbox of s has ended.
func work[T any](s *core.Sub, handler func(context.Context, Event[T])) {
	events := s.Box.(*mailbox.Mailbox[Event[T]]).Taker(s.AtOnce())
	for ev, open := events.Next(); open; ev, open = events.Next() {
		if !s.Begin(ev.back) {
			ev.back.Lost()
			continue
		}
		call(s, handler, ev)
	}
}

func call[T any](s *core.Sub, handler func(context.Context, Event[T]), ev Event[T]) {
	ctx, cancel := s.Context(ev.back)
	defer ev.back.Done()
	defer cancel()
	s.User(func() { handler(ctx, ev) })
}

// recovering returns handler with its panics made errors.
func recovering[T any](handler func(context.Context, Event[T])) func(context.Context, Event[T]) {
	return func(ctx context.Context, ev Event[T]) {
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			slog.Error("lahja: a handler panicked", "event", EventName[T](), "origin", ev.Origin,
				"panic", reason, "stack", string(debug.Stack()))
			if ev.back.Request() {
				_ = ev.back.Answer(core.Answer{Err: fmt.Errorf("the handler panicked: %v", reason)})
			}
		}()
		handler(ctx, ev)
	}
}

// Stream returns a channel of the events of type T. When it returns, it is subscribed: an event
// that is broadcast anywhere afterwards arrives. The channel closes when ctx, the endpoint or the
// subscription ends; what is in it then can still be read. [OnEnd] tells why it ended, or could not
// be made:
//
//	ctx, cancel := context.WithCancelCause(ctx)
//	defer cancel(nil)
//	for ev := range lahja.Stream[T](ctx, ep, lahja.OnEnd(cancel)) {
//		…
//	}
//	err := context.Cause(ctx)
//
// Leaving the loop does not unsubscribe: cancel ctx. Stream panics if T cannot be an event, or if
// options contradict each other.
func Stream[T any](ctx context.Context, ep *Endpoint, opts ...SubscribeOption) <-chan Event[T] {
	sub, err := stream[T](ctx, ep, opts)
	if sub == nil {
		panic(err)
	}
	return channelOf[T](sub)
}

// stream subscribes. The subscription is there, and has ended, also when that failed; it is nil
// when T or the options cannot be.
func stream[T any](ctx context.Context, ep *Endpoint, opts []SubscribeOption) (*core.Sub, error) {
	k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	return ep.core.Subscribe(ctx, o.spec(k), k.box(o))
}

// Events returns the events of type T, to be ranged over once. When it returns, it is subscribed.
// Leaving the loop unsubscribes. When the subscription ends for a reason other than [Take], or
// could not be made, the last pair has that reason and no event.
func Events[T any](
	ctx context.Context, ep *Endpoint, opts ...SubscribeOption,
) iter.Seq2[Event[T], error] {
	sub, err := stream[T](ctx, ep, opts)
	if sub == nil {
		return func(yield func(Event[T], error) bool) { yield(Event[T]{}, err) }
	}
	return func(yield func(Event[T], error) bool) {
		defer sub.Abandon() // who asked something that is still in the channel is told
		for ev := range channelOf[T](sub) {
			if !yield(ev, nil) {
				return
			}
		}
		if err := sub.Err(); err != nil {
			yield(Event[T]{}, err)
		}
	}
}

// WaitFor returns the next event of type T. It fails when ctx or the endpoint ends, and as
// Subscribe does.
func WaitFor[T any](ctx context.Context, ep *Endpoint, opts ...SubscribeOption) (Event[T], error) {
	opts = append(opts[:len(opts):len(opts)], Take(1))
	sub, err := stream[T](ctx, ep, opts)
	if err != nil {
		return Event[T]{}, err
	}
	if ev, ok := <-channelOf[T](sub); ok {
		return ev, nil
	}
	if err = sub.Err(); ctx.Err() != nil {
		err = fmt.Errorf("lahja: endpoint %q waited for %s: %w", ep.Name(), EventName[T](), err)
	}
	return Event[T]{}, err
}

// Reply answers a request that any subscription got, at once or later and from any goroutine. It
// fails with [ErrNotRequest] when nobody asked, with [ErrUnexpectedResponse] when another type is
// wanted, or the request was answered already or is over, and with a description, such as
// [ErrTooLarge], when resp cannot be sent: the request then still waits. A subscription that only
// observes gets [ErrUnexpectedResponse]; one that may not handle the event gets [ErrDenied]. Reply
// does not wait.
func Reply[Req, Resp any](ctx context.Context, to Event[Req], resp Resp) error {
	if ctx.Err() != nil {
		return fault.Ended(ctx)
	}
	if !to.back.Request() {
		return notRequest[Req]()
	}
	response, err := responseOf[Resp]()
	if err != nil {
		return err
	}
	return to.back.Answer(answerOf(response, resp))
}

// Fail answers a request with an error, which must not be nil: its requester gets it as a
// [RemoteError]. It fails as Reply does.
func Fail[Req any](ctx context.Context, to Event[Req], err error) error {
	if ctx.Err() != nil {
		return fault.Ended(ctx)
	}
	if !to.back.Request() {
		return notRequest[Req]()
	}
	if err == nil {
		err = errors.New("it failed, and did not say why")
	}
	return to.back.Answer(core.Answer{Err: err})
}

// Forget ends what ep has retained of T under key, which is empty for Retain: subscriptions
// WithRetained get an event with Gone set. It is no error if nothing is retained. It fails when ctx
// or the endpoint has ended, and with [ErrDenied] when the bus does not permit ep to broadcast T.
func Forget[T any](ctx context.Context, ep *Endpoint, key string) error {
	if ctx.Err() != nil {
		return fault.Ended(ctx)
	}
	o, err := outletOf[T](ep)
	if err != nil {
		return err
	}
	return o.Forget(ctx, key)
}

func notRequest[Req any]() error {
	name := reflect.TypeFor[Req]().String() // of an answer, which need not have an event's type
	if k, err := kindOf[Req](); err == nil {
		name = k.name()
	}
	return fault.Errorf(fault.NotRequest, "%s was broadcast, and nobody waits for an answer", name)
}

// prepare checks T and the options of a subscription to it.
func prepare[T any](opts []SubscribeOption) (*kind[T], SubscribeOption, error) {
	o, err := mergeSubscribe(opts)
	if err != nil {
		return nil, o, err
	}
	k, err := kindOf[T]()
	return k, o, err
}

func (o *SubscribeOption) spec(k named) core.Spec {
	return core.Spec{
		Event: k.name(), Kind: k, From: o.from, OnEnd: o.onEnd, Observe: o.observe,
		Group: o.group, Lossy: o.dropOldest, Retained: o.retained, Buffer: o.buffer,
	}
}

type named interface {
	core.Kind
	name() string
}

func channelOf[T any](s *core.Sub) <-chan Event[T] {
	return s.Box.(*mailbox.Mailbox[Event[T]]).C()
}
