package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
	"github.com/cskr/pubsub/v2"
	kelindar "github.com/kelindar/event"
	libp2p "github.com/libp2p/go-libp2p/p2p/host/eventbus"
	tailscale "tailscale.com/util/eventbus"

	"github.com/lahja-go/lahja"
)

// Small is an event of 64 bytes.
type Small struct {
	Seq  uint64
	Data [56]byte
}

// Type is what kelindar/event knows it by.
func (Small) Type() uint32 { return 1 }

// counter checks what one subscriber within the process gets.
type counter struct {
	next    uint64 // belongs to who calls take
	target  atomic.Uint64
	reached chan error
}

func (c *counter) take(seq uint64) {
	if seq != c.next {
		c.tell(fmt.Errorf("event %d has come, where %d was due", seq, c.next))
		return
	}
	c.next++
	if seq == c.target.Load() {
		c.tell(nil)
	}
}

func (c *counter) tell(err error) {
	select {
	case c.reached <- err:
	default:
	}
}

// local is a system within one process: it hands what is published to all counters.
type local func(counters []*counter) (publish func(Small), err error)

var locals = map[string]local{
	"bare channel":        bareChannels,
	"lahja Stream":        lahjaStreams,
	"lahja Subscribe":     lahjaSubscribes,
	"kelindar/event":      kelindarLocal,
	"cskr/pubsub":         cskrLocal,
	"libp2p eventbus":     libp2pLocal,
	"tailscale eventbus":  tailscaleLocal,
	"watermill gochannel": watermillLocal,
}

// runLocal measures the time to publish to Count subscribers of the same process.
func runLocal(j *job) (*result, error) {
	counters := make([]*counter, j.Count)
	for i := range counters {
		counters[i] = &counter{reached: make(chan error, 1)}
	}
	publish, err := locals[j.System](counters)
	if err != nil {
		return nil, err
	}
	var seq uint64
	return j.lasting(1<<30, func(n int) (time.Duration, error) {
		for _, c := range counters {
			c.target.Store(seq + uint64(n) - 1)
		}
		start := time.Now()
		for range n {
			publish(Small{Seq: seq})
			seq++
		}
		for _, c := range counters {
			if err := <-c.reached; err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	})
}

// buffer is the capacity of the channels of everyone but lahja, which has its default: beyond this
// a larger one gains nothing.
const buffer = 1024

// bareChannels sends the element that lahja's channels have.
func bareChannels(counters []*counter) (func(Small), error) {
	chans := make([]chan lahja.Event[Small], len(counters))
	for i, c := range counters {
		chans[i] = make(chan lahja.Event[Small], buffer)
		go func() {
			for ev := range chans[i] {
				c.take(ev.Value.Seq)
			}
		}()
	}
	return func(e Small) {
		for _, c := range chans {
			c <- lahja.Event[Small]{Value: e}
		}
	}, nil
}

// lahjaEndpoints returns as many endpoints as there are counters, and one to publish from.
func lahjaEndpoints(n int) (pub *lahja.Endpoint, eps []*lahja.Endpoint, err error) {
	bus := lahja.NewBus()
	if pub, err = bus.Endpoint("publisher"); err != nil {
		return nil, nil, err
	}
	for i := range n {
		ep, err := bus.Endpoint(fmt.Sprint("subscriber", i))
		if err != nil {
			return nil, nil, err
		}
		eps = append(eps, ep)
	}
	return pub, eps, nil
}

func lahjaPublish(ep *lahja.Endpoint) func(Small) {
	ctx := context.Background()
	return func(e Small) {
		if err := lahja.Broadcast(ctx, ep, e); err != nil {
			panic(err)
		}
	}
}

func lahjaStreams(counters []*counter) (func(Small), error) {
	pub, eps, err := lahjaEndpoints(len(counters))
	if err != nil {
		return nil, err
	}
	for i, c := range counters {
		events := lahja.Stream[Small](context.Background(), eps[i])
		go func() {
			for ev := range events {
				c.take(ev.Value.Seq)
			}
		}()
	}
	return lahjaPublish(pub), nil
}

func lahjaSubscribes(counters []*counter) (func(Small), error) {
	pub, eps, err := lahjaEndpoints(len(counters))
	if err != nil {
		return nil, err
	}
	for i, c := range counters {
		_, err := lahja.Subscribe(context.Background(), eps[i],
			func(_ context.Context, ev lahja.Event[Small]) { c.take(ev.Value.Seq) })
		if err != nil {
			return nil, err
		}
	}
	return lahjaPublish(pub), nil
}

func kelindarLocal(counters []*counter) (func(Small), error) {
	d := kelindar.NewDispatcher()
	for _, c := range counters {
		kelindar.Subscribe(d, func(e Small) { c.take(e.Seq) })
	}
	return func(e Small) { kelindar.Publish(d, e) }, nil
}

func cskrLocal(counters []*counter) (func(Small), error) {
	ps := pubsub.New[string, Small](buffer)
	for _, c := range counters {
		events := ps.Sub("small")
		go func() {
			for e := range events {
				c.take(e.Seq)
			}
		}()
	}
	return func(e Small) { ps.Pub(e, "small") }, nil
}

func libp2pLocal(counters []*counter) (func(Small), error) {
	bus := libp2p.NewBus()
	emitter, err := bus.Emitter(new(Small))
	if err != nil {
		return nil, err
	}
	for _, c := range counters {
		sub, err := bus.Subscribe(new(Small), libp2p.BufSize(buffer))
		if err != nil {
			return nil, err
		}
		go func() {
			for e := range sub.Out() {
				c.take(e.(Small).Seq)
			}
		}()
	}
	return func(e Small) {
		if err := emitter.Emit(e); err != nil {
			panic(err)
		}
	}, nil
}

func tailscaleLocal(counters []*counter) (func(Small), error) {
	bus := tailscale.New()
	for i, c := range counters {
		sub := tailscale.Subscribe[Small](bus.Client(fmt.Sprint("subscriber", i)))
		go func() {
			for {
				select {
				case e := <-sub.Events():
					c.take(e.Seq)
				case <-sub.Done():
					return
				}
			}
		}()
	}
	return tailscale.Publish[Small](bus.Client("publisher")).Publish, nil
}

// watermillLocal sends bytes, as watermill does. It keeps the order only if each message is
// acknowledged before the next is published.
func watermillLocal(counters []*counter) (func(Small), error) {
	ps := gochannel.NewGoChannel(gochannel.Config{
		OutputChannelBuffer: buffer, BlockPublishUntilSubscriberAck: true,
	}, nil)
	for _, c := range counters {
		messages, err := ps.Subscribe(context.Background(), "small")
		if err != nil {
			return nil, err
		}
		go func() {
			for m := range messages {
				c.take(binary.LittleEndian.Uint64(m.Payload))
				m.Ack()
			}
		}()
	}
	return func(e Small) {
		payload := make([]byte, 64)
		binary.LittleEndian.PutUint64(payload, e.Seq)
		if err := ps.Publish("small", message.NewMessage("", payload)); err != nil {
			panic(err)
		}
	}, nil
}
