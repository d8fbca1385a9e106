//go:build !unix

package pipe

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

var errUnsupported = fmt.Errorf("%w on %s: pipes cannot be passed on to a child process there; "+
	"use transports/tcp or transports/unix", errors.ErrUnsupported, runtime.GOOS)

func supported() error { return errUnsupported }

func adopt(int, int) (*conn, error) { return nil, errUnsupported }

func userOf(*exec.Cmd) string { return "" }

func terminate(p *os.Process) error { return p.Kill() }
