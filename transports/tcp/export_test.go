package tcp

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// Released reports whether the connection's socket has been closed.
func Released(c lahja.Conn) bool {
	return c.(*conn).tcp.SetDeadline(time.Time{}) != nil
}

// Fill writes to a TLS connection until there is no room for another byte, and returns how many
// bytes of content that were. The last record is kept back as a whole or written as a whole.
func Fill(t testing.TB, c lahja.Conn) (written int64) {
	t.Helper()
	s := &c.(*tlsConn).socket
	if err := s.SetWriteBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	// The socket is made full beside TLS only where TLS is done: what comes after a record.
	for {
		n, err := c.Write(make([]byte, 1000))
		written += int64(n)
		if err != nil {
			t.Fatal(err)
		}
		if full(t, s) {
			return written
		}
	}
}

// full reports whether the socket would make the next writer wait.
func full(t testing.TB, s *socket) bool {
	t.Helper()
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s.TCPConn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	defer s.TCPConn.SetWriteDeadline(time.Time{})
	asked := false
	err = raw.Write(func(uintptr) bool { // waits until the system says that there is room
		defer func() { asked = true }()
		return asked
	})
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// Raw is the connection of TCP under one without TLS.
func Raw(c lahja.Conn) *net.TCPConn { return c.(*conn).tcp }
