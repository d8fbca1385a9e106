//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/transporttest"
	"github.com/lahja-go/lahja/transports/unix"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		return
	}
	transporttest.Main(m)
}

func TestTransport(t *testing.T) {
	transporttest.Run(t, unix.New(freePath(t)))
}

// freePath returns a path for a socket. It is shorter than those of t.TempDir, which contain the
// test's name and may be too long for a socket.
func freePath(t testing.TB) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "unix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return filepath.Join(directory, "s")
}

// listen starts a Listener that is closed in the end.
func listen(t testing.TB, place *unix.Transport) lahja.Listener {
	t.Helper()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect makes a connection whose ends are closed in the end.
func connect(t testing.TB, place *unix.Transport, l lahja.Listener) (dialled, accepted lahja.Conn) {
	t.Helper()
	dialled, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return dialled, accepted
}

func TestIdentity(t *testing.T) {
	path := freePath(t)
	place := unix.New(path)
	a, b := connect(t, place, listen(t, place))
	for _, c := range []lahja.Conn{a, b} {
		got := c.Identity()
		if got.Transport != "unix" || got.Address != path {
			t.Errorf("Identity = %+v, want unix and %s", got, path)
		}
		if runtime.GOOS != "linux" {
			continue
		}
		if got.User != strconv.Itoa(os.Geteuid()) || got.PID != os.Getpid() {
			t.Errorf("Identity = %+v, want this user and process", got)
		}
	}
}

func TestErrorsCanBeTold(t *testing.T) {
	path := freePath(t)
	place := unix.New(path)
	if _, err := place.Dial(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Dial where nothing is: %v, want ErrNotExist", err)
	}
	leaveStale(t, path)
	if _, err := place.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial at a stale socket: %v, want ECONNREFUSED", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := place.Dial(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial with an ended ctx: %v, want context.Canceled", err)
	}
	if _, err := place.Listen(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen with an ended ctx: %v, want context.Canceled", err)
	}
	a, _ := connect(t, place, listen(t, place))
	a.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v, want net.ErrClosed", err)
	}
}

// The kernel's queue is made as short as possible, and filled by others.
func TestDialWaitsForRoom(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems refuse at once when the queue is full")
	}
	path := freePath(t)
	busy := listenBriefly(t, path)
	for {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	place := unix.New(path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := place.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Dial with a full queue: %v, want DeadlineExceeded", err)
	}
	result := make(chan error)
	go func() {
		c, err := place.Dial(t.Context())
		if err == nil {
			c.Close()
		}
		result <- err
	}()
	c, err := busy.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-result; err != nil {
		t.Errorf("Dial after an Accept: %v", err)
	}
}

// listenBriefly listens with a queue of the shortest length.
func listenBriefly(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var shortened error
	err = raw.Control(func(fd uintptr) { shortened = syscall.Listen(int(fd), 0) })
	if err := errors.Join(err, shortened); err != nil {
		t.Fatal(err)
	}
	return l
}
