package mailbox

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

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

// modelled is an event of the model.
type modelled struct {
	event
	size   int64
	flight bool // it has one
}

// model is a mailbox without goroutines: what is in the channel, or where it is handled what counts
// as taken; what the pump has in hand; and what is listed.
type model struct {
	w       *watched
	opt     Options[event]
	closing bool

	ch     []modelled
	hand   []modelled // at most one
	list   []modelled
	next   int
	pushed int
	flown  int // flights that were made
	sealed bool
	ended  bool
	taken  bool // Take was reached
	lost   []int
}

// Delivery, Order and No silent loss, for one subscription: what was accepted arrives once each in
// order, or was dropped and is counted; what is listed is counted and let go of; the channel
// closes when it has to, and no goroutine is left.
func TestPropertyModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := &model{closing: rapid.Bool().Draw(t, "closing")}
			m.opt = Options[event]{
				Handled: rapid.Bool().Draw(t, "handled"),
				Buffer:  rapid.IntRange(0, 3).Draw(t, "buffer"),
				Take:    rapid.SampledFrom([]int{0, 0, 1, 3, 6}).Draw(t, "take"),
				Limit:   rapid.Int64Range(5, 60).Draw(t, "limit"),
			}
			m.opt.DropOldest = m.opt.Buffer > 0 && rapid.Bool().Draw(t, "drop oldest")
			m.w = watch(m.opt, m.closing)
			t.Cleanup(m.w.leave)
			t.Repeat(map[string]func(*rapid.T){
				"push":      m.push,
				"push more": m.push,
				"read":      m.read,
				"withdraw":  m.withdraw,
				"end":       m.end,
				"":          m.check,
			})
			m.w.End()
		})
	})
}

func (m *model) push(t *rapid.T) {
	e := modelled{event{n: m.next, value: m.next}, rapid.Int64Range(1, 20).Draw(t, "size"), false}
	m.next++
	want := m.expect(&e)
	if got := m.w.push(e.n, e.size); got != want {
		t.Fatalf("Push returned %d, where %d is due", got, want)
	}
	synctest.Wait()
}

// expect returns what pushing e must return, and does it.
func (m *model) expect(e *modelled) Result {
	result := Taken
	if m.sealed {
		return Refused
	}
	pumping := !m.opt.Handled && len(m.hand)+len(m.list) > 0
	e.flight = encoded(e.n) && (m.opt.DropOldest || !m.opt.Handled && !pumping)
	m.flown += count(e.flight)
	switch {
	case m.opt.DropOldest:
		if len(m.ch) == m.opt.Buffer {
			e.missed = m.ch[0].missed + 1
			m.lost = append(m.lost, m.ch[0].n)
			m.ch = m.ch[1:]
			m.pushed--
		}
		m.ch = append(m.ch, *e)
	case len(m.ch) < m.opt.Buffer && len(m.hand) == 0 && len(m.list) == 0:
		m.ch = append(m.ch, *e)
	case m.listed() > 0 && m.listed()+e.size > m.opt.Limit:
		m.flown += count(e.n%4 == 0)
		return Overflow
	default:
		e.flight = e.flight || e.n%4 == 0
		m.flown += count(e.n%4 == 0)
		m.list = append(m.list, *e)
		m.advance()
		result = Listed
	}
	m.pushed++
	if m.pushed == m.opt.Take {
		m.taken, m.sealed = true, true
	}
	return result
}

// advance is what the pump does until it can go no further, or what counts as taken when another
// was.
func (m *model) advance() {
	for m.opt.Handled && len(m.list) > 0 && len(m.ch) < m.opt.Buffer {
		m.ch, m.list = append(m.ch, m.list[0]), m.list[1:]
	}
	for !m.opt.Handled {
		if len(m.hand) == 0 {
			if len(m.list) == 0 {
				return
			}
			e := m.list[0]
			m.list = m.list[1:]
			if m.w.stale[e.n] && m.opt.Take == 0 {
				m.lost = append(m.lost, e.n)
				continue
			}
			m.hand = []modelled{e}
		}
		if len(m.ch) == m.opt.Buffer {
			return
		}
		m.ch = append(m.ch, m.hand[0])
		m.hand = nil
	}
}

func (m *model) listed() (sum int64) {
	for _, e := range append(slices.Clone(m.hand), m.list...) {
		sum += e.size
	}
	return sum
}

// through reports whether the channel is closed behind what it holds, or handlers have all.
func (m *model) through() bool {
	return m.sealed && len(m.hand) == 0 && len(m.list) == 0 && (!m.opt.Handled || len(m.ch) == 0)
}

func (m *model) read(t *rapid.T) {
	var want []modelled
	switch {
	case len(m.ch) > 0:
		want, m.ch = m.ch[:1:1], m.ch[1:]
	case len(m.hand) > 0:
		want, m.hand = m.hand, nil
	case m.opt.Handled && len(m.list) > 0:
		want, m.list = m.list[:1:1], m.list[1:]
	}
	m.advance()
	if c := m.w.C(); c != nil {
		m.arrive(t, c, want)
		return
	}
	if len(want) == 0 && !m.through() {
		return // Next would wait
	}
	got := make(chan event, 1)
	go func() {
		if e, open := m.w.taker.Next(); open {
			got <- e
		} else {
			close(got)
		}
	}()
	synctest.Wait()
	m.arrive(t, got, want)
}

// arrive checks that want arrives now by c, or nothing.
func (m *model) arrive(t *rapid.T, c <-chan event, want []modelled) {
	select {
	case e, open := <-c:
		switch {
		case !open && len(want) == 0 && m.through():
		case !open || len(want) == 0 || e != want[0].event:
			t.Fatalf("read %+v, open: %v, where %+v is due", e, open, want)
		}
	default:
		if len(want) > 0 || m.through() {
			t.Fatalf("read nothing, where %+v is due, or the end: %v", want, m.through())
		}
	}
	synctest.Wait()
}

// withdraw makes a listed event unwanted.
func (m *model) withdraw(t *rapid.T) {
	if len(m.list) == 0 {
		t.Skip("nothing is listed")
	}
	m.w.stale[rapid.SampledFrom(m.list).Draw(t, "event").n] = true
}

func (m *model) end(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "end") > 0 {
		t.Skip("rarely")
	}
	if rapid.Bool().Draw(t, "seal") {
		m.sealed = true
		m.w.Seal()
		synctest.Wait()
		return
	}
	m.sealed, m.ended = true, true
	if m.opt.Handled {
		m.hand, m.ch = m.ch, nil
	}
	for _, e := range append(m.hand, m.list...) {
		m.lost = append(m.lost, e.n)
	}
	m.hand, m.list = nil, nil
	m.w.End()
	synctest.Wait()
}

func (m *model) check(t *rapid.T) {
	synctest.Wait()
	w := m.w
	if got, want := w.Lag(), m.listed(); got != want {
		t.Fatalf("%d bytes lag, where %d are listed", got, want)
	}
	waiting := slices.Concat(m.hand, m.list)
	flying, owed, bytes := 0, 0, int64(0)
	for _, e := range waiting {
		switch {
		case charged(e.n):
			bytes += e.size
		case e.flight:
			flying++
		default:
			owed++
		}
	}
	if len(w.owed) != owed {
		t.Fatalf("%v are owed, where %d are", w.owed, owed)
	}
	if got, want := w.settled.count, m.flown-flying; got != want {
		t.Fatalf("%d flights are settled, where %d are due", got, want)
	}
	if got := w.account.Used(); got != bytes {
		t.Fatalf("%d bytes are charged, where %d wait", got, bytes)
	}
	if !slices.Equal(w.lost, m.lost) {
		t.Fatalf("%v were lost, where %v are due", w.lost, m.lost)
	}
	if got, want := w.running, min(1, len(waiting)); got != want && !m.opt.Handled || got > want {
		t.Fatalf("%d goroutines run, where %d are due", got, want)
	}
	if w.ending != 0 {
		t.Fatalf("Ending was called %d times more than Finished", w.ending)
	}
	over := count(m.through())
	if w.complete != count(m.taken) || w.finished != over || w.closing != count(m.closing)*over {
		t.Fatalf("complete %d times, finished %d, closing %d; through: %v", w.complete, w.finished,
			w.closing, m.through())
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The same with several who push at the same time, a reader, and an end at any moment: each
// pusher's events arrive in order and once, without a gap up to the end.
func TestPropertyConcurrent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			const each = 30
			opt := Options[event]{
				Handled: rapid.Bool().Draw(t, "handled"),
				Buffer:  rapid.IntRange(0, 3).Draw(t, "buffer"),
				Take:    rapid.SampledFrom([]int{0, 0, 5, 40}).Draw(t, "take"),
				Limit:   1 << 20,
			}
			pushers := rapid.IntRange(1, 4).Draw(t, "pushers")
			stop := rapid.IntRange(0, 150).Draw(t, "end after")
			w := watch(opt, rapid.Bool().Draw(t, "closing"))
			t.Cleanup(w.leave)
			w.taker = w.Taker(rapid.IntRange(1, 5).Draw(t, "at once"))
			accepted := make([]int, pushers) // events of each, in a row from the first
			var pushing sync.WaitGroup
			for p := range pushers {
				pushing.Go(func() {
					for i := range each {
						if w.push(p*each+i, 1) > Listed {
							return
						}
						accepted[p]++
					}
				})
			}
			got := make([]int, pushers)
			for read := 0; ; read++ {
				if read == stop {
					go w.End()
				}
				if stop > pushers*each && read == pushers*each {
					w.Seal()
				}
				e, open := w.receive()
				if !open {
					break
				}
				p, i := e.n/each, e.n%each
				if got[p] != i {
					t.Fatalf("event %d of pusher %d came, where %d is due", i, p, got[p])
				}
				got[p]++
			}
			w.End()
			pushing.Wait()
			w.tasks.Wait()
			w.checkEnd(t, opt, got, accepted, stop > pushers*each)
		})
	})
}

// checkEnd checks that what was accepted and did not arrive was reported as lost.
func (w *watched) checkEnd(t *rapid.T, opt Options[event], got, accepted []int, whole bool) {
	gotAll, acceptedAll := 0, 0
	for p := range got {
		gotAll += got[p]
		acceptedAll += accepted[p]
	}
	if gotAll+len(w.lost) != acceptedAll || opt.Take > 0 && acceptedAll > opt.Take {
		t.Fatalf("%v came and %d were lost, of %v", got, len(w.lost), accepted)
	}
	if opt.Take == 0 && whole && len(w.lost) > 0 {
		t.Fatalf("%d were lost without an end", len(w.lost))
	}
	if w.finished != 1 || w.ending != 0 || w.Lag() != 0 {
		t.Fatalf("finished %d times, Ending was called %d times more; %d bytes lag", w.finished,
			w.ending, w.Lag())
	}
}

// No silent loss: with DropOldest, what arrives and what Missed counts add up to all that was
// pushed, however they meet.
func TestPropertyMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			const each = 50
			opt := Options[event]{
				Handled: rapid.Bool().Draw(t, "handled"),
				Buffer:  rapid.IntRange(1, 4).Draw(t, "buffer"), DropOldest: true,
			}
			pushers := rapid.IntRange(1, 3).Draw(t, "pushers")
			w := watch(opt, false)
			var pushing sync.WaitGroup
			for p := range pushers {
				pushing.Go(func() {
					for i := range each {
						if result := w.push(p*each+i, 1); result != Taken {
							t.Errorf("Push returned %d", result)
						}
					}
				})
			}
			go func() {
				pushing.Wait()
				if opt.Handled { // whose end discards what waits
					w.Seal()
				} else {
					w.End()
				}
			}()
			count, missed := 0, uint64(0)
			for e, open := w.receive(); open; e, open = w.receive() {
				count++
				missed += e.missed
			}
			if count+int(missed) != pushers*each || int(missed) != len(w.lost) {
				t.Fatalf("%d came, %d were missed, %d were lost, of %d", count, missed, len(w.lost),
					pushers*each)
			}
		})
	})
}

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
				if !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) || !slices.Equal(w.lost, []int{6, 7}) {
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
