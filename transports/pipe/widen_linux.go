package pipe

import (
	"os"
	"syscall"
)

// room is what the kernel keeps of a pipe that is not yet read. Its own 64 KiB are one record,
// after which a writer waits until the reader has run: with room for two both run at once, and a
// child gets events of 64 KiB in two thirds of the time. More brings little, and all pipes of a
// user together may have 64 MiB, after which each gets very little, see pipe(7).
const room = 128 << 10

// widen asks the kernel for room. Where it refuses, the pipe is slower.
func widen(w *os.File) {
	raw, err := w.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETPIPE_SZ, room)
	})
}
