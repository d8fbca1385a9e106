package pipe

import (
	"syscall"
	"testing"
)

// A pipe holds several records, so that neither end waits for the other after each.
func TestPipeIsWide(t *testing.T) {
	r, w, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	raw, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var size uintptr
	var errno syscall.Errno
	if err := raw.Control(func(fd uintptr) {
		size, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETPIPE_SZ, 0)
	}); err != nil || errno != 0 {
		t.Fatal(err, errno)
	}
	if size != room {
		t.Errorf("the pipe holds %d bytes, where %d were asked for", size, room)
	}
}
