//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
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

// leaveStale leaves a socket's file at path that nobody listens to.
func leaveStale(t testing.TB, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// refuses checks that Listen fails, with all of words in its text, and returns its error.
func refuses(t *testing.T, place *unix.Transport, words ...string) error {
	t.Helper()
	l, err := place.Listen(t.Context())
	if err == nil {
		l.Close()
		t.Fatal("Listen succeeded")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Listen: %v, want %q in it", err, word)
		}
	}
	return err
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := freePath(t)
	leaveStale(t, path)
	place := unix.New(path)
	connect(t, place, listen(t, place))
}

func TestSocketOfKilledProcessIsReplaced(t *testing.T) {
	path := freePath(t)
	child := start(t, "listen", path)
	child.expect("listening")
	place := unix.New(path)
	refuses(t, place, "listens there already", strconv.Itoa(child.Process.Pid))
	child.Process.Kill()
	child.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the killed process left no socket: %v", err)
	}
	connect(t, place, listen(t, place))
}

func TestLiveListenerIsNotReplaced(t *testing.T) {
	place := unix.New(freePath(t))
	l := listen(t, place)
	err := refuses(t, place, "listens there already", strconv.Itoa(os.Getpid()))
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen: %v, want EADDRINUSE", err)
	}
	connect(t, place, l)
}

// A program that does not use this package holds no lock.
func TestForeignListenerIsNotReplaced(t *testing.T) {
	path := freePath(t)
	foreign, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	err = refuses(t, unix.New(path), "listens there already")
	if runtime.GOOS == "linux" && !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("Listen: %v, want the process that listens", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the foreign Listener is gone: %v", err)
	}
	c.Close()
}

func TestOtherFilesAreNotReplaced(t *testing.T) {
	tests := []struct {
		name, says string
		make       func(path string) error
	}{
		{"file", "regular file", func(path string) error {
			return os.WriteFile(path, []byte("precious"), 0o600)
		}},
		{"directory", "directory", func(path string) error {
			return os.Mkdir(path, 0o700)
		}},
		{"danglingLink", "symbolic link", func(path string) error {
			return os.Symlink("nowhere", path)
		}},
		{"linkToStaleSocket", "symbolic link", func(path string) error {
			leaveStale(t, path+".real")
			return os.Symlink(path+".real", path)
		}},
		{"pipe", "no socket", func(path string) error {
			return syscall.Mkfifo(path, 0o600)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := freePath(t)
			if err := test.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			refuses(t, unix.New(path), test.says)
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("the file was replaced or removed: %v", err)
			}
		})
	}
}

func TestLockFileOfSomethingElse(t *testing.T) {
	path := freePath(t)
	content := strings.Repeat("precious ", 10)
	if err := os.WriteFile(path+".lock", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, unix.New(path), "no lock file")
	if kept, _ := os.ReadFile(path + ".lock"); string(kept) != content {
		t.Errorf("the file has become %q", kept)
	}
}

func TestModes(t *testing.T) {
	tests := []struct {
		name              string
		options           []unix.Option
		socket, directory fs.FileMode
	}{
		{"own user", nil, 0o600, 0o700},
		{"more users", []unix.Option{unix.AllowUsers(4242)}, 0o666, 0o711},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.options != nil && runtime.GOOS != "linux" {
				t.Skip("needs a kernel that tells the peer's user")
			}
			old := syscall.Umask(0)
			defer syscall.Umask(old)
			path := filepath.Join(filepath.Dir(freePath(t)), "new", "directory", "s")
			listen(t, unix.New(path, test.options...))
			checkMode(t, path, fs.ModeSocket|test.socket)
			checkMode(t, filepath.Dir(path), fs.ModeDir|test.directory)
			checkMode(t, filepath.Dir(filepath.Dir(path)), fs.ModeDir|test.directory)
		})
	}
}

func checkMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func TestPathLength(t *testing.T) {
	directory := filepath.Dir(freePath(t))
	fill := func(length int) string {
		return directory + "/" + strings.Repeat("s", length-len(directory)-1)
	}
	longest := unix.New(fill(unix.MaxPath))
	connect(t, longest, listen(t, longest))
	tooLong := unix.New(fill(unix.MaxPath + 1))
	limit, actual := strconv.Itoa(unix.MaxPath), strconv.Itoa(unix.MaxPath+1)
	refuses(t, tooLong, limit, actual)
	if _, err := tooLong.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), limit) {
		t.Errorf("Dial: %v, want the limit in it", err)
	}
	if runtime.GOOS == "linux" && unix.MaxPath != 107 {
		t.Errorf("the limit is %d, want 107", unix.MaxPath)
	}
}

func TestUnusablePaths(t *testing.T) {
	for _, path := range []string{"", "@abstract", "\x00abstract", "s\x00s"} {
		t.Run(strconv.Quote(path), func(t *testing.T) {
			place := unix.New(path)
			refuses(t, place, "socket")
			if c, err := place.Dial(t.Context()); err == nil {
				c.Close()
				t.Error("Dial succeeded")
			}
		})
	}
}

func TestCloseRemovesFiles(t *testing.T) {
	path := freePath(t)
	l := listen(t, unix.New(path))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("Close left %v", left)
	}
}

func TestCloseLeavesWhatIsNotOurs(t *testing.T) {
	path := freePath(t)
	l := listen(t, unix.New(path))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	foreign, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the other's socket is gone: %v", err)
	}
}

func TestRelativePath(t *testing.T) {
	directory := filepath.Dir(freePath(t))
	t.Chdir(directory)
	place := unix.New("s")
	l := listen(t, place)
	connect(t, place, l)
	t.Chdir("/")
	l.Close()
	if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
		t.Errorf("Close from another working directory left %v, %v", left, err)
	}
}

// However many start at once at the same place, one gets it, also when a stale socket is there.
func TestListenRace(t *testing.T) {
	path := freePath(t)
	place := unix.New(path)
	for range 50 {
		leaveStale(t, path)
		won := make(chan lahja.Listener, 8)
		var started sync.WaitGroup
		for range cap(won) {
			started.Go(func() {
				if l, err := place.Listen(t.Context()); err == nil {
					won <- l
				} else if !errors.Is(err, syscall.EADDRINUSE) {
					t.Error(err)
				}
			})
		}
		started.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of %d got the place, want 1", len(won), cap(won))
		}
		l := <-won
		connect(t, place, l)
		l.Close()
	}
}

// Listen and Close of many at the same place never leave it in a state in which nobody gets it.
func TestListenAndCloseRace(t *testing.T) {
	place := unix.New(freePath(t))
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 100 {
				l, err := place.Listen(t.Context())
				if errors.Is(err, syscall.EADDRINUSE) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				c, err := place.Dial(t.Context())
				if err != nil {
					t.Errorf("Dial while we listen: %v", err)
				} else {
					c.Close()
				}
				l.Close()
			}
		})
	}
	users.Wait()
	listen(t, place)
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

func TestDialRefusesOtherUser(t *testing.T) {
	needsPeers(t)
	path := freePath(t)
	listen(t, unix.New(path))
	stranger := os.Geteuid() + 1
	c, err := unix.RunBy(stranger, unix.New(path)).Dial(t.Context())
	if err == nil {
		c.Close()
		t.Fatal("Dial trusted the Listener of another user")
	}
	if want := fmt.Sprintf("AllowUsers(%d)", os.Geteuid()); !strings.Contains(err.Error(), want) {
		t.Errorf("Dial: %v, want %q in it", err, want)
	}
	c, err = unix.RunBy(stranger,
		unix.New(path, unix.AllowUsers(7, os.Geteuid()))).Dial(t.Context())
	if err != nil {
		t.Fatalf("Dial with AllowUsers: %v", err)
	}
	c.Close()
}

func TestAcceptRefusesOtherUser(t *testing.T) {
	needsPeers(t)
	path := freePath(t)
	l := listen(t, unix.RunBy(os.Geteuid()+1, unix.New(path)))
	accepted := make(chan error)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	for range 3 {
		c, err := unix.New(path).Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read on a refused connection: %d, %v, want io.EOF", n, err)
		}
		c.Close()
	}
	l.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want it to go on until Close", err)
	}
}

// The same with two real users, which takes the right to change the user.
func TestOtherUserForReal(t *testing.T) {
	needsPeers(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	for _, allowed := range []int{nobody, 4242} {
		t.Run(strconv.Itoa(allowed), func(t *testing.T) {
			path := filepath.Join(filepath.Dir(freePath(t)), "d", "s")
			if err := os.Chmod(filepath.Dir(filepath.Dir(path)), 0o711); err != nil {
				t.Fatal(err)
			}
			place := unix.New(path, unix.AllowUsers(allowed))
			l := listen(t, place)
			child := start(t, "dial", path)
			accepted := make(chan lahja.Conn, 1)
			go func() {
				c, _ := l.Accept()
				accepted <- c
			}()
			if allowed != nobody {
				child.expect("EOF")
				l.Close()
				if c := <-accepted; c != nil {
					t.Errorf("accepted %+v", c.Identity())
				}
				return
			}
			c := <-accepted
			if c == nil {
				t.Fatal("Accept failed")
			}
			defer c.Close()
			if got := c.Identity(); got.User != "65534" || got.PID != child.Process.Pid {
				t.Errorf("Identity = %+v, want user 65534 and process %d", got, child.Process.Pid)
			}
			c.Write([]byte("x"))
			child.expect("welcome")
		})
	}
}

func needsPeers(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs a kernel that tells the peer's user")
	}
}

func TestAllowUsersNeedsTheKernel(t *testing.T) {
	if runtime.GOOS == "linux" {
		t.Skip("this kernel tells the peer's user")
	}
	err := refuses(t, unix.New(freePath(t), unix.AllowUsers(1)), "AllowUsers")
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Listen: %v, want ErrUnsupported", err)
	}
}
