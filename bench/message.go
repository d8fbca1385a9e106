package main

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"github.com/fxamacker/cbor/v2"
)

// Message is what goes from process to process, in the same CBOR on every system.
type Message struct {
	Seq  uint64
	Data []byte
}

// probe is the number of messages that are sent until everybody has got one: some systems have no
// way to know that a subscription has reached the sender.
const probe = 0

func newMessage(size int) *Message { return &Message{Data: make([]byte, size)} }

// stamp gives m its number and, at the end of its data, what shows that these are its own.
func (m *Message) stamp(seq uint64) {
	m.Seq = seq
	if n := len(m.Data); n > 0 {
		m.Data[n-1] = byte(seq)
	}
}

// check says what is wrong with m, which has to be that of number seq.
func (m *Message) check(seq uint64, size int) error {
	if m.Seq != seq || len(m.Data) != size || size > 0 && m.Data[size-1] != byte(seq) {
		return fmt.Errorf("message %d with %d bytes has come, where %d with %d bytes was due",
			m.Seq, len(m.Data), seq, size)
	}
	return nil
}

var (
	cborEnc = must(cbor.EncOptions{}.UserBufferEncMode())
	cborDec = must(cbor.DecOptions{}.DecMode())
)

// encode appends m to buf.
func encode(buf *bytes.Buffer, m *Message) error { return cborEnc.MarshalToBuffer(m, buf) }

// encoded returns m in memory of its own, for systems that keep what they are given.
func encoded(m *Message) ([]byte, error) {
	var buf bytes.Buffer
	err := encode(&buf, m)
	return buf.Bytes(), err
}

func decode(data []byte) (m Message, err error) {
	err = cborDec.Unmarshal(data, &m)
	return m, err
}

// sink checks that what one receiver gets is complete, once and in order.
type sink struct {
	size    int
	next    uint64 // number of the next message; belongs to who calls take
	target  atomic.Uint64
	probed  chan struct{} // gets one when the first probe has come
	seen    bool          // a probe has come
	reached chan error    // gets one when the target has come, or something is wrong
}

func newSink(size int) *sink {
	return &sink{size: size, next: 1, probed: make(chan struct{}, 1), reached: make(chan error, 1)}
}

// take is called by one goroutine.
func (s *sink) take(m *Message) {
	if m.Seq == probe {
		if !s.seen {
			s.seen = true
			s.probed <- struct{}{}
		}
		return
	}
	if err := m.check(s.next, s.size); err != nil {
		s.fail(err)
		return
	}
	s.next++
	if m.Seq == s.target.Load() {
		s.fail(nil)
	}
}

func (s *sink) fail(err error) {
	select {
	case s.reached <- err:
	default: // the first is told
	}
}

// takeEncoded decodes and takes.
func (s *sink) takeEncoded(data []byte) {
	m, err := decode(data)
	if err != nil {
		s.fail(err)
		return
	}
	s.take(&m)
}
