package pipe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/core"
	"github.com/lahja-go/lahja/internal/fault"
)

// What holds unless an option says otherwise.
const (
	defaultLeave = 2 * time.Second
	defaultTerm  = 2 * time.Second
	waitDelay    = 2 * time.Second
)

// Spawn starts cmd as a child process, serves it on the bus, and returns once its endpoint is
// attached. For that the child calls [lahja.Connect] with [Parent].
//
// ctx bounds only this call. When it ends first, the child is killed. When the child exits or is
// refused first, it is stopped as [Child.Stop] does. In each case the error says why and with what
// status the child has exited, and nothing is left of it.
//
// The pipes are added to cmd.ExtraFiles, behind those that are there; cmd.Env is used with one
// variable more. Afterwards both are as they were. Spawn waits for the process itself: do not call
// cmd.Wait, and do not use cmd.StdoutPipe and cmd.StderrPipe, which lose the rest when a process
// is waited for before all is read; set cmd.Stdout and cmd.Stderr. Unless cmd.WaitDelay is set or
// cmd comes from [exec.CommandContext], Spawn sets it to 2 s, so that a grandchild that keeps an
// output open does not keep the child from being done.
func Spawn(ctx context.Context, bus *lahja.Bus, cmd *exec.Cmd, opts ...Option) (*Child, error) {
	o := options{leave: defaultLeave, term: defaultTerm}
	for _, opt := range opts {
		opt(&o)
	}
	c, err := start(ctx, cmd, o)
	if err != nil {
		return nil, fmt.Errorf("pipe: starting %s: %w", cmd.Path, err)
	}
	go c.run(bus)
	select {
	case <-c.attached:
	case <-c.served:
	case <-ctx.Done():
	}
	select {
	case <-c.attached: // whatever else may have happened since
		return c, nil
	default:
		return nil, c.abandon(ctx)
	}
}

// start starts the process.
func start(ctx context.Context, cmd *exec.Cmd, o options) (*Child, error) {
	if err := errors.Join(fault.Ended(ctx), supported()); err != nil {
		return nil, err
	}
	if o.pinned {
		if err := core.CheckName("a child", o.name); err != nil {
			return nil, err
		}
	}
	inherited() // if this process is a child as well, its own pipes are not for its children
	fromChild, childOut, err := newPipe()
	if err != nil {
		return nil, err
	}
	defer childOut.Close() // or the child's end would not be seen
	childIn, toChild, err := newPipe()
	if err != nil {
		fromChild.Close()
		return nil, err
	}
	defer childIn.Close()
	token := make([]byte, tokenSize)
	rand.Read(token) // never fails
	if err := startWith(cmd, childIn, childOut, token); err != nil {
		fromChild.Close()
		toChild.Close()
		return nil, err
	}
	return newChild(cmd, o, token, fromChild, toChild), nil
}

// startWith starts cmd with two more files. What it puts into cmd for that it takes out again, so
// that the token is not printed with cmd.
func startWith(cmd *exec.Cmd, in, out *os.File, token []byte) error {
	env, files := cmd.Env, cmd.ExtraFiles
	defer func() { cmd.Env, cmd.ExtraFiles = env, files }()
	first := 3 + len(files)
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, variable+"=")
	})
	cmd.Env = append(cmd.Env, variable+"="+format(first, first+1, token))
	cmd.ExtraFiles = append(slices.Clone(files), in, out)
	if cmd.WaitDelay == 0 && cmd.Cancel == nil {
		// With a context it would also limit how long the process may go on after its end.
		cmd.WaitDelay = waitDelay
	}
	return cmd.Start()
}

// abandon stops a child that has not attached, and says why it has not.
func (c *Child) abandon(ctx context.Context) error {
	why := fault.Ended(ctx)
	select {
	case <-c.served:
		why = c.session
	default:
	}
	c.Stop(ctx)
	var status error = c.exit
	if status == nil {
		status = errors.New(c.cmd.ProcessState.String())
	}
	err := fmt.Errorf("pipe: %s, started as %s, has not attached: %w; its process has ended: %w",
		c.who(), c.cmd.Path, why, status)
	if c.cmd.Stderr == nil {
		err = fmt.Errorf("%w; set cmd.Stderr to see what it says", err)
	}
	return err
}
