package lahja_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// moment is when something is thrown.
type moment int

const (
	fresh moment = iota // before anything was said
	open                // when the session has begun
)

// attack is one connection over which a row is thrown, at the bus or at an endpoint. The test is at
// its other end.
type attack struct {
	*arena
	ctx     context.Context // for this row
	cancel  func()
	against string // "bus" or "endpoint"
	*stranger
	ended  chan error      // how the side under attack has ended the connection
	victim *lahja.Endpoint // under attack; nil: it is the bus, or has not attached
	theirs uint64          // the number by which the victim knows the event that it broadcast
	others []io.Closer     // what the row has opened as well
	dials  chan dialled
	said   bool   // the preface
	rest   []byte // of a handshake, not said yet
	done   bool   // it is over
	name   string
}

type dialled struct {
	ep  *lahja.Endpoint
	err error
}

// begin makes a connection and goes on until the moment.
func (a *arena) begin(against string, at moment) *attack {
	a.Helper()
	a.attacks++
	x := &attack{
		arena: a, against: against, name: fmt.Sprint("stranger ", a.attacks),
		stranger: &stranger{TB: a.TB},
	}
	limit := 10 * time.Second
	if scale() > 1 {
		limit *= 12 // what is done very often takes its time
	}
	x.ctx, x.cancel = context.WithTimeout(a.ctx, limit)
	a.begun[x] = true
	if against == "bus" {
		x.stranger, x.ended = a.dial()
	} else {
		x.expect()
	}
	x.listen()
	if at == open {
		x.greet()
	}
	return x
}

// dial makes a connection to the bus.
func (a *arena) dial() (*stranger, chan error) {
	a.Helper()
	conn, err := a.place.Dial(a.ctx)
	a.must(err)
	return &stranger{TB: a.TB, conn: conn}, take(a.stage, a.accepted)
}

// expect has an endpoint dial.
func (x *attack) expect() {
	x.Helper()
	x.dials, x.ended = make(chan dialled, 1), make(chan error, 1)
	limits := lahja.Limits{Handshake: tooLong, Resume: -1}
	if x.hurries.Load() {
		limits.Handshake = hasty
	}
	x.group.Go(func() {
		ep, err := lahja.Connect(x.ctx, "victim", x.fakeAt, limits)
		if err != nil {
			x.ended <- err
			close(x.dials)
			return
		}
		x.dials <- dialled{ep, nil}
		<-ep.Done()
		x.ended <- ep.Err()
	})
	conn, err := x.fake.Accept()
	x.must(err)
	x.conn = conn
}

// welcome is what a bus says that means well.
func welcome() wire.Welcome {
	return wire.Welcome{Version: 1, Name: "victim", MaxFrame: 1 << 20, Lag: 1 << 20}
}

func helloOf(name string) wire.Hello {
	return wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, Name: name}
}

// greet does the handshake as one should, and gives a name a number. A victim broadcasts an event.
func (x *attack) greet() {
	x.Helper()
	x.said = true
	if x.against == "bus" {
		x.preface(wire.TypeHello, helloOf(x.name))
		x.await(wire.TypeWelcome)
		x.record(wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"}))
		return
	}
	x.await(wire.TypeHello)
	x.preface(wire.TypeWelcome, welcome())
	x.victim = take(x.stage, x.dials).ep
	x.must(lahja.Broadcast(x.ctx, x.victim, item{1}))
	name, err := wire.ParseName(x.await(wire.TypeName).Body)
	x.must(err)
	x.theirs = name.Number
	x.await(wire.TypeEvent)
	x.record(wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"}))
	x.record(wire.AppendName(nil, wire.Name{Number: teller, Name: "teller"}))
}

// await is until, for a limited time.
func (x *attack) await(t wire.Type) wire.Frame {
	x.Helper()
	for {
		select {
		case f, more := <-x.heard:
			if !more {
				x.Fatalf("the connection ends before a frame of type %#02x: %v", uint8(t), x.why())
			}
			if f.Type == t {
				return f
			}
		case <-x.ctx.Done():
			x.Fatalf("no frame of type %#02x has come", uint8(t))
		}
	}
}

// why is how the connection has ended, if it has.
func (x *attack) why() error {
	select {
	case err := <-x.ended:
		x.ended <- err
		return err
	case <-time.After(time.Second):
		return errors.New("it goes on")
	}
}

// end waits until the side under attack has ended the connection, and returns why. Who was told
// that it is its mistake can read what it was.
func (x *attack) end() error {
	x.Helper()
	err := x.outcome()
	for f := range x.heard {
		var g wire.Goodbye
		if f.Type != wire.TypeGoodbye {
			continue
		}
		if err := wire.ParseControl(f.Body, &g); err != nil || len(f.Body) > 2048 {
			x.Errorf("a goodbye of %d bytes: %v", len(f.Body), err)
		}
	}
	return err
}

// outcome is how the side under attack has ended the connection, or will.
func (x *attack) outcome() error {
	x.Helper()
	select {
	case err := <-x.ended:
		x.ended <- err
		return err
	case <-x.ctx.Done():
		x.Fatal("the connection is not ended")
		return nil
	}
}

// alive checks that the connection goes on.
func (x *attack) alive() {
	x.Helper()
	x.record(wire.Append(nil, wire.TypePing, nil))
	x.await(wire.TypePong)
}

// over closes everything.
func (x *attack) over() {
	if x.done || x.conn == nil {
		return
	}
	x.done = true
	defer x.cancel()
	delete(x.begun, x)
	x.conn.Close()
	for _, c := range x.others {
		c.Close()
	}
	for range x.heard {
	}
	x.heard = nil // it takes room
	x.outcome()
	if x.dials != nil && x.victim == nil {
		x.victim = (<-x.dials).ep // nil: it could not attach
	}
	if x.victim != nil {
		x.victim.Close()
	}
	x.stranger, x.victim, x.others = nil, nil, nil // which take room, and the test remembers x
}

// write writes bytes as they are.
func (x *attack) write(data []byte) { _, _ = x.conn.Write(data) }

// headOf is the head of a record with a body of that length, which need not be true.
func headOf(length uint32, position uint64) []byte {
	head := make([]byte, wire.HeaderSize)
	wire.PutHeader(head, nil, position)
	binary.BigEndian.PutUint32(head, length)
	sum := crc32.Checksum(head[:16], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(head[16:], sum)
	return head
}

// recordOf is a record with any body.
func recordOf(body []byte, position uint64) []byte {
	record := append(make([]byte, wire.HeaderSize), body...)
	wire.PutHeader(record, body, position)
	return record
}

// body sends a record with any body, after the preface if that is due.
func (x *attack) body(body []byte) { x.write(append(x.start(), recordOf(body, x.position)...)) }

// start is the preface, if it is due.
func (x *attack) start() []byte {
	if x.said {
		return nil
	}
	x.said = true
	return []byte(wire.Preface)
}
