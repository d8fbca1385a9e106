//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/unix"
)

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
