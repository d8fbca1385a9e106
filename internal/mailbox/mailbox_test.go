package mailbox

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/window"
)

// event is what the mailboxes of these tests carry.
type event struct {
	n      int
	value  int // n, once it is decoded
	missed uint64
}

// settled counts flights that nobody holds any more.
type settled struct {
	mu    sync.Mutex
	count int
	bytes int64
}

func (s *settled) Settle(f *window.Flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.bytes += f.Size
}

// watched is a Mailbox and all that it has told of itself.
type watched struct {
	*Mailbox[event]
	settled settled
	account *window.Account // that odd events are charged to; even ones hold a flight

	taker *Taker[event]
	tells bool // before its channel closes

	mu                          sync.Mutex
	stale                       map[int]bool
	damaged                     map[int]bool // cannot be decoded
	owed                        map[window.Item]bool
	lost                        []int
	flights                     int // that were made
	complete, finished, closing int
	ending                      int // calls of Ending that no call of Finished has followed
	running                     int // goroutines
	tasks                       sync.WaitGroup
}

func watch(opt Options[event], closing bool) *watched {
	w := &watched{
		stale: map[int]bool{}, damaged: map[int]bool{}, owed: map[window.Item]bool{},
		account: window.NewPool(1<<20, 0).Open(), tells: closing,
	}
	opt.Events = &Events[event]{
		Missed: func(e *event) *uint64 { return &e.missed },
		Stale:  func(e *event) bool { return w.stale[e.n] },
		Lost:   func(e *event) { w.note(func() { w.lost = append(w.lost, e.n) }) },
		Alone:  func(e *event) bool { return e.n%7 == 0 },
		Decode: w.decode,
	}
	opt.Owner = w
	w.Mailbox = New(opt)
	w.taker = w.Taker(1)
	return w
}

func (w *watched) Complete() { w.note(func() { w.complete++ }) }
func (w *watched) Ending()   { w.note(func() { w.ending++ }) }
func (w *watched) Finished() { w.note(func() { w.finished++; w.ending-- }) }

func (w *watched) Closing() func() {
	if !w.tells {
		return nil
	}
	return func() { w.note(func() { w.closing++ }) }
}

func (w *watched) Go(f func())    { w.start(f) }
func (w *watched) Defer(f func()) { w.start(f) }

// decode does what an Events.Decode has to.
func (w *watched) decode(o Owner, e *event, payload []byte) bool {
	if o != Owner(w) || e.value != 0 || string(payload) != strconv.Itoa(e.n) {
		panic(fmt.Sprintf("%+v is decoded from %q", *e, payload))
	}
	e.value = e.n
	if w.damaged[e.n] {
		w.End()
	}
	return !w.damaged[e.n]
}

// Took implements window.Source.
func (w *watched) Took(items []window.Item) {
	w.note(func() {
		for _, i := range items {
			if !w.owed[i] {
				panic(fmt.Sprintf("%+v is told of, which nobody waits for", i))
			}
			delete(w.owed, i)
		}
	})
}

func (w *watched) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *watched) start(f func()) {
	w.note(func() { w.running++ })
	w.tasks.Go(func() {
		f()
		w.note(func() { w.running-- })
	})
}

// receive waits for the next event, however it comes.
func (w *watched) receive() (e event, open bool) {
	if w.opt.Handled {
		return w.taker.Next()
	}
	e, open = <-w.C()
	return e, open
}

// leave ends the mailbox; what it has started then ends too, or the bubble reports it.
func (w *watched) leave() {
	w.End()
	for _, open := w.receive(); open; _, open = w.receive() {
	}
	w.tasks.Wait()
}

// push pushes as the package's user does: with a size, or a value, only when it is asked for.
func (w *watched) push(n int, size int64) Result {
	e := event{n: n, value: n}
	if encoded(n) {
		item := window.Item{Size: size, Slot: uint64(n)}
		w.note(func() { w.owed[item] = true })
		result := w.PushEncoded(&event{n: n}, strconv.AppendInt(nil, int64(n), 10), w, item)
		if result == Listed {
			return result
		}
		w.note(func() { delete(w.owed, item) })
		if result != NeedsValue {
			return result
		}
		f := w.flight(size)
		defer f.Drop()
		return w.Push(&e, f, &window.Charge{})
	}
	charge := window.Charge{Account: w.account}
	result := w.Push(&e, nil, &charge)
	if result != NeedsSize {
		return result
	}
	if charged(n) {
		charge.Size = size
		return w.Push(&e, nil, &charge)
	}
	f := w.flight(size)
	defer f.Drop()
	return w.Push(&e, f, &charge)
}

func (w *watched) flight(size int64) *window.Flight {
	w.note(func() { w.flights++ })
	return window.NewFlight(&w.settled, window.Item{Size: size})
}

func charged(n int) bool { return n%2 != 0 }

func encoded(n int) bool { return n%4 == 2 }

// What cannot be decoded, and what waits behind it, is discarded when its turn comes, and nothing
// arrives any more.
func TestUndecodable(t *testing.T) {
	for _, opt := range []Options[event]{{Handled: true, Buffer: 3}, {Handled: true}, {}} {
		for _, taking := range []int{0, 8} {
			opt.Limit, opt.Take = 1000, taking
			synctest.Test(t, func(t *testing.T) {
				w := watch(opt, true)
				w.taker = w.Taker(16)
				w.damaged[6] = true
				for n := range 8 {
					w.push(n, 1)
				}
				var got []int
				for e, open := w.receive(); open; e, open = w.receive() {
					got = append(got, e.value)
				}
				w.leave()
				slices.Sort(w.lost)
				if w.finished != 1 || w.closing != 1 || w.settled.count != w.flights ||
					w.account.Used() != 0 || len(w.owed) > 0 {
					t.Errorf("%+v: finished %d, closing %d, settled %d of %d, %d bytes and %v left",
						opt, w.finished, w.closing, w.settled.count, w.flights, w.account.Used(),
						w.owed)
				}
				if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) ||
					!slices.Equal(w.lost, []int{6, 7}) {
					t.Errorf("%+v: %v came and %v were lost, where 6 cannot be decoded", opt, got,
						w.lost)
				}
			})
		}
	}
}

// An event without a single byte is not one that was decoded.
func TestEmptyIsNotDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(Options[event]{Handled: true, Buffer: 1, Limit: 1000}, false)
		decoded := 0
		w.opt.Events.Decode = func(Owner, *event, []byte) bool {
			decoded++
			return true
		}
		w.PushEncoded(&event{}, nil, w, window.Item{Size: 1})
		w.receive()
		w.leave()
		if decoded != 1 {
			t.Errorf("Decode was called %d times", decoded)
		}
	})
}

func TestAbandon(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(Options[event]{Buffer: 2, Limit: 1000}, false)
			for n := range 5 {
				w.push(n, 1)
			}
			synctest.Wait()
			if ended {
				w.End()
				synctest.Wait()
			}
			w.Abandon()
			synctest.Wait()
			if e, open := <-w.C(); open || len(w.lost) != 5 {
				t.Errorf("%+v is there, open: %v; lost: %v", e, open, w.lost)
			}
			w.tasks.Wait()
		})
	}
}

// Take counts what arrives: an event that is withdrawn while it waits is delivered all the same,
// for another will not come in its place.
func TestTakeOfWithdrawn(t *testing.T) {
	w := watch(Options[event]{Take: 1, Limit: 10}, false)
	w.stale[7] = true
	if result := w.push(7, 1); result != Listed {
		t.Fatalf("Push returned %d", result)
	}
	if e, open := <-w.C(); !open || e.n != 7 {
		t.Errorf("got %+v, open: %v", e, open)
	}
	if _, open := <-w.C(); open {
		t.Error("the channel is open")
	}
	w.tasks.Wait()
}
