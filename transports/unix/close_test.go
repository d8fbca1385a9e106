//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/lahja-go/lahja/transports/unix"
)

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
