package window

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var errClosed = errors.New("closed")

// remembers reports whether any account is still among those that are looked at.
func (p *Pool) remembers() bool { return len(p.needy.list)+len(p.lending.list) > 0 }

// publisher is an Account of a publisher in this process, as a plain model sees it.
type publisher struct {
	account *Account
	held    []int64    // sizes that are outstanding
	waiting []*request // in the order of their calls
	closed  bool
}

// request is a call of Acquire.
type request struct {
	size     int64
	cancel   context.CancelFunc
	returned bool // set by the goroutine that calls, read when all goroutines are blocked
	err      error
}

func (p *publisher) used() (sum int64) {
	for _, size := range p.held {
		sum += size
	}
	return sum
}

// machine compares a Pool with publishers of this process to a model, one call after the other.
type machine struct {
	pool       *Pool
	limit      int64
	publishers []*publisher
}

// Bounded memory: whatever publishers do, only what fits the limit is outstanding, apart from one
// event of each; the counts are right; and nobody waits with nothing outstanding.
func TestPropertyLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			m := machine{limit: rapid.Int64Range(0, 100).Draw(t, "limit")}
			m.pool = NewPool(m.limit, 0)
			for range rapid.IntRange(1, 4).Draw(t, "publishers") {
				m.publishers = append(m.publishers, &publisher{account: m.pool.Open()})
			}
			t.Repeat(map[string]func(*rapid.T){
				"Acquire":    m.acquire,
				"TryAcquire": m.tryAcquire,
				"Release":    m.release,
				"Cancel":     m.cancel,
				"Close":      m.close,
				"SetLimit":   m.setLimit,
				"":           m.check,
			})
			m.finish(t)
		})
	})
}

func (m *machine) any(t *rapid.T) *publisher {
	return rapid.SampledFrom(m.publishers).Draw(t, "publisher")
}

func size(t *rapid.T) int64 { return rapid.Int64Range(1, 40).Draw(t, "size") }

func (m *machine) acquire(t *rapid.T) {
	p := m.any(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := &request{size: size(t), cancel: cancel}
	p.waiting = append(p.waiting, r)
	go func() {
		r.err = p.account.Acquire(ctx, r.size)
		r.returned = true
	}()
	m.settle(t)
}

func (m *machine) tryAcquire(t *rapid.T) {
	p, size := m.any(t), size(t)
	fits := len(p.held) == 0 || p.used()+size <= m.share() && m.reserved()+size <= m.limit
	waited := len(p.waiting) > 0
	want := !p.closed && !waited && fits
	got := p.account.TryAcquire(size)
	m.settle(t) // it may have found that there is room for those that wait
	if got != want && !(waited && len(p.waiting) == 0) {
		t.Fatalf("TryAcquire(%d) with %d outstanding and %d waiting: %v", size, p.used(),
			len(p.waiting), got)
	}
	if got {
		p.held = append(p.held, size)
	}
}

func (m *machine) release(t *rapid.T) {
	p := m.any(t)
	if len(p.held) == 0 {
		t.Skip("nothing is outstanding")
	}
	i := rapid.IntRange(0, len(p.held)-1).Draw(t, "event")
	size := p.held[i]
	p.held = append(p.held[:i:i], p.held[i+1:]...)
	p.account.Release(size)
	m.settle(t)
}

func (m *machine) cancel(t *rapid.T) {
	p := m.any(t)
	if len(p.waiting) == 0 {
		t.Skip("nobody waits")
	}
	r := rapid.SampledFrom(p.waiting).Draw(t, "request")
	r.cancel()
	synctest.Wait()
	if !r.returned || !errors.Is(r.err, context.Canceled) {
		t.Fatalf("a cancelled Acquire: returned is %v, error %v", r.returned, r.err)
	}
	m.settle(t)
}

func (m *machine) close(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "close") > 0 {
		t.Skip("rarely")
	}
	p := m.any(t)
	p.account.Close(errClosed)
	p.closed = true
	synctest.Wait()
	for _, r := range p.waiting {
		if !r.returned || !errors.Is(r.err, errClosed) {
			t.Fatalf("Acquire after Close: returned is %v, error %v", r.returned, r.err)
		}
	}
	m.settle(t)
}

func (m *machine) setLimit(t *rapid.T) {
	m.limit = rapid.Int64Range(0, 100).Draw(t, "limit")
	m.pool.SetLimit(m.limit)
	m.settle(t)
}

// settle takes note of the calls that have returned.
func (m *machine) settle(t *rapid.T) {
	synctest.Wait()
	var exempt int64 // what was admitted as the first event of its publisher
	more := false    // something else was admitted
	for _, p := range m.publishers {
		var still []*request
		for _, r := range p.waiting {
			switch {
			case !r.returned:
				still = append(still, r)
			case r.err != nil:
				if !p.closed && !errors.Is(r.err, context.Canceled) {
					t.Fatalf("Acquire failed: %v", r.err)
				}
			case len(still) > 0:
				t.Fatalf("%d bytes were admitted before %d bytes that waited longer", r.size,
					still[0].size)
			default:
				if len(p.held) == 0 {
					exempt += r.size
				} else {
					more = true
				}
				p.held = append(p.held, r.size)
			}
		}
		p.waiting = still
	}
	if more && m.reserved()-exempt > m.limit {
		t.Fatalf("%d bytes were admitted, where the limit is %d", m.reserved(), m.limit)
	}
}

func (m *machine) reserved() (sum int64) {
	for _, p := range m.publishers {
		sum += p.used()
	}
	return sum
}

func (m *machine) share() int64 {
	active := int64(0)
	for _, p := range m.publishers {
		if len(p.held) > 0 {
			active++
		}
	}
	return m.limit / max(1, active)
}

func (m *machine) check(t *rapid.T) {
	if got, want := m.pool.Reserved(), m.reserved(); got != want {
		t.Fatalf("%d bytes are reserved, where %d are outstanding", got, want)
	}
	for i, p := range m.publishers {
		if got, want := p.account.Used(), p.used(); got != want || p.account.Idle() != (want == 0) {
			t.Fatalf("publisher %d: %d bytes used, where %d are outstanding", i, got, want)
		}
		if len(p.waiting) > 0 && len(p.held) == 0 {
			t.Fatalf("publisher %d waits with nothing outstanding", i)
		}
	}
}

// finish releases everything until nobody waits: who waits then waits for good, which the bubble
// reports.
func (m *machine) finish(t *rapid.T) {
	for {
		var holds *publisher
		for _, p := range m.publishers {
			if len(p.held) > 0 {
				holds = p
			}
		}
		if holds == nil {
			break
		}
		for _, size := range holds.held {
			holds.account.Release(size)
		}
		holds.held = nil
		m.settle(t)
	}
	m.check(t)
	for _, p := range m.publishers {
		if err := p.account.Drained(context.Background()); err != nil {
			t.Fatal(err)
		}
		p.account.Close(errClosed)
	}
	if m.pool.Reserved() != 0 || m.pool.remembers() || m.pool.waiting.Load() != 0 ||
		m.pool.active.Load() != 0 {
		t.Fatalf("something is left: %+v", m.pool)
	}
}

// The same with calls at the same time: the limit holds at each moment, every call comes to an
// end, and nothing is left.
func TestPropertyConcurrent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			const largest = 40
			limit := rapid.Int64Range(0, 200).Draw(t, "limit")
			publishers := rapid.IntRange(1, 3).Draw(t, "publishers")
			callers := rapid.IntRange(1, 3).Draw(t, "callers")
			sizes := rapid.SliceOfN(rapid.Int64Range(1, largest), 1, 30).Draw(t, "sizes")
			pool := NewPool(limit, 0)
			var outstanding atomic.Int64
			var calls sync.WaitGroup
			call := func(a *Account, size int64, try bool) {
				if try && !a.TryAcquire(size) {
					return
				}
				if !try && a.Acquire(t.Context(), size) != nil {
					t.Errorf("Acquire failed")
				}
				if now := outstanding.Add(size); now > limit+int64(publishers)*largest {
					t.Errorf("%d bytes are outstanding, where the limit is %d", now, limit)
				}
				runtime.Gosched()
				outstanding.Add(-size)
				a.Release(size)
			}
			var accounts []*Account
			for range publishers {
				a := pool.Open()
				accounts = append(accounts, a)
				for i := range callers {
					calls.Go(func() {
						for j, size := range sizes {
							call(a, size, (i+j)%4 == 3)
						}
					})
				}
			}
			calls.Wait()
			for _, a := range accounts {
				a.Close(errClosed)
			}
			if pool.Reserved() != 0 || pool.remembers() || pool.waiting.Load() != 0 {
				t.Fatalf("something is left: %+v", pool)
			}
		})
	})
}

// remote is a publisher elsewhere with the links to it and from it, one message after the other.
type remote struct {
	account  *Account
	due      bool    // the publisher is to be told its grant
	up, down []frame // on their way
	window   int64   // as the publisher knows it
	used     int64   // as the publisher knows it
	admitted []int64 // admitted there and not yet sent
	arrived  []int64 // here and not yet taken
	closed   bool
}

// frame is an event, the report that one was taken, a grant, or its acknowledgement.
type frame struct {
	size, change int64
	grant        bool
}

// simulation is a Pool with publishers elsewhere and one here.
type simulation struct {
	pool    *Pool
	limit   int64
	remotes []*remote
	local   *Account
	held    []int64
}

// Bounded memory, for publishers elsewhere: what they are granted and what is outstanding stays
// within the limit, but for one event of each and what was admitted under a grant that has shrunk;
// an honest publisher is never taken for another, whatever overtakes what; and when it is alone
// it gets a window again that lets it go on.
func TestPropertyRemote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &simulation{limit: rapid.SampledFrom([]int64{10, 100, 100, 3 * step}).Draw(t, "limit")}
		s.pool = NewPool(s.limit, 0)
		s.local = s.pool.Open()
		for range rapid.IntRange(1, 3).Draw(t, "publishers") {
			r := &remote{}
			r.account = s.pool.OpenRemote(func() { r.due = true })
			s.remotes = append(s.remotes, r)
			r.admit(s.size(t))
			s.drain(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": s.admit,
			"more":  s.admit,
			"rest":  func(t *rapid.T) { s.drain(t) },
			"send":  func(t *rapid.T) { s.any(t).send() },
			"up":    func(t *rapid.T) { s.any(t).arrive(t) },
			"down":  func(t *rapid.T) { s.any(t).hear() },
			"pull":  func(t *rapid.T) { s.any(t).pull() },
			"take":  func(t *rapid.T) { s.any(t).take() },
			"here":  s.here,
			"close": s.close,
			"":      func(t *rapid.T) { s.check(t) },
		})
		s.finish(t)
	})
}

// failer is a *rapid.T or a *testing.T.
type failer interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func (s *simulation) any(t *rapid.T) *remote {
	return rapid.SampledFrom(s.remotes).Draw(t, "publisher")
}

func (s *simulation) size(t *rapid.T) int64 {
	return rapid.Int64Range(1, max(5, s.limit/3)).Draw(t, "size")
}

// admit lets the publisher admit an event, if its window allows.
func (s *simulation) admit(t *rapid.T) {
	s.any(t).admit(s.size(t))
}

func (r *remote) admit(size int64) bool {
	if r.closed || r.used > 0 && r.used+size > r.window {
		return false
	}
	r.used += size
	r.admitted = append(r.admitted, size)
	return true
}

// send sends the next event that was admitted.
func (r *remote) send() {
	if len(r.admitted) > 0 {
		r.up = append(r.up, frame{size: r.admitted[0]})
		r.admitted = r.admitted[1:]
	}
}

// arrive handles the next message of the publisher.
func (r *remote) arrive(t failer) {
	if len(r.up) == 0 {
		return
	}
	f := r.up[0]
	r.up = r.up[1:]
	switch {
	case f.grant:
		r.account.Acknowledge(uint64(f.change))
	case !r.account.Arrived(f.size):
		t.Fatalf("%d bytes arrive after %v, which exceeds %d", f.size, r.arrived, r.account.grant)
	default:
		r.arrived = append(r.arrived, f.size)
	}
}

// pull sends the grant that is due.
func (r *remote) pull() {
	if r.due {
		r.due = false
		bytes, change := r.account.Grant()
		r.down = append(r.down, frame{size: bytes, change: int64(change), grant: true})
	}
}

// hear lets the publisher handle the next message to it.
func (r *remote) hear() {
	if len(r.down) == 0 {
		return
	}
	f := r.down[0]
	r.down = r.down[1:]
	if !f.grant {
		r.used -= f.size
		return
	}
	r.window = f.size
	r.up = append(r.up, f)
}

// take lets go of the event that arrived first.
func (r *remote) take() {
	if len(r.arrived) > 0 {
		r.account.Release(r.arrived[0])
		r.down = append(r.down, frame{size: r.arrived[0]})
		r.arrived = r.arrived[1:]
	}
}

func (r *remote) idle() bool {
	return len(r.admitted) == 0 && len(r.up) == 0 && len(r.down) == 0 &&
		len(r.arrived) == 0 && !r.due
}

// here lets the publisher of this process acquire or release.
func (s *simulation) here(t *rapid.T) {
	if len(s.held) > 0 && rapid.Bool().Draw(t, "release") {
		s.local.Release(s.held[0])
		s.held = s.held[1:]
		return
	}
	size := s.size(t)
	idle, before := len(s.held) == 0, s.pool.Reserved()
	if s.local.TryAcquire(size) {
		s.held = append(s.held, size)
		if !idle && before+size > s.limit {
			t.Fatalf("%d bytes are admitted on top of %d, where the limit is %d", size, before,
				s.limit)
		}
	}
}

func (s *simulation) close(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "close") > 0 {
		t.Skip("rarely")
	}
	r := s.any(t)
	r.closed = true
	r.account.Close(errClosed)
	r.up, r.admitted, r.due = nil, nil, false
}

// check checks the sums: each publisher is counted with the larger of its grant and what it uses.
func (s *simulation) check(t failer) {
	sum, grants := s.local.Used(), int64(0)
	for i, r := range s.remotes {
		a := r.account
		var used int64
		for _, size := range r.arrived {
			used += size
		}
		if a.Used() != used {
			t.Fatalf("publisher %d: %d bytes used, where %d have arrived", i, a.Used(), used)
		}
		sum += max(used, a.grant)
		grants += a.grant
		if !r.closed && r.window > a.grant && a.asked < 0 && r.idle() {
			t.Fatalf("publisher %d uses a window of %d, where %d are granted", i, r.window, a.grant)
		}
	}
	if got := s.pool.Reserved(); got != sum {
		t.Fatalf("%d bytes are reserved, where the publishers have %d", got, sum)
	}
	if grants > s.limit {
		t.Fatalf("%d bytes are granted, where the limit is %d", grants, s.limit)
	}
}

// drain lets everything arrive and be taken.
func (s *simulation) drain(t failer) {
	for range 1000 {
		idle := true
		for _, r := range s.remotes {
			r.send()
			r.arrive(t)
			r.pull()
			r.hear()
			r.take()
			idle = idle && r.idle()
		}
		if idle {
			return
		}
	}
	t.Fatal("the publishers and the pool do not come to rest")
}

// finish checks that a publisher that is alone comes by a window: it sends small events, and does
// not wait for one to be taken before the next for good.
func (s *simulation) finish(t *rapid.T) {
	for _, size := range s.held {
		s.local.Release(size)
	}
	s.held = nil
	s.drain(t)
	r := s.remotes[0]
	if r.closed {
		return
	}
	for range 20 {
		for r.admit(max(1, s.limit/10)) {
			r.send()
			r.arrive(t) // nothing is taken yet
		}
		s.drain(t)
		s.check(t)
	}
	if r.window < s.limit/2 {
		t.Fatalf("a publisher that is alone has a window of %d, where the limit is %d", r.window,
			s.limit)
	}
}

// What a publisher has admitted before it learns of a smaller grant may arrive after it has
// acknowledged that.
func TestShrunkGrant(t *testing.T) {
	s := &simulation{limit: 100, pool: NewPool(100, 0)}
	s.local = s.pool.Open()
	for range 2 {
		r := &remote{}
		r.account = s.pool.OpenRemote(func() { r.due = true })
		s.remotes = append(s.remotes, r)
	}
	early, late := s.remotes[0], s.remotes[1]
	early.admit(10)
	s.drain(t) // early has a window now
	early.admit(50)
	early.admit(30)
	late.admit(10)
	late.send()
	late.arrive(t)
	early.pull()
	early.hear()
	if early.window != 0 || len(early.admitted) != 2 {
		t.Fatalf("%d events are admitted, then the window is %d", len(early.admitted), early.window)
	}
	early.arrive(t) // the acknowledgement
	early.send()
	early.send()
	early.arrive(t)
	early.arrive(t)
	s.check(t)
}

// Fairness: publishers that all want more than there is are let through about equally.
func TestPropertyFairness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			publishers := rapid.IntRange(2, 4).Draw(t, "publishers")
			few := rapid.IntRange(1, 8)
			callers := rapid.SliceOfN(few, publishers, publishers).Draw(t, "callers")
			pool := NewPool(1000, 0)
			admitted := make([]atomic.Int64, publishers)
			ctx, cancel := context.WithCancel(context.Background())
			var calls sync.WaitGroup
			for i := range publishers {
				a := pool.Open()
				for range callers[i] {
					calls.Go(func() {
						for a.Acquire(ctx, 100) == nil {
							admitted[i].Add(1)
							go func() {
								time.Sleep(time.Millisecond) // whoever takes it is as slow for all
								a.Release(100)
							}()
						}
					})
				}
			}
			time.Sleep(100 * time.Millisecond)
			cancel()
			calls.Wait()
			time.Sleep(2 * time.Millisecond)
			for i := range admitted {
				first, n := admitted[0].Load(), admitted[i].Load()
				if n < first/2 || first < n/2 {
					t.Fatalf("publisher 0 was let through %d times, publisher %d %d times", first,
						i, n)
				}
			}
		})
	})
}

// A Flight settles when its last holder lets go of it, and not before.
func TestFlight(t *testing.T) {
	p := NewPool(10, 0)
	a := p.Open()
	a.add(7)
	f := NewFlight(a, Item{Size: 7, Slot: 3, Prompt: a.Prompt()})
	f.Hold()
	f.Drop()
	if a.Used() != 7 || f.Slot != 3 {
		t.Fatalf("used is %d, the slot %d", a.Used(), f.Slot)
	}
	f.Drop()
	(*Flight)(nil).Drop()
	if !a.Idle() {
		t.Fatalf("used is %d", a.Used())
	}
}

// Prompt says when a publisher is short of room.
func TestPrompt(t *testing.T) {
	for _, c := range []struct {
		limit, used int64
		want        bool
	}{
		{100, 0, false}, {100, 49, false}, {100, 50, true}, {0, 0, true},
		{4 * step, 3 * step, false},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.used, c.limit), func(t *testing.T) {
			a := NewPool(c.limit, 0).Open()
			a.add(c.used)
			if got := a.Prompt(); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// Drained waits for the last event, ends with its ctx, and any number may wait.
func TestDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewPool(10, 0).Open()
		a.add(5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Drained(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with something outstanding: %v", err)
		}
		var waiting sync.WaitGroup
		for range 2 {
			waiting.Go(func() {
				if err := a.Drained(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		a.Release(5)
		waiting.Wait()
	})
}
