package lahja

import (
	"slices"
	"time"

	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/fault"
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
	// Lag is how many bytes the subscriptions to one event type may lag behind its publishers
	// before those have to wait; 32 MiB by default, at most 1 TiB. Each event counts as its payload
	// plus 128 bytes, and the names in To and Except plus 16 bytes each: once for each subscription
	// that has yet to take it, if all of them are in the bus's process, and otherwise once. The
	// publishers of the type share Lag; each may always have one event outstanding, whatever its
	// size.
	Lag int64
	// Frame is the most bytes that an encoded event or response may have, of which 4 KiB are kept
	// for names and the like; 1 MiB by default, at least 8 KiB, at most 16 MiB. What is handed over
	// within the bus's process is not encoded and may be larger.
	Frame int
	// Stall is how long a subscription may take nothing while a publisher waits for it, before it
	// is ended with ErrStalled; 5 s by default. Time in its handler does not count. After 1 s a
	// warning in the log (log/slog) names both sides and the line of the Subscribe. A negative
	// value means no limit.
	Stall time.Duration
	// Resume is how long the session of an endpoint in another process outlives its connection,
	// where the transport can be dialled again (see Redialer); 10 s by default. An endpoint that
	// comes back in time goes on as if nothing had happened. A negative value means not at all: the
	// session ends with its connection. Given to Connect, a negative value makes the endpoint end
	// with its connection, as it does where the transport cannot be dialled again; otherwise the
	// endpoint dials for as long as it lives.
	Resume time.Duration
	// Heartbeat is how often an endpoint in another process and the bus give each other a sign of
	// life; 5 s by default. One that gives none for twice as long is named in the log. Where the
	// session can be resumed, its connection is given up: the endpoint dials, and the bus begins to
	// count the time of Resume. A negative value means never.
	Heartbeat time.Duration
	// Handshake is how long an endpoint may take to attach; 3 s by default. It may send 4 KiB
	// meanwhile.
	Handshake time.Duration
	// Handshakes is how many connections to a bus's listeners may be attaching at once, including
	// those that were refused within the last second; 128 by default. When more come, the oldest is
	// closed, but none before it has had 20 ms.
	Handshakes int
	// Endpoints is how many endpoints of other processes may be attached; 65,536 by default. One
	// more is refused with ErrDenied.
	Endpoints int
	// Subscriptions is how many an endpoint may have; 4,096 by default. One more fails with
	// ErrDenied; and so does one with which the names in From of all of them would take more than
	// 1 MiB, each with its length and 16 bytes.
	Subscriptions int
	// Requests is how many requests of an endpoint in another process may wait for an answer;
	// 16,384 by default. One more fails with ErrDenied.
	Requests int
	// Answers is how many answers of the bus, to its requests, subscriptions and other questions,
	// an endpoint in another process may leave unread; 65,536 by default. One more ends the
	// endpoint with ErrStalled.
	Answers int
	// AnswerBytes is how many bytes of answers to its requests an endpoint in another process may
	// leave unread; 256 MiB by default. In place of one more it gets an error that is ErrDenied.
	// What an endpoint in another process answers may wait for its connection to the same amount,
	// which is always the default.
	AnswerBytes int64
	// Names is how many names of events and responses an endpoint in another process may use while
	// it is attached; 16,384 by default. One more ends the endpoint; if it comes with a
	// subscription, that fails with ErrDenied.
	Names int
	// RetainedKeys and RetainedBytes are how many keys, and bytes with 128 for each, an endpoint
	// may retain of one event type; 1,024 and 1 MiB by default. Retained is the bytes of all types
	// together; 16 MiB by default. Beyond them a broadcast with Retain or RetainKey fails with
	// ErrTooLarge. What an endpoint has retained when it comes from a bus that allows more is
	// forgotten as far as it is too much, the latest keys first, and the log says so.
	RetainedKeys            int
	RetainedBytes, Retained int64
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
		&c.RetainedKeys: l.RetainedKeys,
	} {
		if limit > 0 {
			*value = limit
		}
	}
	for value, limit := range map[*int64]int64{
		&c.RetainedType: l.RetainedBytes, &c.Retained: l.Retained, &c.AnswerBytes: l.AnswerBytes,
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
		Lag: 32 << 20, Handshake: 3 * time.Second, Stall: 5 * time.Second,
		Resume: 10 * time.Second, Heartbeat: 5 * time.Second,
	}
}

// BroadcastOption is an option of [Broadcast], [Request] and [Gather]. To and Except add up when
// they are given several times.
type BroadcastOption struct{ b core.Broadcast }

// To lets only the endpoints of these names get the event. With To() nobody gets it.
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

// RequireSubscriber makes the call fail with [ErrNoSubscribers] when nobody whom the other options
// allow subscribes to the event. In a process without the bus this takes a round trip. It cannot be
// combined with NoWait.
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

// Retain makes the bus keep the event as the latest of its type from this endpoint, for
// subscriptions WithRetained that come later. It is forgotten when the endpoint ends or [Forget] is
// called. Retain cannot be combined with To, Except or Internal, nor given with a request.
func Retain() BroadcastOption { return RetainKey("") }

// RetainKey is Retain with a key of at most 255 bytes: the latest of each key is kept. An endpoint
// may have 1,024 keys and 1 MiB of a type retained; beyond that Broadcast fails with
// [ErrTooLarge]. A value counts as its encoded size plus 128 bytes.
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

// SubscribeOption is an option of [Subscribe], [Stream], [Events], [WaitFor] and [Handle]. If one
// is given several times the last counts; From adds up. One that cannot be, such as a negative
// Buffer, is [ErrDenied] where the call returns an error, and a panic in Stream.
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

// From lets through only events of these origins, at least one; others are not even sent.
func From(names ...string) SubscribeOption {
	return SubscribeOption{from: slices.Clone(names), hasFrom: true} // it outlives the call
}

// Buffer sets the capacity of the subscription's channel, 16 by default and 1,048,576 at most:
// events that wait there count as taken. With Buffer(0) an event counts as taken when it is
// received. A handler has no channel, but as many events wait for it and count as taken.
func Buffer(n int) SubscribeOption { return SubscribeOption{buffer: n, hasBuf: true} }

// Take ends the subscription after n events, at least 1.
func Take(n int) SubscribeOption { return SubscribeOption{take: n, hasTake: true} }

// OnEnd calls f once when the subscription has ended, before its channel closes, with the reason:
// nil after Take and Unsubscribe, why its context ended, or why the endpoint did. It also calls f
// when the subscription could not be made, unless T or an option cannot be. A
// [context.CancelCauseFunc] fits.
func OnEnd(f func(error)) SubscribeOption { return SubscribeOption{onEnd: f} }

// Concurrency lets n calls of the handler, at least 1, run at once, and gives up their order. It
// means nothing for Stream, Events and WaitFor.
func Concurrency(n int) SubscribeOption {
	return SubscribeOption{concurrency: n, hasConcurrency: true}
}

// Observe receives events without counting as a subscriber: it cannot answer requests, and they do
// not wait for it; RequireSubscriber and Peers do not see it.
func Observe() SubscribeOption { return SubscribeOption{observe: true} }

// RecoverPanics turns a panic of the handler into an error for the requester, if there is one, and
// a line in the log ([log/slog]) with the stack. Without it a panic ends the program.
func RecoverPanics() SubscribeOption { return SubscribeOption{recover: true} }

// DropOldest makes the subscription hold up no publisher: when the channel is full its oldest event
// is dropped, and counted in Missed of a later one. It needs a Buffer of at least 1. To an endpoint
// in another process 512 events are on their way at most, and as many as the Buffer wait at the
// bus, again 512 at most: of a burst that is larger the bus drops the oldest as well.
func DropOldest() SubscribeOption { return SubscribeOption{dropOldest: true} }

// Group makes the subscription compete with the others of the same event and group name, on all
// endpoints: each event goes to one of them that has room. By default a member is given its next
// event when it takes one; with Buffer(n) up to n more. When a member ends, the events that wait
// for it go to another member, and so do those whose handler had not begun; what was on its way to
// one that died is not repeated. Internal events do not go to groups. Group cannot be combined with
// DropOldest, WithRetained or Observe.
func Group(name string) SubscribeOption { return SubscribeOption{group: name, hasGroup: true} }

// WithRetained makes the subscription get the retained events of the type first and then those that
// follow, with none missing or doubled in between, and an event with Gone set when a retained one
// ends.
func WithRetained() SubscribeOption { return SubscribeOption{retained: true} }

// defaultBuffer is small, so that a subscription costs little: what exceeds it is listed, at next
// to no cost.
const (
	defaultBuffer = 16
	maxBuffer     = 1 << 20 // more than that is better listed, and cannot always be allocated
)

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
	case o.buffer > maxBuffer:
		return fault.Errorf(fault.Denied, "Buffer(%d): the capacity is at most %d", o.buffer,
			maxBuffer)
	case o.hasTake && o.take < 1:
		return fault.Errorf(fault.Denied, "Take(%d): take at least one event", o.take)
	case o.hasConcurrency && o.concurrency < 1:
		return fault.Errorf(fault.Denied, "Concurrency(%d): at least one handler runs",
			o.concurrency)
	case o.dropOldest && o.buffer == 0:
		return fault.Errorf(fault.Denied,
			"DropOldest needs a Buffer of at least 1 to keep the latest in")
	case o.hasGroup && (o.dropOldest || o.retained || o.observe):
		return fault.Errorf(fault.Denied,
			"Group cannot be combined with DropOldest, WithRetained or Observe")
	case o.hasGroup:
		return core.CheckName("a group", o.group)
	}
	return nil
}
