//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// Dial connects to the Listener at the path. It fails when nobody listens there, and when the
// kernel says that the Listener's process belongs to a user who is not allowed. While the system's
// queue of connections to be accepted is full it tries again, until ctx ends.
func (t *Transport) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := t.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("unix: dial %s: %w", t.path, fault.Because(ctx, err))
	}
	return c, nil
}

func (t *Transport) dial(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := t.checkUse(); err != nil {
		return nil, err
	}
	raw, err := connect(ctx, t.path)
	if err != nil {
		return nil, err
	}
	c, err := t.newConn(raw)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// checkUse refuses what this transport cannot do, before anything is touched.
func (t *Transport) checkUse() error {
	if len(t.options.users) > 0 && !knowsPeers {
		return fmt.Errorf("AllowUsers: this system does not tell the user of a connection: %w",
			errors.ErrUnsupported)
	}
	return t.checkPath()
}

// connect waits for room in the Listener's queue. For Unix sockets the kernel answers "try again"
// and has no way to be told when, so that there is no alternative to trying.
func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	var dialer net.Dialer
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		c, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return c.(*net.UnixConn), nil
		}
		switch {
		case errors.Is(err, syscall.EAGAIN):
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("nobody listens there: %w", cause(err))
		default:
			return nil, cause(err)
		}
		retry := time.NewTimer(pause)
		select {
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, fmt.Errorf("nobody accepts: %w", ctx.Err())
		}
	}
}

// cause removes the operation and the path from an error, where our own text has them already.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// conn is one end of a connection.
type conn struct {
	unix     *net.UnixConn
	identity lahja.Identity
}

// newConn asks the kernel who is at the other end, and refuses who is not allowed.
func (t *Transport) newConn(c *net.UnixConn) (*conn, error) {
	identity := lahja.Identity{Transport: "unix", Address: t.path}
	if knowsPeers {
		uid, pid, err := peer(c)
		if err != nil {
			return nil, fmt.Errorf("ask for the peer's user: %w", err)
		}
		if !t.allowed(uid) {
			return nil, fmt.Errorf("the other side, process %d, runs as user %d, which is not "+
				"trusted: pass unix.AllowUsers(%d) if it should be", pid, uid, uid)
		}
		identity.User, identity.PID = strconv.Itoa(uid), pid
	}
	return &conn{unix: c, identity: identity}, nil
}

// Read takes a reset for the end. Linux reports one, after all that was written, when the other
// side has closed and left something of ours unread. Nothing is lost by it: what is written to a
// Unix socket is at the other end at once.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.unix.Read(p)
	if err != nil && errors.Is(err, syscall.ECONNRESET) {
		return n, io.EOF
	}
	return n, err
}

// Write implements [lahja.Conn].
func (c *conn) Write(p []byte) (int, error) {
	return c.unix.Write(p)
}

// Close needs no care for what was written: it is at the other end already.
func (c *conn) Close() error {
	if err := c.unix.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("unix: %w", err)
	}
	return nil
}

// Identity is what the kernel said when the connection was made.
func (c *conn) Identity() lahja.Identity {
	return c.identity
}
