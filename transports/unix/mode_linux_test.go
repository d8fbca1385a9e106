package unix

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A link that takes the place of the socket before it has its mode leads nobody to another file.
func TestModeOfALink(t *testing.T) {
	dir := t.TempDir()
	private, place := filepath.Join(dir, "private"), filepath.Join(dir, "socket")
	if err := os.WriteFile(private, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", place)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made, err := os.Lstat(place)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o600, 0o666} {
		if _, err := setMode(place, mode); err != nil {
			t.Errorf("the socket's own mode: %v", err)
		}
		if now, err := os.Lstat(place); err != nil || now.Mode().Perm() != mode {
			t.Errorf("the socket has mode %v, where %v was wanted: %v", now.Mode(), mode, err)
		}
	}
	if err := os.Rename(place, place+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(private, place); err != nil {
		t.Fatal(err)
	}
	if _, err := setMode(place, 0o666); err == nil {
		t.Error("a link is taken for the socket")
	}
	if err := chmod(place, made, 0o666); err == nil {
		t.Error("a link that has come in between is taken for the socket")
	}
	now, err := os.Stat(private)
	if err != nil || now.Mode().Perm() != 0o600 {
		t.Errorf("the other file has mode %v: %v", now.Mode(), err)
	}
}
