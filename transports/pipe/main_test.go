//go:build unix

package pipe_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/transporttest"
)

// roleVariable makes the test binary play a child.
const roleVariable = "LAHJA_TEST_ROLE"

// patience is for what must happen soon; only a failing test waits for it.
const patience = time.Minute

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
	}
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		ExampleParent()
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == "server" {
		serveUntilStopped()
		os.Exit(0)
	}
	transporttest.Main(m)
}

// The events of these tests.
type (
	Ping struct{ N int }
	Pong struct{ N int }
	Text struct{ S string }
)

// newBus returns a bus and an endpoint on it; both are closed in the end.
func newBus(t testing.TB) (*lahja.Bus, *lahja.Endpoint) {
	t.Helper()
	bus := lahja.NewBus()
	t.Cleanup(func() { bus.Close() })
	ep, err := bus.Endpoint("main")
	if err != nil {
		t.Fatal(err)
	}
	return bus, ep
}

// command returns this program in a role. Its stdin is a pipe that stays open until the test ends:
// what waits for its end cannot outlive the test.
func command(t testing.TB, role string, args ...string) *exec.Cmd {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	cmd := self(role, args...)
	cmd.Stdin = r
	return cmd
}

// self is this program in a role.
func self(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = environment(role)
	cmd.Stderr = os.Stderr
	return cmd
}

// environment also keeps the race detector from waiting for a second at each exit.
func environment(role string) []string {
	return append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
}

// spawn starts a child in a role, which is stopped in the end.
func spawn(t testing.TB, bus *lahja.Bus, cmd *exec.Cmd, opts ...pipe.Option) *pipe.Child {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	child, err := pipe.Spawn(ctx, bus, cmd, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		child.Stop(ended)
	})
	return child
}

// refused spawns a child that does not get to attach, and returns the error. The child has time to
// exit by itself.
func refused(t testing.TB, bus *lahja.Bus, cmd *exec.Cmd, opts ...pipe.Option) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	opts = append([]pipe.Option{pipe.Patience(patience, patience)}, opts...)
	child, err := pipe.Spawn(ctx, bus, cmd, opts...)
	if err == nil {
		child.Stop(ctx)
		t.Fatal("Spawn succeeded")
	}
	t.Log(err)
	return err
}

// await waits for the end of child and returns its Err.
func await(t testing.TB, child *pipe.Child) error {
	t.Helper()
	select {
	case <-child.Done():
		err := child.Err()
		t.Log(err)
		return err
	case <-time.After(patience):
		t.Fatal("the child has not ended")
		return nil
	}
}

// receive takes one event.
func receive[T any](t testing.TB, c <-chan lahja.Event[T]) lahja.Event[T] {
	t.Helper()
	select {
	case ev, ok := <-c:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return ev
	case <-time.After(patience):
		t.Fatal("no event")
		panic("not reached")
	}
}

// forever waits for the end of the test.
func forever() {
	io.Copy(io.Discard, os.Stdin)
	os.Exit(9)
}
