package session

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/wire"
)

// feed returns what it is told to, one part for each Read, and then the error.
type feed struct {
	parts [][]byte
	err   error
}

func (f *feed) Read(b []byte) (int, error) {
	if len(f.parts) == 0 {
		return 0, f.err
	}
	n := copy(b, f.parts[0])
	if f.parts[0] = f.parts[0][n:]; len(f.parts[0]) == 0 {
		f.parts = f.parts[1:]
	}
	return n, nil
}

func newReader(parts ...[]byte) *reader {
	return &reader{
		conn: &feed{parts, io.EOF}, buf: make([]byte, readMin),
		limit: wire.RecordBody + wire.MaxFrame,
	}
}

// ofSize is a record with n bytes in its body.
func ofSize(n int) []byte { return record(0, make([]byte, n)) }

// The buffer grows while reads fill it, up to what one record takes, and shrinks again when they
// bring little. Nothing gets lost on the way.
func TestBufferFollowsTheLoad(t *testing.T) {
	var load []byte
	for range 1000 {
		load = append(load, ofSize(500)...)
	}
	parts := [][]byte{load}
	for range 10 * shrinkAfter {
		parts = append(parts, ofSize(100))
	}
	r := newReader(parts...)
	largest := 0
	for i := range 1000 + 10*shrinkAfter {
		h, body, err := r.record()
		if err != nil || len(body) != h.Length {
			t.Fatalf("record %d: %v", i, err)
		}
		largest = max(largest, len(r.buf))
	}
	if largest != readMax {
		t.Errorf("the buffer grew to %d bytes, where %d fit the load", largest, readMax)
	}
	if len(r.buf) != readMin {
		t.Errorf("the buffer has %d bytes when there is little to read", len(r.buf))
	}
}

// A buffer that holds a large record goes when there are only small ones.
func TestBufferOfLargeRecord(t *testing.T) {
	parts := [][]byte{ofSize(1 << 20)}
	for range 10 * shrinkAfter {
		parts = append(parts, ofSize(1000))
	}
	r := newReader(parts...)
	if _, body, err := r.record(); err != nil || len(body) != 1<<20 {
		t.Fatalf("%d bytes: %v", len(body), err)
	}
	if len(r.buf) < 1<<20 || len(r.buf) > 2<<20 {
		t.Errorf("a buffer of %d bytes", len(r.buf))
	}
	for range 10 * shrinkAfter {
		if _, body, err := r.record(); err != nil || len(body) != 1000 {
			t.Fatalf("%d bytes: %v", len(body), err)
		}
	}
	if len(r.buf) != readMin {
		t.Errorf("the buffer has %d bytes when there is little to read", len(r.buf))
	}
}

// Records of all sizes arrive whole, however the bytes are split.
func TestRecordsOfAllSizes(t *testing.T) {
	var all []byte
	var want [][]byte
	for size := 1; size < 300_000; size = size*5/4 + 1 {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i * size)
		}
		want = append(want, body)
		all = append(all, record(uint64(size), body)...)
	}
	for _, split := range []int{1, 7, 1000, readMin - 1, readMin, readMin + 1, 100_000, len(all)} {
		var parts [][]byte
		for rest := all; len(rest) > 0; {
			n := min(split, len(rest))
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		r := newReader(parts...)
		for i, body := range want {
			h, got, err := r.record()
			if err != nil || h.First != uint64(len(body)) || !bytes.Equal(got, body) {
				t.Fatalf("split to %d bytes: record %d of %d bytes: %v", split, i, len(body), err)
			}
		}
		if _, _, err := r.record(); !errors.Is(err, io.EOF) {
			t.Errorf("split to %d bytes: %v at the end", split, err)
		}
	}
}

// A length that was announced costs nothing until the bytes are there.
func TestLengthAloneCostsNothing(t *testing.T) {
	data := ofSize(wire.RecordBody + wire.MaxFrame)
	const head = wire.HeaderSize
	for _, sent := range []int{head, head + 1, readMin, readMin + 1, 100_000} {
		r := newReader(data[:sent])
		if _, _, err := r.record(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after %d bytes: %v", sent, err)
		}
		if len(r.buf) > max(readMin, 4*sent) {
			t.Errorf("after %d bytes the buffer has %d", sent, len(r.buf))
		}
	}
}

// both returns all its bytes together with the error.
type both struct{ data []byte }

func (b *both) Read(p []byte) (int, error) { return copy(p, b.data), io.EOF }

// A reader may return its last bytes with the error.
func TestBytesWithTheError(t *testing.T) {
	r := newReader()
	r.conn = &both{ofSize(10)}
	if _, body, err := r.record(); err != nil || len(body) != 10 {
		t.Errorf("%d bytes: %v", len(body), err)
	}
}

func TestIdleLinkIsSmall(t *testing.T) {
	if readMin > 4<<10 {
		t.Errorf("a link that is idle has a buffer of %d bytes", readMin)
	}
	linked(t, roomy, func(t *testing.T, a, b *side) {
		for range 100 {
			a.say("now and then")
			synctest.Wait()
		}
		out := &a.link.out
		if got := len(b.words()); got != 100 || out.queue != nil || out.urgent != nil {
			t.Errorf("%d arrived", got)
		}
	})
}
