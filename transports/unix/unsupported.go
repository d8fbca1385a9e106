//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package unix

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/lahja-go/lahja"
)

// Dial is not supported on this system.
func (t *Transport) Dial(context.Context) (lahja.Conn, error) {
	return nil, t.unsupported("dial")
}

// Listen is not supported on this system.
func (t *Transport) Listen(context.Context) (lahja.Listener, error) {
	return nil, t.unsupported("listen")
}

func (t *Transport) unsupported(op string) error {
	return fmt.Errorf("unix: %s %s: not on %s: use the tcp transport on 127.0.0.1: %w",
		op, t.path, runtime.GOOS, errors.ErrUnsupported)
}
