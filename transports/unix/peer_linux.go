package unix

import (
	"net"
	"syscall"
)

// knowsPeers says that the kernel tells who is at the other end.
const knowsPeers = true

// peer returns the user and the process that connected, or that began to listen.
func peer(c *net.UnixConn) (uid, pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *syscall.Ucred
	var asked error
	err = raw.Control(func(fd uintptr) {
		cred, asked = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = asked
	}
	if err != nil {
		return 0, 0, err
	}
	return int(cred.Uid), int(cred.Pid), nil
}

// privateFromTheStart sets the mode that the socket's file will be made with: without it there
// would be a moment in which others may connect.
func privateFromTheStart(_, _ string, raw syscall.RawConn) error {
	var changed error
	err := raw.Control(func(fd uintptr) { changed = syscall.Fchmod(int(fd), 0o600) })
	if err == nil {
		err = changed
	}
	return err
}
