package lahja

import (
	"time"

	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/wire"
)

// BusOption is an option of [NewBus].
type BusOption interface{ applyToBus(*busConfig) }

// busConfig is what the options of a bus add up to.
type busConfig struct {
	core.Config
	authorize authorizer
}

// EndpointOption is an option of [Bus.Endpoint] and [Connect].
type EndpointOption interface{ applyToEndpoint(*core.Config) }

// Limits bounds what others can make a bus or an endpoint spend. It is an option of [NewBus]; a
// field that is zero means its default. An endpoint that connects learns the bus's limits from the
// bus; given to [Connect], only Handshake and a negative Resume mean something.
type Limits struct {
	// Lag is how many bytes the subscriptions to one event type may lag behind its publishers,
	// before those have to wait; 32 MiB by default. Each event counts with its payload and 128
	// bytes, and with the names in To and Except and 16 bytes for each; if all who get it are in the
	// bus's process, for each subscription that it waits for, else once. It is shared among the publishers of the type; one event of each is always let
	// through, whatever its size.
	Lag int64
	// Frame is the most bytes of an encoded event or response, with 4 KiB of it kept for
	// names and the like; 1 MiB by default, at least 8 KiB, at most 16 MiB.
	Frame int
	// Stall is how long a subscription may take nothing while a publisher waits for it, before it
	// is ended with ErrStalled; 5 s by default. While its handler runs the time does not count.
	// After 1 s a warning in the log (log/slog) names both sides and where it was made. A negative
	// value means no limit.
	Stall time.Duration
	// Resume is how long the session of an endpoint elsewhere outlives its connection, where the
	// transport can be dialled again (see Redialer); 10 s by default. An endpoint that comes back
	// in time goes on as if nothing had been. A negative value means not at all: the session ends
	// with its connection. Given to Connect, a negative value has the endpoint end with its
	// connection, as it does where the transport cannot be dialled again; otherwise the endpoint
	// dials for as long as it lives.
	Resume time.Duration
	// Heartbeat is after how long of silence such an endpoint and the bus ask each other for a
	// sign of life; 5 s by default. Without one for as long again the endpoint gives the
	// connection up and dials, and the bus counts the time of Resume. A negative value means never.
	Heartbeat time.Duration
	// Handshake is how long an endpoint may take to attach; 3 s by default. What it says meanwhile
	// has 4 KiB at most.
	Handshake time.Duration
	// Handshakes is how many connections to a bus's listeners may be attaching at once, those that
	// were refused within the last second included; 128 by default. When more come the oldest is
	// closed, but none before it has had 20 ms.
	Handshakes int
	// Endpoints is how many endpoints elsewhere may be attached; 65,536 by default. One more is
	// refused with ErrDenied.
	Endpoints int
	// Subscriptions is how many an endpoint may have; 4,096 by default. One more fails with
	// ErrDenied; and so does one with which the names in From of all of them would take more than
	// 1 MiB, each with its length and 16 bytes.
	Subscriptions int
	// Requests is how many requests an endpoint elsewhere may have waiting for an answer; 16,384 by
	// default. One more fails with ErrDenied.
	Requests int
	// Answers is how many answers of the bus, to its requests, subscriptions and other questions, an
	// endpoint elsewhere may leave unread; 65,536 by default. One more ends it with ErrStalled.
	Answers int
	// Names is how many names of events and responses an endpoint elsewhere may use while it is
	// attached; 16,384 by default. One more ends it, or if it is a subscription fails with ErrDenied.
	Names int
}

func (l Limits) applyToBus(c *busConfig) {
	if l.Lag > 0 {
		c.Lag = l.Lag
	}
	if l.Frame > 0 {
		c.MaxFrame = min(max(l.Frame, 8<<10), 16<<20)
	}
	if l.Handshake > 0 {
		c.Handshake = l.Handshake
	}
	for value, limit := range map[*int]int{
		&c.Handshakes: l.Handshakes, &c.Endpoints: l.Endpoints, &c.Subscriptions: l.Subscriptions,
		&c.Requests: l.Requests, &c.Answers: l.Answers, &c.Names: l.Names,
	} {
		if limit > 0 {
			*value = limit
		}
	}
	if l.Stall != 0 {
		c.Stall = max(0, l.Stall)
	}
	if l.Resume != 0 {
		c.Resume = max(0, l.Resume)
	}
	if l.Heartbeat != 0 {
		c.Heartbeat = max(0, l.Heartbeat)
	}
}

func (l Limits) applyToEndpoint(c *core.Config) {
	if l.Handshake > 0 {
		c.Handshake = l.Handshake
	}
	if l.Resume < 0 {
		c.Resume = 0
	}
}

func defaults() core.Config {
	return core.Config{
		Lag: 32 << 20, MaxFrame: wire.MaxFrame,
		Handshake: 3 * time.Second, Stall: 5 * time.Second,
		Resume: 10 * time.Second, Heartbeat: 5 * time.Second,
	}
}

// BroadcastOption is an option of [Broadcast], [Request] and [Gather]. Several of the same kind add
// up.
type BroadcastOption struct{ b core.Broadcast }

// To lets only the endpoints of these names, at most 1,024, get the event. To() is nobody.
func To(names ...string) BroadcastOption {
	var o BroadcastOption
	o.b.Filter.HasTo, o.b.Filter.To = true, names
	return o
}

// Except keeps the event from the endpoints of these names, at most 1,024.
func Except(names ...string) BroadcastOption {
	var o BroadcastOption
	o.b.Filter.Except = names
	return o
}

// Internal keeps the event in its own endpoint: only that endpoint's subscriptions get it. It
// cannot be combined with To.
func Internal() BroadcastOption {
	var o BroadcastOption
	o.b.Internal = true
	return o
}

// RequireSubscriber makes the call fail with [ErrNoSubscribers] when nobody that the other options
// leave subscribes to the event. From another process than the bus's this takes a round trip. It
// cannot be combined with NoWait.
func RequireSubscriber() BroadcastOption {
	var o BroadcastOption
	o.b.RequireSubscriber = true
	return o
}

// NoWait makes the call fail with [ErrWouldBlock] where it would wait for subscriptions that lag.
func NoWait() BroadcastOption {
	var o BroadcastOption
	o.b.NoWait = true
	return o
}

// Retain has the event kept as the latest of its type from this endpoint, for subscriptions
// WithRetained that come later. It is forgotten when the endpoint ends or [Forget] is called. It
// cannot be combined with To, Except and Internal.
func Retain() BroadcastOption { return RetainKey("") }

// RetainKey is Retain with a key of at most 255 bytes: the latest of each key is kept. An endpoint
// may have 1,024 keys and 1 MiB of a type retained; beyond that Broadcast fails with
// [ErrTooLarge]. A value counts with its encoded size and 128 bytes.
func RetainKey(key string) BroadcastOption {
	var o BroadcastOption
	o.b.Retain, o.b.Key = true, key
	return o
}

func merge(opts []BroadcastOption) (b core.Broadcast) {
	for i := range opts {
		o := &opts[i].b
		b.Filter.HasTo = b.Filter.HasTo || o.Filter.HasTo
		b.Filter.To = concat(b.Filter.To, o.Filter.To)
		b.Filter.Except = concat(b.Filter.Except, o.Filter.Except)
		b.Internal = b.Internal || o.Internal
		b.RequireSubscriber = b.RequireSubscriber || o.RequireSubscriber
		b.NoWait = b.NoWait || o.NoWait
		if o.Retain {
			b.Retain, b.Key = true, o.Key
		}
	}
	return b
}

// concat returns a followed by b, in memory of its own if both have something.
func concat(a, b []string) []string {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return append(append([]string(nil), a...), b...)
}

// SubscribeOption is an option of [Subscribe], [Stream], [Events], [WaitFor] and [Handle]. Of
// several of the same kind the last counts, but From adds up.
type SubscribeOption struct {
	from    []string
	hasFrom bool
	buffer  int
	hasBuf  bool
	take    int
	hasTake bool
	onEnd   func(error)

	concurrency    int
	hasConcurrency bool
	observe        bool
	recover        bool
	dropOldest     bool
	retained       bool
	group          string
	hasGroup       bool
}

// From lets only events of these origins through, at most 1,024; others are not even sent.
func From(names ...string) SubscribeOption {
	return SubscribeOption{from: names, hasFrom: true}
}

// Buffer sets the capacity of the subscription's channel: so many events, 16 unless told, count
// as taken while they wait there. With Buffer(0) an event counts as taken when it is received.
func Buffer(n int) SubscribeOption { return SubscribeOption{buffer: n, hasBuf: true} }

// Take ends the subscription after n events.
func Take(n int) SubscribeOption { return SubscribeOption{take: n, hasTake: true} }

// OnEnd has f called once when the subscription has ended, before its channel closes, with the
// reason: nil after Take and Unsubscribe, the cause of its context, or why the endpoint ended. It
// is called as well when the subscription could not be made. A [context.CancelCauseFunc] fits.
func OnEnd(f func(error)) SubscribeOption { return SubscribeOption{onEnd: f} }

// Concurrency lets n handler calls run at once, which gives up their order. It has no meaning for
// Stream, Events and WaitFor.
func Concurrency(n int) SubscribeOption {
	return SubscribeOption{concurrency: n, hasConcurrency: true}
}

// Observe receives without counting as a subscriber: requests do not wait for it and cannot be
// answered by it, RequireSubscriber and Peers do not see it.
func Observe() SubscribeOption { return SubscribeOption{observe: true} }

// RecoverPanics makes a panic of the handler an error of the requester, if there is one, and a
// line in the log ([log/slog]) with the stack. Without it a panic ends the program.
func RecoverPanics() SubscribeOption { return SubscribeOption{recover: true} }

// DropOldest never holds a publisher up: when the channel is full its oldest event is dropped, and
// counted in Missed of one that is received later. It needs a Buffer of at least 1.
func DropOldest() SubscribeOption { return SubscribeOption{dropOldest: true} }

// Group makes the subscription compete with the others of the same event and group name, on all
// endpoints: each event goes to one of them that has room. By default a member is given its next
// event when it takes one; with Buffer(n) up to n more. What waits when a member ends goes to
// another, and so does what it had been given and its handler had not begun; what was on its way to
// one that died is not repeated. Internal events do not go to groups. Group cannot be combined with
// DropOldest, WithRetained and Observe.
func Group(name string) SubscribeOption { return SubscribeOption{group: name, hasGroup: true} }

// WithRetained gets first what is retained of the type, then what follows, without a gap or a
// double between the two; and an event with Gone set when a retained value ends.
func WithRetained() SubscribeOption { return SubscribeOption{retained: true} }

// defaultBuffer is small, so that a subscription costs little: what exceeds it is listed, at next
// to no cost.
const defaultBuffer = 16

func mergeSubscribe(opts []SubscribeOption) (SubscribeOption, error) {
	all := SubscribeOption{buffer: defaultBuffer}
	for i := range opts {
		o := &opts[i]
		all.from = concat(all.from, o.from)
		all.hasFrom = all.hasFrom || o.hasFrom
		if o.hasBuf {
			all.buffer, all.hasBuf = o.buffer, true
		}
		if o.hasTake {
			all.take, all.hasTake = o.take, true
		}
		if o.onEnd != nil {
			all.onEnd = o.onEnd
		}
		if o.hasConcurrency {
			all.concurrency, all.hasConcurrency = o.concurrency, true
		}
		all.observe = all.observe || o.observe
		all.recover = all.recover || o.recover
		all.dropOldest = all.dropOldest || o.dropOldest
		all.retained = all.retained || o.retained
		if o.hasGroup {
			all.group, all.hasGroup = o.group, true
		}
	}
	if all.hasGroup && !all.hasBuf {
		all.buffer = 0 // nobody hoards
	}
	return all, all.check()
}

func (o *SubscribeOption) check() error {
	switch {
	case o.hasFrom && len(o.from) == 0:
		return fault.Errorf(fault.Denied, "From needs the name of at least one endpoint")
	case core.CheckNames("From", o.from) != nil:
		return core.CheckNames("From", o.from)
	case o.buffer < 0:
		return fault.Errorf(fault.Denied, "Buffer(%d): a capacity cannot be negative", o.buffer)
	case o.hasTake && o.take < 1:
		return fault.Errorf(fault.Denied, "Take(%d): take at least one event", o.take)
	case o.hasConcurrency && o.concurrency < 1:
		return fault.Errorf(fault.Denied, "Concurrency(%d): at least one handler runs", o.concurrency)
	case o.dropOldest && o.buffer == 0:
		return fault.Errorf(fault.Denied, "DropOldest needs a Buffer of at least 1 to keep the latest in")
	case o.hasGroup && (o.dropOldest || o.retained || o.observe):
		return fault.Errorf(fault.Denied,
			"Group cannot be combined with DropOldest, WithRetained or Observe")
	case o.hasGroup:
		return core.CheckName("a group", o.group)
	}
	return nil
}
