package lahja

import (
	"context"
	"io"
)

// Transport makes connections between an endpoint and a bus. It moves bytes and knows nothing of
// events; everything else is the package's own work, and the same on every transport.
//
// A Transport is an immutable description of a place ("this address", "this pair of pipes").
// All its methods may be called concurrently and any number of times.
//
// An implementation is certified by running transporttest.Run in a test.
type Transport interface {
	// Dial connects to the Listener at the same place. ctx bounds the attempt only: when it ends
	// after Dial has returned, the connection is not affected. When nobody listens Dial fails; it
	// does not wait for a listener.
	Dial(ctx context.Context) (Conn, error)

	// Listen starts to accept connections. ctx bounds the call only. When Listen has returned, a
	// Dial from anywhere that can reach the place succeeds. While the Listener is open a further
	// Listen at the same place fails; once it is closed the place is free again.
	Listen(ctx context.Context) (Listener, error)
}

// Redialer is a Transport that says whether it can be dialled again after a connection broke: an
// endpoint then resumes its session over another one. Without Redialer, or when Redials returns
// false, a broken connection ends the endpoint, as with a pipe, whose other end is gone with its
// process.
type Redialer interface {
	Transport
	// Redials returns the same each time.
	Redials() bool
}

// Listener accepts the connections that were dialled to it.
type Listener interface {
	// Accept waits for the next connection. It fails with an error that matches net.ErrClosed
	// once the Listener is closed. Any other error is temporary: Accept may be called again.
	Accept() (Conn, error)

	// Addr returns where the Listener can be reached, for people and logs to read. After a Listen
	// on "any free port" it names the port that was chosen.
	Addr() string

	// Close ends the Listener and every Accept that waits. It may be called from anywhere, any
	// number of times; calls after the first return nil. Connections that were accepted stay open;
	// those that still wait to be accepted are closed.
	Close() error
}

// Conn is one connection: a reliable, ordered stream of bytes in each direction.
//
//  1. Bytes arrive once each, in the order in which they were written, or the connection is broken.
//  2. Read and Write obey [io.Reader] and [io.Writer]. One goroutine may call Read while another
//     calls Write and any number call Close and Identity; two never call Read, or Write, at once.
//  3. Neither keeps the slice it was given after it has returned.
//  4. Write may wait for the other side to read, for as long as that takes, but takes at least
//     one byte before it does: two sides that both write first do not deadlock as long as each
//     also reads.
//  5. Close ends the connection and unblocks a waiting Read and Write on this side, which then
//     fail. It may be called any number of times; calls after the first return nil. It does not
//     wait for the other side.
//  6. What was written before Close is still delivered if the other side goes on reading; after
//     that its Read returns io.EOF. Write to a closed other side fails, sooner or later.
type Conn interface {
	io.ReadWriteCloser

	// Identity says who is at the other end, as far as the transport itself knows, which is never
	// what the peer says of itself. It does not change, and may be called at any time, also after
	// Close.
	Identity() Identity
}

// Identity is what a transport knows of the other end of a connection. An empty field is unknown.
type Identity struct {
	Transport   string // the kind: "memory", "pipe", "tcp", "unix"
	Address     string // where the peer is, in the transport's own notation
	Name        string // the only endpoint name that the peer may take
	User        string // the peer's user, as the operating system's number
	PID         int    // the peer's process
	Certificate []byte // the peer's verified TLS leaf certificate, in DER
}

// AttachedConn is a Conn that wants to know when the bus has admitted an endpoint over it.
// [Bus.ServeConn] calls Attached once, with the endpoint's name, before it delivers anything;
// it is not called when the endpoint is refused. Attached must not block.
type AttachedConn interface {
	Conn
	// Attached is told the endpoint's name.
	Attached(name string)
}
