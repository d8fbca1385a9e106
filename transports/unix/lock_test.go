//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Who has opened the file before it was removed must not believe that the lock on it is worth
// anything.
func TestLockOnRemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := takeLock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	late, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if locked, err := lockOpen(late, path); locked || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second lock on the file: %t, %v, want EADDRINUSE", locked, err)
	}
	first.release()
	if locked, err := lockOpen(late, path); locked || err != nil {
		t.Errorf("a lock on the removed file: %t, %v, want false", locked, err)
	}
	second, err := takeLock(t.Context(), path)
	if err != nil {
		t.Fatalf("a lock after that: %v", err)
	}
	second.release()
}

// A link that somebody has put where the lock should be leads nowhere.
func TestLockFollowsNoLink(t *testing.T) {
	directory := t.TempDir()
	path, target := filepath.Join(directory, "lock"), filepath.Join(directory, "target")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if l, err := takeLock(t.Context(), path); err == nil {
		l.release()
		t.Error("takeLock succeeded")
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("takeLock made the file that the link names")
	}
}
