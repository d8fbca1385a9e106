package tcp_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja/transports/tcp"
)

// A peer that says nothing holds up neither Accept nor Close, and what waits for it ends by Close.
func TestSilentPeer(t *testing.T) {
	a := newAuthority(t)
	_, accepted := connectTLS(t, a.config(a.issue(t, nil)), nil)
	failed := make(chan error)
	go func() {
		_, err := accepted.Read(make([]byte, 1))
		failed <- err
	}()
	go func() {
		_, err := accepted.Write(make([]byte, 1))
		failed <- err
	}()
	go func() {
		accepted.Identity()
		failed <- net.ErrClosed
	}()
	accepted.Close()
	for range 3 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("it ends with %v, want net.ErrClosed", err)
		}
	}
}

// Close does not wait for a peer that does not read, and what was written and the end still arrive
// when it reads at last.
func TestCloseTowardsSilentPeer(t *testing.T) {
	a := newAuthority(t)
	config := a.config(a.issue(t, nil))
	dialled, accepted := connectTLS(t, config, config)
	accepted.Identity()
	dialled.Identity()
	written := tcp.Fill(t, dialled)
	began := time.Now()
	dialled.Close()
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("Close took %v", took)
	}
	n, err := io.Copy(io.Discard, onlyRead{accepted})
	if n != written || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, written, err)
	}
}

type onlyRead struct{ io.Reader }

// A reset reaches the other end as one, at once, and Close has nothing left to do.
func TestReset(t *testing.T) {
	a := newAuthority(t)
	for name, config := range map[string]*tls.Config{"tcp": nil, "tls": a.config(a.issue(t, nil))} {
		t.Run(name, func(t *testing.T) {
			dialled, accepted := connectTLS(t, config, config)
			accepted.Identity() // the handshake is over
			dialled.Identity()
			for range 2 {
				if err := dialled.(interface{ Reset() error }).Reset(); err != nil {
					t.Errorf("Reset: %v", err)
				}
			}
			if err := dialled.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			_, err := io.Copy(io.Discard, onlyRead{accepted})
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the other end reads %v, want ECONNRESET", err)
			}
			if _, err := dialled.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read after Reset: %v, want net.ErrClosed", err)
			}
		})
	}
}
