//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja/transports/unix"
)

// The test binary runs itself as another process, which these variables tell what to be.
const (
	roleVariable = "UNIX_TEST_ROLE"
	pathVariable = "UNIX_TEST_PATH"
)

// child is a process that plays a role.
type child struct {
	*exec.Cmd
	t     testing.TB
	lines *bufio.Scanner
}

// start runs a child, which is killed in the end.
func start(t testing.TB, role, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &child{Cmd: cmd, t: t, lines: bufio.NewScanner(out)}
}

// expect reads the next line that the child prints.
func (c *child) expect(want string) {
	c.t.Helper()
	c.lines.Scan()
	if got := c.lines.Text(); got != want {
		c.t.Fatalf("the child says %q, want %q", got, want)
	}
}

// play is what the child does.
func play(role string) {
	path := os.Getenv(pathVariable)
	switch role {
	case "listen":
		l, err := unix.New(path).Listen(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("listening")
		l.Accept() // until it is killed
	case "dial":
		fmt.Println(dialAsNobody(path))
	}
}

// dialAsNobody gives up being root, dials, and says what came of it.
func dialAsNobody(path string) string {
	if err := syscall.Setuid(65534); err != nil {
		return err.Error()
	}
	c, err := unix.New(path, unix.AllowUsers(0)).Dial(context.Background())
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return err.Error()
	}
	return "welcome"
}
