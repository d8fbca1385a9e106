//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/unix"
)

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
