package lahjatest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

// mute is the variable of a process that never plays its role.
const mute = "LAHJATEST_MUTE"

func TestMain(m *testing.M) {
	if os.Getenv(mute) != "" {
		<-time.After(time.Minute)
		os.Exit(0)
	}
	lahjatest.Main(m, map[string]lahjatest.Role{
		"doubler": doubler,
		"once":    once,
		"pid":     pid,
		"fails":   fails,
		"panics":  func(context.Context, *lahja.Endpoint) error { panic("on the floor") },
		"stays":   stays,
		"prints":  prints,
		"held":    func(context.Context, *lahja.Endpoint) error { <-held; return nil },
	})
}

// The events of these tests.
type (
	number struct{ N int }
	double struct{ N int }
	who    struct{}
	self   struct{ PID int }
	order  struct {
		Item  string
		Count int
		Tags  []string
	}
)

func fails(context.Context, *lahja.Endpoint) error { return errors.New("no wares today") }

// doubler answers until it is told to end.
func doubler(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep,
		func(_ context.Context, ev lahja.Event[number]) (double, error) {
			return double{2 * ev.Value.N}, nil
		})
	if err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// once broadcasts as soon as somebody listens, and returns.
func once(ctx context.Context, ep *lahja.Endpoint) error {
	if err := ep.WaitUntil(ctx, lahja.SubscribedByAny[number]); err != nil {
		return err
	}
	return lahja.Broadcast(ctx, ep, number{7})
}

// pid tells in which process it is.
func pid(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(context.Context, lahja.Event[who]) (self, error) {
		return self{os.Getpid()}, nil
	})
	if err != nil {
		return err
	}
	<-ep.Done()
	return ep.Err()
}

// stays does not care for ctx, until its process is killed.
func stays(_ context.Context, ep *lahja.Endpoint) error {
	lahja.Stream[number](context.Background(), ep)
	select {}
}

// held is what the role of that name waits for.
var held chan struct{}

func prints(_ context.Context, ep *lahja.Endpoint) error {
	fmt.Println("this is", ep.Name())
	return nil
}

// fake is a test that is looked at from outside.
type fake struct {
	testing.TB // for the methods that are not called
	ctx        context.Context
	cancel     context.CancelFunc

	mu       sync.Mutex // guards what follows
	failures []string
	logged   []string
	skipped  bool
	cleanups []func()
}

// within runs f as a test, to the end of its cleanups.
func within(f func(testing.TB)) *fake {
	t := &fake{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	apart(func() { f(t) })
	t.cancel()
	for _, cleanup := range slices.Backward(t.cleanups) {
		apart(cleanup)
	}
	return t
}

// apart runs f where FailNow ends it alone.
func apart(f func()) {
	var running sync.WaitGroup
	running.Go(f)
	running.Wait()
}

func (t *fake) Helper()                  {}
func (t *fake) Context() context.Context { return t.ctx }
func (t *fake) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }

func (t *fake) Error(args ...any)                 { t.fail(fmt.Sprint(args...)) }
func (t *fake) Errorf(format string, args ...any) { t.fail(fmt.Sprintf(format, args...)) }

func (t *fake) Fatalf(format string, args ...any) {
	t.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (t *fake) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures) > 0
}

func (t *fake) FailNow() { runtime.Goexit() }

func (t *fake) Skip(...any) {
	t.mu.Lock()
	t.skipped = true
	t.mu.Unlock()
	runtime.Goexit()
}

func (t *fake) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logged = append(t.logged, fmt.Sprintf(format, args...))
}

func (t *fake) fail(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures = append(t.failures, text)
}

// wantFailure checks that it failed once, with a message that has these parts.
func (t *fake) wantFailure(tb testing.TB, parts ...string) {
	tb.Helper()
	if len(t.failures) != 1 {
		tb.Fatalf("it failed %d times: %q; want once, with %q", len(t.failures), t.failures, parts)
	}
	for _, part := range parts {
		if !strings.Contains(t.failures[0], part) {
			tb.Errorf("it failed with\n%s\nwhich does not have %q", t.failures[0], part)
		}
	}
}

// wantNoFailure checks that it passed.
func (t *fake) wantNoFailure(tb testing.TB) {
	tb.Helper()
	if len(t.failures) > 0 {
		tb.Fatalf("it failed: %q", t.failures)
	}
}

// everywhere are all setups that the system has.
func everywhere() []lahjatest.Setup {
	return slices.Concat(lahjatest.Transports(), lahjatest.Processes(), lahjatest.Mixed())
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%v", err)
	}
}
