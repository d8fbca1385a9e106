package lahja_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// counted is a transport that counts the bytes of the connections that it dials.
type counted struct {
	lahja.Transport
	bytes atomic.Int64 // in both directions
}

type countedConn struct {
	lahja.Conn
	bytes *atomic.Int64
}

func (c *counted) Dial(ctx context.Context) (lahja.Conn, error) {
	conn, err := c.Transport.Dial(ctx)
	return &countedConn{conn, &c.bytes}, err
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// Where nobody asks for presence, that others come, subscribe, end that and go costs no traffic:
// not before somebody asks, and not when nobody does any more. While somebody watches, it does.
func TestPresenceOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := lahja.NewBus()
		defer bus.Close()
		place := &counted{Transport: memory.New()}
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go bus.ServeListener(t.Context(), l)
		quiet, err := lahja.Connect(t.Context(), "quiet", place)
		if err != nil {
			t.Fatal(err)
		}
		defer quiet.Close()
		changes := 0
		change := func() (bytes int64) {
			synctest.Wait()
			before := place.bytes.Load()
			changes++
			ep, err := bus.Endpoint(fmt.Sprint("other", changes))
			if err != nil {
				t.Fatal(err)
			}
			sub, err := lahja.Subscribe(t.Context(), ep, func(context.Context, lahja.Event[red]) {})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			sub.Unsubscribe()
			synctest.Wait()
			ep.Close()
			synctest.Wait()
			return place.bytes.Load() - before
		}
		if n := change(); n != 0 {
			t.Errorf("%d bytes before anybody asks", n)
		}
		if _, err := quiet.Peers(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := quiet.WaitUntil(t.Context(), lahja.Present("quiet")); err != nil {
			t.Fatal(err)
		}
		if n := change(); n != 0 {
			t.Errorf("%d bytes after Peers and WaitUntil have returned", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		views := quiet.WatchPeers(ctx)
		if n := change(); n == 0 {
			t.Error("no bytes while somebody watches")
		}
		cancel()
		for range views {
		}
		if n := change(); n != 0 {
			t.Errorf("%d bytes after the last has stopped to watch", n)
		}
	})
}
