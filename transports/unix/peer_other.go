//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package unix

import (
	"net"
	"syscall"
)

// knowsPeers says that the standard library has no way here to ask who is at the other end.
const knowsPeers = false

func peer(*net.UnixConn) (uid, pid int, err error) {
	return 0, 0, syscall.ENOTSUP
}

// privateFromTheStart can do nothing here: the mode is set once the file exists.
func privateFromTheStart(_, _ string, _ syscall.RawConn) error {
	return nil
}
