//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja/transports/unix"
)

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
