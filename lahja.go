// Package lahja is an event bus for Go programs made of several processes.
//
// A program broadcasts typed events; any number of goroutines, in this process or another, range
// over channels of them. What carries the events (memory, OS pipes, Unix sockets, TCP) can be
// swapped without touching the code that uses them.
//
// # Usage
//
// One process has the [Bus]. Endpoints attach to it: with [Bus.Endpoint] in the same process, with
// [Connect] from another. An event is a value of any named type that CBOR can carry:
//
//	type BlockImported struct {
//		Number uint64
//		Hash   []byte
//	}
//
// The process that has the bus serves others over a transport, here TCP, and broadcasts:
//
//	bus := lahja.NewBus()
//	defer bus.Close()
//	go bus.Serve(ctx, tcp.New("127.0.0.1:4500"))
//	chain, err := bus.Endpoint("chain")
//	…
//	err = lahja.Broadcast(ctx, chain, BlockImported{Number: 7})
//
// Another attaches, and gets what is broadcast from then on:
//
//	ui, err := lahja.Connect(ctx, "ui", tcp.New("127.0.0.1:4500"))
//	…
//	for ev := range lahja.Stream[BlockImported](ctx, ui) {
//		fmt.Println(ev.Origin, "imported block", ev.Value.Number)
//	}
//
// [Broadcast] sends an event to everyone who subscribes to its type: by [Subscribe] with a
// function, by [Stream] with a channel, by [Events] in a loop, or by [WaitFor] once. [Request]
// broadcasts and waits for an answer, [Gather] for one from each endpoint. [Handle] answers them;
// [Reply] answers one that any subscription got. [To] and [From] restrict who gets what, [Group]
// lets subscriptions share the events, [Retain] keeps the latest for those who come later, and
// [Endpoint.WaitUntil] waits for others to be there.
//
// # Delivery and order
//
// When Broadcast has returned nil, every matching subscription whose call had returned before gets
// the event exactly once; when it has returned an error, nobody does. Events of one type from one
// endpoint arrive in the order of the calls. There is no order across types, and none between
// events and answers. An event is delivered when its subscription has it, not when it was dealt
// with: to know that, use Request.
//
// Within one process an event is handed over by value and never encoded: what its slices, maps and
// pointers reach is shared, so neither side may modify it.
//
// # Cancellation
//
// What Subscribe, Stream, Events, Handle, Serve, WatchPeers and WatchState start lives until their
// ctx ends. The ctx of all other functions bounds the call. A call whose ctx has already ended
// fails and does nothing; one that need not wait does not look at ctx again.
//
// When a call has failed, or a subscription has ended, because of its ctx, [errors.Is] finds in the
// error both what ctx.Err returns and what [context.Cause] does.
//
// A request takes its deadline and its cancellation along: they end the ctx of its handler, or
// withdraw the request while it still waits for one.
//
// # Back pressure
//
// A subscription has a channel, and behind it a list, so at first a slow reader only costs memory.
// When the subscriptions to an event type lag by more than [Limits].Lag, Broadcast and Request of
// that type wait for them, within their ctx. Nothing else waits for a subscription: no connection,
// no other type, no other endpoint. With [NoWait] the call fails instead; with [DropOldest] the
// subscription misses events and says how many. One that takes nothing at all while others wait for
// it is ended with [ErrStalled] after [Limits].Stall. [Bus.Stats] tells who waits for whom.
//
// # Errors
//
// [errors.Is] tells errors apart: it finds their [Code], such as [ErrNoSubscribers], or the errors
// of the ctx that has ended. A program can declare Codes of its own, which errors.Is also finds in
// another process. An error that the other side reported, for instance of a handler that failed, is
// a [RemoteError]. [OnEnd] and [Subscription.Err] tell why a subscription has ended.
//
// What can only be a mistake in the program, such as a type that cannot be an event or options that
// contradict each other, is an error where the call returns one, and otherwise a panic. A panic in
// a handler ends the program, unless [RecoverPanics] is given.
//
// # Limits
//
// Everything that others can make a bus or an endpoint spend has a limit: an encoded event may have
// 1 MiB, and the subscriptions to one type may lag by 32 MiB. [Limits] and [RetainKey] list the
// limits and say what happens beyond them. [Authorize] decides who may attach, and what each may
// do; without it everyone who reaches the transport may do everything.
//
// # Connections that break
//
// Where the transport can be dialled again ([Redialer]), an endpoint whose connection breaks or
// falls silent reconnects and resumes its session: nothing is lost, doubled or reordered. Calls
// made meanwhile are accepted while there is room, and otherwise wait. If it does not reconnect in
// time ([Limits]), or the process of the bus has died, the session is lost: requests that wait fail
// with [ErrSessionLost], the next event of each subscription tells of the gap ([Event.Gap]), and
// the endpoint goes on dialling until another session has begun, in which it subscribes and retains
// again. [Endpoint.WatchState] shows all of that. A bus that is closed ends its endpoints. On other
// transports the endpoint ends with its connection.
//
// # Ending
//
// [Endpoint.Close] and [Bus.Close] may be called from anywhere, any number of times. They unblock
// every call that waits, which then fails with [ErrClosed]. They first hand over what was accepted,
// for a second at most; Shutdown takes the time that its ctx gives it.
//
// All functions and methods may be called concurrently.
package lahja

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/fault"
)

// Bus is the hub that endpoints attach to. Make it with [NewBus].
type Bus struct {
	node      *core.Node
	authorize authorizer // nil: everybody may attach and do everything
}

// NewBus returns a running bus without endpoints. Close it when it is no longer needed.
func NewBus(opts ...BusOption) *Bus {
	cfg := busConfig{Config: defaults()}
	for _, o := range opts {
		o.applyToBus(&cfg)
	}
	return &Bus{core.NewNode(cfg.Config), cfg.authorize}
}

// Endpoint attaches an endpoint of this process, without transport and encoding. The name has 1 to
// 255 bytes of UTF-8 without control characters. Endpoint fails with [ErrNameTaken] when an
// endpoint of that name is attached, with [ErrDenied] when the name is invalid, and with
// [ErrClosed]. The options are those of Connect, so that a program can pass the same to both; here
// they have no effect, since there is no connection.
func (b *Bus) Endpoint(name string, opts ...EndpointOption) (*Endpoint, error) {
	ep, err := b.node.Attach(name)
	if err != nil {
		return nil, err
	}
	return &Endpoint{core: ep}, nil
}

// Serve listens at t and serves the endpoints that dial it, as [Bus.ServeListener] does. It also
// fails when t.Listen does. To know when it listens, call t.Listen and then ServeListener.
func (b *Bus) Serve(ctx context.Context, t Transport) error {
	l, err := t.Listen(ctx)
	if err != nil {
		return fault.Because(ctx, err)
	}
	return b.ServeListener(ctx, l)
}

// Bounds of the pause after an Accept that failed, for instance because descriptors ran out.
const (
	minPause = 5 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

// ServeListener serves the endpoints that dial l, until ctx or the bus ends; it then closes l,
// waits until the endpoints are gone and returns nil. A connection that fails or is refused affects
// no other. It returns an error only when l fails for good.
func (b *Bus) ServeListener(ctx context.Context, l Listener) error {
	defer l.Close()
	life := b.node.Life()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer context.AfterFunc(life, func() { l.Close() })()
	var serving errgroup.Group
	defer serving.Wait()
	for pause := minPause; ; {
		conn, err := l.Accept()
		if err == nil {
			pause = minPause
			guest := b.node.Enter(ctx, conn)
			serving.Go(func() error {
				defer guest.Refused()
				return b.serve(ctx, conn, guest.Leave)
			})
			continue
		}
		if ctx.Err() != nil || life.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("lahja: the listener at %s was closed: %w", l.Addr(), err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-ctx.Done():
		case <-life.Done():
		}
	}
}

// ServeConn attaches the endpoint at the other end of c and serves it. It returns nil when the
// endpoint closes, or ctx or the bus ends, and an error that says why when the connection breaks or
// is refused. It closes c.
//
// An endpoint whose connection has broken may come back over another one, within the time of
// Limits.Resume, and is then served under the ctx of that one. Until then it is served under ctx,
// the end of which ends its session, although ServeConn has returned. It has to know the
// session's secret and to have the same Identity: the same Transport, Name and User, and a
// Certificate of the same issuer, subject and alternative names, so that it may be a renewed one.
func (b *Bus) ServeConn(ctx context.Context, c Conn) error {
	return b.serve(ctx, c, func() {})
}

// serve is ServeConn; admitted is called when the handshake has succeeded.
func (b *Bus) serve(ctx context.Context, c Conn, admitted func()) error {
	attached := func(name string) {
		admitted()
		if a, ok := c.(AttachedConn); ok {
			a.Attached(name)
		}
	}
	return b.node.Serve(ctx, c, func() core.Caller {
		id := c.Identity()
		return core.Caller{
			Pinned: id.Name, Kind: id.Transport, User: id.User, Holder: holder(id.Certificate),
			Authorize: b.authorize.of(id),
		}
	}, attached)
}

// Shutdown takes no more endpoints and events, delivers what was accepted, waits for the handlers
// of this process to return, and closes the bus. When ctx ends first it closes the bus at once.
// It returns an error that says what was not delivered, because ctx ended or an endpoint's
// session did.
func (b *Bus) Shutdown(ctx context.Context) error { return b.node.Shutdown(ctx) }

// Close ends the bus and detaches all endpoints. It first hands over what was accepted, for a
// second at most. When it has returned, none of the bus's goroutines is left except those inside a
// function of the user's. It returns nil.
func (b *Bus) Close() error { return b.node.Close() }

// Endpoint is a named place on a bus, from which events are broadcast and where they arrive. Make
// it with [Bus.Endpoint] or [Connect].
type Endpoint struct {
	core    *core.Endpoint
	recent  atomic.Pointer[any] // the outlet that was used last
	outlets sync.Map            // reflect.Type: *outlet of that type
}

// Connect attaches an endpoint to the bus that listens at t. ctx bounds the attempt. It fails with
// the error of t.Dial, with [ErrNameTaken] when another endpoint has the name, with [ErrDenied]
// when the bus refuses the endpoint (see [Authorize]), and with [ErrProtocol] when what answers is
// not a bus.
//
// If t is a [Redialer] that says so, such as tcp, the endpoint outlives its connection: it dials
// again and goes on where it was, see [Limits] and [Endpoint.WatchState]. With other transports,
// and with Limits{Resume: -1}, it ends with its connection.
func Connect(
	ctx context.Context, name string, t Transport, opts ...EndpointOption,
) (*Endpoint, error) {
	cfg := defaults()
	for _, o := range opts {
		o.applyToEndpoint(&cfg)
	}
	dial := func(ctx context.Context) (core.Conn, error) { return t.Dial(ctx) }
	again, _ := t.(Redialer)
	redials := again != nil && again.Redials() && cfg.Resume > 0
	ep, err := core.Connect(ctx, name, cfg, dial, redials)
	if err != nil {
		return nil, err
	}
	return &Endpoint{core: ep}, nil
}

// Name returns the endpoint's name.
func (ep *Endpoint) Name() string { return ep.core.Name() }

// Done returns a channel that is closed when the endpoint has ended and its last handler has
// returned, and so has each function that [OnEnd] was given, unless its Stream still waits for a
// reader.
func (ep *Endpoint) Done() <-chan struct{} { return ep.core.Done() }

// Err returns why the endpoint has ended, usually [ErrClosed] or [ErrSessionLost], and nil while it
// has not.
func (ep *Endpoint) Err() error { return ep.core.Err() }

// Shutdown takes no more events, waits until handlers are done with what arrived (or it is in a
// Stream's channel) and until all that was broadcast has been taken, then closes the endpoint. When
// ctx ends first it closes the endpoint at once, and returns an error that says what was left. It
// returns one as well when the session with the bus is lost meanwhile, and perhaps events with it.
func (ep *Endpoint) Shutdown(ctx context.Context) error { return ep.core.Shutdown(ctx) }

// Close ends the endpoint: its subscriptions end, and calls that wait fail with [ErrClosed]. It
// first hands over to the bus what was broadcast, for a second at most. When it has returned, no
// handler starts any more and none of the endpoint's goroutines is left except those inside a
// function of the user's, for which Done waits. It returns nil.
func (ep *Endpoint) Close() error { return ep.core.Close() }
