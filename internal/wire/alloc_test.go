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
// not depend on it, and returns how many times its length it takes beside the page. The runtime
// allocates as well, now and then: the least of some tries counts.
func frugal(tb rapid.TB, m *message, times int, body []byte) float64 {
	limit := uint64(times*len(body) + 4<<10)
	took := limit + 1
	for tries := 0; tries < 5 && took > limit; tries++ {
		took = allocated(func() { m.parse(body) })
	}
	if took > limit {
		tb.Errorf("%s: %d bytes took %d bytes of memory: % x…", m.name, len(body), took,
			body[:min(len(body), 20)])
	}
	return (float64(took) - 4<<10) / float64(max(1, len(body)))
}

// A name in a list takes 16 bytes, and one byte in the frame.
func TestEventIsFrugal(t *testing.T) {
	names := func(claimed, sent int) []byte {
		body := binary.AppendUvarint([]byte{byte(wire.FlagTo), 1, 1}, uint64(claimed))
		return append(body, make([]byte, sent)...)
	}
	const most = wire.MaxFrame - 8
	dearest := 0.0
	for _, body := range [][]byte{
		names(most, most),
		names(most+1, most),
		append(names(most, most-1), 0x7f), // the last one ends early
		names(1<<62, most),
		append([]byte{0x0c, 1, 1}, bytes.Repeat([]byte{1, 'x'}, most/2)...),
	} {
		dearest = max(dearest, frugal(t, kind("Event"), 17, body))
	}
	t.Logf("an event takes at most %.1f bytes of memory for each of its own", dearest)
}

// An element of a list is one byte in the frame and 16 in memory, and an unknown key three or more,
// and 120. The CBOR library would take 65 bytes for an element that is no text.
func TestControlIsFrugal(t *testing.T) {
	const most = 16 << 10 // elements of a list
	list := append(head(4, most), bytes.Repeat([]byte{0x60}, most)...)
	numbers := append(head(4, most), make([]byte, most)...)
	pairs, keys := []byte{0xb8, 32}, []byte{0xb8, 32}
	for k := range byte(32) {
		pairs = append(pairs, 0x62, '0'+k/8, '0'+k%8, 0)
		keys = append(keys, 0x18, 100+k, 0)
	}
	bodies := [][]byte{
		list, numbers, pairs, keys, head(4, 1<<32-1), head(5, 1<<32-1),
		append(append([]byte{0xa1}, list...), 0),  // for a key
		append(append([]byte{0xa1}, pairs...), 0), // for a key
		append(append(append([]byte{0xa1, 0x18, 0x63}, head(4, 16)...),
			bytes.Repeat(pairs, 16)...), 0),
	}
	for key := range byte(16) {
		for _, value := range [][]byte{
			list, numbers, pairs, head(2, 1<<32-1), head(3, 1<<32-1), bytes.Repeat([]byte{0x81}, 7),
		} {
			bodies = append(bodies, append([]byte{0xa1, key}, value...))
		}
	}
	dearest := 0.0
	for i := range messages {
		if m := &messages[i]; m.keys {
			for _, body := range bodies {
				dearest = max(dearest, frugal(t, m, 16, body))
			}
		}
	}
	t.Logf("a control message takes at most %.1f bytes of memory for each of its own", dearest)
}

// head is the head of a CBOR item with an argument of four bytes.
func head(major byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{major<<5 | 26}, n)
}

func TestFrugalProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &messages[rapid.IntRange(0, len(messages)-1).Draw(t, "kind")]
		frugal(t, m, 17, damaged(t, m))
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
