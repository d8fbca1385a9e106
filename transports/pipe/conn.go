package pipe

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/lahja-go/lahja"
)

// conn is one process's ends of two pipes. The files are in non-blocking mode, so that Close ends
// a Read and a Write that wait.
type conn struct {
	r, w      *os.File
	identity  lahja.Identity
	closeOnce sync.Once
}

var errClosed = fmt.Errorf("pipe: %w", net.ErrClosed)

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	return n, plain(err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	return n, plain(err)
}

// plain makes the error of a file that was closed here that of any other connection.
func plain(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return errClosed
	}
	return err
}

func (c *conn) Close() (err error) {
	// Reading first, or a Read that waits might see how the other side closes in turn.
	c.closeOnce.Do(func() { err = errors.Join(c.r.Close(), c.w.Close()) })
	return err
}

// Identity implements [lahja.Conn].
func (c *conn) Identity() lahja.Identity { return c.identity }
