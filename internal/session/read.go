package session

import (
	"errors"
	"fmt"
	"io"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// The read buffer starts small, so that an idle connection costs little, and grows while reads
// fill it. It shrinks again after shrinkAfter reads in a row that needed a quarter of it.
const (
	readMin     = 4 << 10
	readMax     = wire.RecordBody + wire.HeaderSize
	shrinkAfter = 64
)

// reader turns a stream of bytes into records.
type reader struct {
	conn       io.Reader
	buf        []byte
	start, end int // what is read and not yet consumed: buf[start:end]
	idle       int // reads in a row that needed little
	limit      int // of a record's body
}

// record returns the head and the body of the next record. The body is valid until the next call.
func (r *reader) record() (wire.Header, []byte, error) {
	if err := r.fill(wire.HeaderSize); err != nil {
		return wire.Header{}, nil, err
	}
	h, err := wire.ParseHeader(r.buf[r.start:r.end], r.limit)
	if err != nil {
		return h, nil, &ProtocolError{Reason: err.Error(), Damaged: errors.Is(err, wire.ErrHeader)}
	}
	if err := r.fill(wire.HeaderSize + h.Length); err != nil {
		return h, nil, err
	}
	body := r.buf[r.start+wire.HeaderSize : r.start+wire.HeaderSize+h.Length]
	r.start += wire.HeaderSize + h.Length
	if err := h.CheckBody(body); err != nil {
		return h, nil, &ProtocolError{Reason: err.Error(), Damaged: true}
	}
	return h, body, nil
}

// fill reads until n bytes are there. The buffer grows with what has arrived, not with what was
// announced: a length alone costs nothing.
func (r *reader) fill(n int) error {
	for r.end-r.start < n {
		if r.start == r.end {
			r.start, r.end = 0, 0
		}
		if r.end == len(r.buf) || r.start+n > len(r.buf) && r.start > 0 {
			r.makeRoom(n)
		}
		got, err := r.conn.Read(r.buf[r.end:])
		r.end += got
		r.adapt(got)
		if err != nil && r.end-r.start < n {
			return readError(err, r.end-r.start)
		}
	}
	return nil
}

// makeRoom moves what is there to the front of the buffer, and doubles the buffer if it is full.
func (r *reader) makeRoom(n int) {
	have := r.buf[r.start:r.end]
	if len(have) == len(r.buf) {
		r.buf = make([]byte, max(readMin, min(2*len(r.buf), max(n, readMax))))
	}
	r.end = copy(r.buf, have)
	r.start = 0
}

// adapt fits the buffer to how much the last reads have brought.
func (r *reader) adapt(got int) {
	switch {
	case got > len(r.buf)/4:
		r.idle = 0
		if r.end == len(r.buf) && len(r.buf) < readMax {
			bigger := make([]byte, min(4*len(r.buf), readMax))
			r.end = copy(bigger, r.buf[r.start:r.end])
			r.buf, r.start = bigger, 0
		}
	case len(r.buf) > readMin:
		if r.idle++; r.idle < shrinkAfter || r.end-r.start > len(r.buf)/4 {
			return
		}
		smaller := make([]byte, max(readMin, len(r.buf)/4))
		r.end = copy(smaller, r.buf[r.start:r.end])
		r.buf, r.start, r.idle = smaller, 0, 0
	}
}

func readError(err error, have int) error {
	if err == io.EOF && have > 0 {
		return fmt.Errorf("reading: the connection ended inside a record: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("reading: %w", err)
}

// read handles what arrives until the connection ends. A record counts when it was handled as a
// whole.
func (c *carrier) read() error {
	l := c.link
	r := reader{conn: c, buf: make([]byte, readMin), limit: wire.RecordBody + l.opt.MaxFrame}
	for {
		h, body, err := r.record()
		if err != nil {
			return err
		}
		l.records.Add(1)
		if h.First != l.received {
			return &ProtocolError{Damaged: true, Reason: fmt.Sprintf(
				"a record at position %d, where %d was due", h.First, l.received)}
		}
		size := len(body)
		for len(body) > 0 {
			var f wire.Frame
			if f, body, err = wire.Next(body, l.opt.MaxFrame); err != nil {
				return &ProtocolError{Reason: err.Error()}
			}
			if err := c.handle(f); err != nil {
				return err
			}
		}
		if h.First != l.received {
			l.acks.received(l.received, size)
			c.gauge(l.received - h.First)
		}
	}
}

// gauge notes whether the peer sends much at once, for then much is about to be sent back.
func (c *carrier) gauge(frames uint64) {
	switch few := c.few.Load(); {
	case frames > 1 && few > 0:
		c.few.Store(0)
	case frames == 1 && few < calm:
		c.few.Store(few + 1)
	}
}

// handle handles one frame.
func (c *carrier) handle(f wire.Frame) error {
	if f.Type.Numbered() {
		c.link.received++
		if c.link.left {
			return &ProtocolError{Reason: "a frame after the goodbye"}
		}
	}
	return c.frame(f)
}

// frame handles what concerns the link alone, and passes on the rest.
func (c *carrier) frame(f wire.Frame) error {
	l := c.link
	switch f.Type {
	case wire.TypeTaken:
		return l.settle(f.Body)
	case wire.TypeReturn:
		return l.returned(f.Body)
	case wire.TypeGoodbye:
		var g wire.Goodbye
		if err := wire.ParseControl(f.Body, &g); err != nil {
			return &ProtocolError{Reason: err.Error()}
		}
		l.left, l.first = true, !l.out.isSealed()
		l.handler.Goodbye(g)
		c.said(&l.heardBye)
		return nil
	case wire.TypeConfirm:
		return l.confirmed(f.Body)
	case wire.TypePong:
		l.signed()
		return nil
	case wire.TypeVoid:
		return nil
	case wire.TypePing:
		l.pong.Store(true)
		l.nudge()
		return nil
	case wire.TypeHello, wire.TypeWelcome, wire.TypeRefusal:
		return &ProtocolError{Reason: "a second handshake"}
	}
	return l.handler.Frame(f)
}

// confirmed lets go of what the peer has received.
func (l *Link) confirmed(body []byte) error {
	var position uint64
	err := wire.Uvarints(body, &position)
	if err == nil && !l.out.confirm(position) {
		err = fmt.Errorf("it confirms %d frames, which is more than were sent", position)
	}
	if err != nil {
		return &ProtocolError{Reason: err.Error()}
	}
	return nil
}

// settle lets go of the events that the peer has taken.
func (l *Link) settle(body []byte) error {
	var batch [ackEvents]*window.Flight
	flights := batch[:0]
	l.out.mu.Lock()
	limit := uint64(len(l.out.slots.table))
	err := wire.ParseTaken(body, limit, func(slot uint64) error {
		f := l.out.slots.take(slot)
		if f == nil {
			return fmt.Errorf("a report of an event that was taken already")
		}
		flights = append(flights, f)
		return nil
	})
	l.out.mu.Unlock()
	for _, f := range flights {
		f.Drop()
	}
	if err != nil {
		return &ProtocolError{Reason: err.Error()}
	}
	return nil
}

// returned lets go of an event that the peer has not taken.
func (l *Link) returned(body []byte) error {
	if l.opt.Dials {
		return &ProtocolError{Reason: "a bus returns an event, which only endpoints do"}
	}
	var slot uint64
	if err := wire.Uvarints(body, &slot); err != nil {
		return &ProtocolError{Reason: err.Error()}
	}
	l.out.mu.Lock()
	var f *window.Flight
	if slot < uint64(len(l.out.slots.table)) {
		f = l.out.slots.take(slot)
	}
	l.out.mu.Unlock()
	if f == nil {
		return &ProtocolError{
			Reason: "an event is returned that was not sent, or was taken already",
		}
	}
	f.Meet(window.Returned)
	f.Drop()
	return nil
}
