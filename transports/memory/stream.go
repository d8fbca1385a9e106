package memory

import (
	"io"
	"sync"
)

// The ring of a stream starts small, because most connections of a large test carry little.
const (
	minRing = 4 << 10
	maxRing = 64 << 10
)

// stream carries the bytes of one direction through a ring that grows when it is needed.
type stream struct {
	mu           sync.Mutex
	readable     sync.Cond // the ring is no longer empty, or either end has closed
	writable     sync.Cond // half of the ring is free, or either end has closed
	ring         []byte    // nil before the first write and once the reader has closed
	start        int       // where the oldest unread byte is
	size         int       // how many bytes are unread
	readerClosed bool
	writerClosed bool
	broken       bool // both ends get an error
}

func (s *stream) init() {
	s.readable.L = &s.mu
	s.writable.L = &s.mu
}

// read takes what is there, or waits until something is.
func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readerClosed:
			return 0, errReadClosed
		case s.broken:
			return 0, errReset
		case len(p) == 0:
			return 0, nil
		case s.size > 0:
			return s.takeLocked(p), nil
		case s.writerClosed:
			return 0, io.EOF
		}
		s.readable.Wait()
	}
}

// write puts all of p into the ring, in as many pieces as the reader makes room for.
func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 0; ; {
		switch {
		case s.writerClosed:
			return n, errWriteClosed
		case s.broken:
			return n, errReset
		case s.readerClosed:
			return n, errPeerClosed
		}
		n += s.putLocked(p[n:])
		if n == len(p) {
			return n, nil
		}
		s.writable.Wait()
	}
}

// closeReader ends the reading end: what is unread is dropped and the writer fails from now on.
func (s *stream) closeReader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readerClosed = true
	s.ring, s.start, s.size = nil, 0, 0
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// closeWriter ends the writing end: what is unread can still be read, then comes io.EOF.
func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writerClosed = true
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// reset breaks the stream: what is unread is dropped, and both ends fail from now on.
func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	s.ring, s.start, s.size = nil, 0, 0
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// takeLocked moves the oldest bytes of the ring into p. It wakes the writer only once half of the
// ring is free: woken for every few bytes, a writer ahead of its reader would spend its time
// going to sleep.
func (s *stream) takeLocked(p []byte) int {
	n := copy(p, s.ring[s.start:min(s.start+s.size, len(s.ring))])
	if n < s.size {
		n += copy(p[n:], s.ring[:s.size-n])
	}
	s.size -= n
	s.start = (s.start + n) % len(s.ring)
	if s.size == 0 {
		s.start = 0 // the next write is then one copy
	}
	if s.size <= len(s.ring)/2 {
		s.writable.Signal()
	}
	return n
}

// putLocked copies as much of p as there is room for behind the newest byte of the ring.
func (s *stream) putLocked(p []byte) int {
	s.growLocked(len(p))
	n := min(len(p), len(s.ring)-s.size)
	if n == 0 {
		return 0
	}
	end := (s.start + s.size) % len(s.ring)
	first := copy(s.ring[end:], p[:n])
	copy(s.ring, p[first:n])
	s.size += n
	s.readable.Signal()
	return n
}

// growLocked makes room for n more bytes, as far as the limit allows.
func (s *stream) growLocked(n int) {
	if s.size+n <= len(s.ring) || len(s.ring) == maxRing {
		return
	}
	length := max(len(s.ring), minRing)
	for length < s.size+n && length < maxRing {
		length *= 2
	}
	grown := make([]byte, length)
	unread := copy(grown, s.ring[s.start:min(s.start+s.size, len(s.ring))])
	copy(grown[unread:], s.ring[:s.size-unread])
	s.ring, s.start = grown, 0
}
