package core

import (
	"context"
	"fmt"
	"maps"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// sink is a mailbox, and a Kind of event, that has no use for what it gets.
type sink struct {
	sub *Sub
	end sync.Once
}

func (k *sink) End()                   { k.end.Do(k.sub.Finished) }
func (k *sink) Abandon()               { k.End() }
func (k *sink) Seal()                  { k.End() }
func (*sink) Lag() int64               { return 0 }
func (*sink) Sent() uint64             { return 0 }
func (*sink) Counts() (_, _ uint64)    { return 0, 0 }
func (*sink) Gone([]*Sub, *Delivery)   {}
func (*sink) Payload() ([]byte, error) { return []byte{0xa0}, nil }
func (*sink) Push(*Sub, *Delivery)     {}

func (*sink) PassOn(*Sub, []byte, *Delivery, window.Source, window.Item) (done, waits bool) {
	return true, false
}

func (*sink) box(s *Sub) Box         { return &sink{sub: s} }
func (*sink) spec(event string) Spec { return Spec{Event: event, Kind: anything} }

func (*sink) Deliver(subs []*Sub, _ []byte, d *Delivery) {
	for _, s := range subs {
		if d.For(s) && d.Call != nil {
			d.Back(s, false).Done()
		}
	}
}

var anything = &sink{}

// visit does with an endpoint what leaves traces: it subscribes, broadcasts, retains, and asks for
// a response, all with the names of this visit.
func visit(ctx context.Context, ep *Endpoint, event string) error {
	for _, group := range []string{"", "group"} {
		spec := anything.spec(event)
		spec.Group = group
		if _, err := ep.Subscribe(ctx, spec, anything.box); err != nil {
			return err
		}
	}
	o, err := ep.Outlet(event)
	if err != nil {
		return err
	}
	for _, retain := range []bool{false, true} {
		if err := publish(ctx, o, Broadcast{Retain: retain}, nil); err != nil {
			return err
		}
	}
	return publish(ctx, o, Broadcast{}, ep.NewCall(ctx, event+" answer", false))
}

func publish(ctx context.Context, o *Outlet, b Broadcast, call *Call) error {
	var p Publication
	if err := o.Begin(ctx, &b, call, &p); err != nil {
		return err
	}
	if err := p.Admit(ctx, 200); err != nil {
		return err
	}
	defer p.End()
	payload, _ := anything.Payload()
	return p.Hand(func() Body { return encoded(payload) }, func() error {
		p.Send(payload, nil)
		return p.SendUp(payload)
	})
}

// traces counts what a Node remembers.
func (n *Node) traces() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	parties := 0
	n.table.Parties(func(*router.Party) { parties++ })
	return map[string]int{
		"topics": len(n.topics), "used": len(n.used), "calls": len(n.calls), "peers": len(n.peers),
		"endpoints": len(n.endpoints), "parties": parties, "sessions": len(n.sessions),
		"watchers": len(n.watchers),
	}
}

// connect attaches an endpoint by a pipe; served is closed when the bus has done with it.
func connect(t *testing.T, bus *Node, name string) (ep *Endpoint, served chan struct{}) {
	t.Helper()
	return connectAs(t, bus, name, Caller{})
}

func connectAs(
	t *testing.T, bus *Node, name string, caller Caller,
) (ep *Endpoint, served chan struct{}) {
	t.Helper()
	here, there := net.Pipe()
	served = make(chan struct{})
	go func() {
		defer close(served)
		who := func() Caller { return caller }
		_ = bus.Serve(context.Background(), there, who, func(string) {}) // the end is told to ep
	}()
	dial := func(context.Context) (Conn, error) { return here, nil }
	ep, err := Connect(context.Background(), name, config, dial, false)
	if err != nil {
		t.Fatal(err)
	}
	return ep, served
}

var config = Config{Lag: 1 << 20, MaxFrame: wire.MaxFrame, Handshake: 3 * time.Second}

// Bounded memory: endpoints that come and go leave nothing behind, also when each uses names of
// its own, and when others are there that answer them.
func TestNamesAreForgotten(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bus := NewNode(config)
	defer bus.Close()
	resident, _ := connect(t, bus, "resident")
	defer resident.Close()
	if _, err := resident.Subscribe(ctx, anything.spec("asked"), anything.box); err != nil {
		t.Fatal(err)
	}
	var before map[string]int
	for i := range 300 {
		if i == 3 {
			before = bus.traces()
		}
		own, err := bus.Attach("own")
		if err != nil {
			t.Fatal(err)
		}
		guest, served := connect(t, bus, "guest")
		for _, ep := range []*Endpoint{own, guest} {
			if err := visit(ctx, ep, fmt.Sprint(ep.Name(), " event ", i)); err != nil {
				t.Fatal(err)
			}
			o, err := ep.Outlet("asked")
			if err != nil {
				t.Fatal(err)
			}
			call := ep.NewCall(ctx, fmt.Sprint(ep.Name(), " response ", i), false)
			if err := publish(ctx, o, Broadcast{}, call); err != nil {
				t.Fatal(err)
			}
			call.Cancel() // nobody answers
		}
		own.Close()
		guest.Close()
		<-served
	}
	if after := bus.traces(); !maps.Equal(before, after) {
		t.Errorf("after 3 visits the bus remembers %v, after 300 %v", before, after)
	}
	if n := bus.traces()["topics"]; n != 1 {
		t.Errorf("it remembers %d topics, where one is in use", n)
	}
}

// Bounded memory: one endpoint cannot make the bus remember names without end.
func TestNamesOfOneEndpointAreLimited(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bus := NewNode(config)
	defer bus.Close()
	ep, _ := connect(t, bus, "greedy")
	defer ep.Close()
	maxTopics := bus.config().Names
	for i := range maxTopics {
		s, err := ep.Subscribe(ctx, anything.spec(fmt.Sprint(i)), anything.box)
		if err != nil {
			t.Fatal(i, err)
		}
		s.Unsubscribe()
	}
	_, err := ep.Subscribe(ctx, anything.spec("one more"), anything.box)
	if fault.CodeOf(err) != fault.Denied {
		t.Errorf("one more is met with %v", err)
	}
	s, err := ep.Subscribe(ctx, anything.spec("0"), anything.box)
	if err != nil {
		t.Fatal("one of them again:", err)
	}
	s.Unsubscribe()
	if n := bus.traces()["topics"]; n != maxTopics {
		t.Errorf("the bus remembers %d topics", n)
	}
}

// keeper is a Kind of event that is never taken.
type keeper struct {
	sink
	flights []*window.Flight
	sources []window.Source // of those that have no flight
}

func (k *keeper) PassOn(
	_ *Sub, _ []byte, d *Delivery, source window.Source, _ window.Item,
) (done, waits bool) {
	if d.Origin[len(d.Origin)-1]%2 == 0 {
		return false, false // it is delivered, with a flight
	}
	k.sources = append(k.sources, source)
	return true, true
}

func (k *keeper) Deliver(subs []*Sub, _ []byte, d *Delivery) {
	d.Flight.Hold()
	k.flights = append(k.flights, d.Flight)
}

// Bounded memory: what an endpoint that is gone has left outstanding costs little more than itself.
func TestLeftoversAreSmall(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bus := NewNode(config)
	defer bus.Close()
	resident, err := bus.Attach("resident")
	if err != nil {
		t.Fatal(err)
	}
	kept := &keeper{}
	spec := Spec{Event: "event", Kind: kept}
	if _, err := resident.Subscribe(ctx, spec, anything.box); err != nil {
		t.Fatal(err)
	}
	visitors := func(n int) {
		for i := range n {
			guest, served := connect(t, bus, fmt.Sprint("guest ", i))
			o, err := guest.Outlet("event")
			if err == nil {
				err = publish(ctx, o, Broadcast{}, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			guest.Close()
			<-served
		}
	}
	const n = 500
	visitors(n)
	before := live()
	visitors(n)
	each := (live() - before) / n
	t.Logf("%d bytes are left of each", each)
	if len(kept.flights) != n || len(kept.sources) != n || each > 1<<10 {
		t.Errorf("%d and %d events are outstanding; of each publisher %d bytes are left",
			len(kept.flights), len(kept.sources), each)
	}
}

func live() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
