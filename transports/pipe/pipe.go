// Package pipe is a transport over two OS pipes that a child process inherits from its parent, the
// process with the bus.
//
//	child, err := pipe.Spawn(ctx, bus, exec.Command(os.Args[0], "worker"))  // in the parent
//	ep, err := lahja.Connect(ctx, "worker", pipe.Parent())                  // in the child
//
// The pipes come beside the child's stdin, stdout and stderr, which stay its own. Nobody else can
// reach them, so there is no address to agree on and nothing to clean up after a crash. A broken
// connection cannot be dialled again: it ends with either process.
//
// # A child in another language
//
// The environment variable LAHJA_PIPE has, separated by commas, the number of the descriptor to
// read from, that of the one to write to, and a token of 32 bytes in hexadecimal. The child removes
// the variable, keeps both descriptors from its own children, writes the 32 bytes of the token, and
// then does what an endpoint does on any other connection.
//
// # Systems
//
// It works on Unix systems. On others, which cannot pass descriptors on to a child, everything here
// fails with an error that says so; use another transport there.
package pipe

import (
	"os"
	"time"
)

// variable is the environment variable that tells a child its descriptors and its token.
const variable = "LAHJA_PIPE"

// tokenSize is the length, in bytes, of what a child sends before anything else. It proves that it
// was told the token, and does not only hold the same descriptors. It is no secret from processes
// of the same user: they can read the environment that a process was started with.
const tokenSize = 32

// Option changes how [Spawn] treats a child.
type Option func(*options)

type options struct {
	name   string // the only one that the child may take
	pinned bool
	leave  time.Duration // what a child is given after the goodbye
	term   time.Duration // and after SIGTERM
}

// As lets the child attach as the endpoint of this name only. Without it the child may take any
// name that is free.
func As(name string) Option {
	return func(o *options) { o.name, o.pinned = name, true }
}

// Patience sets how long [Child.Stop] waits for the child to exit: leave after its connection was
// ended, then term after SIGTERM. Both are 2 s by default; 0 or less skips the wait.
func Patience(leave, term time.Duration) Option {
	return func(o *options) { o.leave, o.term = leave, term }
}

// newPipe returns a pipe whose writing end is not a standard descriptor. These are free in a
// process that has closed its own, and a write to them when nobody reads ends a Go program.
func newPipe() (r, w *os.File, err error) {
	for {
		r, w, err = os.Pipe()
		if err != nil {
			return nil, nil, err
		}
		if !standard(w) {
			widen(w)
			return r, w, nil
		}
		// Kept for as long as this takes, so that the next pipe gets others.
		defer r.Close()
		defer w.Close()
	}
}

// standard reports whether f is stdin, stdout or stderr by number.
func standard(f *os.File) (low bool) {
	raw, err := f.SyscallConn() // Fd would make it blocking
	if err == nil {
		err = raw.Control(func(fd uintptr) { low = fd <= 2 })
	}
	return low && err == nil
}
