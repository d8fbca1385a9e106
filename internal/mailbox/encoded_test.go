package mailbox

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/window"
)

// A mailbox is not through while somebody decodes what it has taken: that may yet end it for a
// reason of its own.
func TestDecodedBeforeItIsFinished(t *testing.T) {
	last := map[string]func(w *watched){ // what comes last, while the event is decoded
		"Seal": (*watched).Seal,
		"Seal and End": func(w *watched) {
			w.Seal()
			w.End()
		},
		"a taker": func(w *watched) {
			w.push(3, 1)
			w.Seal()
			if e, _ := w.Taker(1).Next(); e.n != 3 {
				t.Errorf("another handler got %+v", e)
			}
		},
		"a taker that decodes": func(w *watched) {
			w.push(6, 1)
			w.Seal()
			if e, _ := w.Taker(1).Next(); e.value != 6 {
				t.Errorf("another handler got %+v", e)
			}
		},
	}
	for name, last := range last {
		for _, damaged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, damaged: %v", name, damaged), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { endsWhileDecoded(t, last, damaged) })
			})
		}
	}
}

func endsWhileDecoded(t *testing.T, last func(*watched), damaged bool) {
	w := watch(Options[event]{Handled: true, Buffer: 1, Limit: 1000}, true)
	w.damaged[2] = damaged
	w.opt.Events.Decode = func(o Owner, e *event, payload []byte) bool {
		if e.n == 2 {
			last(w)
			synctest.Wait()
			if w.finished > 0 || w.closing > 0 {
				t.Error("it was finished before its last event was decoded")
			}
		}
		return w.decode(o, e, payload)
	}
	w.push(2, 1)
	if e, open := w.taker.Next(); open == damaged || (e.value == 0) != damaged {
		t.Errorf("%+v came, open: %v", e, open)
	}
	w.leave()
	if w.finished != 1 || w.ending != 0 || w.closing != 1 || len(w.owed) > 0 {
		t.Errorf("finished %d, ending %d, closing %d, left %v", w.finished, w.ending, w.closing,
			w.owed)
	}
}

// teller is a source that is to be told of its own events alone.
type teller struct {
	t      *rapid.T
	pusher int
	mu     sync.Mutex
	owed   map[uint64]bool
}

func (s *teller) Took(items []window.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range items {
		if !s.owed[i.Slot] || i.Size != 1+int64(i.Slot%5) {
			s.t.Errorf("pusher %d is told of %+v, which is not owed to it", s.pusher, i)
		}
		delete(s.owed, i.Slot)
	}
}

// Several pushers of events that are not decoded yet, several handlers, an event that cannot be
// decoded, and an end at any moment: each source is told once of each of its events that was
// listed, and the mailbox is finished once, knowing of what cannot be decoded if it was taken.
func TestPropertySources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, sources)
	})
}

func sources(t *rapid.T) {
	const each, pushers = 40, 3
	opt := Options[event]{
		Handled: rapid.Bool().Draw(t, "handled"),
		Buffer:  rapid.IntRange(0, 3).Draw(t, "buffer"),
		Take:    rapid.SampledFrom([]int{0, 0, 5, each * pushers}).Draw(t, "take"),
		Limit:   1 << 20,
	}
	handlers := 1
	if opt.Handled {
		handlers = rapid.IntRange(1, 3).Draw(t, "handlers")
	}
	damaged := rapid.SampledFrom([]int{-1, 0, 7, 50, 119}).Draw(t, "damaged")
	stop := rapid.IntRange(0, 200).Draw(t, "end after")
	w := watch(opt, true)
	t.Cleanup(w.leave)
	var found, ended atomic.Bool
	w.opt.Events.Decode = func(_ Owner, e *event, payload []byte) bool {
		runtime.Gosched()
		if string(payload) != strconv.Itoa(e.n) {
			t.Errorf("event %d is decoded from %q", e.n, payload)
		}
		if e.n != damaged {
			return true
		}
		synctest.Wait() // until others have taken all that there is
		w.note(func() {
			if w.finished > 0 && !ended.Load() {
				t.Errorf("it was finished before event %d was decoded", e.n)
			}
		})
		found.Store(true)
		w.End()
		return false
	}
	var pushing, reading sync.WaitGroup
	var accepted, got atomic.Int64
	tellers := make([]*teller, pushers)
	for p := range pushers {
		s := &teller{t: t, pusher: p, owed: map[uint64]bool{}}
		tellers[p] = s
		pushing.Go(func() {
			for i := range each {
				if !w.pushTo(s, p*each+i) {
					return
				}
				accepted.Add(1)
			}
		})
	}
	for range handlers {
		taker := w.Taker(rapid.IntRange(1, 5).Draw(t, "at once"))
		reading.Go(func() {
			for read := func() (event, bool) {
				if opt.Handled {
					return taker.Next()
				}
				e, open := <-w.C()
				return e, open
			}; ; {
				if _, open := read(); !open {
					return
				}
				if got.Add(1) == int64(stop) {
					ended.Store(true)
					w.End()
				}
			}
		})
	}
	pushing.Wait()
	w.Seal()
	reading.Wait()
	w.tasks.Wait()
	if w.finished != 1 || w.closing != 1 || w.ending != 0 || w.Lag() != 0 {
		t.Fatalf("finished %d times, closing %d, ending %d; %d bytes lag", w.finished, w.closing,
			w.ending, w.Lag())
	}
	for _, s := range tellers {
		if len(s.owed) > 0 {
			t.Fatalf("pusher %d was not told of %v", s.pusher, s.owed)
		}
	}
	if got.Load()+int64(len(w.lost)) != accepted.Load() ||
		!found.Load() && !ended.Load() && len(w.lost) > 0 {
		t.Fatalf("%d came and %d were lost, of %d", got.Load(), len(w.lost), accepted.Load())
	}
}

// pushTo pushes an event that is not decoded yet; false: it is not accepted.
func (w *watched) pushTo(s *teller, n int) bool {
	item := window.Item{Size: 1 + int64(n%5), Slot: uint64(n)}
	s.mu.Lock()
	s.owed[item.Slot] = true
	s.mu.Unlock()
	result := w.PushEncoded(&event{n: n}, strconv.AppendInt(nil, int64(n), 10), s, item)
	if result != Listed {
		s.mu.Lock()
		delete(s.owed, item.Slot)
		s.mu.Unlock()
	}
	if result == NeedsValue {
		e := event{n: n, value: n}
		result = w.Push(&e, nil, &window.Charge{Account: w.account, Size: item.Size})
	}
	return result <= Listed
}
