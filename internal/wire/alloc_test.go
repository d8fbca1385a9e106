package wire_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/wire"
)

// allocated is how many bytes f allocates, also those that it drops again.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// frugal requires that reading body takes no more than times its length, and a page for what does
// not depend on it. The runtime allocates as well, now and then: the least of some tries counts.
func frugal(tb rapid.TB, m *message, times int, body []byte) {
	limit := uint64(times*len(body) + 4<<10)
	took := limit + 1
	for tries := 0; tries < 5 && took > limit; tries++ {
		took = allocated(func() { m.parse(body) })
	}
	if took > limit {
		tb.Errorf("%s: %d bytes took %d bytes of memory: % x…", m.name, len(body), took,
			body[:min(len(body), 20)])
	}
}

// A name in a list takes 16 bytes, and one byte in the frame.
func TestEventIsFrugal(t *testing.T) {
	names := func(claimed, sent int) []byte {
		body := binary.AppendUvarint([]byte{byte(wire.FlagTo), 1, 1}, uint64(claimed))
		return append(body, make([]byte, sent)...)
	}
	const most = wire.MaxFrame - 8
	for _, body := range [][]byte{
		names(most, most),
		names(most+1, most),
		append(names(most, most-1), 0x7f), // the last one ends early
		names(1<<62, most),
		append([]byte{0x0c, 1, 1}, bytes.Repeat([]byte{1, 'x'}, most/2)...),
	} {
		frugal(t, kind("Event"), 17, body)
	}
}

// The CBOR library takes up to 65 bytes for one, in a list where bytes are expected.
func TestControlIsFrugal(t *testing.T) {
	const most = 16 << 10 // elements of a list
	list := append(head(4, most), bytes.Repeat([]byte{0x60}, most)...)
	pairs := head(5, 1024)
	for k := range 1024 {
		pairs = append(pairs, 0x62, byte('0'+k/64), byte('0'+k%64), 0)
	}
	bodies := [][]byte{
		list, pairs, head(4, 1<<32-1), head(5, 1<<32-1),
		append(append([]byte{0xa1}, list...), 0),  // for a key
		append(append([]byte{0xa1}, pairs...), 0), // for a key
		append(append(append([]byte{0xa1, 0x18, 0x63}, head(4, 16)...),
			bytes.Repeat(pairs, 16)...), 0),
	}
	for key := range byte(16) {
		bodies = append(bodies, append([]byte{0xa1, key}, list...), append([]byte{0xa1, key}, pairs...),
			append([]byte{0xa1, key}, head(2, 1<<32-1)...), append([]byte{0xa1, key}, head(3, 1<<32-1)...))
	}
	for i := range messages {
		if m := &messages[i]; m.keys {
			for _, body := range bodies {
				frugal(t, m, 80, body)
			}
		}
	}
}

// head is the head of a CBOR item with an argument of four bytes.
func head(major byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, n)
}

func TestFrugalProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &messages[rapid.IntRange(0, len(messages)-1).Draw(t, "kind")]
		frugal(t, m, 80, damaged(t, m))
	})
}

// Frames are handed out as they lie in the record.
func TestNextTakesNoMemory(t *testing.T) {
	data := wire.Append(nil, wire.TypeEvent, make([]byte, 1000))
	took := testing.AllocsPerRun(100, func() {
		if _, _, err := wire.Next(data, 1000); err != nil {
			t.Fatal(err)
		}
	})
	if took > 0 {
		t.Errorf("%v allocations", took)
	}
}

func TestPlainEventTakesNoMemory(t *testing.T) {
	e := wire.Event{Flags: wire.FlagOrigin | wire.FlagRequest, Payload: make([]byte, 1000)}
	buf := make([]byte, 0, 2000)
	took := testing.AllocsPerRun(100, func() {
		buf = wire.AppendEvent(buf[:0], &e)
		if err := wire.ParseEvent(buf[wire.FrameHeader:], &e); err != nil {
			t.Fatal(err)
		}
	})
	if took > 0 {
		t.Errorf("%v allocations", took)
	}
}
