package memory

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// A stream is a buffer of at most maxRing bytes, wherever in the ring they are when it grows or
// wraps.
func TestStreamIsABuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s stream
		s.init()
		var model bytes.Buffer
		next := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				size := rapid.IntRange(0, min(9000, maxRing-model.Len())).Draw(t, "size")
				p := make([]byte, size)
				for i := range p {
					next += 7
					p[i] = next
				}
				model.Write(p)
				if n, err := s.write(p); n != size || err != nil {
					t.Fatalf("write of %d bytes: %d, %v", size, n, err)
				}
			},
			"read": func(t *rapid.T) {
				if model.Len() == 0 {
					t.Skip("it would wait")
				}
				p := make([]byte, rapid.IntRange(0, 9000).Draw(t, "size"))
				n, err := s.read(p)
				if want := model.Next(len(p)); err != nil || !bytes.Equal(p[:n], want) {
					t.Fatalf("read of %d bytes: %d, %v, or other bytes than were written",
						len(p), n, err)
				}
			},
			"": func(t *rapid.T) {
				if s.size != model.Len() || len(s.ring) > maxRing {
					t.Fatalf("%d bytes in a ring of %d, want %d", s.size, len(s.ring), model.Len())
				}
			},
		})
	})
}
