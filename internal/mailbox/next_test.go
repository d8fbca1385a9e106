package mailbox

import (
	"sync"
	"testing"
	"testing/synctest"
)

// What waits for a handler is discarded when the mailbox ends, also what counts as taken.
func TestEndDiscardsWhatIsHandled(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(Options[event]{Handled: true, Buffer: 2, Limit: 1000}, false)
			for n := range 4 {
				w.push(n, 1)
			}
			if ended {
				w.End()
			} else {
				w.Seal()
			}
			var got []int
			for e, open := w.taker.Next(); open; e, open = w.taker.Next() {
				got = append(got, e.n)
			}
			if kept := len(got); ended && (kept > 0 || len(w.lost) != 4) ||
				!ended && (kept != 4 || len(w.lost) > 0) {
				t.Errorf("ended: %v: got %v, discarded %v", ended, got, w.lost)
			}
		})
	}
}

// What nobody is to keep is not taken along with others, and what nobody reads is discarded.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(Options[event]{Handled: true, Buffer: 16, Limit: 1000}, false)
		w.taker = w.Taker(16)
		for n := range 12 {
			w.push(n, 1)
		}
		if e, _ := w.taker.Next(); e.n != 0 {
			t.Errorf("event %d came first", e.n)
		}
		w.End()
		if len(w.lost) != 5 || w.lost[0] != 7 {
			t.Errorf("%v were lost, where 7 to 11 are to be", w.lost)
		}
		w.leave()
	})
}

// Who waits takes an event at once, whatever the buffer: it costs nobody anything.
func TestWhoWaitsHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(Options[event]{Handled: true, Limit: 1000}, false)
		var handlers sync.WaitGroup
		for range 2 {
			handlers.Go(func() {
				if _, open := w.Taker(1).Next(); !open {
					t.Error("nothing came")
				}
			})
		}
		synctest.Wait()
		for n, want := range []Result{Taken, Taken, Listed} {
			if got := w.push(n, 1); got != want {
				t.Errorf("push %d returned %d, where %d is due", n, got, want)
			}
		}
		handlers.Wait()
		w.leave()
	})
}
