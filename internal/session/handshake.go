package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/wire"
)

// Bound closes conn when ctx or the time limit ends, until release is called; release reports
// false when that has happened.
//
// A timer costs strangers less than a context would. The runtime keeps one that was stopped for a
// while, which must not keep the connection with it.
func Bound(ctx context.Context, conn io.Closer, limit time.Duration) (release func() bool) {
	held := new(atomic.Pointer[io.Closer])
	held.Store(&conn)
	end := func() {
		if conn := held.Swap(nil); conn != nil {
			(*conn).Close()
		}
	}
	timer := time.AfterFunc(limit, end)
	stop := context.AfterFunc(ctx, end)
	return func() bool {
		inTime, going := timer.Stop(), stop()
		held.Store(nil)
		return inTime && going
	}
}

// Greet does the dialling side of the handshake.
func Greet(conn io.ReadWriter, hello *wire.Hello) (*wire.Welcome, error) {
	if err := say(conn, wire.TypeHello, hello); err != nil {
		return nil, fault.Errorf(fault.SessionLost, "%w", err)
	}
	f, err := hear(conn)
	if errors.Is(err, fault.Protocol) {
		return nil, err
	}
	if err != nil {
		return nil, fault.Errorf(fault.SessionLost, "%w", err)
	}
	switch f.Type {
	case wire.TypeWelcome:
		var w wire.Welcome
		if err := wire.ParseControl(f.Body, &w); err != nil {
			return nil, fault.Errorf(fault.Protocol, "%w", err)
		}
		return &w, checkWelcome(&w)
	case wire.TypeRefusal:
		var r wire.Refusal
		if err := wire.ParseControl(f.Body, &r); err != nil {
			return nil, fault.Errorf(fault.Protocol, "%w", err)
		}
		return nil, &fault.RemoteError{
			Endpoint: "bus", Code: fault.Code(r.Code), Message: r.Message,
		}
	}
	return nil, fault.Errorf(fault.Protocol, "the bus answers with a frame of type %#02x", f.Type)
}

// Limits of what a bus may say.
const (
	minFrame = 8 << 10
	maxFrame = 16 << 20
	maxLag   = 1 << 40
)

func checkWelcome(w *wire.Welcome) error {
	switch {
	case w.Version != wire.Version:
		return fault.Errorf(fault.Protocol, "the bus wants to speak version %d", w.Version)
	case w.MaxFrame < minFrame || w.MaxFrame > maxFrame || w.Lag > maxLag:
		return fault.Errorf(fault.Protocol,
			"the bus states impossible limits: frames of %d bytes, a lag of %d", w.MaxFrame, w.Lag)
	}
	return nil
}

// ReadHello does the first half of the accepting side. WriteWelcome or Refuse is the second.
func ReadHello(conn io.ReadWriter) (*wire.Hello, error) {
	f, err := hear(conn)
	if err != nil {
		return nil, err
	}
	var h wire.Hello
	if f.Type != wire.TypeHello {
		err = fmt.Errorf("it begins with a frame of type %#02x", uint8(f.Type))
	} else if err = wire.ParseControl(f.Body, &h); err == nil &&
		(h.MinVersion > wire.Version || h.MaxVersion < wire.Version) {
		err = fmt.Errorf("it speaks versions %d to %d of the protocol, this side version %d",
			h.MinVersion, h.MaxVersion, wire.Version)
	}
	if err != nil {
		err = fault.Errorf(fault.Protocol, "%w", err)
		Refuse(conn, err)
		return nil, err
	}
	return &h, nil
}

// WriteWelcome admits the endpoint.
func WriteWelcome(conn io.Writer, w *wire.Welcome) error {
	return say(conn, wire.TypeWelcome, w)
}

// Refuse tells the endpoint why it is not admitted. It matters to nobody here if that fails.
func Refuse(conn io.Writer, reason error) {
	_ = say(conn, wire.TypeRefusal, &wire.Refusal{
		Code: string(fault.CodeOf(reason)), Message: reason.Error(),
	})
}

// say writes the preface and a record with one message.
func say(conn io.Writer, t wire.Type, message any) error {
	buf := make([]byte, len(wire.Preface)+wire.HeaderSize, 512)
	copy(buf, wire.Preface)
	buf = wire.AppendControl(buf, t, message)
	record := buf[len(wire.Preface):]
	wire.PutHeader(record, record[wire.HeaderSize:], 0)
	if _, err := conn.Write(buf); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// hear reads the preface and a record with one frame, and not a byte more: what follows belongs
// to the Link.
func hear(conn io.Reader) (wire.Frame, error) {
	var preface [len(wire.Preface)]byte
	if n, err := io.ReadFull(conn, preface[:]); err != nil {
		return wire.Frame{}, heardTooLittle(preface[:n], err)
	}
	if string(preface[:]) != wire.Preface {
		return wire.Frame{}, fault.Errorf(fault.Protocol,
			"the other side does not speak this protocol: it begins with %q%s", preface[:],
			orSpeaksTLS(preface[:]))
	}
	var head [wire.HeaderSize]byte
	if n, err := io.ReadFull(conn, head[:]); err != nil {
		return wire.Frame{}, heardTooLittle(append(preface[:], head[:n]...), err)
	}
	h, err := wire.ParseHeader(head[:], wire.MaxHandshake)
	if err != nil {
		return wire.Frame{}, fault.Errorf(fault.Protocol, "%w", err)
	}
	body, err := io.ReadAll(io.LimitReader(conn, int64(h.Length))) // takes memory as bytes arrive
	if len(body) < h.Length {
		// An error that comes with the last of the bytes is that of what follows.
		return wire.Frame{}, fmt.Errorf("the other side said only %d of the %d bytes of its first "+
			"message: %w", len(body), h.Length, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	if err := h.CheckBody(body); err != nil {
		return wire.Frame{}, fault.Errorf(fault.Protocol, "%w", err)
	}
	if h.First != 0 {
		return wire.Frame{}, fault.Errorf(fault.Protocol,
			"a handshake at position %d, where 0 was due", h.First)
	}
	f, rest, err := wire.Next(body, wire.MaxHandshake)
	if err == nil && len(rest) > 0 {
		err = errors.New("a handshake with more than one frame")
	}
	if err != nil {
		return wire.Frame{}, fault.Errorf(fault.Protocol, "%w", err)
	}
	return f, nil
}

func heardTooLittle(have []byte, err error) error {
	if len(have) > 0 {
		return fmt.Errorf("the other side said only %q%s: %w", have, orSpeaksTLS(have), err)
	}
	return fmt.Errorf("the other side said nothing: %w", err)
}

// orSpeaksTLS says so if that is what was heard: a record with an alert or a handshake.
func orSpeaksTLS(have []byte) string {
	if len(have) > 1 && (have[0] == 21 || have[0] == 22) && have[1] == 3 {
		return ": it speaks TLS, so this side has to do so too (tcp.TLS)"
	}
	return ""
}
