//go:build unix

package pipe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

func TestSpawn(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	pongs := lahja.Stream[Pong](t.Context(), ep)
	cmd := command(t, "echo", "worker")
	child := spawn(t, bus, cmd)
	if child.Name() != "worker" || child.PID() != cmd.Process.Pid {
		t.Errorf("the child is %q, process %d", child.Name(), child.PID())
	}
	want := lahja.Identity{
		Transport: "pipe", Address: fmt.Sprintf("process %d", child.PID()), PID: child.PID(),
		User: strconv.Itoa(os.Geteuid()),
	}
	if got := pipe.IdentityOf(child); !reflect.DeepEqual(got, want) {
		t.Errorf("the connection is from %+v, want %+v", got, want)
	}
	if err := child.Err(); err != nil {
		t.Errorf("Err before the end: %v", err)
	}
	if err := ep.WaitUntil(t.Context(), lahja.SubscribedBy[Ping]("worker")); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := lahja.Broadcast(t.Context(), ep, Ping{i}); err != nil {
			t.Fatal(err)
		}
		ev := receive(t, pongs)
		if ev.Value.N != i || ev.Origin != "worker" {
			t.Fatalf("%d. answer: %+v", i, ev)
		}
	}
	if err := child.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := await(t, child); err != nil {
		t.Error(err)
	}
}

func TestSpawnLeavesCommandAsItWas(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	cmd := command(t, "echo", "worker")
	env := strings.Join(cmd.Env, "\n")
	spawn(t, bus, cmd)
	if strings.Join(cmd.Env, "\n") != env || cmd.ExtraFiles != nil {
		t.Error("the command has changed")
	}
}

func TestSpawnInheritsEnvironment(t *testing.T) {
	t.Setenv(roleVariable, "echo")
	bus, _ := newBus(t)
	spawn(t, bus, exec.Command(os.Args[0], "worker"))
}

func TestAs(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	child := spawn(t, bus, command(t, "echo", "worker"), pipe.As("worker"))
	if child.Name() != "worker" || pipe.IdentityOf(child).Name != "worker" {
		t.Errorf("the child is %q, %+v", child.Name(), pipe.IdentityOf(child))
	}
}

func TestAsRefusesOthers(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	err := refused(t, bus, command(t, "echo", "worker"), pipe.As("auditor"))
	var exit *exec.ExitError
	if !errors.Is(err, lahja.ErrDenied) || !errors.As(err, &exit) || exit.ExitCode() != 99 {
		t.Errorf("%v, want ErrDenied and exit status 99", err)
	}
	if errors.Is(err, lahja.ErrProtocol) {
		t.Errorf("%v, where the child did not breach the protocol", err)
	}
	peers, err := ep.Peers(t.Context())
	if err != nil || len(peers) != 1 {
		t.Errorf("Peers() = %v, %v", peers, err)
	}
}

func TestAsImpossible(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	for _, name := range []string{"", "a\nb", strings.Repeat("x", 300)} {
		cmd := command(t, "idle")
		if err := refused(t, bus, cmd, pipe.As(name)); !errors.Is(err, lahja.ErrDenied) {
			t.Errorf("%v, want ErrDenied", err)
		}
		if cmd.Process != nil {
			t.Error("a process was started")
		}
	}
}

func TestNameTaken(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := refused(t, bus, command(t, "echo", "main"))
	if !errors.Is(err, lahja.ErrNameTaken) {
		t.Errorf("%v, want ErrNameTaken", err)
	}
}

func TestExitBeforeAttaching(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	for _, status := range []int{0, 3} {
		err := refused(t, bus, command(t, "exit", strconv.Itoa(status)))
		if want := "exit status " + strconv.Itoa(status); !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) != (status != 0) {
			t.Errorf("it unwraps to %v", exit)
		}
	}
}

// Whoever has not asked for what the child says is told how to.
func TestExitUnheard(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	const hint = "set cmd.Stderr"
	for _, stderr := range []io.Writer{nil, io.Discard} {
		cmd := command(t, "exit", "3")
		cmd.Stderr = stderr
		if err := refused(t, bus, cmd); strings.Contains(err.Error(), hint) != (stderr == nil) {
			t.Errorf("with %v it says %v", stderr, err)
		}
	}
}

func TestHangUpBeforeAttaching(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := refused(t, bus, command(t, "hangs up"), pipe.Patience(0, patience))
	if !strings.Contains(err.Error(), "signal: terminated") {
		t.Errorf("%v, want the signal", err)
	}
}

type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// A process that never attaches is killed at the end of ctx.
func TestNeverAttaches(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := command(t, "speaks")
	cmd.Stdout = onWrite(cancel) // the process is up
	_, err := pipe.Spawn(ctx, bus, cmd)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("%v, want context.Canceled and the signal", err)
	}
	if cmd.ProcessState == nil {
		t.Error("the process is left")
	}
}

func TestSpawnWithEndedContext(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := command(t, "idle")
	if _, err := pipe.Spawn(ctx, bus, cmd); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if cmd.Process != nil {
		t.Error("a process was started")
	}
}

// The context of Spawn is for the call alone.
func TestContextEndsAfterSpawn(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	child, err := pipe.Spawn(ctx, bus, command(t, "echo", "worker"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	pongs := lahja.Stream[Pong](t.Context(), ep)
	if err := ep.WaitUntil(t.Context(), lahja.SubscribedBy[Ping]("worker")); err != nil {
		t.Fatal(err)
	}
	if err := lahja.Broadcast(t.Context(), ep, Ping{1}); err != nil {
		t.Fatal(err)
	}
	receive(t, pongs)
	child.Stop(t.Context())
}

// That of the command is the process's life.
func TestCommandContext(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Args[0], "worker")
	cmd.Env = environment("echo")
	child := spawn(t, bus, cmd)
	cancel()
	if err := await(t, child); !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("%v, want the signal", err)
	}
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := refused(t, bus, exec.Command("/nowhere/to/be/found"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want os.ErrNotExist", err)
	}
	cmd := command(t, "echo", "worker")
	spawn(t, bus, cmd)
	refused(t, bus, cmd) // again
}

func TestWrongToken(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := refused(t, bus, command(t, "impostor"))
	if !strings.Contains(err.Error(), "wrong token") {
		t.Errorf("%v, want a word about the token", err)
	}
	for _, secret := range []string{"xxxx", "LAHJA_PIPE="} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error has %q", secret)
		}
	}
}

func TestBusIsClosed(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	bus.Close()
	refused(t, bus, command(t, "echo", "worker"))
}

func TestExtraFiles(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	texts := lahja.Stream[Text](t.Context(), ep)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("first come")
	w.Close()
	cmd := command(t, "extra")
	cmd.ExtraFiles = []*os.File{r}
	spawn(t, bus, cmd)
	if got := receive(t, texts).Value.S; got != "first come" {
		t.Errorf("the child reads %q", got)
	}
	if len(cmd.ExtraFiles) != 1 {
		t.Errorf("%d extra files are left", len(cmd.ExtraFiles))
	}
}

func TestStandardFiles(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	cmd := self("stdio")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	child := spawn(t, bus, cmd)
	for range 1000 {
		if _, err := stdin.Write([]byte("hello\n")); err != nil {
			t.Fatal(err)
		}
	}
	stdin.Close()
	if err := await(t, child); err != nil {
		t.Error(err)
	}
	if got := stdout.String(); got != strings.Repeat("hello\n", 1000) {
		t.Errorf("stdout has %d bytes", len(got))
	}
	if got := stderr.String(); got != strings.Repeat("hello too\n", 1000) {
		t.Errorf("stderr has %d bytes", len(got))
	}
}
