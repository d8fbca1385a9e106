package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/transporttest"
)

func TestMain(m *testing.M) { transporttest.Main(m) }

func TestTransport(t *testing.T) {
	transporttest.Run(t, memory.New())
}

// listen starts a Listener that is closed in the end.
func listen(t testing.TB, place *memory.Transport) lahja.Listener {
	t.Helper()
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect makes a connection whose ends are closed in the end.
func connect(t testing.TB) (dialled, accepted lahja.Conn) {
	t.Helper()
	place := memory.New()
	l := listen(t, place)
	dialled, err := place.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	return dialled, accepted
}

func TestErrorsCanBeTold(t *testing.T) {
	place := memory.New()
	if _, err := place.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial without a Listener: %v, want ECONNREFUSED", err)
	}
	l := listen(t, place)
	if _, err := place.Listen(t.Context()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second Listen: %v, want EADDRINUSE", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := place.Dial(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial with an ended ctx: %v, want context.Canceled", err)
	}
	l.Close()
	if _, err := place.Listen(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen with an ended ctx: %v, want context.Canceled", err)
	}
	a, b := connect(t)
	a.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read after Close: %v, want net.ErrClosed", err)
	}
	if _, err := a.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v, want net.ErrClosed", err)
	}
	if _, err := b.Write(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write to a closed peer: %v, want EPIPE", err)
	}
}

func TestPlacesAreSeparate(t *testing.T) {
	listen(t, memory.New())
	if _, err := memory.New().Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial at another place: %v, want ECONNREFUSED", err)
	}
}

func TestIdentity(t *testing.T) {
	a, b := connect(t)
	for _, c := range []lahja.Conn{a, b} {
		if got := c.Identity().Transport; got != "memory" {
			t.Errorf("Identity().Transport = %q, want memory", got)
		}
	}
}

// What waits on a memory connection waits durably in a bubble: its time goes on, and it would
// report a goroutine that outlives the connection.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t)
		received := make(chan string)
		go func() {
			p := make([]byte, 10)
			n, err := b.Read(p)
			received <- fmt.Sprintf("%s, %v", p[:n], err)
			n, err = b.Read(p)
			received <- fmt.Sprintf("%s, %v", p[:n], err)
		}()
		time.Sleep(time.Hour) // the bubble's clock moves on only if the reader is idle
		select {
		case got := <-received:
			t.Fatalf("Read returned early: %s", got)
		default:
		}
		a.Write([]byte("hello"))
		if got, want := <-received, "hello, <nil>"; got != want {
			t.Errorf("received %q, want %q", got, want)
		}
		synctest.Wait()
		a.Close()
		if got, want := <-received, ", EOF"; got != want {
			t.Errorf("received %q, want %q", got, want)
		}
	})
}

func TestWriteWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 64 << 10
		a, b := connect(t)
		if n, err := a.Write(make([]byte, capacity)); n != capacity || err != nil {
			t.Fatalf("Write of 64 KiB: %d, %v, want all at once", n, err)
		}
		written := 0
		go func() { written, _ = a.Write([]byte("more")) }()
		synctest.Wait()
		if written != 0 {
			t.Fatal("Write returned although the buffer was full")
		}
		io.ReadFull(b, make([]byte, capacity))
		synctest.Wait()
		if written != 4 {
			t.Fatalf("Write took %d bytes after everything was read, want 4", written)
		}
	})
}

func TestDialWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := memory.New()
		l := listen(t, place)
		for range 128 {
			if _, err := place.Dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := place.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Dial with a full queue: %v, want DeadlineExceeded", err)
		}
		result := make(chan error)
		dial := func() {
			_, err := place.Dial(t.Context())
			result <- err
		}
		go dial()
		synctest.Wait()
		l.Accept()
		if err := <-result; err != nil {
			t.Fatalf("Dial after an Accept: %v", err)
		}
		go dial()
		synctest.Wait()
		l.Close()
		if err := <-result; !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("Dial during Close: %v, want ECONNREFUSED", err)
		}
	})
}

// A connection that is dialled while the Listener closes is refused or ended; it does not wait for
// ever.
func TestDialRacesClose(t *testing.T) {
	for range 5_000 {
		place := memory.New()
		l := listen(t, place)
		go l.Close()
		if c, err := place.Dial(t.Context()); err == nil {
			io.Copy(io.Discard, c)
		}
	}
}

func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			from, to := connect(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				p := make([]byte, 64<<10)
				for {
					if _, err := to.Read(p); err != nil {
						return
					}
				}
			}()
			p := make([]byte, size)
			for b.Loop() {
				from.Write(p)
			}
			from.Close()
			<-drained
		})
	}
}

func BenchmarkEcho(b *testing.B) {
	from, to := connect(b)
	go func() {
		p := make([]byte, 64)
		for {
			n, err := to.Read(p)
			if err != nil {
				return
			}
			to.Write(p[:n])
		}
	}()
	p := make([]byte, 64)
	for b.Loop() {
		from.Write(p)
		io.ReadFull(from, p)
	}
	from.Close()
}
