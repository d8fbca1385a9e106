//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// knowsPeers says that the standard library has no way here to ask who is at the other end.
const knowsPeers = false

func peer(*net.UnixConn) (uid, pid int, err error) {
	return 0, 0, syscall.ENOTSUP
}

// chmod gives a file its mode. There is no way here to hold on to the file that was made, so that
// it may be another one, where others can rename what is in the directory; but none outside of
// that, for no link leads out. Nor does it make anything public: other users are allowed only where
// the kernel tells who they are.
func chmod(place string, _ fs.FileInfo, mode fs.FileMode) error {
	dir, err := os.OpenRoot(filepath.Dir(place))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Chmod(filepath.Base(place), mode)
}

// privateFromTheStart can do nothing here: the mode is set once the file exists.
func privateFromTheStart(_, _ string, _ syscall.RawConn) error {
	return nil
}
