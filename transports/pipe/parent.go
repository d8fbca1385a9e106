package pipe

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// Parent is the way from a child to the process that started it with [Spawn].
//
// There is one connection: the first Dial returns it, every later one fails, and when it is broken
// it has ended. Dial fails in a process that was not started by Spawn. So does Listen, always.
//
// The first call of Parent in a process, or of Spawn, removes what Spawn has put into the
// environment and keeps the pipes from processes that are started later. One that is started
// before that inherits both, and while it lives the parent does not see the connection end: call
// Parent first.
func Parent() lahja.Transport {
	inherited()
	return parent{}
}

type parent struct{}

// Dial implements [lahja.Transport].
func (parent) Dial(ctx context.Context) (lahja.Conn, error) {
	if err := errors.Join(fault.Ended(ctx), supported()); err != nil {
		return nil, fmt.Errorf("pipe: dial the parent: %w", err)
	}
	c, err := inherited().dial()
	if err != nil {
		return nil, fmt.Errorf("pipe: dial the parent: %w", err)
	}
	return c, nil
}

// Listen implements [lahja.Transport].
func (parent) Listen(context.Context) (lahja.Listener, error) {
	return nil, errors.New("pipe: nobody can listen at pipe.Parent(), which leads from a child " +
		"to its parent; in the parent, pipe.Spawn starts a child and serves it")
}

// inheritance is what this process has got from the one that spawned it.
type inheritance struct {
	conn    *conn
	token   []byte
	err     error // there is no connection, and why
	dialled atomic.Bool
}

// inherited takes over the inheritance, which belongs to the process: once, whoever asks first.
var inherited = sync.OnceValue(func() *inheritance {
	value, ok := os.LookupEnv(variable)
	if !ok {
		return &inheritance{err: errors.New("this process was not started by pipe.Spawn: " +
			"start it with that from the process with the bus, or connect by another transport")}
	}
	os.Unsetenv(variable)
	in, out, token, err := parse(value)
	var c *conn
	if err == nil {
		c, err = adopt(in, out)
	}
	if err != nil {
		return &inheritance{err: fmt.Errorf("the pipes that %s speaks of cannot be used: %w; "+
			"it is for one process, which pipe.Spawn starts", variable, err)}
	}
	return &inheritance{conn: c, token: token}
})

func (i *inheritance) dial() (*conn, error) {
	if i.err != nil {
		return nil, i.err
	}
	if i.dialled.Swap(true) {
		return nil, errors.New("there is one connection, and it was dialled before: share its " +
			"endpoint; if it has ended, the parent has to spawn this process again")
	}
	// The pipe is empty, so this does not wait.
	if _, err := i.conn.Write(i.token); err != nil {
		i.conn.Close()
		return nil, err
	}
	return i.conn, nil
}

// format is the value of the environment variable; parse reads it. No error of it repeats the
// value: the token is a secret.
func format(in, out int, token []byte) string {
	return fmt.Sprintf("%d,%d,%x", in, out, token)
}

func parse(value string) (in, out int, token []byte, err error) {
	part := strings.Split(value, ",")
	if len(part) != 3 {
		return 0, 0, nil, fmt.Errorf("it has %d parts, not 3", len(part))
	}
	in, errIn := strconv.Atoi(part[0])
	out, errOut := strconv.Atoi(part[1])
	if errIn != nil || errOut != nil || in <= 2 || out <= 2 || in == out {
		return 0, 0, nil, errors.New("it does not begin with two descriptors")
	}
	token, err = hex.DecodeString(part[2])
	if err != nil || len(token) != tokenSize {
		return 0, 0, nil, errors.New("it does not end with a token")
	}
	return in, out, token, nil
}

// peerAddress is what the address of a connection says.
func peerAddress(pid int) string { return fmt.Sprintf("process %d", pid) }
