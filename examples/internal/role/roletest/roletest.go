// Package roletest runs an example in its own test. The test's binary is the program as well, so
// that what the test runs is what it was built with, the race detector included.
package roletest

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/lahja-go/lahja/internal/leak"
)

const variable = "LAHJA_EXAMPLE_TEST"

// Main is the TestMain of an example: it runs the tests, and in what [Command] starts main. It
// fails if the tests leave a goroutine behind.
func Main(m *testing.M, main func()) {
	Program(main)
	leak.Main(m)
}

// Program is for a TestMain that does more than Main: in what [Command] starts it runs main and
// does not return.
func Program(main func()) {
	if _, isProgram := os.LookupEnv(variable); isProgram {
		main()
		os.Exit(0)
	}
}

// Setenv has what the test starts of its own binary be the program.
func Setenv(t *testing.T) { t.Setenv(variable, "1") }

// Transports are the values of -transport on this system.
func Transports() []string {
	return append(ProcessTransports(), "memory")
}

// ProcessTransports are those with which a role is a process.
func ProcessTransports() []string {
	if runtime.GOOS == "windows" {
		return []string{"tcp"}
	}
	return []string{"pipe", "unix", "tcp"}
}

// Command is the program with these arguments. Waiting for it fails with [exec.ErrWaitDelay] if
// it leaves a process behind that holds what it prints to. It may run for 30 s.
func Command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	// A program that is killed leaves behind what it had there. The path of a socket must be short,
	// which that of t.TempDir is not.
	dir, err := os.MkdirTemp("", "role")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The race detector lets a process sleep a second before it exits, for late reports. Each role
	// waits for its goroutines, so there are none.
	goRace := "GORACE=atexit_sleep_ms=0 " + os.Getenv("GORACE")
	cmd.Env = append(os.Environ(), variable+"=1", goRace, "TMPDIR="+dir, "TMP="+dir)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// EachLine is a Writer that calls f with each line. As cmd.Stdout or cmd.Stderr it does so from
// one goroutine, which is gone when the command has been waited for.
func EachLine(f func(line string)) io.Writer { return &lines{f: f} }

type lines struct {
	f    func(line string)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.rest = rest
		l.f(string(line))
	}
}
