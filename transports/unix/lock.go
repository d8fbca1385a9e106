//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// lock is an exclusive lock on a file that exists only for it. It belongs to the open file, so two
// Listeners of one process exclude each other too, and the kernel releases it when the process
// ends.
type lock struct {
	file *os.File
}

// takeLock takes the lock at path or says who has it. It does not wait for it.
func takeLock(ctx context.Context, path string) (*lock, error) {
	for ctx.Err() == nil {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		locked, err := lockOpen(file, path)
		if locked && err == nil {
			return &lock{file}, nil
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, ctx.Err()
}

// lockOpen locks an open file. It reports false if the file has lost its name meanwhile, because
// the one who had the lock removed it: then others lock another file, and this one excludes nobody.
func lockOpen(file *os.File, path string) (bool, error) {
	if err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, lockError(file, err)
	}
	if !isAt(file, path) {
		return false, nil
	}
	return true, sign(file)
}

// maxNote is enough for the only content of a lock file, a process number.
const maxNote = 20

// sign notes who has the lock, for the text of lockError. It refuses a file that cannot have been
// made for this purpose, since release would remove it.
func sign(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxNote {
		return fmt.Errorf("%s is no lock file: remove it, or choose another path", file.Name())
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err = file.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	return err
}

// release removes the file while the lock is still held, so that whoever opened it before finds
// out. It unlocks explicitly because a child that another goroutine is just starting may hold a
// copy of the open file for a moment.
func (l *lock) release() {
	if isAt(l.file, l.file.Name()) {
		os.Remove(l.file.Name())
	}
	flock(l.file, syscall.LOCK_UN)
	l.file.Close()
}

// isAt reports whether the open file is the one that has the name path.
func isAt(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// lockError says who holds the lock, as far as the holder has written it down.
func lockError(file *os.File, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	note := make([]byte, maxNote)
	n, _ := file.ReadAt(note, 0)
	holder := ""
	if pid, err := strconv.Atoi(string(bytes.TrimSpace(note[:n]))); err == nil {
		holder = fmt.Sprintf(" (process %d)", pid)
	}
	return fmt.Errorf("somebody listens there already%s: %w", holder, syscall.EADDRINUSE)
}

// flock repeats the call when a signal has interrupted it.
func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if err != syscall.EINTR {
			return err
		}
	}
}
