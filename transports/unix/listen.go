//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/fault"
)

// Listen makes the socket and accepts connections of allowed users at it; it closes those of
// others, and waits on. It makes the directory if it is missing.
//
// It fails when somebody listens there already, in this process or another, and when the path
// belongs to anything but a socket that was left behind.
func (t *Transport) Listen(ctx context.Context) (lahja.Listener, error) {
	l, err := t.listen(ctx)
	if err != nil {
		return nil, fmt.Errorf("unix: listen %s: %w", t.path, fault.Because(ctx, err))
	}
	return l, nil
}

func (t *Transport) listen(ctx context.Context) (*listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := t.checkUse(); err != nil {
		return nil, err
	}
	place, err := absolute(t.path) // Close finds it even if the working directory changes
	if err != nil {
		return nil, err
	}
	directory, _ := filepath.Split(place)
	_, mode := t.modes()
	if err := os.MkdirAll(directory, mode); err != nil {
		return nil, err
	}
	lock, err := takeLock(ctx, place+".lock")
	if err != nil {
		return nil, err
	}
	l, err := t.listenLocked(ctx, place, lock)
	if err != nil {
		lock.release()
		return nil, err
	}
	return l, nil
}

// absolute does not shorten path, as filepath.Abs would: what ".." leads to behind a symbolic link,
// which may be in the name of the working directory, only the system knows.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	directory, err := os.Getwd()
	return directory + "/" + path, err
}

// modes returns those of the socket and of a directory that is made for it.
func (t *Transport) modes() (socket, directory fs.FileMode) {
	if len(t.options.users) > 0 {
		return 0o666, 0o711
	}
	return 0o600, 0o700
}

// listenLocked makes the socket. The lock keeps out everyone who uses this package.
func (t *Transport) listenLocked(
	ctx context.Context, place string, lock *lock,
) (*listener, error) {
	if err := t.removeStale(ctx, place); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: privateFromTheStart}
	raw, err := config.Listen(ctx, "unix", t.path)
	if err != nil {
		return nil, cause(err)
	}
	l := &listener{transport: t, place: place, unix: raw.(*net.UnixListener), lock: lock}
	l.unix.SetUnlinkOnClose(false) // Close does it, if the file is still ours
	mode, _ := t.modes()
	if l.file, err = setMode(place, mode); err != nil {
		l.unix.Close()
		os.Remove(place)
		return nil, err
	}
	return l, nil
}

// removeStale makes room for a new socket if what is at the place is one that nobody listens to.
func (t *Transport) removeStale(ctx context.Context, place string) error {
	info, err := os.Lstat(place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is a %s, which is not replaced: remove it, or choose another "+
			"path", kind(info.Mode()))
	}
	holder, err := (&net.Dialer{}).DialContext(ctx, "unix", t.path)
	switch {
	case err == nil:
		defer holder.Close()
		return fmt.Errorf("somebody listens there already%s: %w",
			describe(holder.(*net.UnixConn)), syscall.EADDRINUSE)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(place)
	case errors.Is(err, fs.ErrNotExist):
		return nil // whoever held it has just removed it
	}
	return fmt.Errorf("there is a socket that may be in use: remove it if it is not: %w",
		cause(err))
}

// kind names a file that is not a socket.
func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	}
	return "file that is no socket"
}

// describe says who listens at the other end, in a parenthesis.
func describe(c *net.UnixConn) string {
	if !knowsPeers {
		return ""
	}
	uid, pid, err := peer(c)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d of user %d)", pid, uid)
}

// setMode gives the socket's file its mode and returns what identifies the file. Where others may
// rename what is in the directory it may be another file by now, and is let alone then.
func setMode(place string, mode fs.FileMode) (fs.FileInfo, error) {
	info, err := os.Lstat(place)
	switch {
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("a %s has taken the place of the socket: others must not be able "+
			"to write to its directory", kind(info.Mode()))
	case info.Mode().Perm() == mode:
		return info, nil
	}
	return info, chmod(place, info, mode)
}

// listener accepts the connections of allowed users.
type listener struct {
	transport *Transport
	place     string // the absolute path
	unix      *net.UnixListener
	file      fs.FileInfo // the socket's file as it was made
	lock      *lock
	closing   sync.Once
}

// Accept waits for the next connection of an allowed user, and closes those of others.
func (l *listener) Accept() (lahja.Conn, error) {
	for {
		raw, err := l.unix.AcceptUnix()
		if err != nil {
			return nil, fmt.Errorf("unix: %w", err)
		}
		c, err := l.transport.newConn(raw)
		if err == nil {
			return c, nil
		}
		raw.Close()
	}
}

// Addr is the socket's path as it was given.
func (l *listener) Addr() string {
	return l.transport.path
}

// Close ends Accept and removes the socket's file, unless another one is in its place.
func (l *listener) Close() (err error) {
	l.closing.Do(func() { err = l.close() })
	return err
}

// close removes the file first: while the socket is open no other file can have its number, so
// that SameFile cannot be wrong. It lets go of the lock last.
func (l *listener) close() error {
	defer l.lock.release()
	var removed error
	if now, err := os.Lstat(l.place); err == nil && os.SameFile(now, l.file) {
		removed = os.Remove(l.place)
	}
	if err := errors.Join(removed, l.unix.Close()); err != nil {
		return fmt.Errorf("unix: close: %w", err)
	}
	return nil
}
