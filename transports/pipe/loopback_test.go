//go:build unix

package pipe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/transporttest"
)

func TestLoopback(t *testing.T) {
	transporttest.Run(t, pipe.Loopback())
}

func TestLoopbackListensOnce(t *testing.T) {
	t.Parallel()
	place := pipe.Loopback()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := place.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second Listen: %v, want EADDRINUSE", err)
	}
	l.Close()
	if _, err := place.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial when nobody listens: %v, want ECONNREFUSED", err)
	}
	again, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := l.Close(); err != nil { // does not end the other
		t.Error(err)
	}
	c, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestLoopbackHangsUpOnTheUnaccepted(t *testing.T) {
	t.Parallel()
	place := pipe.Loopback()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l.Close()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v, want io.EOF", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
}

func TestLoopbackEndedContext(t *testing.T) {
	t.Parallel()
	place := pipe.Loopback()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := place.Listen(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen: %v, want context.Canceled", err)
	}
	if _, err := place.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, want context.Canceled", err)
	}
}

func TestLoopbackIdentity(t *testing.T) {
	t.Parallel()
	place := pipe.Loopback()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if id := c.Identity(); id.Transport != "pipe" || id.PID != os.Getpid() || id.Name != "" {
		t.Errorf("Identity() = %+v", id)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v, want net.ErrClosed", err)
	}
}

// A process whose standard files are closed makes pipes with their numbers.
func TestClosedStandardFiles(t *testing.T) {
	t.Parallel()
	cmd := command(t, "closed std")
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
}
