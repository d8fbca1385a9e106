package core

import "sync"

// tasks counts the goroutines that belong to something, so that its Close can wait for them. While
// one is inside a user's function it does not count: Close must not wait for that, but Done does.
type tasks struct {
	mu        sync.Mutex    // guards what follows
	running   int           // in this package's code
	handlers  int           // that call functions of the user
	idle      chan struct{} // closed when running becomes 0; nil: nobody waits
	done      chan struct{} // closed when handlers becomes 0; nil: not asked for
	finishing bool          // finish was called
	still     chan struct{} // closed when handlers becomes 0; nil: nobody waits
}

// start runs f in a goroutine.
func (t *tasks) start(f func()) {
	t.add(1, 0)
	go func() {
		defer t.add(-1, 0)
		f()
	}()
}

// startHandler runs f, which calls functions of the user, in a goroutine.
func (t *tasks) startHandler(f func()) {
	t.expectHandler()
	t.startExpected(f)
}

// expectHandler counts a goroutine that startExpected is sure to start soon.
func (t *tasks) expectHandler() { t.add(1, 1) }

func (t *tasks) startExpected(f func()) {
	go func() {
		defer t.add(-1, -1)
		f()
	}()
}

// leave and enter surround a call of a user's function by a handler.
func (t *tasks) leave() { t.add(-1, 0) }
func (t *tasks) enter() { t.add(1, 0) }

func (t *tasks) add(running, handlers int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running += running
	t.handlers += handlers
	if t.running == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
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
	if t.running == 0 {
		t.mu.Unlock()
		return
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
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
