// Package lahjatest is for the tests of programs that use lahja.
//
// # A bus for a test
//
// [NewBus] makes a bus that ends with the test, and [Setup.NewBus] one whose endpoints attach over
// a transport. A test that loops over [Transports] runs over each of them:
//
//	for _, setup := range lahjatest.Transports() {
//		t.Run(setup.Name, func(t *testing.T) {
//			bus := setup.NewBus(t)
//			ui := bus.Endpoint("ui")
//			…
//		})
//	}
//
// The bus is strict: a test fails if a handler has not returned at its end, or if the program under
// test has attached an endpoint and not closed it.
//
// # What arrives, and what is answered
//
// [Record] records the events of a type, and [Expect] checks them: exactly these, in this order,
// within this time. [Respond] answers requests by a script. When they fail, they show what arrived
// instead.
//
// What says that it ends the test calls [testing.TB.FailNow], and so has to be called in the test's
// own goroutine. What fails meanwhile, such as a role or a request that Respond does not expect, is
// reported at once, and the test goes on.
//
// # Roles
//
// A [Role] is a part of a test with an endpoint of its own. [Bus.Start] runs it in a goroutine or
// in a process, as the [Setup] says: with those of [Transports] each role is a goroutine, with
// those of [Processes] a process, and with those of [Mixed] every other one is a process. The
// process is the test's binary, run again; so the package needs a TestMain that calls [Main].
//
// # Time
//
// With the setups "in-process" and "memory" everything here works inside a [testing/synctest]
// bubble, where Expect is exact about what does not arrive, and takes no time. The other setups end
// the test there: a bubble does not know that something may still come from a pipe or a socket, and
// would wait for good.
package lahjatest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// patience is how long what ends may take to do so. No test that passes waits for it to be over.
const patience = 5 * time.Second

// Setup says where a test's endpoints live. [Transports], [Processes] and [Mixed] return them.
type Setup struct {
	Name   string // for the name of a subtest
	listen func(testing.TB) (lahja.Listener, place, error)
	system bool                   // what arrives comes from the system, not from a goroutine
	apart  func(started int) bool // whether a role is a process, by how many were started before it
}

// place is where an endpoint connects.
type place struct {
	transport lahja.Transport
	address   string // of the place for another process: the transport, a space, the address
}

// transports are the setups without processes. The one that does not listen has no transport.
var transports = []Setup{
	{Name: "in-process"},
	{Name: "memory", listen: func(tb testing.TB) (lahja.Listener, place, error) {
		return listenAt(tb, memory.New(), "")
	}},
	{Name: "pipe", system: true, listen: func(tb testing.TB) (lahja.Listener, place, error) {
		return listenAt(tb, pipe.Loopback(), "pipe")
	}},
	{Name: "unix", system: true, listen: func(tb testing.TB) (lahja.Listener, place, error) {
		// The path of a socket must be short, which that of TempDir is not.
		dir, err := os.MkdirTemp("", "lahja")
		if err != nil {
			return nil, place{}, err
		}
		tb.Cleanup(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "bus")
		return listenAt(tb, unix.New(path), "unix "+path)
	}},
	{Name: "tcp", system: true, listen: func(tb testing.TB) (lahja.Listener, place, error) {
		l, _, err := listenAt(tb, tcp.New("127.0.0.1:0"), "")
		if err != nil {
			return nil, place{}, err
		}
		return l, place{tcp.New(l.Addr()), "tcp " + l.Addr()}, nil
	}},
}

func listenAt(tb testing.TB, t lahja.Transport, address string) (lahja.Listener, place, error) {
	l, err := t.Listen(tb.Context())
	return l, place{t, address}, err
}

// Transports returns the setups with everything in one process: "in-process", without a transport,
// then "memory", "pipe", "unix" and "tcp". Each role is a goroutine.
func Transports() []Setup { return slices.Clone(transports) }

// Processes returns the setups where each role is a process: "pipe processes", "unix processes" and
// "tcp processes". What [Bus.Endpoint] attaches is in the test's process, over the same transport.
func Processes() []Setup {
	return spread("processes", func(int) bool { return true })
}

// Mixed returns the setups where the first role that is started is a process, the second a
// goroutine, and so on in turn: "pipe mixed", "unix mixed" and "tcp mixed".
func Mixed() []Setup {
	return spread("mixed", func(started int) bool { return started%2 == 0 })
}

// spread returns the setups of the transports that lead to another process.
func spread(how string, apart func(int) bool) []Setup {
	setups := slices.Clone(transports[2:])
	for i := range setups {
		setups[i].Name += " " + how
		setups[i].apart = apart
	}
	return setups
}

// Bus is a bus that ends with its test. All methods may be called concurrently, but Endpoint and
// Start, which may end the test, only in its goroutine.
type Bus struct {
	*lahja.Bus
	tb    testing.TB
	setup Setup
	place place
	late  time.Duration // how long what has to end may take: patience, but in tests of this package
	ctx   context.Context
	end   context.CancelCauseFunc

	mu        sync.Mutex // guards what follows
	endpoints []*lahja.Endpoint
	actors    []*Actor
}

// NewBus returns a bus that ends with the test, with endpoints that attach in-process. See
// [Setup.NewBus].
func NewBus(tb testing.TB, opts ...lahja.BusOption) *Bus {
	tb.Helper()
	return transports[0].NewBus(tb, opts...)
}

// NewBus returns a bus that ends with the test, together with the endpoints and roles made with it.
// The test fails if one of their handlers still runs 5 s later, or if another endpoint is still
// attached after 5 s; a bus that the test itself has closed is not checked. A test of a transport
// that the system does not have is skipped.
func (s Setup) NewBus(tb testing.TB, opts ...lahja.BusOption) *Bus {
	tb.Helper()
	if s.system && inBubble() {
		tb.Fatalf("lahjatest: the setup %q does not work in a bubble of testing/synctest, which "+
			"waits for goroutines only: take \"in-process\" or \"memory\" there", s.Name)
	}
	b := &Bus{Bus: lahja.NewBus(opts...), tb: tb, setup: s, late: patience}
	b.ctx, b.end = context.WithCancelCause(tb.Context())
	stopServing := func() {}
	if s.listen != nil {
		stopServing = b.serve()
	}
	tb.Cleanup(func() {
		tb.Helper()
		b.end(nil)
		b.endRoles()
		b.endEndpoints()
		b.checkNobodyLeft()
		b.Bus.Close()
		stopServing()
	})
	return b
}

// inBubble reports whether the caller is in a bubble of [testing/synctest]. Only the first line of
// its stack says so.
func inBubble() bool {
	line := make([]byte, 128)
	line = line[:runtime.Stack(line, false)]
	line, _, _ = bytes.Cut(line, []byte("\n"))
	return bytes.Contains(line, []byte("synctest bubble"))
}

// serve listens and serves until the function that it returns is called.
func (b *Bus) serve() (stop func()) {
	b.tb.Helper()
	l, place, err := b.setup.listen(b.tb)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		b.Bus.Close()
		b.tb.Skip(err)
	case err != nil:
		b.Bus.Close()
		b.tb.Fatalf("lahjatest: %v", err)
	}
	b.place = place
	// Not the test's context: that ends before what is left can be looked at.
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := b.ServeListener(ctx, l); err != nil {
			b.tb.Errorf("lahjatest: %v", err)
		}
	})
	return func() {
		cancel()
		serving.Wait()
	}
}

// Context returns a context that ends with the test, or as soon as a role has failed: then the
// error of the role is its [context.Cause].
func (b *Bus) Context() context.Context { return b.ctx }

// Endpoint attaches an endpoint as the setup says, and ends the test if that fails. It is closed
// with the test.
func (b *Bus) Endpoint(name string) *lahja.Endpoint {
	b.tb.Helper()
	ep, err := b.Connect(b.ctx, name)
	if err != nil {
		b.tb.Fatalf("lahjatest: attaching the endpoint %q: %v", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endpoints = append(b.endpoints, ep)
	return ep
}

// Connect attaches an endpoint as the setup says, and fails as [lahja.Connect] does. It is for
// programs that attach endpoints themselves; they have to close them.
func (b *Bus) Connect(
	ctx context.Context, name string, opts ...lahja.EndpointOption,
) (*lahja.Endpoint, error) {
	if b.place.transport == nil {
		return b.Bus.Endpoint(name, opts...)
	}
	return lahja.Connect(ctx, name, b.place.transport, opts...)
}

// endEndpoints closes what Endpoint has attached.
func (b *Bus) endEndpoints() {
	b.tb.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ep := range slices.Backward(b.endpoints) {
		ep.Close()
	}
	late := time.NewTimer(b.late)
	defer late.Stop()
	for _, ep := range b.endpoints {
		select {
		case <-ep.Done():
		case <-late.C:
			b.tb.Errorf("lahjatest: a handler of the endpoint %q has not returned %v after it was "+
				"closed; let it end with its context", ep.Name(), b.late)
			return
		}
	}
}

// onlooker is the name of the endpoint that looks who else is left.
const onlooker = "lahjatest, who looks who is left" // nobody else has such a name

// checkNobodyLeft fails the test if endpoints are attached. If it has failed already they may be a
// consequence: the bus keeps the place of a process that has died, until it cannot come back.
func (b *Bus) checkNobodyLeft() {
	b.tb.Helper()
	if b.tb.Failed() {
		return
	}
	self, err := b.Bus.Endpoint(onlooker)
	if err != nil {
		return // the test has closed the bus
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.late)
	defer cancel()
	var left []string
	alone := func(peers lahja.Peers) bool {
		left = left[:0]
		for _, p := range peers[1:] {
			left = append(left, p.Name)
		}
		return len(left) == 0
	}
	if err := self.WaitUntil(ctx, alone); err != nil && len(left) > 0 {
		b.tb.Errorf("lahjatest: the test has ended, and these endpoints are still attached: %q; "+
			"close what the test or its program has connected", left)
	}
}
