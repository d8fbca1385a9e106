// Package unix is a transport over Unix domain sockets, for processes of one machine.
//
//	l, err := unix.New("/run/myapp/bus.sock").Listen(ctx)
//	go bus.ServeListener(ctx, l)
//
// # Who may connect
//
// Both sides ask the kernel which user runs the other one, and accept only their own user and those
// named by [AllowUsers]. The socket file has mode 0600, and a directory that has to be made for
// it 0700; with AllowUsers they have 0666 and 0711, because then other users must get as far as the
// kernel's answer. Linux gives that answer, and makes the file with its mode. Elsewhere the mode
// alone is the guard, which the file gets once it exists, so that others should not be able to
// write to its directory, as to one that Listen makes; and AllowUsers is refused.
//
// # Who may listen
//
// While a Listener lives it holds a lock on a file beside the socket, with ".lock" behind its
// name; the kernel releases it however the process ends. So of two processes that start at once one
// gets the place and the other an error, and whoever holds the lock may replace a socket file that
// a crash has left behind. It is replaced only if it is a socket that refuses connections, never if
// it is another kind of file or a symbolic link. Close removes both files.
//
// On Windows and other systems without such locks, Dial and Listen fail with an error that
// matches [errors.ErrUnsupported].
package unix

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/lahja-go/lahja"
)

// Transport is the path of one socket. It implements [lahja.Transport]; all methods may be called
// concurrently.
type Transport struct {
	path    string
	self    int // the user of this process
	options options
}

var _ lahja.Transport = (*Transport)(nil)

type options struct {
	users []int // allowed besides self
}

// Option changes what [New] makes.
type Option func(*options)

// AllowUsers accepts peers of these users too, given by the operating system's numbers: a Listener
// accepts their connections, and Dial trusts their Listener. The user of this process itself is
// always allowed; root is no exception, and needs its 0 here.
//
// It opens the socket file to every user's attempt; see the package's description.
func AllowUsers(uids ...int) Option {
	return func(o *options) { o.users = append(o.users, uids...) }
}

// New describes the place at path. It does nothing by itself: an unusable path is an error of Dial
// and Listen.
//
// The path, as it is given, may have 107 bytes on Linux and 103 on macOS and BSD. A relative one is
// relative to the working directory at the time of each call, and is not resolved: that is a way
// around a long path. Linux's abstract sockets, written with a leading '@' or NUL, are refused: no
// file mode protects them.
func New(path string, opts ...Option) *Transport {
	t := &Transport{path: path, self: os.Geteuid()}
	for _, opt := range opts {
		opt(&t.options)
	}
	return t
}

// maxPath is how many bytes the kernel has for a path, without the NUL behind it.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// checkPath says what the kernel would not, or not as clearly.
func (t *Transport) checkPath() error {
	switch {
	case t.path == "":
		return errors.New("the socket's path is empty")
	case t.path[0] == '@' || t.path[0] == 0:
		return errors.New("abstract sockets are not supported, because no file mode protects " +
			"them: use the path of a file (one that begins with @ is written ./@)")
	case strings.ContainsRune(t.path, 0):
		return errors.New("the socket's path contains a NUL byte")
	case len(t.path) > maxPath:
		return fmt.Errorf("the socket's path has %d bytes and this system allows %d: "+
			"use a shorter or a relative one", len(t.path), maxPath)
	}
	return nil
}

// allowed reports whether a peer of this user may be at the other end.
func (t *Transport) allowed(uid int) bool {
	return uid == t.self || slices.Contains(t.options.users, uid)
}
