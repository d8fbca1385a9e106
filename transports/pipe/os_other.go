//go:build !unix

package pipe

import (
	"os"
	"os/exec"
)

func supported() error { return errUnsupported }

func adopt(int, int) (*conn, error) { return nil, errUnsupported }

func userOf(*exec.Cmd) string { return "" }

func terminate(p *os.Process) error { return p.Kill() }
