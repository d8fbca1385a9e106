package pipe

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// drainTime is how long the connection may outlive the process. What a process wrote before it
// exited is read at once; only if another process holds its end of the pipes is there no end.
const drainTime = 2 * time.Second

// Child is a process that [Spawn] has started, and its endpoint on the bus. It holds goroutines and
// files until the process has ended; call [Child.Stop] to end it. When the bus closes or this
// process dies, the child's endpoint ends, and what the child then does is up to the child. All
// methods may be called concurrently.
type Child struct {
	cmd     *exec.Cmd
	options options
	token   func() []byte // a function, so that no verb of fmt prints it with the Child
	conn    *conn
	life    context.Context // of the session
	hangUp  context.CancelFunc

	name     string        // set before attached is closed
	attached chan struct{} // closed when the bus has admitted the endpoint
	session  error         // set before served is closed
	served   chan struct{} // closed when the session has ended, or came to nothing
	exit     error         // set before exited is closed
	exited   chan struct{} // closed when the process was waited for
	err      error         // set before done is closed
	done     chan struct{} // closed at the very end
}

func newChild(cmd *exec.Cmd, o options, token []byte, r, w *os.File) *Child {
	pid := cmd.Process.Pid
	life, hangUp := context.WithCancel(context.Background())
	return &Child{
		cmd: cmd, options: o, token: func() []byte { return token }, life: life, hangUp: hangUp,
		conn: &conn{r: r, w: w, identity: lahja.Identity{
			Transport: "pipe", Address: peerAddress(pid), Name: o.name, User: userOf(cmd), PID: pid,
		}},
		attached: make(chan struct{}), served: make(chan struct{}),
		exited: make(chan struct{}), done: make(chan struct{}),
	}
}

// Name returns the name of the child's endpoint.
func (c *Child) Name() string { return c.name }

// PID returns the number of the child's process. Once Done is closed, it may be another's.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done returns a channel that is closed when the process has exited and its endpoint is gone. The
// endpoint may go first: a process may close it and live on.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err returns nil until Done is closed. Then it returns why the child has ended: nil if its process
// exited with status 0 after its endpoint was closed by either side; else an error with the child's
// name that wraps the process's *[exec.ExitError] (also when Stop sent it the signal that it died
// of), the session's error, for instance [lahja.ErrSessionLost] if it exited without closing its
// endpoint, or both.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Stop ends the child, politely first. The bus ends its connection with a goodbye, which hands over
// what was accepted and closes the child's endpoint; a process that has not exited after that is
// sent SIGTERM, and finally killed. [Patience] sets the waits. The end of ctx skips to the killing.
//
// Stop returns when Done is closed: nil if the child exited by itself or by SIGTERM; if it had to
// be killed, an error that says so, and wraps that of ctx if that was why.
func (c *Child) Stop(ctx context.Context) error {
	c.hangUp()
	if !c.exitsWithin(ctx, c.options.leave) && ctx.Err() == nil {
		terminate(c.cmd.Process) // if it fails, the process has ended
		c.exitsWithin(ctx, c.options.term)
	}
	killed := c.kill()
	<-c.done
	switch {
	case !killed:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("pipe: %s was killed: it had not exited in time: %w", c.who(),
			fault.Ended(ctx))
	}
	return fmt.Errorf("pipe: %s was killed: it obeyed neither goodbye nor SIGTERM", c.who())
}

// exitsWithin reports whether the process has exited before the time is over or ctx has ended.
func (c *Child) exitsWithin(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-c.exited:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// kill kills the process unless it has ended, and reports whether it did.
func (c *Child) kill() bool {
	select {
	case <-c.exited:
		return false
	default:
		return c.cmd.Process.Kill() == nil
	}
}

// run owns the process and the session: it waits for both to end and is the last to go.
func (c *Child) run(bus *lahja.Bus) {
	defer close(c.done)
	go c.serve(bus)
	c.exit = c.cmd.Wait()
	close(c.exited)
	drained := time.AfterFunc(drainTime, c.hangUp)
	<-c.served
	drained.Stop()
	c.hangUp()
	c.err = c.verdict()
}

// serve is the session, from the token to the end.
func (c *Child) serve(bus *lahja.Bus) {
	defer close(c.served)
	if c.session = c.checkToken(); c.session == nil {
		c.session = bus.ServeConn(c.life, announcer{c.conn, c})
	}
	c.conn.Close()
}

// checkToken waits for the child to say that it is the child. How long that may take is for the
// caller of Spawn to say, who knows what the child has to do before: the time limit of the
// handshake begins only afterwards.
func (c *Child) checkToken() error {
	defer context.AfterFunc(c.life, func() { c.conn.Close() })()
	var token [tokenSize]byte
	if _, err := io.ReadFull(c.conn, token[:]); err != nil {
		return errors.New("it ended the connection first")
	}
	if subtle.ConstantTimeCompare(token[:], c.token()) != 1 {
		return errors.New("it began with a wrong token: only the process that pipe.Spawn has " +
			"started can connect, and does it by pipe.Parent()")
	}
	return nil
}

// announcer is the connection as the bus sees it.
type announcer struct {
	*conn
	child *Child
}

// Attached implements [lahja.AttachedConn].
func (a announcer) Attached(name string) {
	a.child.name = name
	close(a.child.attached)
}

// verdict is what Err returns.
func (c *Child) verdict() error {
	switch {
	case c.exit != nil && c.session != nil:
		return fmt.Errorf("pipe: %s: %w; its session: %w", c.who(), c.exit, c.session)
	case c.exit != nil:
		return fmt.Errorf("pipe: %s: %w", c.who(), c.exit)
	case c.session != nil:
		return fmt.Errorf("pipe: %s: %w", c.who(), c.session)
	}
	return nil
}

// who names the child in an error. It is called when the session is over.
func (c *Child) who() string {
	name := c.name
	if name == "" {
		name = c.options.name
	}
	if name == "" {
		return fmt.Sprintf("the child process %d", c.PID())
	}
	return fmt.Sprintf("child %q (process %d)", name, c.PID())
}
