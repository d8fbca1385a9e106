package tcp

import (
	"errors"
	"fmt"
	"syscall"
)

// wsaConnRefused is how Windows says that a connection was refused. Package syscall has no name for
// it: its ECONNREFUSED is a number of Go's own, which no call to the system returns.
const wsaConnRefused = syscall.Errno(10061)

// refusal returns err so that it matches [syscall.ECONNREFUSED], if it says that the connection was
// refused; else nil.
func refusal(err error) error {
	if errors.Is(err, wsaConnRefused) {
		return fmt.Errorf("%w: %w", syscall.ECONNREFUSED, err)
	}
	return nil
}
