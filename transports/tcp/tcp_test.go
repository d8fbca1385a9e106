package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/transporttest"
)

func TestMain(m *testing.M) { transporttest.Main(m) }

func TestTransport(t *testing.T) {
	transporttest.Run(t, tcp.New(freeAddress(t)))
}

// freeAddress returns a loopback address that nobody uses. Its port is below those that systems
// give out by themselves, so that nobody is given it while the test does not listen.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		l.Close()
		return address
	}
	t.Fatal("found no free port")
	return ""
}

// listen starts a Listener on a port that the system chooses; it is closed in the end.
func listen(t testing.TB) lahja.Listener {
	t.Helper()
	l, err := tcp.New("127.0.0.1:0").Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect makes a connection whose ends are closed in the end.
func connect(t testing.TB) (dialled, accepted lahja.Conn) {
	t.Helper()
	l := listen(t)
	dialled, err := tcp.New(l.Addr()).Dial(t.Context())
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

func TestAnyPort(t *testing.T) {
	l := listen(t)
	if strings.HasSuffix(l.Addr(), ":0") {
		t.Fatalf("Addr() = %q, want the port that was chosen", l.Addr())
	}
	c, err := tcp.New(l.Addr()).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestListenRefusesOpenAddresses(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := tcp.New(address).Listen(t.Context())
			if err == nil {
				l.Close()
				t.Fatal("Listen succeeded")
			}
			if !strings.Contains(err.Error(), "tcp.Insecure()") {
				t.Errorf("Listen: %v, want what to do about it", err)
			}
		})
	}
}

func TestListenInsecure(t *testing.T) {
	l, err := tcp.New("0.0.0.0:0", tcp.Insecure()).Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestListenByName(t *testing.T) {
	l, err := tcp.New("localhost:0").Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestEndedContext(t *testing.T) {
	l := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tcp.New(l.Addr()).Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, want context.Canceled", err)
	}
	if _, err := tcp.New("127.0.0.1:0").Listen(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Listen: %v, want context.Canceled", err)
	}
}

// Who dials where nobody listens is told so, with the address that was tried and the system's word.
func TestDialWhereNobodyListens(t *testing.T) {
	address := freeAddress(t)
	_, err := tcp.New(address).Dial(t.Context())
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("Dial: %v, want ECONNREFUSED", err)
	}
	want := "tcp: dial tcp " + address + ": nobody listens there: "
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Dial: %q, want %q and the cause", err, want)
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr.String() != address {
		t.Errorf("Dial: %v, want a *net.OpError of %s", err, address)
	}
}

func TestIdentity(t *testing.T) {
	l := listen(t)
	dialled, err := tcp.New(l.Addr()).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if got := dialled.Identity(); got.Transport != "tcp" || got.Address != l.Addr() {
		t.Errorf("Identity of the Listener = %+v, want tcp and %s", got, l.Addr())
	}
	host, _, err := net.SplitHostPort(accepted.Identity().Address)
	if host != "127.0.0.1" || err != nil {
		t.Errorf("Address of the dialler = %q, want 127.0.0.1 and a port",
			accepted.Identity().Address)
	}
}

func TestErrorsAfterClose(t *testing.T) {
	a, _ := connect(t)
	a.Close()
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v, want net.ErrClosed", err)
	}
	if _, err := a.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v, want net.ErrClosed", err)
	}
}

// A waiting Read is ended by a deadline inside; what it returns must not look like one.
func TestReadEndedByClose(t *testing.T) {
	a, b := connect(t)
	result := make(chan error)
	go func() {
		io.ReadFull(a, make([]byte, 1))
		_, err := a.Read(make([]byte, 1))
		result <- err
	}()
	if _, err := b.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v, want net.ErrClosed", err)
	}
}

// The first side to close keeps its socket, and lets go of it without being asked again: the other
// side's Write fails only then.
func TestFirstCloseKeepsSocket(t *testing.T) {
	a, b := connect(t)
	a.Close()
	for {
		if _, err := b.Write(make([]byte, 1024)); err != nil {
			break
		}
	}
	if !tcp.Released(a) {
		t.Error("the socket is still open")
	}
}

// The second has nothing to keep it for.
func TestSecondCloseReleasesSocket(t *testing.T) {
	a, b := connect(t)
	a.Close()
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("Read: %v, want io.EOF", err)
	}
	b.Close()
	if !tcp.Released(b) {
		t.Error("the socket is still open")
	}
}
