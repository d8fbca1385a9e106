//go:build unix

package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// diedOf checks that a child has died of a signal.
func diedOf(t *testing.T, err error, want syscall.Signal) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("%v, want an *exec.ExitError", err)
	} else if got := exit.Sys().(syscall.WaitStatus).Signal(); got != want {
		t.Errorf("it died of %v, want %v", got, want)
	}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	child := spawn(t, bus, command(t, "dying"))
	if err := ep.WaitUntil(t.Context(), lahja.SubscribedBy[Ping]("dying")); err != nil {
		t.Fatal(err)
	}
	if err := lahja.Broadcast(t.Context(), ep, Ping{1}); err != nil {
		t.Fatal(err)
	}
	err := await(t, child)
	diedOf(t, err, syscall.SIGKILL)
	if !errors.Is(err, lahja.ErrSessionLost) || !strings.Contains(err.Error(), `"dying"`) {
		t.Errorf("%v, want the name and ErrSessionLost", err)
	}
	if err := child.Stop(t.Context()); err != nil {
		t.Errorf("Stop after the end: %v", err)
	}
	peers, err := ep.Peers(t.Context())
	if err != nil || len(peers) != 1 {
		t.Errorf("Peers() = %v, %v after Done", peers, err)
	}
}

// Writing to a process that has just died fails, and harms nobody.
func TestCrashUnderLoad(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	child := spawn(t, bus, command(t, "echo", "worker"))
	if err := ep.WaitUntil(t.Context(), lahja.SubscribedBy[Ping]("worker")); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := lahja.Broadcast(t.Context(), ep, Ping{i}); err != nil {
			t.Fatal(err)
		}
		if i == 1000 {
			if err := syscall.Kill(child.PID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-child.Done():
			diedOf(t, child.Err(), syscall.SIGKILL)
			return
		default:
		}
	}
}

func TestExitWithoutClose(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := await(t, spawn(t, bus, command(t, "exits")))
	var exit *exec.ExitError
	if !errors.Is(err, lahja.ErrSessionLost) || errors.As(err, &exit) {
		t.Errorf("%v, want ErrSessionLost alone", err)
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	pings := lahja.Stream[Ping](t.Context(), ep, lahja.From("last words"))
	child := spawn(t, bus, command(t, "last words"))
	if err := await(t, child); err != nil {
		t.Error(err)
	}
	for i := range lastWordCount {
		if got := receive(t, pings).Value.N; got != i {
			t.Fatalf("got %d, want %d", got, i)
		}
	}
}

func TestStop(t *testing.T) {
	for _, test := range []struct {
		role     string
		patience pipe.Option
		signal   syscall.Signal // that the child dies of; 0: none
	}{
		{"echo", pipe.Patience(patience, patience), 0},
		{"deaf", pipe.Patience(0, patience), syscall.SIGTERM},
		{"closes", pipe.Patience(0, patience), syscall.SIGTERM},
		{"stubborn", pipe.Patience(0, -1), syscall.SIGKILL},
	} {
		t.Run(test.role, func(t *testing.T) {
			t.Parallel()
			bus, _ := newBus(t)
			child := spawn(t, bus, command(t, test.role, test.role), test.patience)
			err := child.Stop(t.Context())
			if (err != nil) != (test.signal == syscall.SIGKILL) {
				t.Errorf("Stop: %v", err)
			}
			select {
			case <-child.Done():
			default:
				t.Error("the child is not done")
			}
			if test.signal == 0 {
				if err := child.Err(); err != nil {
					t.Errorf("Err: %v", err)
				}
				return
			}
			diedOf(t, child.Err(), test.signal)
		})
	}
}

// The end of ctx skips what is polite.
func TestStopContext(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	child := spawn(t, bus, command(t, "stubborn"), pipe.Patience(patience, patience))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := child.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v, want context.Canceled", err)
	}
	diedOf(t, child.Err(), syscall.SIGKILL)
}

func TestStopConcurrently(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	child := spawn(t, bus, command(t, "deaf"), pipe.Patience(0, patience))
	var stops sync.WaitGroup
	for range 10 {
		stops.Go(func() {
			if err := child.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	stops.Wait()
	diedOf(t, child.Err(), syscall.SIGTERM)
}

// A bus that closes ends the child's endpoint, and with it a child that minds that.
func TestBusCloses(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	child := spawn(t, bus, command(t, "echo", "worker"))
	bus.Close()
	if err := await(t, child); err != nil {
		t.Error(err)
	}
}

// What a child starts has nothing of the pipes.
func TestGrandchildInheritsNothing(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	texts := lahja.Stream[Text](t.Context(), ep)
	child := spawn(t, bus, command(t, "secrets"))
	if got := receive(t, texts).Value.S; got != "end" {
		t.Errorf("the grandchild sees %q", got)
	}
	if err := await(t, child); err != nil {
		t.Error(err)
	}
}

// So its life keeps nothing open. If it was started before the pipes could be kept from it, it has
// them: the child is done nevertheless, but not by the pipes' end, and so without its error.
func TestGrandchildLivesOn(t *testing.T) {
	for when, lost := range map[string]bool{"after": true, "before": false} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			bus, ep := newBus(t)
			texts := lahja.Stream[Text](t.Context(), ep)
			child := spawn(t, bus, command(t, "leaver", when))
			if err := ep.WaitUntil(t.Context(), lahja.SubscribedBy[Ping]("leaver")); err != nil {
				t.Fatal(err)
			}
			if err := lahja.Broadcast(t.Context(), ep, Ping{}); err != nil {
				t.Fatal(err)
			}
			if err := await(t, child); errors.Is(err, lahja.ErrSessionLost) != lost {
				t.Errorf("Err: %v", err)
			}
			pid, _ := strconv.Atoi(receive(t, texts).Value.S)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Errorf("the grandchild: %v", err)
			}
		})
	}
}

// An output that a grandchild keeps open does not keep the child from being done.
func TestGrandchildKeepsOutput(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	cmd := command(t, "outputs")
	cmd.Stdout = onWrite(func() {})
	cmd.WaitDelay = time.Millisecond
	if err := await(t, spawn(t, bus, cmd)); !errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("%v, want exec.ErrWaitDelay", err)
	}
}

// Not parallel, so that what it counts is its own. TestMain sees to the goroutines.
func TestManyChildrenLeaveNothing(t *testing.T) {
	bus, ep := newBus(t)
	spawn(t, bus, command(t, "echo", "first")).Stop(t.Context()) // what is made once is there
	files := openFiles(t)
	const many = 50
	var stops sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range many {
		slots <- struct{}{}
		stops.Go(func() {
			defer func() { <-slots }()
			name := fmt.Sprintf("worker %d", i)
			child, err := pipe.Spawn(t.Context(), bus, self("echo", name), pipe.As(name),
				pipe.Patience(patience, 0))
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(child.Stop(t.Context()), child.Err()); err != nil {
				t.Error(err)
			}
		})
	}
	stops.Wait()
	peers, err := ep.Peers(t.Context())
	if err != nil || len(peers) != 1 {
		t.Errorf("Peers() = %v, %v", peers, err)
	}
	if now := openFiles(t); now != files {
		t.Errorf("%d files are open, %d were", now, files)
	}
	// Every process was waited for.
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("there are children: %d, %v", pid, err)
	}
}

// openFiles counts the open files of this process where the system tells; it is 0 elsewhere.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	return len(entries)
}

// The token of a child is not in what is printed of it, by whichever verb, nor in its end.
func TestTokenIsNotPrinted(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	child := spawn(t, bus, command(t, "dying"))
	token := pipe.TokenOf(child)
	err := child.Stop(t.Context())
	var text strings.Builder // what is printed by reflection must not change meanwhile
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&text, verb+"\n", child)
	}
	fmt.Fprintf(&text, "%v %+v %#v", err, child.Err(), child.Err())
	numbers := strings.Trim(fmt.Sprint(token), "[]")
	for _, form := range []string{
		string(token), fmt.Sprintf("%x", token), numbers, strings.ReplaceAll(numbers, " ", ", "),
		strings.Trim(fmt.Sprintf("%#v", token), "[]byte{}"),
	} {
		if strings.Contains(text.String(), form[:len(form)/2]) {
			t.Errorf("the token is printed: %s", text.String())
		}
	}
}
