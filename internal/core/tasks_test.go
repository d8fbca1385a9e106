package core

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Who waits for tasks is woken when the last one leaves, however many come and go meanwhile, and
// not before.
func TestTasksAreWaitedFor(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) { // which ends if nobody is woken
			var tasks tasks
			var last atomic.Bool
			tasks.enter()
			for range 3 {
				tasks.start(func() {
					for range 20 {
						tasks.leave()
						tasks.enter()
					}
				})
			}
			go func() {
				last.Store(true)
				tasks.leave()
			}()
			for range 2 {
				go func() {
					if tasks.wait(); !last.Load() {
						t.Error("one has not left yet")
					}
				}()
			}
			tasks.wait()
			if !last.Load() {
				t.Error("one has not left yet")
			}
		})
	}
}
