package unix

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
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

// chmod gives the file that was made at a place its mode, if it is still there: it holds on to the
// file, for what is at the place may change, also into a link to a file of somebody else.
func chmod(place string, made fs.FileInfo, mode fs.FileMode) error {
	const onlyHold = 0x200000 // O_PATH, which package syscall does not have
	f, err := os.OpenFile(place, onlyHold|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if now, err := f.Stat(); err != nil || !os.SameFile(now, made) {
		return errors.Join(err, errors.New("another file has taken the place of the socket"))
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), mode)
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
