package window

import (
	"context"
	"errors"
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
