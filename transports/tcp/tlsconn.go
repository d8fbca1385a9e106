package tcp

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja"
)

const (
	// handshakeLimit is for connections that nobody looks after; a bus has a stricter one.
	handshakeLimit = 10 * time.Second

	// farewellTime is how long Close tries by itself to say that no more comes. If the other side
	// does not read, and so much is under way that there is no room for it, a goroutine goes on.
	farewellTime = 10 * time.Millisecond

	// soon is when a connection that was accepted does its handshake though nobody uses it yet.
	soon = 10 * time.Millisecond
)

// tlsConn is a TLS connection over TCP. It ends as conn does, and for the same reasons. Before that
// it sends the end that TLS has of its own: Go does without, others take its absence for an attack.
type tlsConn struct {
	socket   socket
	config   *tls.Config
	peer     string        // for errors
	accepted bool          // and not dialled
	begun    atomic.Bool   // the handshake
	ready    chan struct{} // closed when it is over
	closed   atomic.Bool   // Close was called
	ended    atomic.Bool   // the other side has closed or the connection is broken

	writing sync.Mutex // held by Write
	waking  sync.Mutex // between the handshake's deadlines and the one by which Close ends waiting

	// These are set when ready is closed.
	tls      *tls.Conn
	failure  error // of the handshake
	hungUp   bool  // that is because the other side has closed
	identity lahja.Identity
}

func newTLSConn(c *net.TCPConn, config *tls.Config, peer string) *tlsConn {
	return &tlsConn{
		socket: socket{TCPConn: c, verifies: hasVerifier(config)},
		config: config, peer: peer, ready: make(chan struct{}),
		identity: lahja.Identity{Transport: "tcp", Address: c.RemoteAddr().String()},
	}
}

// start does the handshake, if nobody has begun to. Accept must not do it: it would wait for a peer
// that is silent. Who reads or writes first does, and needs no other goroutine to wait for. If
// nobody does soon, a goroutine of its own has to: the other side could be waiting to write.
func (c *tlsConn) start() {
	if !c.begun.Swap(true) {
		c.handshake()
	}
}

// handshake is called once. If Close was called meanwhile it has ended the waiting and left the
// rest to who has called this.
func (c *tlsConn) handshake() {
	c.setDeadline(time.Now().Add(handshakeLimit))
	if c.accepted {
		c.socket.await()
		c.tls = tls.Server(&c.socket, c.config)
	} else {
		c.tls = tls.Client(&c.socket, c.config)
	}
	if err := c.tls.Handshake(); err != nil {
		c.failure, c.hungUp = c.explain(err), err == io.EOF
		c.alert(err)
	} else {
		c.setDeadline(time.Time{})
		c.identify()
	}
	c.waking.Lock()
	closed := c.closed.Load()
	close(c.ready)
	c.waking.Unlock()
	if closed {
		c.end()
	}
}

// identify notes what the handshake has shown.
func (c *tlsConn) identify() {
	state := c.tls.ConnectionState()
	if len(state.PeerCertificates) > 0 && (len(state.VerifiedChains) > 0 || c.socket.verifies) {
		c.identity.Certificate = state.PeerCertificates[0].Raw
	}
}

// setDeadline bounds Read and Write, unless Close has ended them for good.
func (c *tlsConn) setDeadline(end time.Time) {
	c.waking.Lock()
	defer c.waking.Unlock()
	if !c.closed.Load() {
		c.socket.TCPConn.SetDeadline(end)
	}
}

// unexpected is a TLS record that says that an unexpected message has come.
var unexpected = []byte{21, 3, 1, 0, 2, 2, 10}

// alert answers who does not speak TLS, so that they can find out that this side does. Package tls
// sends the alerts for all other failures.
func (c *tlsConn) alert(err error) {
	var foreign tls.RecordHeaderError
	if c.accepted && errors.As(err, &foreign) {
		c.socket.TCPConn.Write(unexpected)
	}
}

// established waits for the handshake and says how it failed. Close ends the waiting, because it
// ends the handshake.
func (c *tlsConn) established() error {
	c.start()
	<-c.ready
	if c.closed.Load() {
		return errClosed
	}
	return c.failure
}

// Read implements [lahja.Conn]. To it a side that has closed before the handshake was over is one
// that has written nothing.
func (c *tlsConn) Read(p []byte) (int, error) {
	if err := c.established(); err != nil {
		if err == c.failure && c.hungUp {
			return 0, io.EOF
		}
		return 0, err
	}
	n, err := c.tls.Read(p)
	return n, c.result(err)
}

// Write implements [lahja.Conn].
func (c *tlsConn) Write(p []byte) (int, error) {
	if err := c.established(); err != nil {
		return 0, err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closed.Load() {
		return 0, errClosed
	}
	n, err := c.tls.Write(p)
	return n, c.result(err)
}

// result remembers that the connection has ended, and says so if it was by Close.
func (c *tlsConn) result(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return errClosed
	}
	c.ended.Store(true)
	if err == io.EOF {
		return err
	}
	return c.explain(err)
}

// Close ends Read and Write here, and sends what was written and the end to the other side. It does
// not wait for the handshake, since that may be in a function of the user's.
func (c *tlsConn) Close() error {
	c.waking.Lock()
	if c.closed.Swap(true) {
		c.waking.Unlock()
		return nil
	}
	c.socket.TCPConn.SetDeadline(time.Unix(1, 0)) // long past: what waits returns
	over := false
	select {
	case <-c.ready:
		over = true
	default:
	}
	c.waking.Unlock()
	if over {
		return c.end()
	}
	return nil
}

// end does what Close has to do once the handshake is over, in whatever way.
func (c *tlsConn) end() error {
	switch {
	case c.ended.Load():
		return c.socket.TCPConn.Close()
	case c.failure != nil:
		return c.linger()
	}
	c.writing.Lock() // a Write that waited has been woken
	last := c.socket.keep(func() {
		c.tls.CloseWrite() // after a Write that was ended in the middle it fails and says nothing
	})
	c.writing.Unlock()
	if sent := c.send(last, farewellTime); sent < len(last) {
		go func() {
			c.send(last[sent:], linger)
			c.linger()
		}()
		return nil
	}
	return c.linger()
}

// send writes as much as it can in the time.
func (c *tlsConn) send(p []byte, within time.Duration) int {
	c.socket.TCPConn.SetWriteDeadline(time.Now().Add(within))
	n, err := c.socket.TCPConn.Write(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return len(p) // nobody is there any more
	}
	return n
}

// linger ends the sending direction, and the socket a second later: see conn.
func (c *tlsConn) linger() error {
	if err := c.socket.CloseWrite(); err != nil {
		return c.socket.TCPConn.Close()
	}
	tcp := c.socket.TCPConn // alone: what TLS keeps for a connection is large
	time.AfterFunc(linger, func() { tcp.Close() })
	return nil
}

// Reset is that of connections without TLS.
func (c *tlsConn) Reset() error {
	closed := c.closed.Swap(true)
	c.socket.SetLinger(0)
	if err := c.socket.TCPConn.Close(); !closed {
		return err
	}
	return nil
}

// Identity knows the peer's address, and the certificate that it has proved to own. It waits for
// the handshake, which Close ends.
func (c *tlsConn) Identity() lahja.Identity {
	c.start()
	<-c.ready
	identity := c.identity
	identity.Certificate = slices.Clone(identity.Certificate)
	return identity
}

// socket is what package tls reads from and writes to. In the end it keeps what that writes: Close
// must not wait for the other side to read it, as tls.Conn would.
type socket struct {
	*net.TCPConn
	verifies bool // a function of the user's verifies certificates; the handshake's own

	// These are the reader's own.
	ahead  []byte // what has come before package tls was there
	failed error  // how that has ended

	mu      sync.Mutex // guards what follows
	keeping bool
	kept    []byte
}

const (
	recordHead      = 5  // bytes before each record of TLS, of which the last two are its length
	handshakeRecord = 22 // the first of them, of a record that a handshake begins with
)

// await reads the first record of a handshake, or what comes instead, before package tls does. What
// that keeps for a connection, its stack included, is large: a stranger has to say more for it.
func (s *socket) await() {
	for wanted := recordHead; len(s.ahead) < wanted && s.failed == nil; {
		s.ahead = slices.Grow(s.ahead, 1) // memory is taken as bytes arrive
		have := len(s.ahead)
		n, err := s.TCPConn.Read(s.ahead[have:min(wanted, cap(s.ahead))])
		s.ahead, s.failed = s.ahead[:have+n], err
		if have+n == recordHead && s.ahead[0] == handshakeRecord {
			wanted += int(binary.BigEndian.Uint16(s.ahead[recordHead-2:]))
		}
	}
}

// Read implements [io.Reader].
func (s *socket) Read(p []byte) (n int, err error) {
	switch {
	case len(s.ahead) > 0:
		if n = copy(p, s.ahead); n < len(s.ahead) {
			s.ahead = s.ahead[n:]
		} else {
			s.ahead = nil
		}
		return n, nil
	case s.failed != nil:
		return 0, s.failed
	}
	return s.TCPConn.Read(p)
}

// Write implements [io.Writer].
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	keeping := s.keeping
	if keeping {
		s.kept = append(s.kept, p...)
	}
	s.mu.Unlock()
	if keeping {
		return len(p), nil
	}
	return s.TCPConn.Write(p)
}

// keep has what is written by f kept, and by others from now on, and returns it.
func (s *socket) keep(f func()) []byte {
	s.mu.Lock()
	s.keeping = true
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept)
}

// SetDeadline does nothing: the deadlines are this package's own affair, and tls.Conn sets some
// where it closes.
func (s *socket) SetDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing, as SetDeadline.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }
