package core

import (
	"sync"
	"sync/atomic"
)

// tasks counts the goroutines that belong to something, so that its Close can wait for them. While
// one is inside a user's function it does not count: Close must not wait for that, but Done does.
type tasks struct {
	running atomic.Int64 // in this package's code

	mu        sync.Mutex    // guards what follows
	handlers  int           // that call functions of the user
	idle      chan struct{} // closed when running has become 0; nil: nobody waits
	done      chan struct{} // closed when handlers becomes 0; nil: not asked for
	finishing bool          // finish was called
	still     chan struct{} // closed when handlers becomes 0; nil: nobody waits
}

// start runs f in a goroutine.
func (t *tasks) start(f func()) {
	t.enter()
	go func() {
		defer t.leave()
		f()
	}()
}

// startHandler runs f, which calls functions of the user, in a goroutine.
func (t *tasks) startHandler(f func()) {
	t.expectHandler()
	t.startExpected(f)
}

// expectHandler counts a goroutine that startExpected is sure to start soon.
func (t *tasks) expectHandler() {
	t.enter()
	t.addHandlers(1)
}

func (t *tasks) startExpected(f func()) {
	go func() {
		defer t.leave()
		defer t.addHandlers(-1)
		f()
	}()
}

// leave and enter surround a call of a user's function by a handler. There is one for each event,
// so that they lock only when it may be what somebody waits for.
func (t *tasks) leave() {
	if t.running.Add(-1) == 0 {
		t.wake()
	}
}

func (t *tasks) enter() { t.running.Add(1) }

// wake ends wait if no task is in this package's code.
func (t *tasks) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.idle != nil && t.running.Load() == 0 {
		close(t.idle)
		t.idle = nil
	}
}

func (t *tasks) addHandlers(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handlers += n
	t.finishLocked()
}

func (t *tasks) finishLocked() {
	if t.handlers > 0 {
		return
	}
	if t.done != nil {
		close(t.done)
		t.done = nil
	}
	if t.still != nil {
		close(t.still)
		t.still = nil
	}
}

// wait waits until no task is in this package's code.
func (t *tasks) wait() {
	t.mu.Lock()
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	t.wake() // who leaves from now on sees idle; who has left before is not counted
	<-idle
}

// quiet returns a channel that is closed when no handler is left.
func (t *tasks) quiet() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.still == nil {
		t.still = make(chan struct{})
	}
	still := t.still
	t.finishLocked()
	return still
}

// finish closes done when no handler is left. It is called when no more will be started; calls
// after the first do nothing.
func (t *tasks) finish(done chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.finishing {
		t.finishing, t.done = true, done
		t.finishLocked()
	}
}
