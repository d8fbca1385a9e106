package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/session"
)

// Caller is what a transport knows of the other end of a connection.
type Caller struct {
	Pinned string // the only name that the endpoint may have; empty: any
	Kind   string // of the transport
	User   string
	Holder string // of the verified certificate

	// Authorize says what an endpoint of that name may do; nil: everything.
	Authorize func(ctx context.Context, name string) (*Permissions, error)
}

// same reports whether two connections come from the same, as far as one can know.
func (c Caller) same(other Caller) bool {
	return c.Pinned == other.Pinned && c.Kind == other.Kind && c.User == other.User &&
		c.Holder == other.Holder
}

// unauthorized is why an endpoint is not admitted. Who asks is not told why: a stranger could
// learn from it.
type unauthorized struct {
	name   string
	reason error
}

func (u *unauthorized) Error() string { return u.told().Error() + ": " + u.reason.Error() }

func (u *unauthorized) Unwrap() []error { return []error{fault.Denied, u.reason} }

func (u *unauthorized) told() error {
	return fault.Errorf(fault.Denied, "endpoint %q is not authorized", u.name)
}

// refuse says to who has dialled why it is not admitted.
func refuse(conn Conn, reason error) {
	var u *unauthorized
	if errors.As(reason, &u) {
		reason = u.told()
	}
	session.Refuse(conn, reason)
}

// verdict is what a user's function has said.
type verdict struct {
	permissions *Permissions
	err         error
}

// authorize asks the user's function what an endpoint may do, until ctx ends.
func (n *Node) authorize(ctx context.Context, name string, caller Caller) (*grants, error) {
	if caller.Authorize == nil {
		return nil, nil
	}
	v := verdict{err: errors.New("the function given to Authorize has not answered in time")}
	answer := make(chan verdict, 1)
	go func() { answer <- ask(ctx, name, caller) }()
	select {
	case v = <-answer:
	case <-ctx.Done():
		if n.life.Err() != nil {
			return nil, fault.Errorf(fault.Closed, "the bus takes no more endpoints")
		}
	}
	if v.err != nil {
		return nil, &unauthorized{name, v.err}
	}
	g, err := newGrants(v.permissions)
	if err != nil {
		n.report("lahja: an endpoint is refused for what Authorize says of it", "endpoint", name,
			"error", err)
		return nil, &unauthorized{name, err}
	}
	return g, nil
}

// ask calls the user's function; what it panics with is logged.
func ask(ctx context.Context, name string, caller Caller) (v verdict) {
	defer func() {
		if reason := recover(); reason != nil {
			slog.Error("lahja: Authorize panicked", "endpoint", name, "panic", reason,
				"stack", string(debug.Stack()))
			v.err = fmt.Errorf("the function given to Authorize panicked: %v", reason)
		}
	}()
	v.permissions, v.err = caller.Authorize(ctx, name)
	return v
}

// answerTime is how much of a handshake's limit is kept for the answer.
func answerTime(limit time.Duration) time.Duration { return limit / 10 }
