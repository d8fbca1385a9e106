package transporttest

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja"
)

// law is one rule of the contract, with a check that can fail.
type law struct {
	name  string
	check func(*trial)
}

// judge runs one law and returns how the transport broke it, or "" if it kept it. It comes back
// even from a law that is stuck: when the limit is over it closes everything that the law opened,
// and when even that does not help it leaves the law behind.
func judge(l law, tr *trial) string {
	done := make(chan struct{})
	go func() {
		defer close(done) // also when the law has called fatalf
		l.check(tr)
	}()
	select {
	case <-done:
	case <-time.After(tr.limit):
		tr.failf("not done after %v, while %s", tr.limit, tr.current())
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		tr.closeAll()
		<-done
	}()
	select {
	case <-over:
	case <-time.After(tr.patience()):
		tr.failf("done, but Close has not returned after %v", tr.patience())
	}
	return tr.verdict()
}

// subject is who is on trial: a transport, or what makes connections.
type subject struct {
	transport lahja.Transport
	connect   func() (a, b lahja.Conn, err error)
}

// trial is one law's dealings with its subject. It closes in the end what the law opened.
type trial struct {
	subject
	seed     uint64
	limit    time.Duration
	listener lahja.Listener // of pair, which makes it when it is first needed

	mu      sync.Mutex
	failure string      // the first; what follows it is most often a consequence
	doing   string      // what the law does or waits for
	opened  []io.Closer // to be closed in the end
	over    bool        // what is opened from now on is closed at once
}

func newTrial(s subject, seed uint64, limit time.Duration) *trial {
	return &trial{subject: s, seed: seed, limit: limit}
}

// patience is how long something may take that has nothing left to wait for.
func (tr *trial) patience() time.Duration {
	return tr.limit / 6
}

// failf records that the law is broken. The law goes on.
func (tr *trial) failf(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.failure == "" {
		tr.failure = fmt.Sprintf(format, args...)
	}
}

// fatalf records that the law is broken and ends the goroutine that checks it.
func (tr *trial) fatalf(format string, args ...any) {
	tr.failf(format, args...)
	runtime.Goexit()
}

func (tr *trial) verdict() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.failure
}

// step says what the law does next, for the report in case it never comes back from it.
func (tr *trial) step(doing string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.doing = doing
}

func (tr *trial) current() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.doing
}

// own has c closed when the law ends.
func (tr *trial) own(c io.Closer) {
	tr.mu.Lock()
	over := tr.over
	if !over {
		tr.opened = append(tr.opened, c)
	}
	tr.mu.Unlock()
	if over {
		c.Close()
	}
}

// closeAll closes everything at once, since one Close may be what is stuck.
func (tr *trial) closeAll() {
	tr.mu.Lock()
	opened := tr.opened
	tr.opened, tr.over = nil, true
	tr.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range opened {
		closing.Go(func() { c.Close() })
	}
	closing.Wait()
}

// all runs the functions concurrently and waits for all of them. If one fails the law is broken;
// then everything is closed, because the others may wait for the one that failed.
func (tr *trial) all(doing string, functions ...func() error) {
	tr.step(doing)
	results := make(chan error, len(functions))
	for _, f := range functions {
		go func() { results <- f() }()
	}
	failed := false
	for range functions {
		if err := <-results; err != nil && !failed {
			failed = true
			tr.failf("while %s: %v", doing, err)
			go tr.closeAll()
		}
	}
	if failed {
		runtime.Goexit()
	}
}

// listen starts the transport's Listener.
func (tr *trial) listen() lahja.Listener {
	tr.step("waiting for Listen")
	l, err := tr.transport.Listen(context.Background())
	if err != nil {
		tr.fatalf("Listen failed: %v", err)
	}
	tr.own(l)
	return l
}

// dial is Dial; the connection is closed in the end.
func (tr *trial) dial(ctx context.Context) (lahja.Conn, error) {
	c, err := tr.transport.Dial(ctx)
	if err != nil {
		return nil, finding("Dial failed: %w", err)
	}
	tr.own(c)
	return c, nil
}

// accept is Accept; the connection is closed in the end.
func (tr *trial) accept(l lahja.Listener) (lahja.Conn, error) {
	c, err := l.Accept()
	if err != nil {
		return nil, finding("Accept failed: %w", err)
	}
	tr.own(c)
	return c, nil
}

// pair makes a connection.
func (tr *trial) pair() (a, b lahja.Conn) {
	if tr.connect == nil {
		if tr.listener == nil {
			tr.listener = tr.listen()
		}
		return tr.through(tr.listener)
	}
	tr.step("making a connection")
	a, b, err := tr.connect()
	if err != nil {
		tr.fatalf("no connection could be made: %v", err)
	}
	tr.own(a)
	tr.own(b)
	return a, b
}

// through makes a connection by way of l.
func (tr *trial) through(l lahja.Listener) (dialled, accepted lahja.Conn) {
	tr.all("waiting for Dial and Accept", func() (err error) {
		dialled, err = tr.dial(context.Background())
		return err
	}, func() (err error) {
		accepted, err = tr.accept(l)
		return err
	})
	return dialled, accepted
}

// closeNow closes c as part of the law.
func (tr *trial) closeNow(c io.Closer) {
	tr.step("waiting for Close")
	if err := c.Close(); err != nil {
		tr.fatalf("Close failed: %v", err)
	}
}

// yield lets other goroutines run until, most likely, they all wait for something.
func yield() {
	for range 1000 {
		runtime.Gosched()
	}
}

// untilStill waits until the count no longer changes, most likely because the one who counts is
// blocked. That it may be wrong weakens the law that needs it and never breaks a right transport.
func untilStill(count *atomic.Int64) {
	for before := int64(-1); before != count.Load(); yield() {
		before = count.Load()
	}
}
