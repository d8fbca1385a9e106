// Package role lets a program start itself again, as another process with another role. The
// examples share it; what each shows of lahja is in the example itself.
package role

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// Child is what a process does that [Run] has started. It attaches as name by t, which leads to the
// bus of its parent, and returns when it has done its work or the bus has closed.
type Child func(ctx context.Context, name string, t lahja.Transport) error

// Misuse is a mistake of the one who called the program, which then ends with status 2.
type Misuse string

func (m Misuse) Error() string { return string(m) }

var transport = flag.String("transport", usual(),
	"what carries the events: pipe, unix, tcp, or memory, with all in one process")

// usual is pipe, where a process can pass pipes on to its child.
func usual() string {
	if runtime.GOOS == "windows" {
		return "tcp"
	}
	return "pipe"
}

// The environment variables by which a process knows that it is a child, and where its parent is.
const (
	nameVariable  = "LAHJA_EXAMPLE_NAME"
	placeVariable = "LAHJA_EXAMPLE_PLACE" // the transport, a space, the address
)

// patience is how long a child may take to end after its connection has.
const patience = 2 * time.Second

// Main is the program: it calls parent or, in a process that Run has started, child, and returns if
// that worked. The context of parent ends with Ctrl-C or SIGTERM, which is no failure. The program
// takes no arguments but flags.
func Main(parent func(context.Context) error, child Child) {
	MainWithArguments(func(ctx context.Context) error {
		if flag.NArg() > 0 {
			return Misuse(fmt.Sprintf("%q: it takes no arguments but flags", flag.Args()))
		}
		return parent(ctx)
	}, child)
}

// MainWithArguments is Main for a program that takes arguments, which parent checks.
func MainWithArguments(parent func(context.Context) error, child Child) {
	flag.Parse()
	var err error
	if name, isChild := os.LookupEnv(nameVariable); isChild {
		err = beChild(name, child)
	} else {
		err = beParent(parent)
	}
	var misuse Misuse
	switch {
	case err == nil:
	case errors.As(err, &misuse):
		Say(err)
		os.Exit(2)
	default:
		Say(err)
		os.Exit(1)
	}
}

// Say writes a line to stderr, after the program's name.
func Say(what any) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), what)
}

func beParent(parent func(context.Context) error) error {
	switch *transport {
	case "memory", "pipe", "unix", "tcp":
	default:
		return Misuse(fmt.Sprintf("there is no transport %q; use pipe, unix, tcp or memory",
			*transport))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	err := parent(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func beChild(name string, child Child) error {
	// Ctrl-C in a terminal reaches children too. It is for the parent to end them, in order.
	signal.Ignore(os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := child(ctx, name, parentsPlace())
	switch {
	case ctx.Err() != nil, errors.Is(err, lahja.ErrClosed):
		return nil // it was told to end
	case errors.Is(err, lahja.ErrSessionLost),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED):
		os.Exit(1) // the parent has died: there is nobody to tell
	}
	return err
}

// parentsPlace is the transport that leads a child to its parent.
func parentsPlace() lahja.Transport {
	kind, address, _ := strings.Cut(os.Getenv(placeVariable), " ")
	switch kind {
	case "unix":
		return unix.New(address)
	case "tcp":
		return tcp.New(address)
	}
	return pipe.Parent()
}

// Run starts this program again, with the same arguments, as a process whose [Main] calls child,
// and serves it on the bus as an endpoint of that name. It returns when the process has ended:
// nil if it did so properly. The end of ctx ends it.
//
// With -transport memory the process is a goroutine of this one, and all else is the same.
func Run(ctx context.Context, bus *lahja.Bus, name string, child Child) error {
	switch *transport {
	case "memory":
		wire := memory.New()
		return serve(ctx, bus, wire, func(ctx context.Context, _ string) error {
			err := child(ctx, name, wire)
			if ctx.Err() != nil || errors.Is(err, lahja.ErrClosed) {
				return nil
			}
			return err
		})
	case "unix":
		dir, err := os.MkdirTemp("", "lahja")
		if err != nil {
			return fmt.Errorf("no directory for a socket in %s: %w; set TMPDIR to one that exists",
				os.TempDir(), err)
		}
		defer os.RemoveAll(dir)
		return serve(ctx, bus, unix.New(filepath.Join(dir, "bus.sock")), startAgain(name))
	case "tcp":
		return serve(ctx, bus, tcp.New("127.0.0.1:0"), startAgain(name))
	}
	return spawn(ctx, bus, name)
}

// spawn runs the process on two pipes.
func spawn(ctx context.Context, bus *lahja.Bus, name string) error {
	cmd, err := again(context.Background(), name, "pipe")
	if err != nil {
		return err
	}
	child, err := pipe.Spawn(ctx, bus, cmd, pipe.As(name))
	if err != nil {
		return err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		if err := child.Stop(context.Background()); err != nil {
			return err
		}
	}
	return child.Err()
}

// serve listens at t, and serves who comes for as long as run, which starts the process, does.
func serve(
	ctx context.Context, bus *lahja.Bus, t lahja.Transport,
	run func(ctx context.Context, place string) error,
) error {
	ctx, stop := context.WithCancel(ctx)
	listener, err := t.Listen(ctx)
	if err != nil {
		stop()
		return err
	}
	var serving errgroup.Group
	serving.Go(func() error { return bus.ServeListener(ctx, listener) })
	err = run(ctx, *transport+" "+listener.Addr())
	stop()
	return errors.Join(err, serving.Wait())
}

// startAgain runs the process with the listener's place.
func startAgain(name string) func(ctx context.Context, place string) error {
	return func(ctx context.Context, place string) error {
		cmd, err := again(ctx, name, place)
		if err != nil {
			return err
		}
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
}

// again is the command that starts this program as a child. The end of ctx does not kill it at
// once: the bus says goodbye to its endpoint then, and it ends by itself.
func again(ctx context.Context, name, place string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, os.Args[1:]...)
	cmd.Env = append(os.Environ(), nameVariable+"="+name, placeVariable+"="+place)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return os.ErrProcessDone } // leave it to WaitDelay
	cmd.WaitDelay = patience
	return cmd, nil
}
