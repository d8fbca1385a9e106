//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"io/fs"
	"net"
	"os"
	"syscall"
)

// knowsPeers says that the standard library has no way here to ask who is at the other end.
const knowsPeers = false

func peer(*net.UnixConn) (uid, pid int, err error) {
	return 0, 0, syscall.ENOTSUP
}

// chmod gives a file its mode. It would follow a link, but makes nothing public: other users are
// allowed only where the kernel tells who they are.
func chmod(place string, _ fs.FileInfo, mode fs.FileMode) error { return os.Chmod(place, mode) }

// privateFromTheStart can do nothing here: the mode is set once the file exists.
func privateFromTheStart(_, _ string, _ syscall.RawConn) error {
	return nil
}
