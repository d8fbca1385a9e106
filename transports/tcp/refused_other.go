//go:build !windows

package tcp

import (
	"errors"
	"syscall"
)

// refusal returns err, which matches [syscall.ECONNREFUSED], if it says that the connection was
// refused; else nil.
func refusal(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return nil
}
