//go:build unix

package pipe

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/lahja-go/lahja"
)

func supported() error { return nil }

// adopt makes a connection to the parent of two descriptors that were inherited. Both are checked
// before anything is done to either: if the environment variable has reached a process that it
// was not meant for, they are somebody else's.
func adopt(in, out int) (*conn, error) {
	for _, fd := range []int{in, out} {
		var stat syscall.Stat_t
		if err := syscall.Fstat(fd, &stat); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
		if stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
			return nil, fmt.Errorf("descriptor %d is not a pipe", fd)
		}
	}
	for _, fd := range []int{in, out} {
		syscall.CloseOnExec(fd)
		if err := syscall.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	ppid := os.Getppid()
	return &conn{
		r: os.NewFile(uintptr(in), "pipe"),
		w: os.NewFile(uintptr(out), "pipe"),
		identity: lahja.Identity{
			Transport: "pipe", Address: peerAddress(ppid), PID: ppid,
		},
	}, nil
}

// userOf is the number of the user as whom cmd runs.
func userOf(cmd *exec.Cmd) string {
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Credential != nil {
		return strconv.FormatUint(uint64(cmd.SysProcAttr.Credential.Uid), 10)
	}
	return strconv.Itoa(os.Geteuid())
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
