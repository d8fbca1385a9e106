package lahjatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/transporttest"
	"github.com/lahja-go/lahja/transports/unix"
)

// Role is a part of a test that has an endpoint of its own. When the test ends, ctx ends and the
// endpoint is closed, so a role that serves others may wait for either. When the role returns, its
// endpoint is closed as well; what it has broadcast is handed over first. An error fails the test,
// unless the test has ended and the error says that ctx or the endpoint has ended.
type Role func(ctx context.Context, ep *lahja.Endpoint) error

// The environment variables by which a process knows its role.
const (
	roleVariable  = "LAHJATEST_ROLE"
	nameVariable  = "LAHJATEST_NAME"
	placeVariable = "LAHJATEST_PLACE"
)

// known are the roles that there are. A process that is one has them from its TestMain, so there is
// one set of them in a program.
var known map[string]Role

// Main is for TestMain. It runs the tests of the package or, in a process that [Bus.Start] has
// started, the role of that process; so what comes before it in TestMain is done in each. It fails
// if the tests leave a goroutine behind. It does not return.
//
//	func TestMain(m *testing.M) {
//		lahjatest.Main(m, map[string]lahjatest.Role{"worker": worker})
//	}
func Main(m *testing.M, roles map[string]Role) {
	known = roles
	if role, isRole := os.LookupEnv(roleVariable); isRole {
		if err := beRole(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	transporttest.Main(m)
}

// beRole plays a role in this process, until the role is over or the test's process closes stdin,
// which it also does by dying.
func beRole(role string) error {
	name, where := os.Getenv(nameVariable), os.Getenv(placeVariable)
	for _, variable := range []string{roleVariable, nameVariable, placeVariable} {
		os.Unsetenv(variable) // it is not for the processes of this one
	}
	play, found := known[role]
	if !found {
		return fmt.Errorf("lahjatest: there is no role %q in this binary", role)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
		// A role that does not end must not outlive its test.
		time.AfterFunc(2*patience, func() { os.Exit(1) })
	}()
	kind, address, _ := strings.Cut(where, " ")
	t := pipe.Parent()
	switch kind {
	case "unix":
		t = unix.New(address)
	case "tcp":
		t = tcp.New(address)
	}
	return perform(ctx, play, func() (*lahja.Endpoint, error) {
		return lahja.Connect(context.Background(), name, t)
	})
}

// perform attaches an endpoint, plays a role and closes the endpoint.
func perform(ctx context.Context, play Role, attach func() (*lahja.Endpoint, error)) error {
	ep, err := attach() // not under ctx: the bus may keep the name of what has given up half-way
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for range ep.WatchState(ctx) {
		}
		cancel()
		ep.Close()
	})
	if ctx.Err() == nil {
		err = play(ctx, ep)
	}
	told := ctx.Err() != nil
	cancel()
	watching.Wait()
	if lost := ep.Err(); !errors.Is(lost, lahja.ErrClosed) {
		return errors.Join(err, lost)
	}
	if told && (errors.Is(err, context.Canceled) || errors.Is(err, lahja.ErrClosed)) {
		return nil
	}
	return err
}

// Actor plays a role. [Bus.Start] makes it.
type Actor struct {
	tb   testing.TB
	err  error         // set before done is closed
	done chan struct{} // closed when the role is over
}

// Wait waits until the role has ended, however long that takes, and ends the test if the role has
// failed. It may be called any number of times.
func (a *Actor) Wait() {
	a.tb.Helper()
	<-a.done
	if a.err != nil {
		a.tb.FailNow() // what for was said when it failed
	}
}

// Start runs a role that was given to [Main], at an endpoint of this name, in a goroutine or in a
// process of its own. It does not wait until the endpoint is attached; for that there is
// [lahja.Endpoint.WaitUntil]. A role that fails also fails the test and ends [Bus.Context]. When
// the test ends, the ctx of the role ends, and it has 5 s to return; a process is killed then. A
// role that has not begun by the end of the test is not played.
//
// A process has the directory and the environment of the test, but no arguments: flags, also those
// of package testing, are not parsed there. What it prints is logged when it has ended.
func (b *Bus) Start(role, name string) *Actor {
	b.tb.Helper()
	play, found := known[role]
	if !found {
		b.tb.Fatalf("lahjatest: there is no role %q: give it to lahjatest.Main in TestMain, which "+
			"has %q", role, slices.Sorted(maps.Keys(known)))
	}
	a := &Actor{tb: b.tb, done: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	run := func() error { return b.inGoroutine(name, play) }
	if b.setup.apart != nil && b.setup.apart(len(b.actors)) {
		run = func() error { return b.inProcess(role, name) }
	}
	b.actors = append(b.actors, a)
	go func() {
		defer close(a.done)
		if err := run(); err != nil {
			a.err = fmt.Errorf("lahjatest: the role %q at %q: %w", role, name, err)
			b.tb.Error(a.err)
			b.end(a.err)
		}
	}()
	return a
}

// endRoles waits for what Start has started. Their context has ended.
func (b *Bus) endRoles() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.actors {
		<-a.done
	}
}

func (b *Bus) inGoroutine(name string, play Role) error {
	attach := func() (*lahja.Endpoint, error) { return b.Connect(context.Background(), name) }
	return b.supervise(func() error { return perform(b.ctx, play, attach) }, func() {})
}

// supervise returns what run does, or an error when it has not returned some time after the end of
// the test. Then it calls kill.
func (b *Bus) supervise(run func() error, kill func()) error {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return err
	case <-b.ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(b.late):
		kill()
		return fmt.Errorf("it has not returned %v after its context has ended", b.late)
	}
}

// inProcess runs this program again, as the role.
func (b *Bus) inProcess(role, name string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	leash, hand, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hand.Close()
	defer context.AfterFunc(b.ctx, func() { hand.Close() })()
	var printed bytes.Buffer
	cmd := exec.Command(program)
	// The race detector lets a process sleep a second before it exits, for reports that come late.
	// What could cause one has ended with the role.
	goRace := "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, nameVariable+"="+name,
		placeVariable+"="+b.place.address, goRace)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = leash, &printed, &printed
	cmd.WaitDelay = patience // a process of its own may hold what it prints to
	err = b.runCommand(cmd, name, leash)
	if err != nil && printed.Len() > 0 {
		return fmt.Errorf("%w; it has printed:\n%s", err, bytes.TrimSpace(printed.Bytes()))
	}
	if printed.Len() > 0 {
		b.tb.Logf("the role %q at %q has printed:\n%s", role, name,
			bytes.TrimSpace(printed.Bytes()))
	}
	return err
}

// runCommand starts the process, closes this process's end of its stdin, and waits for it.
func (b *Bus) runCommand(cmd *exec.Cmd, name string, stdin io.Closer) error {
	if b.place.address != "pipe" {
		err := cmd.Start()
		stdin.Close()
		if err != nil {
			return err
		}
		return b.superviseProcess(cmd.Wait, func() { cmd.Process.Kill() })
	}
	// Not the test's context: a process that is just beginning ends by itself, and says how.
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	return b.superviseProcess(func() error {
		child, err := pipe.Spawn(ctx, b.Bus, cmd, pipe.As(name))
		stdin.Close()
		if err != nil {
			return err
		}
		defer context.AfterFunc(ctx, func() { child.Stop(ctx) })()
		<-child.Done()
		return child.Err()
	}, kill)
}

// superviseProcess is supervise for what ends when it is killed.
func (b *Bus) superviseProcess(wait func() error, kill func()) error {
	var exited sync.WaitGroup
	exited.Add(1)
	return b.supervise(func() error {
		defer exited.Done()
		return wait()
	}, func() {
		kill()
		exited.Wait() // what it has printed is complete then
	})
}
